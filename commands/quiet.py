"""Whether a command keeps its progress, its notes and its warnings to itself: ``--quiet``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

is_quiet: ContextVar[bool] = ContextVar("is_quiet", default=False)


@contextmanager
def quietly(wanted: bool) -> Iterator[None]:
    """Print no progress, no notes and no warnings for as long as the context lasts, if that is wanted."""
    before = is_quiet.set(wanted)
    try:
        yield
    finally:
        is_quiet.reset(before)
