"""Sealing: of several seals of one set or unit the first one stays, unless nothing is left of what it names.

Or unless it came from elsewhere and is not trusted: it does not stand in for one's own, which is written over it.

A seal without any data (see `fences`) is worth nothing: a writer that has made the set or unit again writes its own
over it. With neither locks nor compare-and-swap, two who do so within the same milliseconds may both take the other's
seal for the dataless one that they had read; the later then stays, and nothing refers to the data of the earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Protocol, TypeVar

from ...errors import Conflict
from ..backends.backend import Backend
from ..format.origins import origin_of
from .fences import has_no_data, objects_present

_MOST_ATTEMPTS = 8
"""How often in a row what is being written may be deleted before it is sealed."""


class Seal(Protocol):
    """What a manifest and the seal of a unit have in common."""

    @property
    def attempt(self) -> str:
        """Which attempt is sealed."""

    @property
    def checksum(self) -> str:
        """Checksum of the seal."""

    @property
    def folder(self) -> str:
        """Where its data are."""

    @property
    def object_keys(self) -> Sequence[str]:
        """Keys of all of its data."""

    def dump(self) -> bytes:
        """Return the object to be stored."""


Found = TypeVar("Found", bound=Seal)


def write_and_seal(
    backend: Backend, key: str, write: Callable[[], Found], read: Callable[[], Found | None]
) -> tuple[Found, bool]:
    """Write an attempt and seal it, or adopt what somebody has sealed meanwhile; again if the data are deleted.

    Parameters
    ----------
    backend : Backend
    key : str
        Of the seal.
    write : callable
        Writes the data under an attempt's own name, and returns the seal that they can have.
    read : callable
        Returns the seal that is there.

    Returns
    -------
    seal : Seal
    sealed : bool
        Whether this call sealed it.

    Raises
    ------
    Conflict
        If what it writes is deleted again and again.

    Guarantees
    ----------
    Data before seal. What this returns as sealed has its data, whatever `gc` does meanwhile. Killed at any instant, it
    leaves a whole attempt that is sealed, or objects that nothing refers to; `fences` tells the one exception.
    """
    my_attempts: set[str] = set()
    for _ in range(_MOST_ATTEMPTS):
        made = write()
        if not objects_present(backend, made.folder, made.object_keys):
            _discard(backend, made)
            continue
        sealed = put_seal(backend, key, made.dump(), read, my_attempts)
        my_attempts.add(made.attempt)
        if sealed is not None and sealed.attempt not in my_attempts:
            _discard(backend, made)
            return sealed, False
        if sealed is not None and sealed.attempt == made.attempt and stays(backend, key, made, read):
            return sealed, True
    raise Conflict(
        f"{key} or its data was deleted from {backend.url} while it was being written ({_MOST_ATTEMPTS} attempts).",
        hint="Stop whoever deletes objects or runs gc with a short grace period, then run the same command again: "
        "what is sealed is kept.",
        key=key,
    )


def stays(backend: Backend, key: str, made: Found, read: Callable[[], Found | None]) -> bool:
    """Return whether what was just sealed, and its data, are there to stay; see `fences`."""

    def is_sealed() -> bool:
        found = read()
        return found is not None and found.attempt == made.attempt

    return objects_present(backend, made.folder, made.object_keys, seal=key, is_sealed=is_sealed)


def _discard(backend: Backend, made: Seal) -> None:
    """Remove the data of an attempt."""
    for key in made.object_keys:
        backend.delete(key)


def put_seal(
    backend: Backend, key: str, data: bytes, read: Callable[[], Found | None], my_attempts: Container[str] = ()
) -> Found | None:
    """Write a seal, and return the one that can be read back then, whatever the answer to the write was.

    Parameters
    ----------
    backend : Backend
    key : str
    data : bytes
        The seal.
    read : callable
        Returns the seal that is there.
    my_attempts : container of str
        Earlier attempts of the same writer, whose data were deleted as they were sealed.
    """
    if not backend.put_if_absent(key, data):
        there = read()
        if there is not None and (there.attempt in my_attempts or is_replaced(backend, key, there)):
            backend.put(key, data)
    return read()


def is_replaced(backend: Backend, key: str, there: Seal) -> bool:
    """Return whether a new seal is written over that one: it has no data, or is not trusted."""
    return has_no_data(backend, there.folder) or origin_of(backend, key, there.checksum) is not None
