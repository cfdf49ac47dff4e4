"""The local sample index: sample ids of files that have not changed, known from one stat call each.

It lives in the user's cache folder and is an optimisation only: without it, or with it deleted, files are read and
hashed again. As in git's index, an entry is believed only if path, size, mtime, ctime and inode agree, and if the
file was at least two seconds old when it was hashed: a younger one may change again within the clock's resolution.
Where dates do not tell that a file was changed, it is read again; see `mounts`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...folders import cache_folder
from .looks import UNTOLD, Look, look_at
from .mounts import Mounts

RACY_NANOSECONDS = 2_000_000_000

_ENTRY = "SELECT path, size, mtime_ns, ctime_ns, inode, sample FROM sample_ids"
_NONE: tuple[Any, ...] = (b"", UNTOLD, UNTOLD, UNTOLD, UNTOLD, bytes(32))
_BLOCK = 1 << 14
_AT_ONCE = 500
"""So many files or places are asked for at once."""

_FAILURES = (sqlite3.Error, UnicodeError, OverflowError)
"""What sqlite3 raises for a damaged file, and for text and numbers that it cannot hold."""

# IMMEDIATE: of several processes that find no tables, all but one wait rather than fail.
# The table `samples` of earlier versions has other ids for images of more than 8 bits, and is left alone.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS sample_ids (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER, sample BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS placed_ids (place BLOB PRIMARY KEY, stamp BLOB, sample BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS views (
    view TEXT PRIMARY KEY, fingerprint BLOB, dataset TEXT, sources TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS machine (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT);
COMMIT;
"""


class Stamp(NamedTuple):
    """What one stat call says of a file; any change of content changes it.

    Unless `ctime_ns` is None: the file system's dates do not tell, see `mounts`. Where a read-only image of a file
    system is mounted, a number of that image stands for it.
    """

    size: int
    mtime_ns: int
    ctime_ns: int | None
    inode: int


class View(NamedTuple):
    """What a part of a data set amounted to when it was extracted on this machine.

    Parameters
    ----------
    fingerprint : bytes
        Of its source files, see `fingerprint`.
    dataset_id : str
    sources : tuple of Path or None
        The files of array data; None where they are listed again (an image folder).
    listed : str or None
        The name by which they are listed again, if the view goes by another one.
    """

    fingerprint: bytes
    dataset_id: str
    sources: tuple[Path, ...] | None
    listed: str | None = None


def stamp(path: Path, mounts: Mounts | None = None) -> Stamp:
    """Stat a file; raise OSError where that fails. Give `mounts` to look at many."""
    s = path.stat()
    return Stamp(s.st_size, s.st_mtime_ns, (mounts or Mounts()).change_time(path, s), s.st_ino)


def settled_stamp(path: Path) -> str | None:
    """Return the stamp of a file as a text; None if it would not tell a change, since the file is too young.

    Raises
    ------
    OSError
        If there is no such file.
    """
    found = stamp(path)
    return repr(tuple(found)) if is_old(found, now_ns()) else None


