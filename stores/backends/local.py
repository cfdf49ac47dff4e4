"""A backend in a folder, on a local disk or a share: atomic and durable by links, renames and fsync."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ...errors import BadInput, Corrupt, NotFound
from ...files import TEMPORARY, flush_folder, temporary_beside
from ..chunks import Checksum, Part
from .backend import Backend, ObjectDetails, ObjectInfo, check_key, check_prefix, is_key, too_large
from .local_files import (
    NO_LINKS,
    details,
    is_temporary,
    open_without_waiting,
    read_file_into,
    read_if_there,
    rights,
    statuses,
    unreadable,
    unwritable,
    walk,
)

_FOLDER_RACES = 100
"""How often in a row a folder may vanish before a file can be made in it."""

_FICLONE = 0x40049409 if sys.platform == "linux" else None
"""The request of ioctl_ficlone(2), where there is one."""

_NO_CLONES = {errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM}


Found = TypeVar("Found")


class LocalBackend(Backend):
    """Objects as files below one folder.

    An object is written under a temporary name in its own folder, flushed to the disk, then linked (`put_if_absent`)
    or renamed (`put`) into place, and the folder is flushed: a crash leaves the object whole or absent, plus at most
    a temporary file that no listing shows.

    A symbolic link below the folder is no object, and nothing is read or written behind one: whoever made the store
    could lead anywhere with it. The folder itself may be reached by one. Pipes and devices are no objects either.

    Parameters
    ----------
    root : Path
        The folder; made when the first object is written.
    """

    near = True

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.url = str(self.root)
        self._not_cloned: set[Path] = set()  # roots of stores whose files cannot be cloned into this one

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        path = self._place(key)

        def read() -> bytes | None:
            with open(path, "rb", buffering=0, opener=open_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return None
                if limit is not None and status.st_size > limit:
                    raise too_large(key, self.url, limit, status.st_size)
                return file.read()

        return self._found(read_if_there(path, read), key)

    def read_into(self, key: str, parts: Sequence[Part], checksum: Checksum) -> int:  # noqa: D102
        path = self._path(key)
        return self._found(read_if_there(path, lambda: read_file_into(path, parts, checksum)), key)

    def _found(self, read: Found | None, key: str) -> Found:
        if read is None:
            raise NotFound(f"There is no object {key} in {self.url}.", key=key)
        return read

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        target = self._path(key)
        try:
            temporary = self._write_temporary(target, data)
            try:
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            flush_folder(target.parent)
        except OSError as e:
            raise unwritable(e, target, self.url) from e

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        target = self._path(key)
        try:
            # The common answer to a seal that exists costs no write.
            if target.exists():
                return False
            temporary = self._write_temporary(target, data)
            try:
                os.link(temporary, target)
            except FileExistsError:
                # Over NFS the link may have been made and its answer lost: then the temporary file has two names.
                return temporary.stat().st_nlink == 2
            finally:
                temporary.unlink(missing_ok=True)
            flush_folder(target.parent)
        except OSError as e:
            raise unwritable(e, target, self.url) from e
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        yield from (ObjectInfo(key, status.st_size) for key, status in self._files(prefix))

    def keys(self, prefix: str = "") -> Iterator[str]:  # noqa: D102
        return (key for key, _ in self._entries(prefix))

    def inspect(self, prefix: str = "") -> Iterator[ObjectDetails]:  # noqa: D102
        yield from (details(key, status) for key, status in self._files(prefix))

    def leftovers(self) -> Iterator[ObjectDetails]:  # noqa: D102
        try:
            yield from (details(key, status) for key, status in statuses(walk(self.root, "", is_temporary)))
        except OSError as e:
            raise unreadable(e, self.root) from e

    def discard(self, leftover: ObjectDetails) -> None:  # noqa: D102
        folder, _, name = leftover.key.rpartition("/")
        path = (self._path(folder) if folder else self.root) / name
        if not name.startswith(TEMPORARY):
            raise BadInput(f"{leftover.key} is not a temporary file.", key=leftover.key)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as e:
            raise unwritable(e, path, self.url) from e
        self._remove_empty(path.parent)

    def _files(self, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every object with what the file system says of it, ordered by key."""
        yield from statuses(self._entries(prefix))

    def _entries(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        folder = self._path(prefix[:-1]) if check_prefix(prefix) else self.root
        try:
            yield from walk(folder, prefix, is_key)
        except OSError as e:
            raise unreadable(e, folder) from e

    def delete(self, key: str) -> None:  # noqa: D102
        target = self._path(key)
        try:
            target.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as e:
            raise unwritable(e, target, self.url) from e
        self._remove_empty(target.parent)

    def copy(self, source: str, target: str) -> None:
        """Link `target` to `source`, which costs no space; copy the bytes where the file system has no links.

        Guarantees
        ----------
        As `put`: atomic and durable.
        """
        to = self._path(target)
        try:
            self._link(self._path(source), to)
        except OSError as e:
            if not self.exists(source):
                raise NotFound(f"There is no object {source} in {self.url}.", key=source) from None
            if e.errno not in NO_LINKS:
                raise unwritable(e, to, self.url) from e
            super().copy(source, target)

    def copy_from(self, other: Backend, key: str, *, link: bool = False) -> bool:
        """Clone the file of another store on this disk, if the file system can: its blocks are copied when they change.

        With `link`, link to the file instead, unless others could not read it as they read this store's.

        Guarantees
        ----------
        As `put`: atomic and durable.
        """
        if not isinstance(other, LocalBackend):
            return False
        source, target = other._path(key), self._path(key)
        # Two disks, no links, no right to link: whoever puts the bytes learns what is wrong.
        if link:
            with suppress(OSError):
                # A link keeps owner and rights: what is private there would be unreadable here for everybody else.
                if rights(source) == rights(self.root):
                    self._link(source, target)
                    return True
        try:
            return other.root not in self._not_cloned and self._clone(source, target)
        except OSError as e:
            if e.errno in _NO_CLONES:
                self._not_cloned.add(other.root)
            return False

    def _clone(self, source: Path, target: Path) -> bool:
        """Make `target` a file that shares the blocks of `source` until either is written to; return whether it is."""
        if _FICLONE is None:
            return False
        from fcntl import ioctl

        with open(source, "rb", buffering=0, opener=open_without_waiting) as file:
            temporary, descriptor = self._make_temporary(target)
            try:
                try:
                    ioctl(descriptor, _FICLONE, file.fileno())
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        flush_folder(target.parent)
        return True

    def exists(self, key: str) -> bool:  # noqa: D102
        return self._path(key).is_file()

    def _link(self, source: Path, target: Path) -> None:
        """Make `target` another name of the file `source`, in place of whatever has that name."""
        temporary = temporary_beside(target)
        for attempts_left in reversed(range(_FOLDER_RACES)):
            try:
                self._make_folder(target.parent)
                os.link(source, temporary)
            except FileNotFoundError:  # the folder was removed as it was being made, or there is no source
                if not attempts_left or not source.is_file():
                    raise
            else:
                break
        try:
            temporary.replace(target)
        finally:
            # Renaming a link onto another link of the same file does nothing and leaves both.
            temporary.unlink(missing_ok=True)
        flush_folder(target.parent)

    def _path(self, key: str) -> Path:
        """Return the file of an object, or the folder of a prefix; refuse what lies behind a symbolic link."""
        return Path(self._place(key))

    def _place(self, key: str) -> str:
        """Return the same as text: to make a `Path` costs as much as to open the file."""
        path = os.fspath(self.root)
        for segment in check_key(key).split("/"):
            path = f"{path}{os.sep}{segment}"
            if os.path.islink(path):  # noqa: PTH114  Path.is_symlink raises where a folder may not be read
                raise Corrupt(
                    f"{path} is a symbolic link, which could lead out of the store.",
                    hint="If you trust whoever made the store, put what it points to in its place.",
                    key=key,
                    expected="a file or a folder",
                    found="a symbolic link",
                )
        return path

    def _make_temporary(self, target: Path) -> tuple[Path, int]:
        """Make a file beside `target` under a name of its own; return its path, and its descriptor to write to."""
        for attempts_left in reversed(range(_FOLDER_RACES)):
            temporary = temporary_beside(target)
            try:
                self._make_folder(target.parent)
                return temporary, os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except (FileNotFoundError, FileExistsError):
                # Somebody's delete removed the folder that was empty until now, or just as it was being made.
                if not attempts_left:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _write_temporary(self, target: Path, data: bytes) -> Path:
        """Write and flush `data` beside `target` under a name of its own."""
        temporary, descriptor = self._make_temporary(target)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as f:
                view = memoryview(data)
                while view:  # an unbuffered write may take only part
                    view = view[f.write(view) :]
                os.fsync(f.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _remove_empty(self, folder: Path) -> None:
        """Remove a folder and those above it, but the store's own, that are empty."""
        with suppress(OSError):  # not empty, or somebody is just writing into it
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        missing = [folder, *folder.parents]
        missing = missing[: next(i for i, parent in enumerate(missing) if parent.is_dir())]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            flush_folder(made.parent)
