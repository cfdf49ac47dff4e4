"""JPEGs that are decoded at a fraction of their size, in this thread, for as long as an encoder asks for it.

libjpeg leaves out the finer part of each block of 8 x 8 pixels: a half, a quarter or an eighth of each side is decoded
in as much less time, and no side becomes shorter than it is asked for. The pixels are not those of resizing the whole
image, so that it is part of an encoder's identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

WHOLE_SIZE = "cryoprobe: size in the file"
"""Key in the info of an image that was decoded so."""

_side: ContextVar[int | None] = ContextVar("_side", default=None)


def scaled_to() -> int | None:
    """Return what is asked for in this thread."""
    return _side.get()


@contextmanager
def decoding_to(side: int | None) -> Iterator[None]:
    """Let JPEGs be decoded here so that no side is shorter than `side`; whole if that is None."""
    before = _side.set(side)
    try:
        yield
    finally:
        _side.reset(before)