class SampleIndex:
    """Sample ids by file, and data set ids by view; usable from several threads and processes.

    A cache that cannot be opened, written or read (read-only home, damaged file, no space) is as good as empty: it
    never fails a run.

    Parameters
    ----------
    folder : Path, optional
        Where ``samples.sqlite`` is kept; `cache_folder` by default.
    trust : bool
        Whether to believe what is there (``--rehash`` does not). What is learned is kept either way.
    """

    def __init__(self, folder: Path | None = None, *, trust: bool = True) -> None:
        self._trust = trust
        self._mounts = Mounts()
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        folder = folder or cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(folder / "samples.sqlite", timeout=10, check_same_thread=False)
            with suppress(sqlite3.OperationalError):  # locked: another process is doing just this
                database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.executescript(_SCHEMA)
            self._database = database
        except (OSError, *_FAILURES):
            pass

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def stamp(self, path: Path) -> Stamp:
        """Stat a file; raise OSError where that fails."""
        return stamp(path, self._mounts)

    def distrust(self) -> None:
        """Believe nothing of what is there any more; what is learned from now on is kept."""
        self._trust = False

    def lookup(self, paths: Sequence[Path]) -> list[bytes | None]:
        """Return the sample id of each file whose stamp is the recorded one, None for the others; stats each."""
        if not self._trust:
            return [None] * len(paths)
        ids, there = self.look_up(look_at(paths))
        raw = ids.tobytes()
        return [raw[32 * at : 32 * at + 32] if known else None for at, known in enumerate(there.tolist())]

    def look_up(self, look: Look) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Find the sample ids of files that were just looked at.

        Returns
        -------
        ids : ndarray, uint8 [n, 32]
        there : ndarray, bool [n]
            Whether a file's stamp is the recorded one; otherwise its id is zeros.
        """
        n = len(look.files)
        ids, there = np.zeros((n, 32), np.uint8), np.zeros(n, bool)
        if not self._trust:
            return ids, there
        here = os.path.join(Path.cwd(), "")  # noqa: PTH118
        for start in range(0, n, _BLOCK):
            texts = look.files.texts[start : start + _BLOCK]
            absolute = [text if text[:1] == "/" else here + text for text in texts]
            keys = os.fsencode("\0".join(absolute)).split(b"\0")
            if len(keys) != len(texts):  # that character is in a path, and no file
                keys = [*map(os.fsencode, absolute)]
            found = self._entries(keys)
            if not found:
                continue
            rows = [found.get(key, _NONE) for key in keys]
            try:
                stamps, known = _columns(rows)
            except (TypeError, ValueError, OverflowError):  # a damaged file
                stamps, known = _columns([row if _is_whole(row) else _NONE for row in rows])
            block = slice(start, start + len(keys))
            there[block] = (stamps == look.stamps[block]).all(axis=1) & (stamps[:, 2] != UNTOLD)
            ids[block] = known
        ids[~there] = 0
        return ids, there

    def _entries(self, keys: Sequence[bytes]) -> dict[bytes, tuple[Any, ...]]:
        """Return what is recorded of some files, by key."""
        lowest, highest = min(keys), max(keys)
        rows = self._all(f"{_ENTRY} WHERE path BETWEEN ? AND ? LIMIT ?", (lowest, highest, 4 * len(keys) + 1))
        if len(rows) > 4 * len(keys):  # most of what lies between is not asked for
            rows = []
            for start in range(0, len(keys), _AT_ONCE):
                part = keys[start : start + _AT_ONCE]
                rows += self._all(f"{_ENTRY} WHERE path IN ({','.join('?' * len(part))})", part)
        return {row[0]: row for row in rows}

    def record(self, entries: Sequence[tuple[Path, Stamp, bytes]], hashed_ns: int) -> None:
        """Remember sample ids.

        Parameters
        ----------
        entries : sequence of (path, stamp, sample id)
            Stamps taken before the file was read.
        hashed_ns : int
            When reading began, `time.time_ns`; files younger than two seconds by then are left out, and what was known
            of them is forgotten.
        """
        old = [e for e in entries if is_old(e[1], hashed_ns)]
        young = [(_key(path),) for path, stamp_, _ in entries if not is_old(stamp_, hashed_ns)]
        self._write("DELETE FROM sample_ids WHERE path = ?", young)
        rows = [(_key(path), *stamp_, sample) for path, stamp_, sample in old]
        self._write("INSERT OR REPLACE INTO sample_ids VALUES (?, ?, ?, ?, ?, ?)", rows)

    def lookup_places(self, places: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """Return the sample id of each place whose stamp is the recorded one, None for the others.

        Parameters
        ----------
        places : sequence of (name, stamp)
            Names of parts of files and of remote objects, and what changes when they do.
        """
        if not self._trust:
            return [None] * len(places)
        keys = [(_digest(name), _digest(stamp_)) for name, stamp_ in places]
        known: dict[bytes, tuple[Any, Any]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            part = [key for key, _ in keys[start : start + _AT_ONCE]]
            marks = ",".join("?" * len(part))
            rows = self._all(f"SELECT place, stamp, sample FROM placed_ids WHERE place IN ({marks})", part)
            known |= {place: (stamp_, sample) for place, stamp_, sample in rows}
        found = [(known.get(place, (None, None)), stamp_) for place, stamp_ in keys]
        return [
            sample if was == stamp_ and isinstance(sample, bytes) and len(sample) == 32 else None
            for (was, sample), stamp_ in found
        ]

    def record_places(self, entries: Sequence[tuple[tuple[str, str], bytes]]) -> None:
        """Remember the sample ids of places, whose stamps were taken before they were read."""
        rows = [(_digest(name), _digest(stamp_), sample) for (name, stamp_), sample in entries]
        self._write("INSERT OR REPLACE INTO placed_ids VALUES (?, ?, ?)", rows)

    @property
    def machine(self) -> str | None:
        """What tells this index, and so the machine or user whose it is, from others: a random number, made once."""
        self._write("INSERT OR IGNORE INTO machine VALUES (1, ?)", [(secrets.token_hex(8),)])
        row = self._one("SELECT id FROM machine WHERE one = ?", 1)
        return None if row is None else str(row[0])

    def record_view(
        self,
        view: str,
        sources: Iterable[Path],
        state: bytes,
        dataset_id: str,
        *,
        keep: bool,
        listed: str | None = None,
    ) -> None:
        """Remember what a view of some files (a data set's name, split and limit) amounted to.

        `state` is their `fingerprint` from before they were read: a file that was changed meanwhile then differs from
        it. `keep` the names of the files too, where they cannot be listed anew for the price of stat calls; `listed` is
        the name by which they can, if the view has another one.
        """
        kept = json.dumps([os.fsdecode(p) for p in sources]) if keep else None if listed is None else json.dumps(listed)
        row = (view, state, dataset_id, kept)
        self._write("INSERT OR REPLACE INTO views VALUES (?, ?, ?, ?)", [row])

    def view(self, view: str) -> View | None:
        """Return what was recorded of a view, or None."""
        row = self._one("SELECT fingerprint, dataset, sources FROM views WHERE view = ?", view)
        if row is None or not isinstance(row[0], bytes):
            return None
        try:
            kept = None if row[2] is None else json.loads(row[2])
            if kept is None or isinstance(kept, str):
                return View(row[0], str(row[1]), None, kept)
            return View(row[0], str(row[1]), tuple(Path(p) for p in kept))
        except (TypeError, ValueError):  # a damaged file
            return None

    def _one(self, query: str, key: bytes | str | int) -> tuple[Any, ...] | None:
        with self._lock:
            if self._database is None:
                return None
            try:
                row: tuple[Any, ...] | None = self._database.execute(query, (key,)).fetchone()
            except _FAILURES:
                return None
            return row

    def _all(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._lock:
            if self._database is None:
                return []
            try:
                return self._database.execute(query, values).fetchall()
            except _FAILURES:
                return []

    def _write(self, query: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._lock:
            if self._database is None or not rows:
                return
            try:
                with self._database:
                    self._database.executemany(query, rows)
            except _FAILURES:
                pass


def now_ns() -> int:
    """Return the time against which `SampleIndex.record` judges a file's age."""
    return time.time_ns()


def is_old(stamp_: Stamp, hashed_ns: int) -> bool:
    """Return whether a file's stamp would have told a change since reading began, at `hashed_ns`."""
    return stamp_.ctime_ns is not None and max(stamp_.mtime_ns, stamp_.ctime_ns) + RACY_NANOSECONDS < hashed_ns


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _columns(rows: Sequence[tuple[Any, ...]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return stamps, int64 [n, 4], and sample ids, uint8 [n, 32], of some entries."""
    samples = np.frombuffer(b"".join([row[5] for row in rows]), np.uint8).reshape(len(rows), 32)
    return np.array([row[1:5] for row in rows], np.int64), samples


def _is_whole(row: tuple[Any, ...]) -> bool:
    """Return whether an entry is one that `record` may have written."""
    return type(row[5]) is bytes and len(row[5]) == 32 and all(type(number) is int for number in row[1:5])


def _key(path: Path) -> bytes:
    return os.fsencode(path.absolute())
