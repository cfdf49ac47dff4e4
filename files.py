"""Files that appear whole or not at all; for those that people name, one clear message if they cannot be written."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import BadInput, CryoprobeError, ReadOnly, Unavailable

_NO_FOLDER = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
"""What writing fails with where one may not write."""

TEMPORARY = ".tmp-"
"""How the names of unfinished files begin."""


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` at the end; if anything is raised, `path` stays as it is.

    It is made beside `path` under a name of its own, and flushed to the disk before it is renamed.

    Raises
    ------
    BadInput
        If the folder is missing, or `path` is a folder or a device.
    ReadOnly, Unavailable
        If nothing can be written there.
    """
    path = Path(path)
    _check_replaceable(path)
    temporary = temporary_beside(path)
    try:
        # 0o666 less the umask, as any other file: others may read it.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        with suppress(PermissionError):  # a folder in which one may write, and which one may not read
            flush_folder(path.parent)
    except CryoprobeError:  # some of them are OSErrors, of whoever writes into the file
        raise
    except OSError as e:
        raise _unwritable(e, path) from e


def absolute(path: str, what: str) -> str:
    """Return a path in full, with a slash between its parts; messages call it `what`.

    Links are kept: one that a team shares keeps its name wherever it points.

    Raises
    ------
    BadInput
        If it begins with the home folder of nobody.
    """
    try:
        return Path(os.path.abspath(Path(path).expanduser())).as_posix()  # noqa: PTH100
    except RuntimeError as e:
        raise BadInput(f"{what}: {e}", hint="Write the path in full.", key=what) from None


def check_writable(path: str | Path) -> None:
    """Refuse a path that cannot be written: call it before the work whose result is to go there.

    Raises
    ------
    BadInput, ReadOnly, Unavailable
        As `replacing`.
    """
    path = Path(path)
    _check_replaceable(path)
    temporary = temporary_beside(path)
    try:
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as e:
        raise _unwritable(e, path) from e


def temporary_beside(path: Path) -> Path:
    """Return a name of its own beside `path`, to write to before the file is renamed."""
    return path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"


def flush_folder(folder: Path) -> None:
    """Make names in `folder` durable. Some file systems cannot flush a folder; there is nothing more to do on them."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as e:
            if e.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
                raise
        finally:
            os.close(descriptor)


def _check_replaceable(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except ValueError:  # a NUL character
        raise BadInput(f"{str(path)!r} is not the name of a file.", hint="Name another file.", key=str(path)) from None
    except OSError:  # missing, or as unusable as its folder, which is tried next
        return
    if not stat.S_ISREG(mode):
        raise BadInput(
            f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'no ordinary file'}.",
            hint="Name a file.",
            key=str(path),
        )


def _unwritable(e: OSError, path: Path) -> CryoprobeError:
    if e.errno in _NO_FOLDER:
        return BadInput(
            f"{path} cannot be written: there is no folder {path.parent}.",
            hint="Make it, or name another file.",
            key=str(path),
        )
    if e.errno in READ_ONLY:
        return ReadOnly(
            f"{path} cannot be written: {e.strerror}.", hint="Name a file in another folder.", key=str(path)
        )
    return Unavailable(f"{path} cannot be written: {e.strerror or e}.", hint="Make room, or check the disk.")
