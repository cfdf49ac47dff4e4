"""Rows with labels: a matrix in memory, rows that are read from the store for every pass, or those of several ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...arrays import Float32, Indices, Targets
from ...errors import BadInput
from ..tasks import Task, task_of
from .sharded_rows import ShardedRows
from .stored_rows import StoredRows

if TYPE_CHECKING:
    from .logistic import Rotated

BLOCK_ROWS = 8192
"""Of a matrix, where rows are gone through block by block: at 1,280 dimensions 40 MiB."""

_WORTH_ROTATING = 1 << 22
"""Entries of a matrix from which a rotation shared by several fits saves more than it costs."""


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


FeatureRows: TypeAlias = Float32 | StoredRows | ShardedRows
"""Features of rows, [n, d]: in memory, read block by block, or shared out among ranks."""


@dataclass(frozen=True)
class LabelledFeatures:
    """Rows and their labels.

    Parameters
    ----------
    x : ndarray, float32 [n, d], StoredRows or ShardedRows
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
            If they are to be read block by block, here or by several ranks.
        """
        if not isinstance(self.x, np.ndarray):
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
        if isinstance(self.x, ShardedRows) and isinstance(other.x, ShardedRows):
            return LabelledFeatures(self.x.joined(other.x), y)
        x = np.concatenate([self.matrix, other.matrix])
        if self.whole is None or self.whole is not other.whole or self.rows is None or other.rows is None:
            return LabelledFeatures(x, y)
        return LabelledFeatures(x, y, self.whole, np.concatenate([self.rows, other.rows]))


def blocks_of(x: FeatureRows) -> Iterator[Float32]:
    """Yield the rows, block by block; of rows that several ranks share, this rank's."""
    if not isinstance(x, np.ndarray):
        yield from x.blocks()
        return
    for start in range(0, len(x), BLOCK_ROWS):
        yield x[start : start + BLOCK_ROWS]


def of_every_rank(x: FeatureRows, values: Any) -> Any:
    """Return values for all rows from an array for the rows that `blocks_of` yields here, [k, …], or None for none."""
    return x.gathered(values) if isinstance(x, ShardedRows) else values
