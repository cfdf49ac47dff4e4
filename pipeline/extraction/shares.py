"""One split, extracted by several processes: which rows this one identifies, and what the others have told of theirs.

Each process begins with its own share of the rows, and tells the sample ids of what it has read; see
`stores.writing.shared_work`. When its share is done it goes on with rows of which nobody has told, at another place
than the others do. So each sample is read by one of them, but for a few at the end.

What others have told is not simply believed. A row that is to be encoded is read, and its id compared. Before the set
is sealed, `believed` looks at the dates of all files, and some of them are read.
"""

from __future__ import annotations

import hashlib
import time
from itertools import islice

import numpy as np
import numpy.typing as npt

from ...arrays import Indices, Int64, Mask
from ...canonical import digest
from ...file_lists import FileList
from ...stores.local.looks import UNTOLD, Look, look_at
from ...stores.local.sample_index import RACY_NANOSECONDS, now_ns
from ...stores.store import SharedWork, Store, ToldRows
from ..datasets.base import Placed, Split
from ..ranks import Rank
from .sample_ids import Identified, Known

_TOLD_ROWS = 4096
"""So many rows are told at once …"""
_TELL_SECONDS = 10.0
"""… or after so long."""
_LOOK_SECONDS = 5.0
"""How often is looked what others have told, at most, while one's own share lasts."""
_FEWEST_TAKEN = 32
"""Of what others have left, at least so many rows are taken at once."""
_UNKNOWN = -1
"""The mark of a sample of which nothing is known without reading it."""
_DATES = (1 << 32) - 1
"""The half of a mark that tells dates."""


