"""Which files an encoder is made of: whoever loads one notes them here, and whoever remembers it asks.

`known` remembers the identity of an encoder while these files stay as they are. A loader that reads a file in another
way than by `checkpoint.read_checkpoint` has to note it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_noted: ContextVar[list[Path] | None] = ContextVar("noted", default=None)


def note_file(path: Path) -> None:
    """Note a file that is read, or one that would have been if it were there."""
    if (noted := _noted.get()) is not None:
        noted.append(path.absolute())


@contextmanager
def files_noted() -> Iterator[list[Path]]:
    """Collect what is noted meanwhile, in the order in which it is."""
    noted: list[Path] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)
