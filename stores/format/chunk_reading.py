"""Reading chunks from storage, verified, straight to where they are wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..backends.backend import Backend
from ..chunks import ObjectRecord, aligned, chunk_parts, corrupt


def read_chunk(
    backend: Backend, key: str, record: ObjectRecord, dtype: str, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """Return one chunk [rows, …], verified.

    Raises
    ------
    Corrupt
        If it is missing (for the seal says that it is there), or not what was sealed.
    """
    rows = aligned(shape, np.dtype(dtype).newbyteorder("<"))
    read_chunk_into(backend, key, record, rows, shape[0])
    return rows


def read_chunk_into(backend: Backend, key: str, record: ObjectRecord, rows: npt.NDArray[Any], chunk_rows: int) -> None:
    """Read the first rows of a chunk straight to where they are wanted; the whole chunk is verified.

    Parameters
    ----------
    backend : Backend
    key : str
    record : ObjectRecord
    rows : ndarray [n, …]
        Filled: contiguous, of the chunk's own dtype, n at most `chunk_rows`.
    chunk_rows : int
        Length of the chunk.

    Raises
    ------
    Corrupt
        As `read_chunk`; `rows` may then hold anything.
    """
    parts = chunk_parts(rows, chunk_rows)
    expected = sum(len(part) for part in parts)
    if record.size != expected:
        raise corrupt(key, backend.url, "has the wrong size", f"{expected} bytes", f"{record.size} bytes, as sealed")
    backend.read_chunk(key, record, parts)
