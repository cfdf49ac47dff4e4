"""Rows that several processes share out: each has a part of them, and all do the same with the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...arrays import Array, Float32, Indices
from ..rank_group import RankGroup
from .stored_rows import StoredRows

_BLOCK_ROWS = 8192


class ShardedRows:
    """Rows [n, d] of which this rank has some.

    Every method that the ranks must call alike says so.

    Parameters
    ----------
    own : ndarray, float32 [k, d], or StoredRows
        This rank's rows: in memory, or read for every pass.
    held : ndarray, int64 [k]
        Which of the n rows they are, ascending.
    rows : int
        n
    ranks : RankGroup

    Attributes
    ----------
    shape : (int, int)
        Of all rows.
    """

    def __init__(self, own: Float32 | StoredRows, held: Indices, rows: int, ranks: RankGroup) -> None:
        self.own, self.held, self.ranks = own, held, ranks
        self.shape = (rows, own.shape[1])
        self._places: Indices | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Indices) -> ShardedRows:
        """Return some of the rows, in any order if they are in memory, else ascending."""
        place = np.full(len(self), -1, np.int64)
        place[self.held] = np.arange(len(self.held))
        mine = place[rows]
        held = np.flatnonzero(mine >= 0)
        return ShardedRows(self.own[mine[held]], held, len(rows), self.ranks)

    def joined(self, other: ShardedRows) -> ShardedRows:
        """Return these rows and then those."""
        held = np.concatenate([self.held, len(self) + other.held])
        own: Float32 | StoredRows
        if isinstance(self.own, StoredRows) and isinstance(other.own, StoredRows):
            own = self.own.joined(other.own)
        else:
            own = np.concatenate([self.own, other.own])
        return ShardedRows(own, held, len(self) + len(other), self.ranks)

    def blocks(self) -> Iterator[Float32]:
        """Yield this rank's rows once, always in the same blocks."""
        if isinstance(self.own, StoredRows):
            yield from self.own.blocks()
            return
        for start in range(0, len(self.own), _BLOCK_ROWS):
            yield self.own[start : start + _BLOCK_ROWS]

    def gathered(self, values: Array | None) -> Any:
        """Return one value for each of the n rows from those of this rank's, [k, …]; called by all ranks.

        None stands for no values, if the rank has no rows; None is returned if no rank has any.
        """
        if self._places is None:
            self._places = np.concatenate(self.ranks.gather(self.held))
        if not (parts := self.ranks.gather(values)):
            return None
        joined = np.concatenate(parts)
        found = np.empty_like(joined)
        found[self._places] = joined
        return found

    def whole_blocks(self) -> Iterator[Float32]:
        """Yield all n rows in blocks, each gathered from the ranks that have its rows; called by all ranks."""
        for start in range(0, len(self), _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, len(self))
            first, last = np.searchsorted(self.held, (start, stop))
            own = self.own[np.arange(first, last)]
            if isinstance(own, StoredRows):
                own = np.concatenate([np.empty((0, own.shape[1]), np.float32), *own.blocks()])
            part = ShardedRows(own, self.held[first:last] - start, stop - start, self.ranks)
            yield part.gathered(own)
