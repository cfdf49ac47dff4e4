"""Chunks as zarr v3 has them, bytes + crc32c, and the records by which a reader recognises them.

The chunks are made here rather than by zarr because a chunk of a unit *is* the chunk of the set (it is linked, not
copied), and because reading into one preallocated array, with the checksum compared with the manifest's, is then a
few lines. The metadata documents come from zarr itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias

import google_crc32c
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from ..errors import BadInput, Corrupt
from ..validation import Count, Sha256

CRC_BYTES = 4
_LINE = 64

_RESIDUE = 0x48674BC7
"""The crc32c of any bytes that are followed by their own crc32c in little-endian order."""

Part: TypeAlias = npt.NDArray[np.uint8]
"""Some bytes of an object, uint8 [n], contiguous and writable: an object is read into several, one after another."""

LARGEST_OBJECT = 1 << 30
"""Bytes of a chunk, or of any other object of a set: it is read into memory as a whole."""


class ObjectRecord(BaseModel):
    """What a seal says of one object.

    Parameters
    ----------
    size : int
        In bytes.
    sha256 : str
        Of the whole object.
    crc32c : int or None
        The checksum in the object's last four bytes, for chunks. It is in the seal too, so that one valid chunk in
        the place of another is noticed for the price of the checksum that is computed anyway.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    size: Annotated[Count, Field(le=LARGEST_OBJECT)]
    sha256: Sha256
    crc32c: Annotated[int, Field(strict=True, ge=0, lt=2**32)] | None = None


class Checksum:
    """The crc32c of an object, computed from its blocks as they come, while they are in the processor's cache."""

    def __init__(self) -> None:
        self.value = 0

    def restart(self) -> None:
        """Forget what came: the object comes from its beginning."""
        self.value = 0

    def update(self, block: Part) -> None:
        """Take the next bytes."""
        self.value = int(google_crc32c.extend(self.value, block))


class ArraySpec(NamedTuple):
    """Shape, dtype and chunking of one zarr array."""

    shape: tuple[int, ...]
    dtype: str
    chunk_rows: int
    dimensions: tuple[str, ...]


def record_of(data: bytes, *, chunk: bool = False) -> ObjectRecord:
    """Describe an object for a seal."""
    crc = int.from_bytes(data[-CRC_BYTES:], "little") if chunk else None
    return ObjectRecord(size=len(data), sha256=hashlib.sha256(data).hexdigest(), crc32c=crc)


