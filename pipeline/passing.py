"""Errors that pass, such as a share that is away for a moment: tried again, never a reason to leave a sample out."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import CryoprobeError, Unavailable

T = TypeVar("T")

_PAUSES_SECONDS = (0.05, 0.2, 0.5)

_LASTING = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.EILSEQ,
}
"""The file's own name, rights or form is the reason. Any other number is the machine's, the disk's or the network's."""

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""How Pillow and torch say it, who raise OSError and RuntimeError."""


def is_passing(error: BaseException) -> bool:
    """Return whether an error comes from the machine rather than from what a file holds.

    True for a lack of memory or of open files, a stale handle, an input/output error or a network that is away. False
    for files that are missing or closed to the user, and for content that cannot be decoded.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, CryoprobeError):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in _LASTING
    return isinstance(error, OSError | RuntimeError) and _says_no_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a forward pass failed for want of memory, of the machine or of its GPU."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _says_no_memory(error))


def _says_no_memory(error: BaseException) -> bool:
    return any(words in str(error) for words in _NO_MEMORY)


def patiently(action: Callable[[], T], what: str) -> T:
    """Return what `action` returns; try it again for a second while it fails for a reason that may pass.

    Raises
    ------
    Unavailable
        If it still fails so. Any other error is raised as it is.
    """
    for pause in _PAUSES_SECONDS:
        try:
            return action()
        except Exception as e:
            if not is_passing(e):
                raise
        time.sleep(pause)
    try:
        return action()
    except Exception as e:
        if is_passing(e):
            raise unavailable(e, what) from e
        raise


def unavailable(error: BaseException, what: str) -> Unavailable:
    """Return the error that ends a run because the machine does not let `what` be read."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.EMFILE, errno.ENFILE):
        hint = "Too many files are open: raise the limit (ulimit -n 4096), or take fewer --workers."
    elif number == errno.ENOMEM or not isinstance(error, OSError):
        hint = "Take fewer --workers, or close other programs. If only this image does it, it is damaged: remove it."
    else:
        hint = "Look at the disk or the network. If only this file does it, it is damaged: replace or remove it."
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or "no memory"
    return Unavailable(
        f"{what} cannot be read: {' '.join(reason.split())}. It was tried several times.",
        hint=f"{hint}\nThen run the same command again: what is sealed is kept.",
        key=what,
    )
