"""Files of a folder in which others write and delete meanwhile: looking at them, reading them, and what errors mean."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from ...errors import ReadOnly, Unavailable
from ...files import READ_ONLY, TEMPORARY
from ..chunks import Checksum, Part
from .backend import ObjectDetails, is_key

_BLOCK = 2**19  # bytes: what is read is still in the processor's cache when its checksum is computed
_STALE_TRIES = 3
"""How often a file or folder whose handle has gone stale is looked for by its name."""

NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS}
"""Errors of a file system that has no hard links."""

Found = TypeVar("Found")


def unless_gone(look: Callable[[], Found], gone: Found) -> Found:
    """Return what `look` does, or `gone` where what it looks at vanishes meanwhile; other errors are raised.

    A handle that has gone stale on NFS is that of something deleted, in whose place something new may be: it is looked
    for anew, by name. One that stays stale is that of a share which has gone away, and its files have not been deleted.
    """
    for again in reversed(range(_STALE_TRIES)):
        try:
            return look()
        except (FileNotFoundError, NotADirectoryError):
            return gone
        except OSError as e:
            if e.errno != errno.ESTALE or not again:
                raise
    raise AssertionError("the last attempt returns or raises")


def read_if_there(path: str | Path, read: Callable[[], Found | None]) -> Found | None:
    """Return what `read` reads of a file, or None where there is none."""
    try:
        return unless_gone(read, None)
    except IsADirectoryError:
        return None
    except OSError as e:
        raise unreadable(e, Path(path)) from e


def walk(folder: Path, prefix: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the files of a folder and those below it whose keys are `wanted`; others may make and delete some."""
    entries: list[os.DirEntry[str]] = unless_gone(partial(_scan, folder), [])
    # A folder sorts as its name with "/" behind it, as its objects' keys do.
    for name, entry in sorted((e.name + "/" if _is_folder(e) else e.name, e) for e in entries):
        if name.endswith("/"):
            if is_key(prefix + entry.name):  # or it is not ours
                yield from walk(folder / entry.name, prefix + name, wanted)
        elif wanted(prefix + name) and _is_file(entry):
            yield prefix + name, entry


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return unless_gone(partial(entry.is_dir, follow_symlinks=False), False)


def _is_file(entry: os.DirEntry[str]) -> bool:
    return unless_gone(partial(entry.is_file, follow_symlinks=False), False)


def is_temporary(key: str) -> bool:
    """Return whether a file is one that is still being written, or was left so."""
    return key.rpartition("/")[2].startswith(TEMPORARY)


def statuses(entries: Iterator[tuple[str, os.DirEntry[str]]]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what the file system says of files that are still there."""
    for key, entry in entries:
        status = unless_gone(partial(entry.stat, follow_symlinks=False), None)
        if status is not None:
            yield key, status


def read_file_into(path: Path, parts: Sequence[Part], checksum: Checksum) -> int:
    """Read a file into `parts` and `checksum`, without a buffer between; return its size. Raises OSError."""
    checksum.restart()
    with open(path, "rb", buffering=0, opener=open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError
        size = status.st_size
        for part in parts:
            while len(part) and (n := file.readinto(part[:_BLOCK].data)):  # a read may give only part
                checksum.update(part[:n])
                part = part[n:]
    return size


def rights(path: Path) -> tuple[int, int]:
    """Return a file's or folder's group, and who may read it."""
    status = path.stat()
    return status.st_gid, status.st_mode & 0o444


def details(key: str, status: os.stat_result) -> ObjectDetails:
    """Return what the file system says of an object."""
    shared = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
    return ObjectDetails(key, status.st_size, status.st_mtime, shared)


def open_without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe, not wait until somebody writes into it."""
    return os.open(path, flags | os.O_NONBLOCK)


def unreadable(e: OSError, path: Path) -> Unavailable:
    """Return the error for a file or folder that cannot be read."""
    return Unavailable(f"Cannot read {path}: {e.strerror or e}.", hint="Check the disk, or your rights.", key=str(path))


def unwritable(e: OSError, path: Path, url: str) -> ReadOnly | Unavailable:
    """Return the error for a file that cannot be written, in a store at `url`."""
    if e.errno in NO_LINKS and e.filename2 is not None:
        return Unavailable(
            f"The file system of {url} has no hard links ({e.strerror}), which a store needs to seal its sets.",
            hint="Keep the store on another file system (ext4, xfs, btrfs, apfs, NFS …).",
            key=str(path),
        )
    if e.errno in READ_ONLY:
        return ReadOnly(
            f"The store {url} cannot be written: {e.strerror} ({path}).",
            hint="Ask for write access, or name another folder with --store.",
            key=str(path),
        )
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            f"No space is left for the store {url} ({e.strerror}).",
            hint="Make room and run the same command again: what is sealed is kept, and only the rest is done.\n"
            "A few kB that are free let `cryoprobe rm --now` and `cryoprobe gc --delete` make more.",
            key=str(path),
        )
    return Unavailable(
        f"Cannot write {path}: {e.strerror or e}.",
        hint="When the storage is well again, run the same command: what is sealed is kept.",
        key=str(path),
    )
