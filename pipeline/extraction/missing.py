"""Files of a data set that are not there: told before the encoder is loaded, not after everything else was encoded."""

from __future__ import annotations

import errno
from collections.abc import Collection, Container, Iterator
from pathlib import Path

from ...amounts import be, count
from ...errors import BadInput
from ..datasets.base import Advising, Split
from ..encoders.embedding import advice_on_all, named_failures

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


def check_files(split: Split, absent: Collection[Path], max_bad: int) -> None:
    """Refuse a split of which more files are missing than may fail.

    Parameters
    ----------
    split : Split
    absent : collection of Path
        Its files that could not be looked at: only these are looked at again, for the reason.
    max_bad : int

    Raises
    ------
    BadInput
        It names the files, and for dangling links what they lead to.
    """
    missing = [(split.describe(row), why) for row, why in _missing(split, absent)] if absent else []
    if len(missing) <= max_bad and len(missing) < len(split):
        return
    if not missing:  # a split without samples is told apart later
        return
    advice = split.advice() if isinstance(split, Advising) else ""
    if len(missing) == len(split):
        raise BadInput(
            f"None of the {count(len(split), 'sample')} of split {split.name!r} can be used:\n"
            + "\n".join(named_failures(missing, most=5)),
            hint=advice_on_all(missing, advice),
            key=split.name,
            found=len(missing),
        )
    raise BadInput(
        f"{len(missing)} of {count(len(split), 'file')} of split {split.name!r} {be(len(missing))} not there; "
        f"{max_bad} {be(max_bad)} tolerated:\n" + "\n".join(named_failures(missing)),
        hint=f"Mend the paths or links, or go on without these: --max-bad {len(missing)}. Nothing was encoded yet.",
        key=split.name,
        expected=max_bad,
        found=len(missing),
    )


def _missing(split: Split, absent: Container[Path]) -> Iterator[tuple[int, str]]:
    for row in range(len(split)):
        path = split.path(row)
        if path is None or path not in absent:
            continue
        try:
            path.stat()
        except ValueError:  # a NUL character
            yield row, "cannot be read: its name has a NUL character"
        except OSError as error:
            if error.errno in _ABSENT:  # all else is told when it is read
                yield row, _why(path, error)


def _why(path: Path, error: OSError) -> str:
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which is not there"
    return f"cannot be read: {error.strerror}"