class Shares:
    """The order in which one of several processes identifies the rows of a split; see `walk.Walk`.

    Parameters
    ----------
    split : Split
    rank : Rank
    unit_rows : int
        Shares begin where units do, if there are several units for each.
    work : SharedWork

    Attributes
    ----------
    known : Known
    is_certain : ndarray, bool [n]
        Of which rows, when `believed` was last called, the dates told that they have not changed.
    """

    def __init__(self, split: Split, rank: Rank, unit_rows: int, work: SharedWork) -> None:
        rows = len(split)
        self.known = Known(np.zeros((rows, 32), np.uint8), np.zeros(rows, bool))
        self._split = split
        self._rank = rank
        self._unit_rows = unit_rows
        self._work = work
        self.is_certain = np.zeros(rows, bool)
        self._told = np.zeros(rows, bool)  # by anybody
        self._is_mine = np.zeros(rows, bool)
        self._is_fresh = np.zeros(rows, bool)
        self._marks = np.full(rows, _UNKNOWN, np.int64)
        self._at = np.zeros(rows, np.int64)
        self._news: list[Indices] = []
        self._share = rank.share(rows, unit_rows if rows >= 4 * unit_rows * rank.of else 1)
        self._slice = range(0)  # of what others have left
        self._untold: list[Identified] = []
        self._looked, self._has_told = float("-inf"), time.monotonic()

    @property
    def has_ended_before(self) -> bool:
        """Whether sets were sealed of this split before this process began: then there may be nothing to do."""
        self._look(_LOOK_SECONDS)
        return self._work.was_sealed

    def next_rows(self, most: int) -> range:
        """Return the next rows that nobody has told."""
        self._look(_LOOK_SECONDS)
        rows = self._left_of(self._share) or self._left_of(self._slice)
        if not rows:
            self._tell()
            self._look(0.0)
            self._slice = self._taken()
            rows = self._left_of(self._slice)
        unit_end = (rows.start // self._unit_rows + 1) * self._unit_rows
        rows = rows[: min(most, unit_end - rows.start)]
        self._mark(rows)
        return rows

    def take_in(self, found: Identified) -> None:
        """Take in the ids of some rows, and tell them to the others from time to time."""
        rows = np.asarray(found.rows, np.int64)
        self.known.learn(found)
        self._told[rows] = self._is_mine[rows] = self._is_fresh[rows] = True
        self._at[rows] = found.at
        self._untold.append(found)
        is_due = time.monotonic() - self._has_told > _TELL_SECONDS
        if is_due or sum(len(f.rows) for f in self._untold) >= _TOLD_ROWS:
            self._tell()

    def ends_unit(self, end: int) -> bool:
        """Return whether a unit ends before a row, or what is identified in succession does."""
        return end % self._unit_rows == 0 or end in (self._share.stop, self._slice.stop)

    def told(self) -> Indices:
        """Return the rows of which others have told since this was last called, int64 [k]."""
        news, self._news = np.unique(np.concatenate([np.empty(0, np.int64), *self._news])), []
        first = int(np.searchsorted(news, self._share.start))
        rows = np.roll(news, -first)  # each process begins with its share
        return np.asarray(rows[self.known.there[rows] & ~self._is_mine[rows]])

    def is_told(self, row: int) -> bool:
        """Return whether somebody else has told the id of a row."""
        return bool(self.known.there[row] and not self._is_mine[row])

    def distrust(self, row: int) -> None:
        """Identify a row once more, oneself."""
        self._told[row] = self.known.there[row] = False
        self._marks[row] = _UNKNOWN

    def believed(self, look: Look) -> Known:
        """Return the sample ids of those rows that have not changed since they were read, as far as that is known.

        Parameters
        ----------
        look : Look
            What the files of the split look like now.
        """
        now = marks_of(self._split, range(len(self._told)), look if _has_files(self._split, look) else None)
        there = self.known.there & self._unchanged(now)
        self.is_certain = there & (now == self._marks) & (now != _UNKNOWN) & (now & _DATES != 0)
        return Known(self.known.ids, there)

    @property
    def is_by_others(self) -> Mask:
        """Whether it is others who have told of a row, bool [n]."""
        return self.known.there & ~self._is_mine

    def _unchanged(self, now: Int64) -> Mask:
        """Return which rows are what they were when they were read, given the marks of today, bool [n]."""
        is_known = (now != _UNKNOWN) & (self._marks != _UNKNOWN)
        has_dates = (now & _DATES != 0) & (self._marks & _DATES != 0)
        # Of what others have told just now the size is enough: each machine may have copies of its own, of other dates.
        by_size = self._is_fresh & (~self._is_mine | ~has_dates)
        alike = np.where(by_size, now >> 32 == self._marks >> 32, (now == self._marks) & has_dates)
        return np.asarray(np.where(is_known, alike, self._is_fresh & (now == self._marks)))

    def _mark(self, rows: range) -> None:
        """Take note of what tells that rows change, before they are read."""
        if rows and (self._marks[rows.start : rows.stop] == _UNKNOWN).any():
            new = self._marks[rows.start : rows.stop] == _UNKNOWN  # what was read ahead has been looked at before
            self._marks[rows.start : rows.stop][new] = marks_of(self._split, rows)[new]

    def _look(self, seconds: float) -> None:
        """Take in what others have told, if the last look is so long ago."""
        if time.monotonic() - self._looked < seconds:
            return
        self._looked = time.monotonic()
        for told in sorted(self._work.told(), key=lambda told: told.at):
            rows = slice(told.start, told.end)
            if told.end > len(self._told):
                continue  # of something else
            news = ~self._is_mine[rows] & (told.at >= self._at[rows])
            places = told.start + np.flatnonzero(news)
            self.known.ids[places] = told.ids[news]
            self.known.there[places] = told.ids[news].any(axis=1)
            self._told[places] = True
            self._marks[places], self._at[places], self._is_fresh[places] = told.marks[news], told.at, told.is_fresh
            self._news.append(places)

    def _left_of(self, rows: range) -> range:
        """Return the first rows in succession of a range that nobody has told."""
        told = self._told[rows.start : rows.stop]
        if not len(told) or told.all():
            return range(0)
        first = int(np.argmin(told))
        after = told[first:]
        return range(rows.start + first, rows.start + first + (int(np.argmax(after)) if after.any() else len(after)))

    def _taken(self) -> range:
        """Return a slice of what nobody has told: not that with which the others go on."""
        left = np.flatnonzero(~self._told)
        if not len(left):
            return range(0)
        first = int(left[len(left) * (2 * self._rank.index + 1) // (2 * self._rank.of)])
        first -= first % _FEWEST_TAKEN  # or some rows before, if nobody has told of them
        rows = self._left_of(range(first, len(self._told)))
        most = max(_FEWEST_TAKEN, len(left) // self._rank.of)
        return rows[:most]

    def _tell(self) -> None:
        """Let the others know what has been identified, rows in succession together."""
        untold, self._untold = self._untold, []
        self._has_told = time.monotonic()
        rows = [row for found in untold for row in found.rows]
        ends = [i for i in range(1, len(rows)) if rows[i] != rows[i - 1] + 1]
        for first, end in zip([0, *ends], [*ends, len(rows)], strict=True):
            for start in range(first, end, _TOLD_ROWS):
                part = range(rows[start], rows[min(start + _TOLD_ROWS, end) - 1] + 1)
                ids = np.where(self.known.there[part, None], self.known.ids[part], 0)
                at = int(self._at[part].min())
                self._work.tell(ToldRows(part.start, ids.astype(np.uint8), self._marks[part], at))


def shared_work(store: Store, data: str, split: Split, target: str, *, afresh: bool = False) -> SharedWork:
    """Return what is told of a split in a store.

    Parameters
    ----------
    store : Store
    data : str
        Name of the data set.
    split : Split
    target : str
        Names the encoder, at all of its taps.
    afresh : bool
        Take in nothing that was told before now.
    """
    h = hashlib.sha256(np.ascontiguousarray(split.labels).tobytes())
    names = (split.describe(row) for row in range(len(split)))
    while some := list(islice(names, _TOLD_ROWS)):
        h.update("\0".join(some).encode("utf-8", "surrogateescape") + b"\0")
    fields = {"dataset": data, "split": split.name, "classes": list(split.classes), "samples": h.hexdigest()}
    return store.shared_work(digest(fields), target, afresh=afresh)


def marks_of(split: Split, rows: range, look: Look | None = None) -> Int64:
    """Return for each row a number that would be another if its sample were another, -1 where nothing tells, int64 [n].

    The upper half tells the size of a file, or what tells that a part of a file, or an object elsewhere, has changed;
    the lower half a file's dates, 0 where they do not tell that it has changed.

    Parameters
    ----------
    split : Split
    rows : range
    look : Look, optional
        What the files of these rows look like, in their order, before any others; by default they are looked at.
    """
    if look is not None:
        return _file_marks(look.stamps[: len(rows)])
    paths = [path for row in rows if (path := split.path(row)) is not None]
    if len(paths) == len(rows):
        return _file_marks(look_at(paths).stamps)
    if not isinstance(split, Placed):
        return np.full(len(rows), _UNKNOWN, np.int64)
    places = [split.place(row) for row in rows]
    return np.array([_UNKNOWN if place is None else _hash(place.stamp) | 1 for place in places], np.int64)


def _file_marks(stamps: Int64) -> Int64:
    """Return the marks of files by their stamps, int64 [n, 4] of size, modification time, change time and inode."""
    size, modified, changed, _ = stamps.T.astype(np.uint64)
    dates = _mixed(modified * np.uint64(3) + changed) | np.uint64(1)
    is_young = np.maximum(stamps[:, 1], stamps[:, 2]) + RACY_NANOSECONDS >= now_ns()  # it may change again within them
    dates[(stamps[:, 2] == UNTOLD) | is_young] = 0
    marks = (_mixed(size) >> np.uint64(1) & ~np.uint64(_DATES)) | (dates & np.uint64(_DATES))
    return np.where(stamps[:, 0] == UNTOLD, _UNKNOWN, marks.astype(np.int64))


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix the bits of numbers (the finaliser of splitmix64): others are other in any half of them."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _has_files(split: Split, look: Look) -> bool:
    """Return whether the first files of a look are the samples, one for each row."""
    files, rows = getattr(split, "paths", None), len(split)
    return files is not None and len(files) == rows and look.files.texts[:rows] == FileList.of(files).texts
