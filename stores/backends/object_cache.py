"""Sealed objects in a folder of this machine, by their sha256.

Processes need no lock between them: an object appears whole, by a rename, and may vanish at any time, which whoever
looks for it takes for a miss. How recently an object was used is its modification time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ...canonical import canonical_json
from ...errors import Corrupt
from ...files import TEMPORARY, temporary_beside
from ..chunks import CRC_BYTES, Checksum, ObjectRecord, Part, check_chunk, encode_chunk
from .local_files import read_file_into

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ABANDONED_SECONDS = 3600.0
_ROOM = 0.9  # of the size, which is left after making room, so that it need not be made for every object
_SLACK = 0.05  # of the size, which a process writes before it looks anew at what others have written

_log = logging.getLogger("cryoprobe")


class Usage(NamedTuple):
    """What a cache holds."""

    objects: int
    bytes: int


class _Entry(NamedTuple):
    used: float
    size: int
    path: Path


class ObjectCache:
    """Sealed objects in a folder, by their sha256, the most recently used ones up to a size.

    Parameters
    ----------
    folder : Path
        Made when the first object is kept.
    size : int
        Bytes; what is arriving counts with the size that it will have. Each process that writes may exceed it by a
        twentieth, as it does not see at once what others write.

    Guarantees
    ----------
    What `read` gives is verified by its crc32c. Whatever fails on the cache's own disk is no error: it is as good as
    empty.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self._lock = threading.Lock()
        self._usable = True
        self._held: int | None = None  # bytes that were there at the last look, and that we have written since
        self._unseen = 0  # bytes that we have written since

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectCache, (self.folder, self.size)

    def read(self, record: ObjectRecord, parts: Sequence[Part]) -> bool:
        """Read an object into `parts`, verified; return whether it was there. A damaged copy is removed."""
        if (path := self._path(record)) is None:
            return False
        try:
            checksum = Checksum()
            size = read_file_into(path, parts, checksum)
            check_chunk(parts, size, record, checksum, key=path.name, url=str(self.folder))
        except OSError:  # not there, evicted this instant, or a disk that fails
            return False
        except Corrupt:
            with suppress(OSError):
                path.unlink()
            return False
        with suppress(OSError):
            os.utime(path)
        return True

    def arrival(self, record: ObjectRecord) -> Arrival:
        """Return what takes an object as it comes, and keeps it when it has proved to be the one; a context manager."""
        return Arrival(self, self._path(record), record.size)

    def recall(self, about: str) -> dict[str, list[str]]:
        """Return what `remember` was told last about something; nothing where that is gone or damaged."""
        path = self._note(about)
        try:
            data = path.read_bytes()
            if len(data) < CRC_BYTES or encode_chunk(np.frombuffer(data[:-CRC_BYTES], np.uint8)) != data:
                return {}
            os.utime(path)
        except OSError:
            return {}
        found: dict[str, list[str]] = json.loads(data[:-CRC_BYTES])
        return found

    def remember(self, about: str, values: Mapping[str, Sequence[str]]) -> None:
        """Keep a few texts for each of many keys, as one more object."""
        data = encode_chunk(np.frombuffer(canonical_json(values), np.uint8))
        with Arrival(self, self._note(about), len(data)) as arrival:
            arrival.update(np.frombuffer(data, np.uint8))
            arrival.publish()

    def make_room(self, size: int) -> bool:
        """Remove what was used least recently, for `size` more bytes to fit; return whether they can at all."""
        if not self._usable or size > self.size:
            return False
        with self._lock:
            if self._held is None or self._unseen > _SLACK * self.size:
                self._held, self._unseen = sum(entry.size for entry in self._entries()), 0
            self._held += size
            self._unseen += size
            if self._held <= self.size:
                return True
            entries = sorted(self._entries())
            self._held, self._unseen = sum(entry.size for entry in entries) + size, size
            abandoned = time.time() - _ABANDONED_SECONDS
            target = max(_ROOM * self.size, size) if self._held > self.size else self.size
            for used, held, path in entries:
                if self._held <= target:
                    break
                if path.name.startswith(TEMPORARY) and used > abandoned:
                    continue  # somebody is just writing it
                if _remove(path):
                    self._held -= held
        return True

    def give_up(self, e: OSError) -> None:
        """Write nothing more, and say so once."""
        with self._lock:
            first, self._usable = self._usable, False
        if first:
            _log.warning(
                "The cache %s cannot be written (%s): reading goes on without it.", self.folder, e.strerror or e
            )

    def _note(self, about: str) -> Path:
        name = hashlib.sha256(about.encode()).hexdigest()
        return self.folder / name[:2] / name

    def usage(self) -> Usage:
        """Count objects and bytes, unfinished ones included. Raises OSError."""
        sizes = [entry.size for entry in self._entries()]
        return Usage(len(sizes), sum(sizes))

    def clear(self) -> Usage:
        """Remove every object; return what that was. Raises OSError."""
        removed = [entry.size for entry in self._entries() if _remove(entry.path)]
        with self._lock:
            self._held = None
        return Usage(len(removed), sum(removed))

    def _path(self, record: ObjectRecord) -> Path | None:
        sha256 = record.sha256
        return self.folder / sha256[:2] / sha256 if _SHA256.fullmatch(sha256) else None

    def _entries(self) -> Iterator[_Entry]:
        """Yield what is in the folder; only what is named as this module names things."""
        with suppress(FileNotFoundError):
            folders = [f for f in os.scandir(self.folder) if len(f.name) == 2 and f.is_dir(follow_symlinks=False)]
            for folder in folders:
                for file in os.scandir(folder):
                    if _SHA256.fullmatch(file.name) or file.name.startswith(TEMPORARY):
                        with suppress(FileNotFoundError):
                            stat = file.stat(follow_symlinks=False)
                            yield _Entry(stat.st_mtime, stat.st_size, Path(file.path))


