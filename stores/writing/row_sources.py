"""Where sealed rows are copied from, verified: whole units, and full chunks of sealed sets."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import Corrupt, NotFound
from ...id_arrays import AnyIds, sample_array
from ..backends.backend import Backend
from ..chunks import ObjectRecord, chunk_parts, corrupt
from ..feature_set import FeatureSet
from ..format.chunk_reading import read_chunk
from ..format.unit_seal import UnitSeal
from .units import Rows

Array = Literal["embeddings", "norms", "samples"]
"""The arrays that units and sets both have."""

_CACHED_BLOCKS = 8


@dataclass(frozen=True)
class SetChunk:
    """One full chunk of a sealed set, whose objects another set can link to."""

    feature_set: FeatureSet
    chunk: int

    @property
    def dim(self) -> int:
        """Width of the embeddings."""
        return self.feature_set.dim

    @property
    def dtype(self) -> str:
        """Dtype of the embeddings."""
        return self.feature_set.manifest.dtype

    @property
    def objects(self) -> dict[str, ObjectRecord]:
        """The record of each array's object."""
        records = self.feature_set.manifest.objects
        return {name: records[self._relative(name)] for name in ("embeddings", "norms", "samples")}

    def key(self, array: str) -> str:
        """Return the key of one of the objects."""
        return f"{self.feature_set.manifest.folder}/{self._relative(array)}"

    def read(self, backend: Backend, array: Array) -> npt.NDArray[Any]:
        """Read one array of the chunk, verified; raise `Corrupt` where it is not what was sealed."""
        return read_chunk(backend, self.key(array), self.objects[array], *self.form(array))

    def form(self, array: Array) -> tuple[str, tuple[int, ...]]:
        """Return dtype and shape of an array."""
        dtype, tail, chunk_rows = self.feature_set.manifest.form(array)
        return dtype, (chunk_rows, *tail)

    def _relative(self, array: str) -> str:
        return self.feature_set.manifest.form(array).key(array, self.chunk)


def copy_array(backend: Backend, source: UnitSeal | SetChunk, array: Array, target: str) -> None:
    """Make `target` an object with the bytes of that array; raise `Corrupt` where these are not what was sealed.

    Guarantees
    ----------
    It is the copy that is looked at, as the storage has it.
    """
    key, record = source.key(array), source.objects[array]
    dtype, shape = source.form(array)
    try:
        backend.copy(key, target)
    except NotFound:
        raise corrupt(key, backend.home(key), "is missing", f"{record.size} bytes", "no object") from None
    try:
        backend.read_chunk_uncached(target, record, chunk_parts(np.empty(shape, dtype), shape[0]))
    except Corrupt as e:
        if e.found == "no object":  # gc took the copy for nobody's: whoever seals it finds that out, see `fences`
            return
        raise corrupt(key, backend.home(key), "is damaged", str(e.expected), str(e.found)) from None


@dataclass(frozen=True)
class _Block:
    """Rows `start` … of a source: a whole unit, or one chunk of a set."""

    source: int
    start: int


class RowReader:
    """Copies single rows out of units and sets; a few of the blocks that it read are kept in memory.

    Several threads may share it.

    Parameters
    ----------
    backend : Backend
    encoder_id : str
        Of all rows.
    """

    def __init__(self, backend: Backend, encoder_id: str) -> None:
        self._backend = backend
        self._encoder_id = encoder_id
        self._blocks: OrderedDict[_Block, Rows] = OrderedDict()
        self._lock = threading.Lock()  # of the blocks; what has to be read is read without it

    def forget(self, source: int) -> None:
        """Drop the blocks of a source."""
        with self._lock:
            for block in [b for b in self._blocks if b.source == source]:
                del self._blocks[block]

    def copy(self, ids: AnyIds, sources: Sequence[UnitSeal | FeatureSet], where: npt.NDArray[np.int32]) -> Rows:
        """Return the rows of `ids`, in that order; each block is read once.

        Parameters
        ----------
        ids : sequence of bytes, or ndarray, uint8 [n, 32]
            Sample ids.
        sources : sequence of UnitSeal or FeatureSet
        where : ndarray, int32 [n, 2]
            Of each id, the number of the source and the row in it.

        Raises
        ------
        Corrupt
            If a block is damaged, or its row is another sample's.
        """
        wanted = sample_array(ids)
        result: Rows | None = None
        for block, members in _by_block(sources, where):
            rows = self._read(sources[block.source], block)
            local = where[members, 1] - block.start
            if not np.array_equal(rows.samples[local], wanted[members]):
                source = sources[block.source]
                name = source.unit if isinstance(source, UnitSeal) else source.id
                raise corrupt(f"samples of {name}", self._backend.url, "changed", "the rows indexed", "others")
            if result is None:
                dim, dtype = rows.embeddings.shape[1], rows.embeddings.dtype
                result = Rows(wanted, np.empty((len(ids), dim), dtype), np.empty(len(ids), np.float32))
            if (
                rows.embeddings.shape[1:] != result.embeddings.shape[1:]
                or rows.embeddings.dtype != result.embeddings.dtype
            ):
                raise mixed_forms(self._encoder_id, self._backend.url)
            result.embeddings[members] = rows.embeddings[local]
            result.norms[members] = rows.norms[local]
        if result is None:
            raise ValueError("no rows were asked for")
        return result

    def _read(self, source: UnitSeal | FeatureSet, block: _Block) -> Rows:
        with self._lock:
            if block in self._blocks:
                self._blocks.move_to_end(block)
                return self._blocks[block]
        part = source if isinstance(source, UnitSeal) else SetChunk(source, block.start // source.chunk_rows)
        rows = Rows(*[part.read(self._backend, name) for name in ("samples", "embeddings", "norms")])
        with self._lock:
            self._blocks[block] = rows
            while len(self._blocks) > _CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return rows


def _by_block(
    sources: Sequence[UnitSeal | FeatureSet], where: npt.NDArray[np.int32]
) -> list[tuple[_Block, npt.NDArray[np.intp]]]:
    """Group rows by the block that they lie in; return each block with the positions of its rows in `where`."""
    numbers, which = np.unique(where[:, 0], return_inverse=True)
    origins = [sources[number] for number in numbers.tolist()]
    lengths = np.array([o.rows if isinstance(o, UnitSeal) else o.chunk_rows for o in origins], np.int64)
    rows = where[:, 1].astype(np.int64)
    starts = rows - rows % lengths[which]
    keys, inverse = np.unique(numbers[which].astype(np.int64) << 32 | starts, return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    return [(_Block(k >> 32, k & 0xFFFFFFFF), m) for k, m in zip(keys.tolist(), members, strict=True)]


def mixed_forms(encoder_id: str, url: str) -> Corrupt:
    """Return the error for sealed rows of one encoder that have two widths or dtypes: one cannot be true."""
    return Corrupt(
        f"The rows of encoder {encoder_id[:12]} in {url} have several widths or dtypes.",
        hint="Somebody wrote them by other means than Cryoprobe: delete the units and sets that are not right.",
        key=encoder_id,
    )
