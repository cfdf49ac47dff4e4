"""An encoder that stays loaded from one extraction to the next, for calls that make many with the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..encoders.base import Encoder

Key = tuple[object, ...]


class _Kept:
    """The encoder that was loaded last, and by what it was asked for."""

    def __init__(self) -> None:
        self.key: Key | None = None
        self.encoder: Encoder | None = None


_KEPT: ContextVar[_Kept | None] = ContextVar("kept_encoder", default=None)


@contextmanager
def keeping_encoders() -> Iterator[None]:
    """Keep the encoder that was loaded last for as long as the context lasts.

    A file of weights that is replaced meanwhile is not read again: features are stored under the identity of the
    weights that were loaded.
    """
    before = _KEPT.set(_Kept())
    try:
        yield
    finally:
        _KEPT.reset(before)


def kept_or_loaded(key: Key, load: Callable[[], Encoder]) -> Encoder:
    """Return the encoder that is kept under a key, or else the one that `load` returns, which then is kept.

    Examples
    --------
    >>> with keeping_encoders():
    ...     first = kept_or_loaded(("a",), object)
    ...     again = kept_or_loaded(("a",), object)
    >>> first is again, kept_or_loaded(("a",), object) is first
    (True, False)
    """
    kept = _KEPT.get()
    if kept is None:
        return load()
    if kept.encoder is None or kept.key != key:
        kept.key, kept.encoder = None, None  # its memory is free before the next one is loaded
        kept.encoder = load()
        kept.key = key
    return kept.encoder
