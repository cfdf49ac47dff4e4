"""Splits whose samples are encoded images that lie in something larger: one class for all kinds of containers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ....arrays import Targets
from ..base import Place
from ..images import decode_file, identified


class Encoded(Protocol):
    """Encoded images, by their numbers within a split."""

    def read(self, index: int) -> bytes:
        """Return the bytes of one, as they would be in a file of its own. Called from several threads at once.

        Raises OSError, `UndecodableImage` for one that is missing, or a `CryoprobeError`.
        """
        ...

    def describe(self, index: int) -> str:
        """Return what people call it."""
        ...

    def path(self, index: int) -> Path | None:
        """Return the local file that it is, if it is one."""
        ...

    def place(self, index: int) -> Place | None:
        """Return where it lies if it is not a file; None if nothing tells a change."""
        ...


@dataclass(frozen=True)
class EncodedSplit:
    """Samples that are encoded images in containers; see `base.Split` and `base.Placed`.

    Their ids are those of files with the same bytes.

    Parameters
    ----------
    name : str
    classes : tuple of str
    labels : ndarray, int64 [n]
    images : Encoded
    sources : tuple of Path
        Local files that hold them.
    """

    name: str
    classes: tuple[str, ...]
    labels: Targets
    images: Encoded
    sources: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def describe(self, index: int) -> str:
        """Return what a sample is called where it lies."""
        return self.images.describe(index)

    def path(self, index: int) -> Path | None:
        """Return the file of a sample, if it has one of its own."""
        return self.images.path(index)

    def place(self, index: int) -> Place | None:
        """Return where a sample lies."""
        return self.images.place(index)

    def read(self, index: int) -> bytes:
        """Return an image's bytes, with a mark behind them if its values have more than 8 bits."""
        return identified(self.images.read(index))

    decode = staticmethod(decode_file)