class Arrival(Checksum):
    """An object on its way into the cache: hashed, and written beside the place that `publish` gives it, as it comes.

    A context manager: of what was not published nothing stays. If the disk fails, that is said once, and the object
    is only hashed.

    Parameters
    ----------
    cache : ObjectCache
    path : Path or None
        Where it will be; None where it is not to be kept.
    size : int
        In bytes, as expected.
    """

    def __init__(self, cache: ObjectCache, path: Path | None, size: int) -> None:
        super().__init__()
        self._sha256 = hashlib.sha256()
        self._cache = cache
        self._path = path
        self._temporary = None if path is None else temporary_beside(path)
        self._size = size
        self._file: FileIO | None = None

    def __enter__(self) -> Arrival:
        try:
            if self._temporary is not None and self._cache.make_room(self._size):
                self._temporary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = self._temporary.open("xb", buffering=0)
                self._file.truncate(self._size)  # whoever looks how much is held sees what is to come
        except OSError as e:
            self._cache.give_up(e)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    @property
    def sha256(self) -> str:
        """Of all that came since the last restart."""
        return self._sha256.hexdigest()

    def restart(self) -> None:  # noqa: D102
        super().restart()
        self._sha256 = hashlib.sha256()
        if self._file is not None:
            try:
                self._file.seek(0)
                self._file.truncate(self._size)
            except OSError as e:
                self._fail(e)

    def update(self, block: Part) -> None:  # noqa: D102
        super().update(block)
        self._sha256.update(block.data)
        if self._file is not None:
            try:
                view = block.data
                while view:  # an unbuffered write may take only part
                    view = view[self._file.write(view) :]
            except OSError as e:
                self._fail(e)

    def publish(self) -> None:
        """Let the object be found: it is whole, and the one that was expected."""
        if self._file is not None and self._temporary is not None and self._path is not None:
            try:
                self._file.close()
                self._temporary.replace(self._path)
                self._file = None
            except FileNotFoundError:  # somebody has cleared the cache
                self._drop()
            except OSError as e:
                self._fail(e)

    def _fail(self, e: OSError) -> None:
        self._cache.give_up(e)
        self._drop()

    def _drop(self) -> None:
        """Remove what was written, unless it was published."""
        if self._file is not None and self._temporary is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            with suppress(OSError):
                file.close()


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
