"""What is recorded of sets that are to stay, or to go: pins, and announcements of removals."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import suppress

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import CryoprobeError, NotFound
from .. import layout
from ..backends.backend import Backend
from ..parallel import each

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
        Folder of the set's data.
    units : tuple of str
        Sealed units that have no rows but the set's, and go with it.
    user, host : str or None
    removed : int
        When, in milliseconds since 1970, by the clock of whoever removed it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    set: str
    encoder: str
    attempt: str
    units: tuple[str, ...]
    user: str | None
    host: str
    removed: int


def read_pin(backend: Backend, set_: str) -> Pin | None:
    """Return the pin on a set, or None where there is none. A damaged pin is a pin."""
    try:
        content = layout.read_json(backend, pin_key(set_))
        if isinstance(content, dict) and layout.is_whole(content):
            return Pin.model_validate(content)
    except NotFound:
        return None
    except (CryoprobeError, ValidationError):
        pass
    return Pin(set=set_, why="the pin is damaged", user=None, host="?", pinned=0)


def pinned_ids(backend: Backend) -> Iterator[str]:
    """Yield the ids of all pinned sets, by one listing."""
    yield from (layout.stem(info.key) for info in backend.list(PINS))


def pin_key(set_: str) -> str:
    """Return the key of the pin on a set."""
    return f"{PINS}{set_}.json"


def removals(backend: Backend) -> list[Removal]:
    """Return the announcements of a store; damaged ones are left out."""
    found = each(lambda info: _read(backend, info.key), backend.list(REMOVED))
    return [r for r in found if r is not None]


def find_removal(backend: Backend, set_: str, attempt: str) -> Removal | None:
    """Return the announcement that this very attempt at a set is removed, if there is one."""
    found = _read(backend, removal_key(set_))
    return found if found is not None and found.attempt == attempt else None


def removal_key(set_: str) -> str:
    """Return the key of the announcement that a set is removed."""
    return f"{REMOVED}{set_}.json"


def _read(backend: Backend, key: str) -> Removal | None:
    with suppress(CryoprobeError, ValidationError):
        content = layout.read_json(backend, key)
        if isinstance(content, dict) and layout.is_whole(content):
            return Removal.model_validate(content)
    return None


def whoami() -> tuple[str | None, str]:
    """Return the names of this user, where there is one, and host."""
    with suppress(KeyError, OSError):  # a container may run as a user that has no name
        return getpass.getuser(), socket.gethostname()
    return None, socket.gethostname()
