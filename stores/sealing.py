"""Sealing: of several seals of one set or unit the first one stays, unless nothing is left of what it names.

Or unless it came from elsewhere and is not trusted: it does not stand in for one's own, which is written over it.

A seal without any data is hollow (see `fences`), and worth nothing. Whoever has made the set or unit again writes
theirs over it. With neither locks nor compare-and-swap, two who do so within the same milliseconds may both take the
other's seal for the hollow one that they had read; the later then stays, and the data of the earlier are waste.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Protocol, TypeVar

from .backends.backend import Backend
from .fences import is_hollow
from .origins import origin_of


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


Found = TypeVar("Found", bound=Seal)


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
