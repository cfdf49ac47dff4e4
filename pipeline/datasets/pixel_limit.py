"""How many pixels an image may have: a bound on memory, which each run can set for the threads that decode for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .base import MAX_PIXELS

_limit = ContextVar("_limit", default=MAX_PIXELS)

REMEDY = "--max-pixels sets another limit"
"""What a refusal ends with."""


def most_pixels() -> int:
    """Return the limit that holds in this thread."""
    return _limit.get()


@contextmanager
def at_most(pixels: int | None) -> Iterator[None]:
    """Set another limit for this thread, here; None leaves it as it is.

    Examples
    --------
    >>> with at_most(100):
    ...     most_pixels()
    100
    """
    if pixels is None:
        yield
        return
    before = _limit.set(pixels)
    try:
        yield
    finally:
        _limit.reset(before)
