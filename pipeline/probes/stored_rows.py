"""Rows of the store that are read anew whenever they are gone through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from ...arrays import Float32, Indices
from ...errors import BadInput
from ...parallel import each
from ...stores.feature_set import FeatureSet

_BLOCK_BYTES = 16 << 20
"""Of a block of stored rows."""


class StoredRows:
    """Some rows of feature sets, read and verified whenever they are gone through; never all in memory.

    Chunks without any of the rows are not read.

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
            if rows is None:
                for x, _ in feature_set.batches(size, raw=self._raw):
                    yield x
            elif len(rows):
                yield from self._chosen(feature_set, rows, size)

    def _chosen(self, feature_set: FeatureSet, rows: Indices, size: int) -> Iterator[Float32]:
        """Yield some rows of a set, from whole chunks at a time, the next ones read meanwhile."""
        together = max(1, size // feature_set.chunk_rows) * feature_set.chunk_rows
        parts = np.split(rows, np.flatnonzero(np.diff(rows // together)) + 1)

        def read(part: Indices) -> Float32:
            x: Float32 = feature_set.load(part, raw=self._raw)[0]
            return x

        with closing(each(read, parts, 1, ahead=1)) as blocks:
            yield from blocks
