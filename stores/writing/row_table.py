"""A table of where the row of each sample is: 24 bytes a row, in sorted runs that are searched by halves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ...arrays import Indices, Mask, SampleIds
from ...id_arrays import AnyIds, Words, halves, sample_array

_Kind = TypeVar("_Kind", bound=np.generic)

_BLOCK = 1 << 16
"""Ids that are looked up at once: sorted, so that those beside each other look at the same memory."""


class RowTable:
    """Rows by sample id: each is row `row` of source number `source`. A sample may have several; the first is found.

    What is taken in is a sorted run of its own. As long as the last run is more than half as long as the one before,
    the two become one, as in a log-structured merge tree. So of n rows there are at most log2(n) runs, and each row is
    moved at most log2(n) times, however small the sources are.

    Positions in the table hold until it is changed.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []  # what was taken in first comes first

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def insert(self, source: int, samples: SampleIds, first: int = 0) -> None:
        """Take in rows `first` … of a source, given their sample ids, uint8 [n, 32]."""
        heads, tails = halves(samples)
        order = np.argsort(heads, kind="stable")
        where = np.empty((len(samples), 2), np.int32)
        where[:, 0] = source
        where[:, 1] = order
        where[:, 1] += first
        self._runs.append(_Run(heads[order], tails[order], where))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            later = self._runs.pop()
            self._runs[-1].merge(later)

    def remove(self, source: int) -> None:
        """Forget the rows of a source."""
        kept = [run.chosen(run.where[:, 0] != source) for run in self._runs]
        self._runs = [run for run in kept if len(run)]

    def find(self, ids: AnyIds) -> Indices:
        """Return the position of each sample's row, int64 [n]; -1 if there is none."""
        wanted = sample_array(ids)
        found = np.full(len(wanted), -1, np.int64)
        for start in range(0, len(wanted), _BLOCK):
            heads, tails = halves(wanted[start : start + _BLOCK])
            left = np.argsort(heads)  # those that are not found yet
            before = 0
            for run in self._runs:
                at = run.find(heads[left], tails[left])
                there = at >= 0
                found[start + left[there]] = before + at[there]
                left = left[~there]
                before += len(run)
        return found

    def where(self, positions: Indices) -> npt.NDArray[np.int32]:
        """Return source and row at each position, int32 [n, 2]."""
        found = np.empty((len(positions), 2), np.int32)
        before = 0
        for run in self._runs:
            here = np.flatnonzero((positions >= before) & (positions < before + len(run)))
            found[here] = run.where[positions[here] - before]
            before += len(run)
        return found


@dataclass
class _Run:
    """Rows sorted by `heads`; of equal ones, what was taken in first comes first.

    Parameters
    ----------
    heads, tails : ndarray, uint64 [n]
        The first and the next 8 bytes of a sample id.
    where : ndarray, int32 [n, 2]
        Source and row.
    """

    heads: Words
    tails: Words
    where: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.heads)

    def merge(self, later: _Run) -> None:
        """Take in another run, one array after another: the memory of two is never needed for all three."""
        behind = np.searchsorted(self.heads, later.heads, side="right") + np.arange(len(later))
        kept = np.ones(len(self) + len(later), bool)
        kept[behind] = False
        self.heads = _merged(self.heads, later.heads, behind, kept)
        self.tails = _merged(self.tails, later.tails, behind, kept)
        self.where = _merged(self.where.view(np.int64), later.where.view(np.int64), behind, kept).view(np.int32)

    def chosen(self, rows: Mask) -> _Run:
        return _Run(self.heads[rows], self.tails[rows], self.where[rows])

    def find(self, heads: Words, tails: Words) -> Indices:
        """Return the first place of each sample, -1 if there is none."""
        at = np.searchsorted(self.heads, heads)
        found = np.full(len(heads), -1, np.int64)
        left = np.arange(len(heads))
        while len(left):
            left = left[at[left] < len(self)]
            left = left[self.heads[at[left]] == heads[left]]
            same = self.tails[at[left]] == tails[left]
            found[left[same]] = at[left[same]]
            left = left[~same]  # two samples of the same first 8 bytes: the next one may be it
            at[left] += 1
        return found


def _merged(earlier: npt.NDArray[_Kind], later: npt.NDArray[_Kind], behind: Indices, kept: Mask) -> npt.NDArray[_Kind]:
    """Return both, the later ones at the places `behind`."""
    both = np.empty((len(kept), *earlier.shape[1:]), earlier.dtype)
    both[behind] = later
    both[kept] = earlier
    return both
