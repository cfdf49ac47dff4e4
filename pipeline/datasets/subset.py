"""A seeded, class-balanced part of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import Indices, Targets
from ...errors import BadInput
from .base import Advising, Place, Placed, Split

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class SubsetSplit:
    """Some rows of a split, in the split's order; see `base.Split`."""

    whole: Split
    rows: Indices

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def name(self) -> str:
        """Name of the split."""
        return self.whole.name

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes of the split, chosen from or not."""
        return self.whole.classes

    @property
    def labels(self) -> Targets:
        """Labels of the chosen rows."""
        return self.whole.labels[self.rows]

    @property
    def sources(self) -> Sequence[Path]:
        """The sources of the whole split: any change of it may change what is drawn."""
        return self.whole.sources

    def describe(self, index: int) -> str:
        """Name a sample as the whole split does."""
        return self.whole.describe(int(self.rows[index]))

    def path(self, index: int) -> Path | None:
        """Return the sample's file."""
        return self.whole.path(int(self.rows[index]))

    def place(self, index: int) -> Place | None:
        """Return where a sample lies."""
        return self.whole.place(int(self.rows[index])) if isinstance(self.whole, Placed) else None

    def read(self, index: int) -> bytes:
        """Read a sample."""
        return self.whole.read(int(self.rows[index]))

    @property
    def decode(self) -> Callable[[bytes], Image.Image]:
        """What decodes a sample: the whole split's function itself, which other processes may know too."""
        return self.whole.decode

    def advice(self) -> str:
        """Return what the whole split knows."""
        return self.whole.advice() if isinstance(self.whole, Advising) else ""


def limit_split(split: Split, limit: int, seed: int = 0) -> Split:
    """Draw `limit` samples, as evenly over the classes as they allow; without them or with several a sample, at random.

    The generator is the function's own, and depends on nothing but the labels, `limit` and `seed`.

    Raises
    ------
    BadInput
        If `limit` is less than 1.
    """
    if limit < 1:
        raise BadInput(f"--limit must be 1 or more, not {limit}.", key="limit")
    if limit >= len(split):
        return split
    rng = np.random.default_rng(seed)
    labels = split.labels
    order = rng.permutation(len(split))
    if labels.ndim == 1 and split.classes:
        # Rank every row within its class, in random order; rows of low rank come first, so that every class gives
        # its first row before any gives its second. Classes that run out leave their share to the others.
        by_class = order[np.argsort(labels[order], kind="stable")]
        counts = np.bincount(labels, minlength=len(split.classes))
        rank = np.arange(len(split)) - np.repeat(np.cumsum(counts) - counts, counts)
        # The last round is not complete: which classes it serves must not depend on their names.
        turn = rng.permutation(len(counts))[labels[by_class]]
        order = by_class[np.lexsort((turn, rank))]
    return SubsetSplit(split, np.sort(order[:limit]).astype(np.int64))
