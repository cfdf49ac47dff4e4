"""Rows with labels: a matrix in memory, or rows of the store that are read anew for every pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ...arrays import Float32, Indices, Targets
from ...errors import BadInput
from ...stores.feature_set import FeatureSet
from ..tasks import Task, task_of

if TYPE_CHECKING:
    from .logistic import Rotated

BLOCK_ROWS = 8192
"""Of a matrix, where rows are gone through block by block: at 1,280 dimensions 40 MiB."""

_WORTH_ROTATING = 1 << 22
"""Entries of a matrix from which a rotation shared by several fits saves more than it costs."""

_BLOCK_BYTES = 16 << 20
"""Of a block of stored rows."""


class StoredRows:
    """Some rows of feature sets, read and verified whenever they are gone through; never all in memory.

    Parameters
    ----------
    sources : sequence of (FeatureSet, ndarray int64 or None)
        Which rows of which sets, ascending within each; None for all. One set after the other.
    raw : bool
        Undo the normalisation.
    """

    def __init__(self, sources: Sequence[tuple[FeatureSet, Indices | None]], *, raw: bool) -> None:
        self._sources = tuple(sources)
        self._raw = raw
        self.shape = (
            sum(s.rows if rows is None else len(rows) for s, rows in self._sources),
            self._sources[0][0].dim,
        )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Indices) -> StoredRows:
        """Return some of the rows, ascending."""
        if (np.diff(rows) <= 0).any():
            raise BadInput("Rows that are read from the store block by block are taken in ascending order.")
        taken = []
        start = 0
        for feature_set, own in self._sources:
            n = feature_set.rows if own is None else len(own)
            here = rows[(rows >= start) & (rows < start + n)] - start
            taken.append((feature_set, here if own is None else own[here]))
            start += n
        return StoredRows(taken, raw=self._raw)

    def joined(self, other: StoredRows) -> StoredRows:
        """Return these rows and then those."""
        return StoredRows((*self._sources, *other._sources), raw=self._raw)

    def blocks(self) -> Iterator[Float32]:
        """Yield every row once, float32 [b, d], always in the same blocks."""
        size = max(64, _BLOCK_BYTES // (4 * self.shape[1]))
        for feature_set, rows in self._sources:
            start = 0
            for x, _ in feature_set.batches(size, raw=self._raw):
                if rows is not None:
                    first, last = np.searchsorted(rows, (start, start + len(x)))
                    start += len(x)
                    x = x[rows[first:last] - (start - len(x))]
                if len(x):
                    yield x


class FeatureMatrix:
    """A matrix that parts are taken of, and its rotation: computed when it is first wanted, for all fits on parts.

    Parameters
    ----------
    matrix : ndarray, float32 [n, d]
        Not to be changed.
    """

    def __init__(self, matrix: Float32) -> None:
        self.matrix = matrix
        self._rotated: Rotated | None = None

    def __getstate__(self) -> dict[str, object]:
        # Another process makes its own, if it needs one.
        return {"matrix": self.matrix, "_rotated": None}

    @property
    def rotated(self) -> Rotated:
        """The rows along their principal axes."""
        if self._rotated is None:
            from .logistic import Rotated

            self._rotated = Rotated(self.matrix)
        return self._rotated


FeatureRows: TypeAlias = Float32 | StoredRows
"""Features of rows, [n, d]: in memory, or read block by block."""


@dataclass(frozen=True)
class LabelledFeatures:
    """Rows and their labels.

    Parameters
    ----------
    x : ndarray, float32 [n, d], or StoredRows
        Embeddings, of unit norm unless the protocol wants raw ones.
    y : ndarray, int64 [n] or uint8 [n, C]
        Class index, or one 0/1 flag a class.
    whole : FeatureMatrix, optional
        What the rows were taken of.
    rows : ndarray, int64 [n], optional
        Which rows of it they are; None for all.
    """

    x: FeatureRows
    y: Targets
    whole: FeatureMatrix | None = None
    rows: Indices | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def matrix(self) -> Float32:
        """The rows in memory.

        Raises
        ------
        BadInput
            If they are to be read block by block.
        """
        if isinstance(self.x, StoredRows):
            gib = 4 * self.x.shape[0] * self.x.shape[1] / 2**30
            raise BadInput(
                f"This probe needs all its rows at once, {gib:.1f} GiB, and --memory does not allow them.",
                hint="Give more, or a probe that reads them block by block: logreg.",
                key="memory",
            )
        return self.x

    @property
    def for_logistic(self) -> FeatureRows | Rotated:
        """The rows as logistic regression takes them: with the rotation that they share with other parts, if it pays.

        A few rows of many are better rotated by themselves, in the space that they span.
        """
        if self.whole is None or self.whole.matrix.size < _WORTH_ROTATING:
            return self.x
        if self.rows is None:
            return self.whole.rotated
        n, d = self.whole.matrix.shape
        return self.whole.rotated.rows(self.rows) if len(self) >= max(n // 4, d) else self.x

    @property
    def task(self) -> Task:
        """What is asked of the rows: one label each, or flags."""
        return task_of(self.y)

    def take(self, rows: Indices) -> LabelledFeatures:
        """Return some of the rows."""
        own = rows if self.rows is None else self.rows[rows]
        return LabelledFeatures(self.x[rows], self.y[rows], self.whole, None if self.whole is None else own)

    def columns(self, columns: slice) -> LabelledFeatures:
        """Return some of the columns of rows in memory: a view, not a copy.

        Raises
        ------
        BadInput
            If the rows are to be read block by block.
        """
        return LabelledFeatures(self.matrix[:, columns], self.y)

    def joined(self, other: LabelledFeatures) -> LabelledFeatures:
        """Return these rows and then those."""
        y: Targets = np.concatenate([self.y, other.y])
        if isinstance(self.x, StoredRows) and isinstance(other.x, StoredRows):
            return LabelledFeatures(self.x.joined(other.x), y)
        x = np.concatenate([self.matrix, other.matrix])
        if self.whole is None or self.whole is not other.whole or self.rows is None or other.rows is None:
            return LabelledFeatures(x, y)
        return LabelledFeatures(x, y, self.whole, np.concatenate([self.rows, other.rows]))


def blocks_of(x: FeatureRows) -> Iterator[Float32]:
    """Yield the rows, block by block."""
    if isinstance(x, StoredRows):
        yield from x.blocks()
        return
    for start in range(0, len(x), BLOCK_ROWS):
        yield x[start : start + BLOCK_ROWS]
