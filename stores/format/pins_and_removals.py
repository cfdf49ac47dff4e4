"""What is recorded of sets that are to stay, or to go: pins, and announcements of removals."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import suppress

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from ...checksummed import LARGE, checksum_holds
from ...errors import CryoprobeError, NotFound
from ...parallel import each
from ..backends.backend import Backend
from ..keys import id_in, set_folder, unit_folder
from .documents import read_json

PINS = "pins/"
REMOVED = "gc/removed/"


class Pin(BaseModel):
    """A pin on a set.

    Parameters
    ----------
    set : str
        Id of the set.
    why : str
        What it is kept for; may be empty.
    user, host : str or None
        Who pinned it.
    pinned : int
        When, in milliseconds since 1970, by the clock of whoever pinned it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    set: str
    why: str
    user: str | None
    host: str
    pinned: int


class Removal(BaseModel):
    """The announcement that a set is removed; it lasts until its data are gone.

    Parameters
    ----------
    set, encoder : str
        Ids.
    attempt : str
        Folder of the set's data; empty where its manifest was damaged.
    units : dict of str to str
        Sealed units that have no rows but the set's, and go with it: which attempt at each. One that is sealed again
        later is another attempt, and stays.
    user, host : str or None
    removed : int
        When, in milliseconds since 1970, by the clock of whoever removed it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    set: str
    encoder: str
    attempt: str
    units: dict[str, str]
    user: str | None
    host: str
    removed: int

    @field_validator("units", mode="before")
    @classmethod
    def _without_attempts(cls, units: object) -> object:
        """Take an announcement that does not tell attempts, as they were once written, for one of no units."""
        return {} if isinstance(units, list) else units

    @property
    def unit_folders(self) -> frozenset[str]:
        """Folders of the units that go."""
        return frozenset(unit_folder(self.encoder, unit, attempt) for unit, attempt in self.units.items())

    @property
    def folders(self) -> frozenset[str]:
        """Folders of all that goes."""
        return self.unit_folders | ({set_folder(self.set, self.attempt)} if self.attempt else frozenset())


def read_pin(backend: Backend, set_: str) -> Pin | None:
    """Return the pin on a set, or None where there is none. A damaged pin is a pin."""
    try:
        content = read_json(backend, pin_key(set_))
        if checksum_holds(content):
            return Pin.model_validate(content)
    except NotFound:
        return None
    except (CryoprobeError, ValidationError):
        pass
    return Pin(set=set_, why="the pin is damaged", user=None, host="?", pinned=0)


class RemovedTrial(BaseModel):
    """A trial that was removed, with what its probe said of each row.

    Parameters
    ----------
    trial : str
        Its id.
    """

    model_config = ConfigDict(frozen=True)

    trial: str


def pinned_ids(backend: Backend) -> Iterator[str]:
    """Yield the ids of all pinned sets, by one listing."""
    yield from (id_in(info.key) for info in backend.list(PINS))


def pin_key(set_: str) -> str:
    """Return the key of the pin on a set."""
    return f"{PINS}{set_}.json"


def removals(backend: Backend) -> dict[str, Removal]:
    """Return the announcements of a store by their keys; damaged ones are left out."""
    found = each(lambda info: (info.key, _read(backend, info.key)), backend.list(REMOVED))
    return {key: r for key, r in found if r is not None}


def find_removal(backend: Backend, set_: str, attempt: str) -> Removal | None:
    """Return the announcement that this very attempt at a set is removed, if there is one."""
    for key in (removal_key(set_, attempt), removal_key(set_, "")):
        found = _read(backend, key)
        if found is not None and found.attempt == attempt:
            return found
    return None


def removal_key(set_: str, attempt: str) -> str:
    """Return the key of the announcement that an attempt at a set is removed: of each its own.

    So whoever clears one away, because that removal is over, cannot take that of the next one.
    """
    return f"{REMOVED}{set_}.{attempt}.json" if attempt else f"{REMOVED}{set_}.json"


def _read(backend: Backend, key: str) -> Removal | None:
    with suppress(CryoprobeError, ValidationError):
        content = read_json(backend, key, LARGE)
        if checksum_holds(content):
            return Removal.model_validate(content)
    return None


def whoami() -> tuple[str | None, str]:
    """Return the names of this user, where there is one, and host."""
    with suppress(KeyError, OSError):  # a container may run as a user that has no name
        return getpass.getuser(), socket.gethostname()
    return None, socket.gethostname()
