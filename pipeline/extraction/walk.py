"""Which rows of a split are identified next; and what is known of all of them by now."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ...arrays import Indices
from .sample_ids import Identified, Known


class Walk(Protocol):
    """The order in which one process identifies the rows of a split."""

    @property
    def known(self) -> Known:
        """The sample ids of the rows, as far as they are known."""
        ...

    def next_rows(self, most: int) -> range:
        """Return the next rows, at most so many and all of one unit; none if all are identified."""
        ...

    def take_in(self, found: Identified) -> None:
        """Take in the ids of the first of them."""
        ...

    def ends_unit(self, end: int) -> bool:
        """Return whether a unit ends before a row, or nothing follows that is identified before."""
        ...

    def told(self) -> Indices:
        """Return the rows of which somebody else has told the id since this was last called, int64 [k]."""
        ...

    def is_told(self, row: int) -> bool:
        """Return whether somebody else has told the id of a row."""
        ...

    def distrust(self, row: int) -> None:
        """Identify a row once more: it is another sample than somebody else has told."""
        ...


class AllRows:
    """All rows of a split, from the first to the last."""

    def __init__(self, rows: int, unit_rows: int) -> None:
        self.known = Known(np.zeros((rows, 32), np.uint8), np.zeros(rows, bool))
        self._rows = rows
        self._unit_rows = unit_rows
        self._at = 0

    def next_rows(self, most: int) -> range:
        """Return the next rows."""
        unit_end = (self._at // self._unit_rows + 1) * self._unit_rows
        return range(self._at, min(self._at + most, unit_end, self._rows))

    def take_in(self, found: Identified) -> None:
        """Take in the ids of the first of them."""
        self.known.learn(found)
        self._at += len(found.rows)

    def ends_unit(self, end: int) -> bool:
        """Return whether a unit ends there."""
        return end % self._unit_rows == 0 or end == self._rows

    def told(self) -> Indices:
        """Return nothing: nobody else tells."""
        return np.empty(0, np.int64)

    def is_told(self, row: int) -> bool:
        """Return False."""
        return False

    def distrust(self, row: int) -> None:
        """Do nothing: it is known from its own content, or its file's dates."""
