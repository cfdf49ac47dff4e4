"""A table of where the row of each sample is: 24 bytes a row, searched by halves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .units import sample_array


class RowTable:
    """Rows by sample id: each is row `row` of source number `source`. A sample may have several; the first is found.

    Positions in the table hold until it is changed.
    """

    def __init__(self) -> None:
        # Sorted by `_heads`, the first 8 bytes of a sample id; `_tails` are the next 8.
        self._heads = np.empty(0, np.uint64)
        self._tails = np.empty(0, np.uint64)
        self._where = np.empty((0, 2), np.int32)  # [n, 2]: source, row

    def __len__(self) -> int:
        return len(self._heads)

    def insert(self, source: int, samples: npt.NDArray[np.uint8]) -> None:
        """Take in the rows of a source, given their sample ids, uint8 [n, 32]."""
        heads, tails = _halves(samples)
        order = np.argsort(heads, kind="stable")
        where = np.empty((len(samples), 2), np.int32)
        where[:, 0] = source
        where[:, 1] = order
        at = np.searchsorted(self._heads, heads[order], side="right")
        self._heads = np.insert(self._heads, at, heads[order])
        self._tails = np.insert(self._tails, at, tails[order])
        self._where = np.insert(self._where, at, where, axis=0)

    def remove(self, source: int) -> None:
        """Forget the rows of a source."""
        keep = self._where[:, 0] != source
        self._heads, self._tails, self._where = self._heads[keep], self._tails[keep], self._where[keep]

    def find(self, ids: Sequence[bytes] | npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Return the position of each sample's row, -1 if there is none; ids as bytes, or as uint8 [n, 32]."""
        if not len(ids) or not len(self):
            return np.full(len(ids), -1, np.int64)
        heads, tails = _halves(ids if isinstance(ids, np.ndarray) else sample_array(ids))
        at = np.searchsorted(self._heads, heads)
        inside = np.minimum(at, len(self) - 1)
        return np.where((self._heads[inside] == heads) & (self._tails[inside] == tails), inside, -1)

    def where(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Return source and row at each position, [n, 2]."""
        return self._where[positions]


def _halves(samples: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the first and the next 8 bytes of each sample id: sha256, so 128 bits tell any two apart."""
    words = np.ascontiguousarray(samples).view("<u8").astype(np.uint64, copy=False)  # [n, 4]
    return words[:, 0], words[:, 1]
