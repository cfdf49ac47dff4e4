"""Which rows of an encoder a store already has, and where: the index that lets nothing be encoded twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import Corrupt, NotFound
from ..parallel import each
from .backends.backend import Backend
from .chunks import ObjectRecord, chunk_parts, corrupt
from .feature_set import FeatureSet
from .fences import is_fenced, is_hollow
from .keys import id_in, unit_seal_key
from .manifest import Manifest, find_manifest, read_manifest
from .origins import Marks, Origin, origin_of
from .reading import read_chunk
from .units import Rows, UnitSeal, read_seal, sample_array

_CACHED_BLOCKS = 8

Array = Literal["embeddings", "norms", "samples"]


_Source = TypeVar("_Source", "UnitSeal", FeatureSet)
_Ids = npt.NDArray[np.uint8]


class Withdrawn(NotFound):
    """Rows that an index knew are no longer in the store: their set was removed, and its data collected."""


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
        m = self.feature_set.manifest
        dtype, tail = {"embeddings": (m.dtype, (m.dim,)), "norms": ("float32", ()), "samples": ("uint8", (32,))}[array]
        return dtype, (m.chunk_rows, *tail)

    def _relative(self, array: str) -> str:
        return f"{array}/c/{self.chunk}" + ("" if array == "norms" else "/0")


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
        backend.read_fresh(target, record, chunk_parts(np.empty(shape, dtype), shape[0]))
    except Corrupt as e:
        if e.found == "no object":  # gc took the copy for nobody's: whoever seals it finds that out, see `fences`
            return
        raise corrupt(key, backend.home(key), "is damaged", str(e.expected), str(e.found)) from None


@dataclass(frozen=True)
class _Block:
    """Rows `start` … of a source: a whole unit, or one chunk of a set."""

    source: int
    start: int


class RowIndex:
    """Rows of one encoder in sealed units and sealed sets, by sample id.

    What came from elsewhere and is not trusted is left out: its rows do not stand in for one's own.

    Memory is 24 bytes a row, plus a few chunks while rows are gathered.

    Parameters
    ----------
    backend : Backend
    encoder_id : str
    units : bool
        Whether to index units too, or sets alone.
    only : container of str, optional
        Keys of the manifests of the sets to index; all by default.

    Attributes
    ----------
    unused : dict of Origin to int
        Rows that were left out, by where they came from.
    """

    def __init__(
        self, backend: Backend, encoder_id: str, *, units: bool = True, only: Container[str] | None = None
    ) -> None:
        self.encoder_id = encoder_id
        self._only = only
        self._with_units = units
        self._backend = backend
        self._sources: list[UnitSeal | FeatureSet] = []
        self._units: dict[str, UnitSeal] = {}
        self._seen: set[str] = set()
        self._left_out: set[str] = set()
        self._counted: set[str] = set()  # units whose rows were counted with a set's
        self.unused: dict[Origin, int] = {}
        self._has_forgotten = False
        # Sorted by `_heads`, the first 8 bytes of a sample id; `_tails` are the next 8.
        self._heads = np.empty(0, np.uint64)
        self._tails = np.empty(0, np.uint64)
        self._where = np.empty((0, 2), np.int32)  # [n, 2]: source, row
        self._blocks: OrderedDict[_Block, Rows] = OrderedDict()
        self.refresh()

    def __len__(self) -> int:
        return len(self._heads)

    def refresh(self) -> None:
        """Take in what others have sealed since the last look."""
        listed = [info.key for info in self._backend.list(f"manifests/{self.encoder_id}/")]
        listed = [key for key in listed if self._only is None or key in self._only]
        sets = [found for key in self._unknown(listed) if (found := self._read_set(key)) is not None]
        for feature_set, samples in self._trusted(f"manifests/{self.encoder_id}/", sets):
            self._seen.update(unit_seal_key(self.encoder_id, u) for u in feature_set.manifest.units)
            self._take_in(feature_set, samples)
            self._seen.add(feature_set.manifest.key)
        if not self._with_units:
            return
        listed = [info.key for info in self._backend.list(f"unit-seals/{self.encoder_id}/")]
        new = [id_in(key) for key in self._unknown(listed)]
        units = [found for found in each(self._read_unit, new) if found is not None]
        for seal, samples in self._trusted(f"unit-seals/{self.encoder_id}/", units):
            self._add(seal, samples)

    def _unknown(self, keys: Sequence[str]) -> list[str]:
        return [key for key in keys if key not in self._seen and key not in self._left_out]

    def _trusted(self, prefix: str, found: Sequence[tuple[_Source, _Ids]]) -> Iterator[tuple[_Source, _Ids]]:
        """Yield those of the sets or units that are trusted, and count the rows of the others."""
        marks = Marks(self._backend, prefix) if found else None  # now: they were marked before they could be read
        for source, samples in found:
            seal = source if isinstance(source, UnitSeal) else source.manifest
            key = unit_seal_key(seal.encoder, seal.unit) if isinstance(seal, UnitSeal) else seal.key
            origin = marks.of(key, seal.checksum) if marks is not None else None
            if origin is None:
                yield source, samples
            else:
                self._left_out.add(key)
                if isinstance(seal, Manifest):
                    self._counted.update(seal.units)
                if isinstance(seal, Manifest) or seal.unit not in self._counted:
                    self.unused[origin] = self.unused.get(origin, 0) + len(samples)

    def add(self, seal: UnitSeal) -> None:
        """Take in one sealed unit; raise `Withdrawn` where it has been removed meanwhile."""
        try:
            samples = seal.read(self._backend, "samples")
        except Corrupt:
            if self._is_gone(seal):
                raise self._withdrawn() from None
            raise
        self._add(seal, samples)

    def forget_if_gone(self, source: UnitSeal | SetChunk | FeatureSet) -> bool:
        """Forget the rows of a unit or set if it is no longer sealed; return whether that is so."""
        origin = source.feature_set if isinstance(source, SetChunk) else source
        if not self._is_gone(origin):
            return False
        self._has_forgotten = True
        for number in [n for n, s in enumerate(self._sources) if s is origin]:  # none of a unit that a set stands for
            keep = self._where[:, 0] != number
            self._heads, self._tails, self._where = self._heads[keep], self._tails[keep], self._where[keep]
            for block in [b for b in self._blocks if b.source == number]:
                del self._blocks[block]
        if isinstance(origin, UnitSeal):
            self._units.pop(origin.unit, None)
            self._seen.discard(unit_seal_key(origin.encoder, origin.unit))
        else:
            units = (unit_seal_key(self.encoder_id, u) for u in origin.manifest.units if u not in self._units)
            self._seen.difference_update({origin.manifest.key, *units})
        return True

    def _is_gone(self, origin: UnitSeal | FeatureSet) -> bool:
        """Return whether a unit or set, whose data cannot be read, has been removed or replaced, or is hollow.

        Or soon will be: its writer sealed what a gc run is deleting, and is about to find that out (see `fences`).
        Meanwhile a part of the data is there, and the set is left out from now on.
        """
        read: UnitSeal | Manifest
        now: UnitSeal | Manifest | None
        if isinstance(origin, UnitSeal):
            read, now = origin, read_seal(self._backend, origin.encoder, origin.unit)
        else:
            read, now = origin.manifest, find_manifest(self._backend, self.encoder_id, origin.id)
        if now is None or now.attempt != read.attempt or is_hollow(self._backend, now.folder):
            return True
        if is_fenced(self._backend, now.folder):
            if isinstance(origin, UnitSeal):
                self._left_out.add(unit_seal_key(origin.encoder, origin.unit))
            else:
                self._left_out.add(origin.manifest.key)
            return True
        return False

    def _withdrawn(self) -> Withdrawn:
        return Withdrawn(
            f"Rows were removed from {self._backend.url} while they were used.",
            hint="Run the same command again.",
            key=self.encoder_id,
        )

    def _read_set(self, key: str) -> tuple[FeatureSet, npt.NDArray[np.uint8]] | None:
        try:
            feature_set = FeatureSet(self._backend, read_manifest(self._backend, key))
        except NotFound:  # removed since the listing
            return None
        except Corrupt:
            if origin_of(self._backend, key, "") is not None:  # in a layer that is not trusted
                return None
            raise
        try:
            return feature_set, feature_set.samples()
        except Corrupt:
            if self._is_gone(feature_set) or origin_of(self._backend, key, feature_set.manifest.checksum) is not None:
                return None
            raise

    def _read_unit(self, unit: str) -> tuple[UnitSeal, npt.NDArray[np.uint8]] | None:
        key = unit_seal_key(self.encoder_id, unit)
        try:
            seal = read_seal(self._backend, self.encoder_id, unit)
        except Corrupt:
            if origin_of(self._backend, key, "") is not None:  # in a layer that is not trusted
                return None
            raise
        if seal is None:
            return None
        try:
            return seal, seal.read(self._backend, "samples")
        except Corrupt:
            if self._is_gone(seal) or origin_of(self._backend, key, seal.checksum) is not None:
                return None
            raise

    def _add(self, seal: UnitSeal, samples: npt.NDArray[np.uint8]) -> None:
        self._seen.add(unit_seal_key(seal.encoder, seal.unit))
        self._units[seal.unit] = seal
        self._take_in(seal, samples)

    def _take_in(self, source: UnitSeal | FeatureSet, samples: npt.NDArray[np.uint8]) -> None:
        heads, tails = _halves(samples)
        order = np.argsort(heads, kind="stable")
        where = np.empty((len(samples), 2), np.int32)
        where[:, 0] = len(self._sources)
        where[:, 1] = order
        self._sources.append(source)
        at = np.searchsorted(self._heads, heads[order], side="right")
        self._heads = np.insert(self._heads, at, heads[order])
        self._tails = np.insert(self._tails, at, tails[order])
        self._where = np.insert(self._where, at, where, axis=0)

    def find(self, ids: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return for each sample id the position of its row in this index, -1 where the store has none.

        Positions hold until the next `add` or `refresh`.
        """
        if not len(ids) or not len(self):
            return np.full(len(ids), -1, np.int64)
        heads, tails = _halves(sample_array(ids))
        at = np.searchsorted(self._heads, heads)
        inside = np.minimum(at, len(self) - 1)
        return np.where((self._heads[inside] == heads) & (self._tails[inside] == tails), inside, -1)

    def missing(self, ids: Sequence[bytes]) -> list[bytes]:
        """Return those of `ids` that have no row, in order."""
        return [i for i, at in zip(ids, self.find(ids), strict=True) if at < 0]

    def unit(self, unit: str) -> UnitSeal | None:
        """Return the seal of a unit, if it is sealed and trusted."""
        if unit not in self._units:
            seal = read_seal(self._backend, self.encoder_id, unit)
            if seal is None:
                return None
            key = unit_seal_key(self.encoder_id, unit)
            if origin_of(self._backend, key, seal.checksum) is not None:
                return None
            self._units[unit] = seal
        return self._units[unit]

    def chunk(self, ids: Sequence[bytes]) -> SetChunk | None:
        """Return the chunk of a sealed set whose rows are exactly `ids`, if there is one."""
        positions = self.find(ids)
        if (positions < 0).any():
            return None
        where = self._where[positions]  # [n, 2]
        origin, row = self._sources[int(where[0, 0])], int(where[0, 1])
        if isinstance(origin, UnitSeal) or row % origin.chunk_rows or len(ids) != origin.chunk_rows:
            return None
        if (where[:, 0] != where[0, 0]).any() or (np.diff(where[:, 1]) != 1).any():
            return None
        return SetChunk(origin, row // origin.chunk_rows)

    def gather(self, ids: Sequence[bytes]) -> Rows:
        """Copy the rows of `ids`, in that order, from wherever they are; every chunk read is verified.

        Raises
        ------
        Withdrawn
            If rows that were indexed are no longer in the store, nor elsewhere in it.
        Corrupt
            If a chunk is damaged, or its row is another sample's.
        KeyError
            If the store has no row for an id; ask `missing` first.
        """
        while True:
            positions = self.find(ids)
            if (positions < 0).any():
                if self._has_forgotten:
                    raise self._withdrawn()
                raise KeyError(ids[int(np.argmin(positions))].hex())
            try:
                return self._gather(ids, positions)
            except Corrupt:
                # Who removes rows unseals them first, so that damage can be told from what was removed on purpose.
                gone = [s for s in {int(n) for n in self._where[positions, 0]} if self.forget_if_gone(self._sources[s])]
                if not gone:
                    raise
                self.refresh()  # a unit is removed when all its rows are in sets

    def _gather(self, ids: Sequence[bytes], positions: npt.NDArray[np.int64]) -> Rows:
        wanted = sample_array(ids)
        result: Rows | None = None
        where = self._where[positions]
        for block, members in self._by_block(where):
            rows = self._read(block)
            local = where[members, 1] - block.start
            if not np.array_equal(rows.samples[local], wanted[members]):
                source = self._sources[block.source]
                name = source.unit if isinstance(source, UnitSeal) else source.id
                raise corrupt(f"samples of {name}", self._backend.url, "changed", "the rows indexed", "others")
            if result is None:
                dim, dtype = rows.embeddings.shape[1], rows.embeddings.dtype
                result = Rows(wanted, np.empty((len(ids), dim), dtype), np.empty(len(ids), np.float32))
            if (
                rows.embeddings.shape[1:] != result.embeddings.shape[1:]
                or rows.embeddings.dtype != result.embeddings.dtype
            ):
                raise mixed_forms(self.encoder_id, self._backend.url)
            result.embeddings[members] = rows.embeddings[local]
            result.norms[members] = rows.norms[local]
        if result is None:
            raise ValueError("no rows were asked for")
        return result

    def _by_block(self, where: npt.NDArray[np.int32]) -> list[tuple[_Block, npt.NDArray[np.intp]]]:
        """Group rows by the block that they lie in, so that each block is read once."""
        starts = np.array([self._block_start(int(s), int(r)) for s, r in where], np.int64)
        keys = np.stack([where[:, 0].astype(np.int64), starts], axis=1)
        blocks, inverse = np.unique(keys, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        return [(_Block(int(s), int(b)), np.flatnonzero(inverse == i)) for i, (s, b) in enumerate(blocks)]

    def _block_start(self, source: int, row: int) -> int:
        origin = self._sources[source]
        return 0 if isinstance(origin, UnitSeal) else row - row % origin.chunk_rows

    def _read(self, block: _Block) -> Rows:
        if block in self._blocks:
            self._blocks.move_to_end(block)
            return self._blocks[block]
        source = self._sources[block.source]
        if isinstance(source, UnitSeal):
            read = [source.read(self._backend, name) for name in ("samples", "embeddings", "norms")]
            rows = Rows(*read)
        else:
            chunk = SetChunk(source, block.start // source.chunk_rows)
            rows = Rows(*[chunk.read(self._backend, name) for name in ("samples", "embeddings", "norms")])
        self._blocks[block] = rows
        while len(self._blocks) > _CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return rows


def mixed_forms(encoder_id: str, url: str) -> Corrupt:
    """Return the error for sealed rows of one encoder that have two widths or dtypes, of which one cannot be true."""
    return Corrupt(
        f"The rows of encoder {encoder_id[:12]} in {url} have several widths or dtypes.",
        hint="Somebody wrote them by other means than Cryoprobe: delete the units and sets that are not right.",
        key=encoder_id,
    )


def _halves(samples: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the first and the next 8 bytes of each sample id: sha256, so 128 bits tell any two apart."""
    words = np.ascontiguousarray(samples).view("<u8").astype(np.uint64, copy=False)  # [n, 4]
    return words[:, 0], words[:, 1]