def chunk_size(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a chunk of this shape: what a seal must say of it."""
    return math.prod(shape) * np.dtype(dtype).itemsize + CRC_BYTES


def check_chunk_size(size: int) -> None:
    """Raise `BadInput` for a chunk that readers would refuse."""
    if size > LARGEST_OBJECT:
        raise BadInput(
            f"A chunk of {size:,} bytes is larger than a store holds ({LARGEST_OBJECT:,}).",
            hint="Put fewer rows into one: --unit-rows.",
            key="unit_rows",
        )


def encode_chunk(rows: npt.NDArray[Any], chunk_rows: int | None = None) -> bytes:
    """Return `rows` as a chunk: little-endian C order, then crc32c in 4 bytes little-endian.

    Parameters
    ----------
    rows : ndarray [n, …]
    chunk_rows : int, optional
        Length of the chunk, if longer than `rows`: zarr stores an edge chunk at full size. The rest is NaN for floats
        and 0 for integers, the arrays' fill values.
    """
    if chunk_rows is not None and chunk_rows > len(rows):
        fill = np.nan if rows.dtype.kind == "f" else 0
        padding = np.full((chunk_rows - len(rows), *rows.shape[1:]), fill, rows.dtype)
        rows = np.concatenate([rows, padding])
    check_chunk_size(chunk_size(rows.dtype.name, rows.shape))
    payload = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).tobytes()
    return payload + int(google_crc32c.value(payload)).to_bytes(CRC_BYTES, "little")


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an uninitialised array that begins on a cache line.

    numpy's own begin 16 bytes behind a page. To copy a file's pages just so far behind themselves is what processors
    do slowest: it takes 1.4 times as long.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + _LINE, np.uint8)
    start = -raw.ctypes.data % _LINE
    return raw[start : start + size].view(dtype).reshape(shape)


def chunk_parts(rows: npt.NDArray[Any], chunk_rows: int) -> list[Part]:
    """Return what a chunk is read into: the bytes of `rows`, of the padding behind them if any, and of the crc32c."""
    payload = rows.reshape(-1).view(np.uint8)
    padding = payload.nbytes // max(len(rows), 1) * (chunk_rows - len(rows))
    return [payload, *([np.empty(padding, np.uint8)] if padding else []), np.empty(CRC_BYTES, np.uint8)]


def scatter(blocks: Iterable[bytes], parts: Sequence[Part], checksum: Checksum) -> int:
    """Copy an object's bytes, which come in blocks, into `parts`, one after another; `checksum` sees them too.

    Returns
    -------
    int
        How many bytes there were; where they are more than `parts` hold, how many until that showed.
    """
    checksum.restart()
    free = iter(parts)
    part, size = next(free), 0
    for block in blocks:
        left = np.frombuffer(block, np.uint8)
        checksum.update(left)
        size += len(left)
        while len(left):
            if not len(part):
                if (after := next(free, None)) is None:
                    return size
                part = after
            n = min(len(part), len(left))
            part[:n] = left[:n]
            part, left = part[n:], left[n:]
    return size


def check_chunk(
    parts: Sequence[Part], size: int, record: ObjectRecord, checksum: Checksum, *, key: str, url: str
) -> None:
    """Raise `Corrupt` unless the chunk that was read into `parts`, `size` bytes, is the one that `record` means."""
    if size != record.size:
        raise corrupt(key, url, "has the wrong size", f"{record.size} bytes", f"{size} bytes")
    stored = int.from_bytes(parts[-1].tobytes(), "little")
    if checksum.value != _RESIDUE:
        computed = Checksum()
        for part in parts[:-1]:
            computed.update(part)
        raise corrupt(key, url, "fails its crc32c", f"{stored:08x}", f"{computed.value:08x}")
    if stored != record.crc32c:
        raise corrupt(key, url, "is not the chunk that was sealed", f"crc32c {record.crc32c or 0:08x}", f"{stored:08x}")


def check_object(data: bytes, record: ObjectRecord, *, key: str, url: str) -> None:
    """Raise `Corrupt` unless `data` is exactly the object that was sealed: size, sha256, and a chunk's checksum."""
    if len(data) != record.size:
        raise corrupt(key, url, "has the wrong size", f"{record.size} bytes", f"{len(data)} bytes")
    found = record_of(data, chunk=record.crc32c is not None)
    if found != record:
        raise corrupt(
            key, url, "is not the object that was sealed", f"sha256 {record.sha256[:16]}…", f"{found.sha256[:16]}…"
        )


def corrupt(key: str, url: str, what: str, expected: str, found: str) -> Corrupt:
    """Return the error for an object that is not what its seal says."""
    return Corrupt(
        f"{key} in {url} {what}: expected {expected}, found {found}.",
        hint=f"See what is damaged, and which seals need it: cryoprobe verify --data --store {url}\n"
        f"and put it right from whole copies: cryoprobe repair --store {url}",
        key=key,
        expected=expected,
        found=found,
    )


def zarr_documents(arrays: Mapping[str, ArraySpec], attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the ``zarr.json`` documents of a group with `arrays`, made by zarr itself.

    Parameters
    ----------
    arrays : mapping of str to ArraySpec
    attributes : mapping
        Attributes of the group.

    Returns
    -------
    dict of str to bytes
        Relative key (``zarr.json``, ``embeddings/zarr.json`` …) and document.
    """
    import zarr
    from zarr.codecs import Crc32cCodec
    from zarr.storage import MemoryStore

    written: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(store_dict=written), attributes=dict(attributes))
    for name, spec in arrays.items():
        group.create_array(
            name,
            shape=spec.shape,
            dtype=spec.dtype,
            chunks=(spec.chunk_rows, *spec.shape[1:]),
            fill_value=float("nan") if spec.dtype.startswith("float") else 0,
            filters=None,
            compressors=[Crc32cCodec()],
            dimension_names=spec.dimensions,
        )
    return {key: value.to_bytes() for key, value in written.items()}
