"""Which rows of an encoder a store already has, and where: the index that lets nothing be encoded twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import Corrupt
from . import layout
from .backend import Backend
from .chunks import corrupt
from .feature_set import FeatureSet
from .manifest import read_manifest
from .parallel import each
from .units import Rows, UnitSeal, read_seal, sample_array

_CACHED_BLOCKS = 8


@dataclass(frozen=True)
class _Block:
    """Rows `start` … of a source: a whole unit, or one chunk of a set."""

    source: int
    start: int


class RowIndex:
    """Rows of one encoder in sealed units and sealed sets, by sample id.

    Memory is 24 bytes a row, plus a few chunks while rows are gathered.

    Parameters
    ----------
    backend : Backend
    encoder_id : str
    """

    def __init__(self, backend: Backend, encoder_id: str) -> None:
        self.encoder_id = encoder_id
        self._backend = backend
        self._sources: list[UnitSeal | FeatureSet] = []
        self._units: dict[str, UnitSeal] = {}
        self._seen: set[str] = set()
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
        for info in list(self._backend.list(f"manifests/{self.encoder_id}/")):
            if info.key not in self._seen:
                feature_set = FeatureSet(self._backend, read_manifest(self._backend, info.key))
                self._seen.update(layout.unit_seal_key(self.encoder_id, u) for u in feature_set.manifest.units)
                self._take_in(feature_set, feature_set.samples())
                self._seen.add(info.key)
        listed = self._backend.list(f"unit-seals/{self.encoder_id}/")
        new = [layout.stem(info.key) for info in listed if info.key not in self._seen]
        for found in each(self._read_unit, new):
            if found is not None:
                self._add(*found)

    def add(self, seal: UnitSeal) -> None:
        """Take in one sealed unit."""
        self._add(seal, seal.read(self._backend, "samples"))

    def _read_unit(self, unit: str) -> tuple[UnitSeal, npt.NDArray[np.uint8]] | None:
        seal = read_seal(self._backend, self.encoder_id, unit)
        return None if seal is None else (seal, seal.read(self._backend, "samples"))

    def _add(self, seal: UnitSeal, samples: npt.NDArray[np.uint8]) -> None:
        self._seen.add(layout.unit_seal_key(seal.encoder, seal.unit))
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
        """Return the seal of a unit, if it is sealed."""
        if unit not in self._units:
            seal = read_seal(self._backend, self.encoder_id, unit)
            if seal is None:
                return None
            self._units[unit] = seal
        return self._units[unit]

    def gather(self, ids: Sequence[bytes]) -> Rows:
        """Copy the rows of `ids`, in that order, from wherever they are; every chunk read is verified.

        Raises
        ------
        Corrupt
            If a chunk is damaged, or its row is another sample's.
        KeyError
            If the store has no row for an id; ask `missing` first.
        """
        positions = self.find(ids)
        if (positions < 0).any():
            raise KeyError(ids[int(np.argmin(positions))].hex())
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
            part = slice(block.start, block.start + source.chunk_rows)
            embeddings, _ = source.load(part, source.manifest.dtype)
            rows = Rows(source.samples(part), embeddings, source.norms(part))
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
