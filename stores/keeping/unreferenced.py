"""What in a store nobody needs any more. Finds it; deletes nothing.

Kept is whatever a seal names, and whatever a seal that is missing or damaged may have named: all attempts at a set that
is pinned, or has a name, or a manifest that cannot be read, and at a unit whose seal cannot be read. So are units with
rows that no sealed set has, unless they went with a removed set or nothing is left of them; and all that an extractor
with a live claim may want.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from ...errors import CryoprobeError, NotFound
from ...parallel import each
from ...progress import Reporter
from ..backends.backend import Backend, ObjectDetails
from ..format.manifest import Manifest, read_manifest
from ..format.origins import Marks
from ..format.pins_and_removals import REMOVED, Removal, pinned_ids, removals
from ..format.predictions import PREDICTIONS
from ..format.sample_names import parse_key
from ..format.trials import names_predictions
from ..format.unit_seal import UnitSeal, read_unit_seal
from ..keys import id_in, unit_seal_key
from ..store import Store
from ..writing.claims import is_abandoned
from ..writing.fences import FENCES, has_no_data, is_left_behind
from ..writing.row_index import RowIndex
from ..writing.shared_work import SHARED
from .quarantine import QUARANTINE, original_key

IDLE_SECONDS = 900.0
"""A temporary file that has not grown for so long has no writer."""

LONGEST_REMOVAL_SECONDS = 86400.0
"""An announced removal that has not removed its set by then was interrupted."""

Kind = Literal["attempt", "unit", "claim", "temporary file", "quarantine", "name", "predictions", "record"]

AT_ONCE: tuple[Kind, ...] = ("claim", "name", "record")
"""What needs no grace period: nobody reads it."""


@dataclass(frozen=True)
class Unreferenced:
    """Something that nobody needs.

    Parameters
    ----------
    kind : str
        ``attempt``: data that no seal names. ``unit``: a sealed unit whose rows are all in sets, or went with a removed
        one, or of which nothing but the seal is left. ``claim`` of a dead writer. ``temporary file``. ``quarantine``: a
        damaged object that `repair` set aside. ``name`` of a removed set, or of its samples. ``predictions`` that no
        trial names. ``record``: of a removal, a gc run or an extraction of several
        processes that is over.
    place : str
        Its folder, or its key.
    objects : tuple of ObjectDetails
        What is to be deleted; of a unit, the seal first.
    since : float or None
        Since when nobody has needed it, if that is known, by the storage's clock.
    needs : frozenset of str
        Folders of the sets that must still be sealed for it to be deleted.
    dataless : bool
        Whether it is a unit of which nothing but the seal is left.
    size : int
        Bytes that come free with it, once everything that was found is deleted: what is shared on the disk with
        something that stays counts nothing.
    """

    kind: Kind
    place: str
    objects: tuple[ObjectDetails, ...]
    since: float | None = None
    needs: frozenset[str] = frozenset()
    dataless: bool = False
    size: int = 0


def find_unreferenced(store: Store, now: float, reporter: Reporter) -> list[Unreferenced]:
    """Return everything in a store that nobody needs.

    Parameters
    ----------
    store : Store
    now : float
        Time by the storage's clock, in seconds since 1970.
    reporter : Reporter
    """
    survey = _Survey(store, now, reporter)
    found = list(survey.unreferenced())
    staying = survey.files_beside({o.key for w in found for o in w.objects})
    sized = []
    for w in found:
        free = [o for o in w.objects if o.file is None or o.file not in staying]
        staying.update(o.file for o in free if o.file is not None)  # counted once
        sized.append(replace(w, size=sum({o.file or o.key: o.size for o in free}.values())))
    return sized


class _Survey:
    """One look at a store: listings, seals, and what follows from them."""

    def __init__(self, store: Store, now: float, reporter: Reporter) -> None:
        self._store = store
        self._reporter = reporter
        self._backend = backend = store.backend
        self._now = now
        # Data before seals: what is sealed in between is then seen as sealed, and is not looked at any further.
        self._objects = list(backend.inspect())
        self._by_key = {o.key: o for o in self._objects}
        self._removals = removals(backend)
        self._removed = {r.set for r in self._removals.values()}
        self._manifests, self._unreadable_sets = self._read_manifests()
        self._seals, self._unreadable_units = self._read_seals()
        self._claims = [o for o in self._objects if o.key.startswith("claims/")]
        self._dead_claims = [c for c, dead in zip(self._claims, each(self._is_dead, self._claims), strict=True) if dead]
        live = {o.key for o in self._claims} - {o.key for o in self._dead_claims}
        self._live = {(k.split("/")[1], id_in(k)) for k in live if k.count("/") == 2}

    def files_beside(self, keys: Container[str]) -> set[tuple[int, int]]:
        """Return the files on a disk that have a name other than `keys`."""
        return {o.file for o in self._objects if o.file is not None and o.key not in keys}

    def unreferenced(self) -> Iterator[Unreferenced]:
        yield from self._attempts()
        yield from self._units()
        yield from (Unreferenced("claim", o.key, (o,)) for o in self._dead_claims)
        for leftover in self._backend.leftovers():
            if leftover.modified is not None and self._now - leftover.modified >= IDLE_SECONDS:
                yield Unreferenced("temporary file", leftover.key, (leftover,))
        yield from self._quarantined()
        yield from self._names()
        yield from self._predictions()
        yield from self._records()

    def _attempts(self) -> Iterator[Unreferenced]:
        """Yield the attempts that no seal names, nor may have named."""
        sealing = {id_ for _, id_ in self._live}  # the sets that are being sealed, beside claims on samples
        busy = {encoder for encoder, _ in self._live}  # whose units are being written
        needed_sets = {*self._unreadable_sets, *pinned_ids(self._backend)} - self._manifests.keys()
        for info in self._backend.list("names/"):
            set_ = id_in(info.key)
            if set_ not in self._manifests and set_ not in self._removed:
                needed_sets.add(set_)  # a name is removed before its set: this manifest was lost
        announced = self._announced()
        folders: dict[str, list[ObjectDetails]] = {}
        for o in self._objects:
            depth = {"sets": 3, "units": 4}.get(o.key.partition("/")[0])
            if depth is not None and o.key.count("/") >= depth:
                folders.setdefault("/".join(o.key.split("/")[:depth]), []).append(o)
        for folder, objects in folders.items():
            top, *ids = folder.split("/")
            if top == "sets":
                set_, attempt = ids
                manifest = self._manifests.get(set_)
                if set_ in needed_sets or set_ in sealing or (manifest is not None and manifest.attempt == attempt):
                    continue
                yield Unreferenced("attempt", folder, tuple(objects), announced.get(folder))
            else:
                encoder, unit, attempt = ids
                seal = self._seals.get((encoder, unit))
                needed = (encoder, unit) in self._unreadable_units or encoder in busy
                if not needed and (seal is None or seal.attempt != attempt):
                    yield Unreferenced("attempt", folder, tuple(objects))

    def _units(self) -> Iterator[Unreferenced]:
        """Yield sealed units that nobody needs: their rows are found in sets, were to go with one, or are gone."""
        busy, announced = {encoder for encoder, _ in self._live}, self._announced()
        for encoder in sorted({encoder for encoder, _ in self._seals} - busy):
            seals = {unit: seal for (e, unit), seal in self._seals.items() if e == encoder}
            manifests = [m for m in self._manifests.values() if m.encoder_id == encoder and self._is_complete(m)]
            covered = self._covered(encoder, seals, manifests)
            needs = frozenset(m.folder for m in manifests)
            for unit, seal in seals.items():
                key = unit_seal_key(encoder, unit)
                if key not in self._by_key:  # sealed after the listing
                    continue
                data = [self._by_key[k] for k in map(seal.key, seal.objects) if k in self._by_key]
                objects = (self._by_key[key], *data)
                if not data and has_no_data(self._backend, seal.folder):
                    yield Unreferenced("unit", seal.folder, objects, dataless=True)
                elif unit in covered:
                    yield Unreferenced("unit", seal.folder, objects, needs=needs)
                elif seal.folder in announced:
                    yield Unreferenced("unit", seal.folder, objects, announced[seal.folder])

    def _covered(self, encoder: str, seals: dict[str, UnitSeal], manifests: list[Manifest]) -> set[str]:
        """Return the units whose rows are all in sets that have all their objects, and are trusted."""
        marks = Marks(self._backend, f"manifests/{encoder}/")
        manifests = [m for m in manifests if marks.of(m.key, m.checksum) is None]
        covered = {unit for m in manifests for unit in m.units if unit in seals}
        rest = [seal for unit, seal in seals.items() if unit not in covered]
        if not rest or not manifests:
            return covered
        with suppress(CryoprobeError):  # what cannot be read covers nothing, and may have to be mended by units
            index = RowIndex(self._backend, encoder, units=False, only=frozenset(m.key for m in manifests))
            for seal in rest:
                with suppress(CryoprobeError):
                    if not index.missing([s.tobytes() for s in seal.read(self._backend, "samples")]):
                        covered.add(seal.unit)
        return covered

    def _is_complete(self, manifest: Manifest) -> bool:
        keys = {f"{manifest.folder}/{key}": record.size for key, record in manifest.objects.items()}
        return all(key in self._by_key and self._by_key[key].size == size for key, size in keys.items())

    def _quarantined(self) -> Iterator[Unreferenced]:
        """Yield what was set aside, unless the object in its place is still missing though a seal promises it."""
        promised = {f"{m.folder}/{key}" for m in self._manifests.values() for key in m.objects}
        promised |= {seal.key(name) for seal in self._seals.values() for name in seal.objects}
        for o in self._objects:
            if o.key.startswith(QUARANTINE):
                original = original_key(o.key)
                if original not in promised or original in self._by_key:
                    yield Unreferenced("quarantine", o.key, (o,))

    def _names(self) -> Iterator[Unreferenced]:
        """Yield names that were given to a set, or to its samples, while it was being removed."""
        gone = self._removed - self._manifests.keys() - self._unreadable_sets
        for o in self._objects:
            called = parse_key(o.key)
            if (o.key.startswith("names/") and id_in(o.key) in gone) or (called is not None and called.set in gone):
                yield Unreferenced("name", o.key, (o,))

    def _predictions(self) -> Iterator[Unreferenced]:
        """Yield predictions that no trial names: it was removed, run again, or has not been stored yet."""
        kept = [o for o in self._objects if o.key.startswith(PREDICTIONS)]
        named = each(lambda o: names_predictions(self._backend, o.key), kept)
        yield from (Unreferenced("predictions", o.key, (o,)) for o, n in zip(kept, named, strict=True) if not n)

    def _records(self) -> Iterator[Unreferenced]:
        for o in self._objects:
            is_over = o.key.startswith(FENCES) and is_left_behind(self._backend, o, self._now)
            if is_over or (o.key.startswith(SHARED) and self._is_old(o)):
                yield Unreferenced("record", o.key, (o,))
            elif o.key.startswith(REMOVED):
                removal = self._removals.get(o.key)
                manifest = None if removal is None else self._manifests.get(removal.set)
                # Interrupted, or just under way, while the set is there still. Over when nothing of it is left.
                under_way = removal is None or (manifest is not None and manifest.attempt == removal.attempt)
                if self._is_old(o) if under_way else removal is not None and not is_left(self._backend, removal):
                    yield Unreferenced("record", o.key, (o,))

    def _announced(self) -> dict[str, float | None]:
        """Return the folders of removed sets, and of units that go with them, and when that was announced.

        Units go only with a set that is not there again: it may need them.
        """
        announced: dict[str, float | None] = {}
        for key, removal in self._removals.items():
            there = removal.set in self._manifests or removal.set in self._unreadable_sets
            record = self._by_key.get(key)
            for folder in removal.folders - removal.unit_folders if there else removal.folders:
                times = [announced.get(folder), None if record is None else record.modified]
                announced[folder] = max((t for t in times if t is not None), default=None)
        return announced

    def _is_old(self, o: ObjectDetails) -> bool:
        return o.modified is not None and self._now - o.modified >= LONGEST_REMOVAL_SECONDS

    def _read_manifests(self) -> tuple[dict[str, Manifest], set[str]]:
        """Return the manifests by set, and the sets whose manifest cannot be read."""

        def read(key: str) -> Manifest | str | None:
            try:
                return read_manifest(self._backend, key)
            except NotFound:
                return None
            except CryoprobeError:
                return id_in(key)

        keys = self._store.set_ids().values()
        found = list(self._reporter.track(each(read, keys), "Reading manifests", len(keys)))
        return {m.set: m for m in found if isinstance(m, Manifest)}, {m for m in found if isinstance(m, str)}

    def _read_seals(self) -> tuple[dict[tuple[str, str], UnitSeal], set[tuple[str, str]]]:
        """Return the unit seals by encoder and unit, and those that cannot be read."""

        def read(info: tuple[str, int]) -> UnitSeal | tuple[str, str] | None:
            encoder, unit = info[0].split("/")[1], id_in(info[0])
            try:
                return read_unit_seal(self._backend, encoder, unit)
            except CryoprobeError:
                return encoder, unit

        seals = list(self._backend.list("unit-seals/"))
        found = list(self._reporter.track(each(read, seals), "Reading unit seals", len(seals)))
        sealed = {(s.encoder, s.unit): s for s in found if isinstance(s, UnitSeal)}
        return sealed, {s for s in found if isinstance(s, tuple)}

    def _is_dead(self, claim: ObjectDetails) -> bool:
        try:
            content = self._backend.get(claim.key)
        except NotFound:
            return False  # given back since the listing
        return is_abandoned(content, None if claim.modified is None else self._now - claim.modified)


def standings(backend: Backend, folders: Iterable[str]) -> dict[str, bool | None]:
    """Read seals anew; return for each of `folders` whether one names it, None where its seal cannot be read."""
    listed = list(folders)
    has_sets = any(folder.startswith("sets/") for folder in listed)
    manifests = {id_in(key): key for key in backend.keys("manifests/")} if has_sets else {}

    def is_sealed(folder: str) -> bool | None:
        top, *ids = folder.split("/")
        try:
            if top == "units":
                seal = read_unit_seal(backend, ids[0], ids[1])
                return seal is not None and seal.attempt == ids[2]
            key = manifests.get(ids[0])
            return key is not None and read_manifest(backend, key).attempt == ids[1]
        except NotFound:  # removed since the listing
            return False
        except CryoprobeError:
            return None

    return dict(zip(listed, each(is_sealed, listed), strict=True))


def is_left(backend: Backend, removal: Removal) -> bool:
    """Return whether anything is left of what went with a set."""
    return any(not has_no_data(backend, folder) for folder in removal.folders) or any(
        (seal := _seal_of(backend, removal, unit)) is not None and seal.attempt == attempt
        for unit, attempt in removal.units.items()
    )


def _seal_of(backend: Backend, removal: Removal, unit: str) -> UnitSeal | None:
    with suppress(CryoprobeError):
        return read_unit_seal(backend, removal.encoder, unit)
    return None
