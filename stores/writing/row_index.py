"""Which rows of an encoder a store already has, and where: the index that lets nothing be encoded twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...arrays import Indices, Mask, SampleIds
from ...errors import Corrupt, NotFound
from ...id_arrays import AnyIds
from ...parallel import each
from ..backends.backend import Backend
from ..feature_set import FeatureSet
from ..format.manifest import Manifest, find_manifest, read_manifest
from ..format.origins import Marks, Origin, origin_of
from ..format.unit_seal import UnitSeal, read_unit_seal
from ..keys import id_in, unit_seal_key
from .fences import has_no_data, is_fenced
from .row_sources import RowReader, SetChunk
from .row_table import RowTable
from .units import Rows

_Seal = TypeVar("_Seal", UnitSeal, Manifest)

_BLOCK_ROWS = 1 << 20
"""Rows of a set of which the sample ids are read and taken in at once."""


class RowsRemoved(NotFound):
    """Rows that an index knew are no longer in the store: their set was removed, and its data collected."""


class RowSource(NamedTuple):
    """Where rows are copied from.

    Parameters
    ----------
    id : str
        Of the set or unit.
    is_set : bool
    rows : int
    made_by : dict
        ``versions`` and ``device``, as far as they are known.
    """

    id: str
    is_set: bool
    rows: int
    made_by: dict[str, Any]


class RowIndex:
    """Rows of one encoder in sealed units and sealed sets, by sample id.

    What came from elsewhere and is not trusted is left out: its rows do not stand in for one's own.

    Memory is 24 bytes a row, and some 20 more while rows are taken in, plus a few chunks while rows are gathered. While
    one thread asks what is missing, or gathers rows, another may add.

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
        self._table = RowTable()
        self._lock = threading.RLock()
        self._reader = RowReader(backend, encoder_id)
        self.refresh()

    def __len__(self) -> int:
        return len(self._table)

    @property
    def dim(self) -> int | None:
        """Length of an embedding; None if there is no row."""
        first = next(iter(self._sources), None)
        return None if first is None else first.dim

    def refresh(self) -> None:
        """Take in what others have sealed since the last look."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        listed = [key for key in self._backend.keys(f"manifests/{self.encoder_id}/") if self._is_unknown(key)]
        listed = [key for key in listed if self._only is None or key in self._only]
        manifests = [found for key in listed if (found := self._read_manifest(key)) is not None]
        for manifest in self._trusted(f"manifests/{self.encoder_id}/", manifests):
            feature_set = FeatureSet(self._backend, manifest)
            if self._take_in(feature_set, _sample_blocks(feature_set)):
                self._seen.update(unit_seal_key(self.encoder_id, u) for u in manifest.units)
                self._seen.add(manifest.key)
        if not self._with_units:
            return
        listed = [key for key in self._backend.keys(f"unit-seals/{self.encoder_id}/") if self._is_unknown(key)]
        seals = [found for found in each(self._read_seal, listed) if found is not None]
        trusted = list(self._trusted(f"unit-seals/{self.encoder_id}/", seals))
        for seal, samples in zip(trusted, each(self._read_samples, trusted), strict=True):
            if samples is not None:
                self._add(seal, samples)

    def _is_unknown(self, key: str) -> bool:
        return key not in self._seen and key not in self._left_out

    def _trusted(self, prefix: str, found: Sequence[_Seal]) -> Iterator[_Seal]:
        """Yield the seals of those sets or units that are trusted, and count the rows of the others."""
        marks = Marks(self._backend, prefix) if found else None  # now: they were marked before they could be read
        for seal in found:
            key = unit_seal_key(seal.encoder, seal.unit) if isinstance(seal, UnitSeal) else seal.key
            origin = marks.of(key, seal.checksum) if marks is not None else None
            if origin is None:
                yield seal
            else:
                self._left_out.add(key)
                if isinstance(seal, Manifest):
                    self._counted.update(seal.units)
                if isinstance(seal, Manifest) or seal.unit not in self._counted:
                    self.unused[origin] = self.unused.get(origin, 0) + seal.rows

    def add(self, seal: UnitSeal, samples: SampleIds | None = None) -> None:
        """Take in one sealed unit; raise `RowsRemoved` where it has been removed meanwhile.

        Who knows its sample ids, uint8 [n, 32], spares reading them.
        """
        try:
            samples = seal.read(self._backend, "samples") if samples is None else samples
        except Corrupt:
            if self._is_gone(seal):
                raise self._rows_removed() from None
            raise
        with self._lock:
            self._add(seal, samples)

    def forget_if_gone(self, source: UnitSeal | SetChunk | FeatureSet) -> bool:
        """Forget the rows of a unit or set if it is no longer sealed; return whether that is so."""
        origin = source.feature_set if isinstance(source, SetChunk) else source
        if not self._is_gone(origin):
            return False
        with self._lock:
            self._forget(origin)
        return True

    def _forget(self, origin: UnitSeal | FeatureSet) -> None:
        self._has_forgotten = True
        for number in [n for n, s in enumerate(self._sources) if s is origin]:  # none of a unit that a set stands for
            self._table.remove(number)
            self._reader.forget(number)
        if isinstance(origin, UnitSeal):
            self._units.pop(origin.unit, None)
            self._seen.discard(unit_seal_key(origin.encoder, origin.unit))
        else:
            units = (unit_seal_key(self.encoder_id, u) for u in origin.manifest.units if u not in self._units)
            self._seen.difference_update({origin.manifest.key, *units})

    def _is_gone(self, origin: UnitSeal | FeatureSet) -> bool:
        """Return whether a unit or set, whose data cannot be read, has been removed or replaced, or has no data.

        Or soon will be: its writer sealed what a gc run is deleting, and is about to find that out (see `fences`).
        Meanwhile a part of the data is there, and the set is left out from now on.
        """
        read: UnitSeal | Manifest
        now: UnitSeal | Manifest | None
        if isinstance(origin, UnitSeal):
            read, now = origin, read_unit_seal(self._backend, origin.encoder, origin.unit)
        else:
            read, now = origin.manifest, find_manifest(self._backend, self.encoder_id, origin.id)
        if now is None or now.attempt != read.attempt:
            return True
        # A cache may have the sample ids of a set without any data: it would be taken in, and found gone, for ever.
        if has_no_data(self._backend, now.folder) or is_fenced(self._backend, now.folder):
            if isinstance(origin, UnitSeal):
                self._left_out.add(unit_seal_key(origin.encoder, origin.unit))
            else:
                self._left_out.add(origin.manifest.key)
            return True
        return False

    def _rows_removed(self) -> RowsRemoved:
        return RowsRemoved(
            f"Rows were removed from {self._backend.url} while they were used.",
            hint="Run the same command again.",
            key=self.encoder_id,
        )

    def _read_manifest(self, key: str) -> Manifest | None:
        try:
            return read_manifest(self._backend, key)
        except NotFound:  # removed since the listing
            return None
        except Corrupt:
            if origin_of(self._backend, key, "") is not None:  # in a layer that is not trusted
                return None
            raise

    def _read_seal(self, key: str) -> UnitSeal | None:
        try:
            return read_unit_seal(self._backend, self.encoder_id, id_in(key))
        except Corrupt:
            if origin_of(self._backend, key, "") is not None:  # in a layer that is not trusted
                return None
            raise

    def _read_samples(self, seal: UnitSeal) -> SampleIds | None:
        """Return the sample ids of a unit; None where it has been removed."""
        try:
            return seal.read(self._backend, "samples")
        except Corrupt:
            if self._is_gone(seal):
                return None
            raise

    def _add(self, seal: UnitSeal, samples: SampleIds) -> None:
        self._seen.add(unit_seal_key(seal.encoder, seal.unit))
        self._units[seal.unit] = seal
        self._take_in(seal, [samples])

    def _take_in(self, source: UnitSeal | FeatureSet, samples: Iterable[SampleIds]) -> bool:
        """Take in the rows of a set or unit, whose sample ids come in blocks; return False if it has been removed."""
        number, first = len(self._sources), 0
        try:
            for block in samples:
                self._table.insert(number, block, first)
                first += len(block)
        except Corrupt:
            self._table.remove(number)
            if self._is_gone(source):
                return False
            raise
        self._sources.append(source)
        return True

    def find(self, ids: AnyIds) -> Indices:
        """Return for each sample id the position of its row in this index, -1 where the store has none.

        Positions hold until the next `add` or `refresh`.
        """
        with self._lock:
            return self._table.find(ids)

    def has(self, ids: AnyIds) -> Mask:
        """Return whether each sample has a row, bool [n]."""
        return self.find(ids) >= 0

    def missing(self, ids: Sequence[bytes]) -> list[bytes]:
        """Return those of `ids` that have no row, in order."""
        return [i for i, at in zip(ids, self.find(ids), strict=True) if at < 0]

    def unit(self, unit: str) -> UnitSeal | None:
        """Return the seal of a unit, if it is sealed and trusted."""
        if unit not in self._units:
            seal = read_unit_seal(self._backend, self.encoder_id, unit)
            if seal is None:
                return None
            key = unit_seal_key(self.encoder_id, unit)
            if origin_of(self._backend, key, seal.checksum) is not None:
                return None
            self._units[unit] = seal
        return self._units[unit]

    def chunk(self, ids: AnyIds) -> SetChunk | None:
        """Return the chunk of a sealed set whose rows are exactly `ids`, if there is one."""
        with self._lock:
            positions = self.find(ids)
            if (positions < 0).any():
                return None
            where = self._table.where(positions)  # [n, 2]
        origin, row = self._sources[int(where[0, 0])], int(where[0, 1])
        if isinstance(origin, UnitSeal) or row % origin.chunk_rows or len(ids) != origin.chunk_rows:
            return None
        if (where[:, 0] != where[0, 0]).any() or (np.diff(where[:, 1]) != 1).any():
            return None
        return SetChunk(origin, row // origin.chunk_rows)

    def sources(self, ids: AnyIds) -> list[RowSource]:
        """Return the sets and units that hold the rows of `ids`, those with the most rows first; a row counts once."""
        counts: Counter[int] = Counter()
        with self._lock:
            counted = np.zeros(len(self._table), bool)
            for start in range(0, len(ids), _BLOCK_ROWS):
                positions = np.unique(self.find(ids[start : start + _BLOCK_ROWS]))
                positions = positions[positions >= 0]
                positions = positions[~counted[positions]]
                counted[positions] = True
                numbers, rows = np.unique(self._table.where(positions)[:, 0], return_counts=True)
                counts.update(dict(zip(numbers.tolist(), rows.tolist(), strict=True)))
        found = [_source(self._sources[n], counts[n]) for n in sorted(counts)]
        return sorted(found, key=lambda source: -source.rows)

    def gather(self, ids: AnyIds) -> Rows:
        """Copy the rows of `ids`, in that order, from wherever they are; every chunk read is verified.

        Raises
        ------
        RowsRemoved
            If rows that were indexed are no longer in the store, nor elsewhere in it.
        Corrupt
            If a chunk is damaged, or its row is another sample's.
        KeyError
            If the store has no row for an id; ask `missing` first.
        """
        while True:
            with self._lock:  # what the rows are copied from is read without it: several threads may gather
                positions = self.find(ids)
                if (positions < 0).any():
                    if self._has_forgotten:
                        raise self._rows_removed()
                    raise KeyError(bytes(ids[int(np.argmin(positions))]).hex())
                where = self._table.where(positions)
            try:
                return self._reader.copy(ids, self._sources, where)
            except Corrupt:
                # Who removes rows unseals them first, so that damage can be told from what was removed on purpose.
                gone = [s for s in {int(n) for n in where[:, 0]} if self.forget_if_gone(self._sources[s])]
                if not gone:
                    raise
                self.refresh()  # a unit is removed when all its rows are in sets


def _sample_blocks(feature_set: FeatureSet) -> Iterator[SampleIds]:
    """Yield the sample ids of a set, whole chunks at a time."""
    step = max(1, _BLOCK_ROWS // feature_set.chunk_rows) * feature_set.chunk_rows
    for start in range(0, feature_set.rows, step):
        yield feature_set.sample_ids(slice(start, start + step))


def _source(origin: UnitSeal | FeatureSet, rows: int) -> RowSource:
    if isinstance(origin, UnitSeal):
        return RowSource(origin.unit, False, rows, origin.made_by or {})
    made = origin.manifest.provenance
    known = {"versions": made.versions, "device": made.device}
    return RowSource(origin.id, True, rows, {key: value for key, value in known.items() if value is not None})
