"""Fences: what keeps a writer from sealing what `gc` is deleting.

An attempt that nobody has sealed for a day is probably nobody's. Probably is not enough: its writer may have been
suspended, and seal it as it wakes. Storage has no compare-and-swap, so each side announces before it looks:

    gc      1. write a fence that names the attempt   2. read the seal; is it not this attempt?   3. delete the data
    writer  1. write the seal                         2. read the fences, then list the data: all there, no fence?

Whichever of the two first steps came last, its side sees the other's: either gc finds the attempt sealed and lets it
be, or the writer finds a fence, or no fence any more and then (which is why it lists the data last) no data, and
writes what it has in memory again, as another attempt. No clock is involved, so that this holds for any grace period
and any clock.

A writer that is killed between its two steps can leave a seal whose data gc deletes: a dataless one. Whoever makes that
set or unit again, or brings it from elsewhere, replaces it.

The seal of a unit that gc found useless is deleted too. Then gc names the seal as well, and deletes it only if it reads
there what it had found. A writer may seal the unit anew just after that, if the first was deleted by somebody else: so
it waits until that gc run is over, and reads whether its seal is still there.

A fence is one object, ``gc/fences/<12 digits>.json``, and lasts as long as its gc run. One that a killed run left
behind only costs writers a second attempt at what it names, or a minute, until another run removes it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from ...checksummed import LARGE, checksum_holds, dump_document
from ...errors import CryoprobeError, NotFound
from ..backends.backend import Backend, ObjectDetails
from ..format.documents import read_json
from ..keys import new_attempt
from ..local.processes import machine, process_start

FENCES = "gc/fences/"
LONGEST_RUN_SECONDS = 7 * 86400.0
"""A fence that the storage's clock says is older than this was left behind on another machine."""

LONGEST_WAIT_SECONDS = 60.0
"""So long a writer waits for the end of a gc run that may delete its seal. If it did all the same, rows are missing,
which the writer of the set finds out, and encodes."""

_PAUSE_SECONDS = 0.2

_waited: set[tuple[str, str]] = set()
"""The fences, by store and key, that this process has waited for in vain."""


@contextmanager
def fence(backend: Backend, folders: Collection[str], seals: Collection[str] = ()) -> Iterator[None]:
    """Announce for as long as the context lasts that the data in `folders` may be deleted, and `seals` of units."""
    key = f"{FENCES}{new_attempt()}.json"
    pid = os.getpid()
    content = {
        "folders": sorted(folders),
        "seals": sorted(seals),
        "machine": machine(),
        "pid": pid,
        "start": process_start(pid),
    }
    backend.put(key, dump_document(content))
    try:
        yield
    finally:
        backend.delete(key)


def objects_present(
    backend: Backend, folder: str, keys: Collection[str], *, seal: str = "", is_sealed: Callable[[], bool] | None = None
) -> bool:
    """Return whether the objects of an attempt are there to stay, once it is sealed.

    Parameters
    ----------
    backend : Backend
    folder : str
        Of the attempt: ``sets/<set>/<attempt>`` or ``units/<encoder>/<unit>/<attempt>``.
    keys : collection of str
        All that the seal promises, by their full keys.
    seal : str, optional
        Key of the seal, of a unit.
    is_sealed : callable, optional
        Reads whether the attempt is sealed: asked if a gc run was at work that may have deleted the seal.
    """
    rivals = []
    for info in list(backend.list(FENCES)):
        try:
            content = read_json(backend, info.key, LARGE)
        except NotFound:
            continue
        except CryoprobeError:
            return False  # a damaged fence may name anything
        if not checksum_holds(content) or folder in content.get("folders", ()):
            return False
        if seal in content.get("seals", ()):
            rivals.append(info.key)
    if rivals and is_sealed is not None:
        _outlast(backend, rivals)
        if not is_sealed():
            return False
    return set(keys) <= {info.key for info in backend.list(f"{folder}/")}


def is_fenced(backend: Backend, folder: str) -> bool:
    """Return whether a gc run has announced that it deletes the data of an attempt."""
    return bool(_fences_of(backend, folder))


def settle(backend: Backend, folder: str) -> None:
    """Wait until no gc run is at work that may be deleting the data of an attempt which somebody else has sealed.

    Its writer may have died between its two steps; then what looks complete now is dataless when that run is over.
    """
    _outlast(backend, _fences_of(backend, folder))


def _fences_of(backend: Backend, folder: str) -> list[str]:
    """Return the keys of the fences that name an attempt."""
    found = []
    for info in list(backend.list(FENCES)):
        with suppress(CryoprobeError):
            content = read_json(backend, info.key, LARGE)
            if isinstance(content, dict) and folder in content.get("folders", ()):
                found.append(info.key)
    return found


def _outlast(backend: Backend, fences: Collection[str]) -> None:
    """Wait until these gc runs are over; not for one whose process is dead, nor ever again for one that lasts."""
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    for key in fences:
        while (backend.url, key) not in _waited and backend.exists(key):
            if time.monotonic() >= deadline or is_left_behind(backend, ObjectDetails(key, 0), 0):
                _waited.add((backend.url, key))
            else:
                time.sleep(_PAUSE_SECONDS)


def has_no_data(backend: Backend, folder: str) -> bool:
    """Return whether nothing is left of an attempt: if it is sealed, it is as good as not."""
    return backend.any_key(f"{folder}/") is None


def is_left_behind(backend: Backend, info: ObjectDetails, now: float) -> bool:
    """Return whether the run that wrote a fence is surely over: its process is dead, or the fence is a week old."""
    try:
        content = read_json(backend, info.key, LARGE)
    except CryoprobeError:
        content = None
    if isinstance(content, dict) and content.get("machine") == machine() and isinstance(content.get("pid"), int):
        return process_start(content["pid"]) != content.get("start")
    return info.modified is not None and now - info.modified >= LONGEST_RUN_SECONDS
