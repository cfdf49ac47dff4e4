"""Sealing: of several seals of one set or unit the first one stays, unless nothing is left of what it names.

Or unless it came from elsewhere and is not trusted: it does not stand in for one's own, which is written over it.

A seal without any data is hollow (see `fences`), and worth nothing. Whoever has made the set or unit again writes
theirs over it. With neither locks nor compare-and-swap, two who do so within the same milliseconds may both take the
other's seal for the hollow one that they had read; the later then stays, and the data of the earlier are waste.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol, TypeVar

from ..errors import Conflict
from .backends.backend import Backend
from .fences import is_hollow
from .origins import origin_of

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

    def dump(self) -> bytes:
        """Return the object to be stored."""

    def is_whole(self, backend: Backend) -> bool:
        """Return whether its data are there to stay, once it is sealed."""

    def is_sealed(self, backend: Backend) -> bool:
        """Return whether it was sealed, and its data are there to stay."""

    def discard(self, backend: Backend) -> None:
        """Remove its data."""


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
    own: set[str] = set()
    for _ in range(_MOST_ATTEMPTS):
        made = write()
        if not made.is_whole(backend):
            made.discard(backend)
            continue
        sealed = put_seal(backend, key, made.dump(), read, own)
        own.add(made.attempt)
        if sealed is not None and sealed.attempt not in own:
            made.discard(backend)
            return sealed, False
        if sealed is not None and sealed.attempt == made.attempt and made.is_sealed(backend):
            return sealed, True
    raise Conflict(
        f"{key} or its data was deleted from {backend.url} while it was being written ({_MOST_ATTEMPTS} attempts).",
        hint="Stop whoever deletes objects or runs gc with a short grace period, then run the same command again: "
        "what is sealed is kept.",
        key=key,
    )


def put_seal(
    backend: Backend, key: str, data: bytes, read: Callable[[], Found | None], own: Container[str] = ()
) -> Found | None:
    """Write a seal, and return the one that is there then: whatever we were told, what can be read back is the truth.

    Parameters
    ----------
    backend : Backend
    key : str
    data : bytes
        The seal.
    read : callable
        Returns the seal that is there.
    own : container of str
        Earlier attempts of the same writer, whose data were deleted as they were sealed.
    """
    if not backend.put_if_absent(key, data):
        there = read()
        if there is not None and (there.attempt in own or is_replaced(backend, key, there)):
            backend.put(key, data)
    return read()


def is_replaced(backend: Backend, key: str, there: Seal) -> bool:
    """Return whether whoever makes the set or unit writes their seal over that one: it is hollow, or not trusted."""
    return is_hollow(backend, there.folder) or origin_of(backend, key, there.checksum) is not None
