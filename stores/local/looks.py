"""One look at many files: what stat says of each, once, and one hash over all of it."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...file_lists import FileList, in_byte_order
from .mounts import Mounts

_HASHED = 1 << 14
UNTOLD = -(1 << 63)
"""Stands for a change time that does not tell, and in all four columns for a file that cannot be looked at."""


@dataclass(frozen=True)
class Look:
    """What one look at many files told.

    Parameters
    ----------
    fingerprint : bytes
        Hash of the stamps of all of them, 32 bytes: it tells that one was changed, added or lost.
    files : FileList
    stamps : ndarray, int64 [n, 4]
        Size, modification time, change time and inode of each, as in `Stamp`; `UNTOLD` where that is not known.
    absent : frozenset of Path
        Those that cannot be looked at.
    """

    fingerprint: bytes
    files: FileList
    stamps: npt.NDArray[np.int64]
    absent: frozenset[Path]

    def first(self, n: int) -> Look:
        """Return the look at the first `n` alone, whose fingerprint is that of all."""
        return replace(self, files=self.files[:n], stamps=self.stamps[:n])


def look_at(paths: Iterable[Path]) -> Look:
    """Stat many files, once each."""
    files, mounts = FileList.of(paths), Mounts()
    texts, numbers, lines, absent = files.texts, array("q"), [], []
    stat, tells = os.stat, dict[int, bool]()
    for text in texts:
        try:
            s = stat(text)
            if s.st_dev not in tells:
                tells[s.st_dev] = mounts.tells_changes(s.st_dev)
            changed = s.st_ctime_ns if tells[s.st_dev] else mounts.change_time(text, s)
            stamp = s.st_size, s.st_mtime_ns, changed, s.st_ino
        except (OSError, ValueError):  # a NUL character
            absent.append(Path(text))
            numbers.extend((UNTOLD, UNTOLD, UNTOLD, UNTOLD))
            lines.append("absent")
            continue
        lines.append(repr(stamp))
        try:
            numbers.extend((s.st_size, s.st_mtime_ns, UNTOLD if changed is None else changed, s.st_ino))
        except OverflowError:  # an inode beyond 2^63
            del numbers[len(numbers) // 4 * 4 :]
            numbers.extend((UNTOLD, UNTOLD, UNTOLD, UNTOLD))
    h = hashlib.sha256()
    order = in_byte_order(texts)
    for start in range(0, len(texts), _HASHED):
        places = range(start, min(start + _HASHED, len(texts))) if order is None else order[start : start + _HASHED]
        h.update(os.fsencode("".join([f"{texts[i]}\0{lines[i]}\n" for i in places])))
    return Look(h.digest(), files, np.frombuffer(numbers, np.int64).reshape(-1, 4), frozenset(absent))


def fingerprint(paths: Iterable[Path]) -> bytes:
    """Hash the stamps of many files, 32 bytes: what tells, by stat calls only, that one was changed, added or lost."""
    return look_at(paths).fingerprint
