"""A spool: whole files of remote storage on this machine's disk, so that each of their bytes is fetched once.

A tar file has no table of contents: to know its samples one reads its headers, and later its images. So it is fetched
once, and both are read from here. The spool is bounded. A file that does not fit is not fetched: its headers are read
where they are, and its images when they are needed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ....amounts import parse_bytes
from ....files import temporary_beside
from ....folders import cache_folder
from ....stores.backends.remote_files import RemoteFile, RemoteFiles

MOST_BYTES = 20 << 30
"""Of the spool, unless ``$CRYOPROBE_SPOOL_SIZE`` says otherwise."""
_SHARE_OF_FREE = 0.5
"""So much of what is free on the disk may be filled."""


class SpoolState(NamedTuple):
    """The spool of this machine.

    Parameters
    ----------
    folder : str
    size : int
        How many bytes it may hold.
    files, bytes : int
        What it holds.
    """

    folder: str
    size: int
    files: int
    bytes: int


def spool_state() -> SpoolState:
    """Return where the spool is, how large it may be, and what it holds.

    Raises
    ------
    BadInput
        If ``$CRYOPROBE_SPOOL_SIZE`` is not a size.
    """
    sizes = [size for _, size, _ in _held()]
    return SpoolState(str(_folder()), _most(), len(sizes), sum(sizes))


def clear_spool() -> SpoolState:
    """Remove all files of the spool, and the indices of tar files; return what the spool held.

    They are fetched and looked through again when they are needed. What is being fetched stays.
    """
    state = spool_state()
    for path in [*(path for _, _, path in _held()), *(_folder().parent / "indices").glob("*.json")]:
        with suppress(OSError):
            path.unlink()
    return state


def _folder() -> Path:
    return cache_folder() / "shards" / "files"


def _most() -> int:
    given = os.environ.get("CRYOPROBE_SPOOL_SIZE")
    return MOST_BYTES if not given else parse_bytes(given, "CRYOPROBE_SPOOL_SIZE", least=0)


def _held() -> list[tuple[int, int, Path]]:
    """Return when each file of the spool was used last, its size and its path."""
    held = []
    for path in _folder().glob("*.tar"):
        with suppress(OSError):
            status = path.stat()
            held.append((status.st_mtime_ns, status.st_size, path))
    return sorted(held)


class Spool:
    """Files of remote storage on this machine. Usable from several threads and processes.

    Parameters
    ----------
    needed : collection of str
        Stamped names of the files that are used now: these never make room for others.
    """

    def __init__(self, needed: Collection[RemoteFile]) -> None:
        self.folder, self.most = _folder(), _most()
        self._needed = {self._name(file) for file in needed}
        self._lock = threading.Lock()
        self._coming: dict[str, int] = {}

    def kept(self, file: RemoteFile) -> Path | None:
        """Return a file that is here, whole; None if it is not."""
        path = self.folder / self._name(file)
        with suppress(OSError):
            if path.stat().st_size == file.size:
                return path
        return None

    def fetched(self, files: RemoteFiles, file: RemoteFile) -> Path | None:
        """Return a file, fetched if it is not here; None if there is no room for it, or nothing tells its version.

        Raises
        ------
        Conflict, NotFound, Unavailable
            If it cannot be read where it is.
        """
        if file.stamp is None:
            return None
        name = self._name(file)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._alone(name):  # another process may be at it
                if (path := self.kept(file)) is not None:
                    os.utime(path)  # it was used last now
                    return path
                return self._fetch(files, file, name)
        except OSError as e:
            if type(e).__module__ == "builtins":  # the disk's; those of the storage are ours
                return None
            raise

    def _fetch(self, files: RemoteFiles, file: RemoteFile, name: str) -> Path | None:
        if not self._reserve(name, file.size):
            return None
        path = self.folder / name
        temporary = temporary_beside(path)
        try:
            with temporary.open("xb") as out:
                for block in files.blocks(file):
                    out.write(block)
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            with self._lock:
                del self._coming[name]
        return path

    def _reserve(self, name: str, size: int) -> bool:
        """Make room for a file; return whether there is any."""
        with self._lock:
            there = _held()
            coming = sum(self._coming.values())
            used = sum(bytes_ for _, bytes_, _ in there) + coming
            free = shutil.disk_usage(self.folder).free - coming
            for _, bytes_, path in there:
                if used + size <= self.most and size <= _SHARE_OF_FREE * free:
                    break
                if path.name not in self._needed:
                    path.unlink(missing_ok=True)
                    used, free = used - bytes_, free + bytes_
            if used + size > self.most or size > _SHARE_OF_FREE * free:
                return False
            self._coming[name] = size
            return True

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Wait until no other process fetches that file."""
        try:
            from fcntl import LOCK_EX, flock
        except ImportError:  # not everywhere: then two may fetch it
            yield
            return
        lock = self.folder / f"{name}.lock"
        while True:
            with lock.open("wb") as held:
                flock(held, LOCK_EX)
                with suppress(OSError):
                    if os.fstat(held.fileno()).st_ino == lock.stat().st_ino:  # or else who had it has removed it
                        try:
                            yield
                        finally:
                            lock.unlink(missing_ok=True)
                        return

    @staticmethod
    def _name(file: RemoteFile) -> str:
        return hashlib.sha256(f"{file.url}\0{file.stamp}".encode("utf-8", "surrogateescape")).hexdigest()[:32] + ".tar"
