"""Sample ids of a split: from the sample index, else by reading and hashing files in threads.

Threads rather than processes: reading, hashing, decoding and resizing all leave Python's lock, the store's index is
shared without copies, and Ctrl-C ends everything at once.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Generator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np

from ...arrays import Mask, SampleIds
from ...errors import CryoprobeError
from ...file_lists import FileList
from ...parallel import ordered_map
from ...progress import Reporter
from ...stores.local.looks import Look
from ...stores.local.sample_index import SampleIndex, Stamp, now_ns
from ..datasets.base import Split, UndecodableImage
from ..passing import patiently
from .places import Places

HELD_BYTES = 32 * 2**20
"""So many bytes of files a block holds, which were read to be identified and will be decoded."""

_WINDOW = 64
"""Samples that are being read, or have been and wait to be taken."""

SPOT_CHECKS = 32
"""So many files are hashed again in every run although the sample index knows them."""
PLACES_CHECKED = 4
"""So many samples that are parts of files, or remote objects: reading a part can mean to unpack more of the file."""


@dataclass
class Identified:
    """Sample ids of some rows of a split.

    Parameters
    ----------
    rows : sequence of int
        Those that were identified: the first ones of what was asked for.
    ids : list of bytes or None
        32 bytes each; None for a sample that could not be read.
    errors : dict of int to str
        Why, by row.
    raw : dict of int to bytes
        By row, the content of those that had to be read for it.
    at : int
        When they began to be read, `time.time_ns`.
    """

    rows: Sequence[int]
    ids: list[bytes | None]
    errors: dict[int, str] = field(default_factory=dict)
    raw: dict[int, bytes] = field(default_factory=dict)
    at: int = 0


@dataclass
class Known:
    """What is known of the samples of a split, before it is gone through.

    Parameters
    ----------
    ids : ndarray, uint8 [n, 32]
    there : ndarray, bool [n]
        Whether a row's id is known.
    raw : dict of int to bytes
        By row, the content of those that were read for it last, 32 MiB at most.
    is_certain : bool
        Whether all that is known is of the files as this machine has looked at them.
    """

    ids: SampleIds
    there: Mask
    raw: dict[int, bytes] = field(default_factory=dict)
    is_certain: bool = True

    def of(self, rows: Sequence[int]) -> list[bytes | None]:
        """Return the sample ids of some rows, None for those that are not known."""
        places = np.asarray(rows, np.int64)
        ids, there = self.ids[places].tobytes(), self.there[places].tolist()
        return [ids[at : at + 32] if known else None for at, known in zip(range(0, len(ids), 32), there, strict=True)]

    def learn(self, found: Identified) -> None:
        """Take in the ids of some rows; those that could not be read stay unknown."""
        rows = np.asarray([row for row, i in zip(found.rows, found.ids, strict=True) if i is not None], np.int64)
        self.ids[rows] = np.frombuffer(b"".join(i for i in found.ids if i is not None), np.uint8).reshape(-1, 32)
        self.there[rows] = True


@dataclass(frozen=True)
class _Content:
    """What reading one sample gave."""

    sample_id: bytes | None
    raw: bytes = b""
    stamp: Stamp | None = None
    error: str | None = None


class Identifier:
    """Finds sample ids: from the sample index by a stat call, else by reading and hashing.

    Parameters
    ----------
    split : Split
    index : SampleIndex
    pool : Executor
        Reads files. `identify` may run in another executor, but not in this one.
    known : Known, optional
        What has been looked up already.
    """

    def __init__(self, split: Split, index: SampleIndex, pool: Executor, known: Known | None = None) -> None:
        self._split = split
        self._index = index
        self._pool = pool
        self._known = known
        self._ahead: dict[int, Future[_Content]] = {}
        self._started = 0  # before anything was read of what is ahead

    def identify(self, rows: Sequence[int]) -> Identified:
        """Return the sample ids of the first of `rows`, as many as can be held; at least of one.

        Raises
        ------
        Unavailable
            If the machine does not let a sample be read.
        """
        ids = self._look_up(rows) if self._known is None else self._known.of(rows)
        unknown = [position for position, sample_id in enumerate(ids) if sample_id is None]
        paths = {position: self._split.path(rows[position]) for position in unknown}
        places = Places(self._split, self._index, [rows[p] for p, path in paths.items() if path is None])
        found = Identified(rows, ids)
        if self._known is not None and self._known.raw:
            found.raw = {row: self._known.raw.pop(row) for row in rows if row in self._known.raw}
        if not self._ahead:
            self._started = now_ns()
        found.at = self._started
        held, entries = 0, []
        contents = self._contents([rows[position] for position in unknown])
        for position, content in zip(unknown, contents, strict=False):
            row, path = rows[position], paths[position]
            ids[position] = content.sample_id
            if content.error is not None:
                found.errors[row] = content.error
            else:
                found.raw[row] = content.raw
                held += len(content.raw)
            if path is not None and content.stamp is not None and content.sample_id is not None:
                entries.append((path, content.stamp, content.sample_id))
            elif content.sample_id is not None:
                places.learn(row, content.sample_id)
            if held > HELD_BYTES:
                found.rows, found.ids = rows[: position + 1], ids[: position + 1]
                break
        self._index.record(entries, self._started)
        places.record()
        return found

    def _contents(self, rows: Sequence[int]) -> Generator[_Content, None, None]:
        """Read rows ahead, in their order; what is read and not taken is taken by the next block, not read again."""
        at = 0
        for taken, row in enumerate(rows):
            while at < min(taken + _WINDOW, len(rows)):
                if rows[at] not in self._ahead:
                    self._ahead[rows[at]] = self._pool.submit(self._read, rows[at])
                at += 1
            yield self._ahead.pop(row).result()

    def look_up_all(self, look: Look) -> Known:
        """Return what the sample index knows of the whole split, whose sources looked like that just now."""
        files = getattr(self._split, "paths", None)
        if isinstance(files, FileList) and look.files.texts[: len(files)] == files.texts:  # a file for each row
            return Known(*self._index.look_up(look.first(len(files))))
        found = self._look_up(range(len(self._split)))
        there = np.array([sample_id is not None for sample_id in found], bool)
        ids = np.frombuffer(b"".join(sample_id or bytes(32) for sample_id in found), np.uint8)
        return Known(ids.reshape(-1, 32).copy(), there)

    def _look_up(self, rows: Sequence[int]) -> list[bytes | None]:
        paths = [self._split.path(row) for row in rows]
        known = iter(self._index.lookup([path for path in paths if path is not None]))
        places = Places(self._split, self._index, [row for row, path in zip(rows, paths, strict=True) if path is None])
        return [places.known.get(row) if path is None else next(known) for row, path in zip(rows, paths, strict=True)]

    def identify_ahead(self) -> Identified:
        """Return those that have been read ahead of what was asked for, so that nobody reads them again."""
        return self.identify(sorted(self._ahead))

    def spot_check(self) -> str | None:
        """Hash a few files that the sample index knows; return the name of one that has other content, or None."""
        rows = random.sample(range(len(self._split)), min(SPOT_CHECKS, len(self._split)))
        files = [(row, path) for row in rows if (path := self._split.path(row)) is not None]
        known = self._index.lookup([path for _, path in files])
        checked = [(row, sample_id) for (row, _), sample_id in zip(files, known, strict=True) if sample_id is not None]
        others = sorted(set(rows) - {row for row, _ in files})
        checked += Places(self._split, self._index, others[:PLACES_CHECKED], unsure=True).known.items()
        return self.other_than(checked)

    def other_than(self, told: Sequence[tuple[int, bytes]]) -> str | None:
        """Read some rows; return the name of one that is another sample than is told, or None."""
        read = ordered_map(self._pool, self._read, [row for row, _ in told], window=SPOT_CHECKS)
        for (row, sample_id), content in zip(told, read, strict=True):
            if content.sample_id is not None and content.sample_id != sample_id:
                return self._split.describe(row)
        return None

    def distrust_if_changed(self, reporter: Reporter) -> None:
        """Do that, and believe nothing more of the index if one has."""
        if (changed := self.spot_check()) is not None:
            self._index.distrust()
            reporter.note(
                f"{changed} has other content than when it was last read, though its size and dates are the same: "
                "all files are read again."
            )

    def _read(self, row: int) -> _Content:
        path = self._split.path(row)

        def read() -> _Content:
            before = None if path is None else self._index.stamp(path)
            raw = self._split.read(row)
            return _Content(hashlib.sha256(raw).digest(), raw, before)

        try:
            return patiently(read, self._split.describe(row))
        except CryoprobeError:  # some of them are OSErrors
            raise
        except OSError as e:
            return _Content(None, error=f"cannot be read: {e.strerror or e}")
        except UndecodableImage as e:
            return _Content(None, error=str(e))
