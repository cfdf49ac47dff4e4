"""The arrays of an npz file, by their headers; their content is read when it is asked for, and only the rows that are.

Nothing is unpickled. A file that has changed since it was opened is refused, so that labels and images are of one file.
"""

from __future__ import annotations

import math
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...arrays import Array, Mask
from ...errors import BadInput, Conflict, CryoprobeError
from ..passing import is_passing, unavailable

_BLOCK = 4 << 20
"""Bytes that are unpacked at once."""

_State = tuple[int, int, int]


@dataclass(frozen=True)
class Member:
    """An array in an npz file.

    Parameters
    ----------
    file : Path
    name : str
        Of the member, without ``.npy``.
    shape : tuple of int
    dtype : dtype
    fortran : bool
        Whether its columns lie together, not its rows.
    state : tuple of int
        What the file looked like when it was opened.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    state: _State

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Mask | None = None) -> Array:
        """Return the array, or those of its rows that a mask [n] selects; no more than these are in memory.

        Raises
        ------
        BadInput, Conflict, Unavailable
            If the file is damaged, has changed or cannot be read.
        """
        with _opened(self.file) as (archive, state), archive.open(f"{self.name}.npy") as stream:
            if state != self.state:
                raise Conflict(
                    f"{self.file} changed while it was being read.", hint="Run the command again.", key=str(self.file)
                )
            if rows is None or self.fortran:
                whole = np.lib.format.read_array(stream, allow_pickle=False)
                found = whole if rows is None else whole[rows]
            else:
                _header(stream)
                found = self._selected(stream, rows)
            stream.read(1)  # where the checksum is compared
            return found

    def _selected(self, stream: IO[bytes], rows: Mask) -> Array:
        found = np.empty((int(rows.sum()), *self.shape[1:]), self.dtype)
        size = self.dtype.itemsize * math.prod(self.shape[1:])  # bytes of a row
        step = max(1, _BLOCK // max(1, size))
        done = 0
        for start in range(0, len(rows), step):
            wanted = rows[start : start + step]
            block = stream.read(size * len(wanted))
            if len(block) != size * len(wanted):
                raise EOFError("it is cut short")
            chosen = np.frombuffer(block, self.dtype).reshape(len(wanted), *self.shape[1:])[wanted]
            found[done : done + len(chosen)] = chosen
            done += len(chosen)
        return found


class Rows:
    """Rows of a member, read together when the first of them is asked for.

    Parameters
    ----------
    member : Member
    rows : ndarray of bool [n], optional
        Which of its rows; all by default.
    """

    def __init__(self, member: Member, rows: Mask | None = None) -> None:
        self.dtype, self.ndim = member.dtype, member.ndim
        self.shape = (len(member) if rows is None else int(rows.sum()), *member.shape[1:])
        self._member, self._rows = member, rows
        self._lock = threading.Lock()
        self._array: Array | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> Array:
        row: Array = self._whole()[index]
        return row

    def part(self, start: int, end: int) -> Array:
        """Return the rows from `start` to before `end`."""
        return self._whole()[start:end]

    def _whole(self) -> Array:
        with self._lock:
            if self._array is None:
                self._array = self._member.read(self._rows)
            return self._array


def members_of(file: Path) -> dict[str, Member]:
    """Return the arrays of an npz file by their names; their headers alone are read.

    Raises
    ------
    BadInput, Unavailable
        If it is not an npz file, is damaged, holds Python objects, or cannot be read.
    """
    found = {}
    with _opened(file) as (archive, state):
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue  # what else is in a zip is no array
            with archive.open(info) as stream:
                shape, fortran, dtype = _header(stream)
                if dtype.hasobject:
                    raise ValueError("it holds Python objects, and nothing is ever unpickled")
                if stream.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
                    raise ValueError(f"{info.filename} has another size than its header promises")
            name = info.filename.removesuffix(".npy")
            found[name] = Member(file, name, shape, dtype, fortran, state)
    return found


@contextmanager
def _opened(file: Path) -> Iterator[tuple[zipfile.ZipFile, _State]]:
    try:
        with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            status = os.fstat(stream.fileno())
            yield archive, (status.st_size, status.st_mtime_ns, status.st_ino)
    except CryoprobeError:
        raise
    except Exception as e:  # a damaged zip fails in a dozen ways: zipfile, zlib, numpy, memory …
        if isinstance(e, OSError) and is_passing(e):
            raise unavailable(e, str(file)) from e
        first = (str(e).splitlines() or [type(e).__name__])[0]
        raise BadInput(
            f"{file} cannot be read as npz: {first}.",
            hint="Save it with numpy.savez(FILE, images=…, labels=…); arrays of Python objects are not read.",
            key=str(file),
        ) from None


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read what stands before the elements: shape, whether columns lie together, dtype."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"it has arrays of format {version[0]}.{version[1]}")
    shape, fortran, dtype = readers[version](stream)
    return tuple(shape), bool(fortran), dtype
