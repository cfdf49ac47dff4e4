"""What gc finds, what it leaves alone, and when it deletes; by one clock, whatever that says."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from support.data import put_set
from support.interrupting import Interrupting
from support.store_data import (
    ENCODER_ID,
    class_labels,
    flip,
    keys,
    make_rows,
    sample_ids,
    seal,
    sealed_set,
    write_units,
)

from cryoprobe.errors import BadInput, Conflict, Corrupt, NotFound
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.format.unit_seal import UnitSeal, read_unit_seal
from cryoprobe.stores.keeping.gc import CANDIDATES, GRACE_SECONDS, Collected, gc
from cryoprobe.stores.keeping.pins import pin, pins
from cryoprobe.stores.keeping.quarantine import set_aside
from cryoprobe.stores.keeping.removal import rm
from cryoprobe.stores.keeping.usage import du
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.keys import unit_seal_key
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.claims import SILENCE_SECONDS, Claims
from cryoprobe.stores.writing.row_index import RowIndex
from cryoprobe.stores.writing.seals import stays

HOUR = 3600.0
IDS = sample_ids(20)  # chunks of 8: two whole ones, which are units too, and an edge of 4


class Clock:
    """The storage's own clock."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    backend = MemoryBackend(clock=clock)
    write_marker(backend)
    return Store(backend)


def memory_store() -> Store:
    backend = MemoryBackend()
    write_marker(backend)
    return Store(backend)


def places(found: Collected, kind: str) -> set[str]:
    return {g.place for g in found.garbage if g.kind == kind}


def abandon(store: Store) -> list[str]:
    """Leave an attempt at a set and one at a unit; return their folders."""
    folders = [f"sets/{'1' * 64}/aaaaaaaaaaaa", f"units/{ENCODER_ID}/{'2' * 64}/bbbbbbbbbbbb"]
    store.backend.put(f"{folders[0]}/zarr.json", b"{}")
    store.backend.put(f"{folders[0]}/norms/c/0", b"half")
    store.backend.put(f"{folders[1]}/norms", b"half")
    return folders


def assert_readable(store: Store, found: FeatureSet) -> None:
    np.testing.assert_array_equal(store.open(found.id).load()[0], make_rows(IDS).embeddings.astype(np.float32))
    assert not verify(store, data=True).damages


class TestGrace:
    def test_a_dry_run_writes_and_deletes_nothing(self, store: Store) -> None:
        folders = abandon(store)
        before = keys(store.backend)
        found = gc(store, grace=0)
        assert places(found, "attempt") == set(folders)
        assert (found.delete, found.freed) == (False, 0)
        assert keys(store.backend) == before

    def test_what_is_found_is_deleted_after_the_grace_period(self, store: Store, clock: Clock) -> None:
        folders = abandon(store)
        first = gc(store, delete=True)
        assert {g.place: g.waiting for g in first.garbage} == dict.fromkeys(folders, GRACE_SECONDS)
        clock.now += 23 * HOUR
        second = gc(store, delete=True)
        assert {g.waiting for g in second.garbage} == {HOUR}
        assert not any(g.deleted for g in second.garbage)
        clock.now += HOUR
        third = gc(store, delete=True)
        assert all(g.deleted for g in third.garbage)
        assert third.freed == 2 + 4 + 4
        assert not keys(store.backend, "sets/")
        assert not keys(store.backend, "units/")
        assert not gc(store).garbage

    def test_without_a_grace_period_it_is_deleted_at_once(self, store: Store) -> None:
        abandon(store)
        assert all(g.deleted for g in gc(store, delete=True, grace=0).garbage)
        assert not keys(store.backend, "sets/")

    def test_the_period_starts_anew_for_what_was_needed_in_between(self, store: Store, clock: Clock) -> None:
        folders = abandon(store)
        gc(store, delete=True)
        clock.now += 30 * HOUR
        store.backend.put(f"pins/{'1' * 64}.json", b"{}")
        assert places(gc(store, delete=True), "attempt") == {folders[1]}
        store.backend.delete(f"pins/{'1' * 64}.json")
        assert {g.waiting for g in gc(store, delete=True).garbage} == {GRACE_SECONDS}

    def test_of_a_removed_set_the_period_starts_when_it_is_removed(self, store: Store, clock: Clock) -> None:
        found = sealed_set(store.backend, IDS)
        gc(store, delete=True)
        clock.now += 100 * HOUR
        rm(store, [found.id])
        clock.now += HOUR
        waiting = {g.place: g.waiting for g in gc(store, delete=True).garbage if g.kind in ("attempt", "unit")}
        assert set(waiting) > {found.manifest.folder}
        assert set(waiting.values()) == {GRACE_SECONDS - HOUR}

    def test_a_clock_that_is_put_back_only_lengthens_it(self, store: Store, clock: Clock) -> None:
        abandon(store)
        gc(store, delete=True)
        clock.now -= HOUR / 2
        assert {g.waiting for g in gc(store, delete=True).garbage} == {GRACE_SECONDS + HOUR / 2}

    def test_times_of_other_storage_do_not_count(self, store: Store, clock: Clock) -> None:
        """A store is copied, with its record, to storage whose clock is days ahead."""
        abandon(store)
        gc(store, delete=True)
        clock.now += 72 * HOUR
        store.backend.put(CANDIDATES, store.backend.get(CANDIDATES))
        assert not any(g.deleted for g in gc(store, delete=True).garbage)

    @pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]"])
    def test_a_damaged_record_starts_it_anew(self, store: Store, clock: Clock, content: bytes) -> None:
        abandon(store)
        gc(store, delete=True)
        clock.now += 30 * HOUR
        store.backend.put(CANDIDATES, content)
        assert {g.waiting for g in gc(store, delete=True).garbage} == {GRACE_SECONDS}

    @pytest.mark.parametrize("grace", [-1, float("nan")])
    def test_a_period_that_is_none_is_refused(self, store: Store, grace: float) -> None:
        with pytest.raises(BadInput):
            gc(store, grace=grace)

    def test_by_the_clock_of_a_folder_and_of_a_bucket(self, tmp_path: Path, s3: str) -> None:
        for place in (tmp_path / "store", s3):
            real = open_store(place, create=True)
            found = sealed_set(real.backend, IDS)
            abandon(real)
            waiting = [g.waiting for g in gc(real, delete=True).garbage]
            assert len(waiting) == 2 + 3
            assert all(GRACE_SECONDS - 60 <= w <= GRACE_SECONDS for w in waiting)
            assert all(g.deleted for g in gc(real, delete=True, grace=0).garbage)
            assert_readable(real, found)
            assert not keys(real.backend, "units/")
            assert not gc(real).garbage
        assert real.url.startswith("s3://")


class TestWhatIsNeededStays:
    def test_units_whose_rows_no_set_has(self, store: Store) -> None:
        write_units(store.backend, IDS, 8)
        assert not gc(store, delete=True, grace=0).garbage
        found, _ = seal(store.backend, IDS)
        assert len(places(gc(store, delete=True, grace=0), "unit")) == 3
        assert_readable(store, FeatureSet(store.backend, found))

    def test_units_that_a_set_has_in_other_chunks(self, store: Store) -> None:
        write_units(store.backend, IDS, 5)
        (half,) = write_units(store.backend, [*IDS[:2], *sample_ids(3, seed=7)], 5)
        found, _ = seal(store.backend, IDS, chunk_rows=8)
        collected = places(gc(store, delete=True, grace=0), "unit")
        assert len(collected) == 4
        assert half.folder not in collected
        assert_readable(store, FeatureSet(store.backend, found))

    def test_units_of_sets_that_lack_an_object(self, store: Store) -> None:
        found = sealed_set(store.backend, IDS)
        store.backend.delete(f"{found.manifest.folder}/norms/c/0")
        assert not gc(store, delete=True, grace=0).garbage

    def test_units_of_an_encoder_that_is_at_work(self, store: Store) -> None:
        sealed_set(store.backend, IDS)
        with Claims(store.backend) as claims:
            assert claims.take(ENCODER_ID, "3" * 64)
            assert not gc(store, delete=True, grace=0).garbage
        assert len(places(gc(store), "unit")) == 3

    def test_attempts_at_a_unit_that_somebody_has_claimed(self, store: Store) -> None:
        abandoned, _ = abandon(store)
        with Claims(store.backend) as claims:
            assert claims.take(ENCODER_ID, "2" * 64)
            assert places(gc(store, delete=True, grace=0), "attempt") == {abandoned}

    def test_attempts_at_a_set_that_is_being_sealed(self, store: Store) -> None:
        write_units(store.backend, IDS, 8)
        collected = []

        class Beside(Interrupting):
            def put_if_absent(self, key: str, data: bytes) -> bool:
                if key.startswith("manifests/"):
                    collected.extend(gc(store, delete=True, grace=0).garbage)
                return super().put_if_absent(key, data)

        seal(Beside(store.backend), IDS)
        assert collected == []
        assert not keys(store.backend, "claims/")

    def test_attempts_at_a_set_or_unit_whose_seal_is_damaged(self, store: Store) -> None:
        found = sealed_set(store.backend, IDS)
        seals = [found.manifest.key, *keys(store.backend, "unit-seals/")]
        for key in seals:
            store.backend.put(key, flip(store.backend.get(key), 300))
        data = keys(store.backend, "sets/"), keys(store.backend, "units/")
        assert not gc(store, delete=True, grace=0).garbage
        assert (keys(store.backend, "sets/"), keys(store.backend, "units/")) == data

    @pytest.mark.parametrize("by", ["name", "pin"])
    def test_the_data_of_a_set_whose_manifest_was_lost(self, store: Store, by: str) -> None:
        x = np.random.default_rng(0).normal(size=(6, 4))
        found = put_set(store, x, np.arange(6) % 2, classes=("a", "b"), split="train")
        if by == "pin":
            pin(store, found.id)
            store.backend.delete(keys(store.backend, "names/")[0])
        manifest = store.backend.get(found.manifest.key)
        store.backend.delete(found.manifest.key)
        gc(store, delete=True, grace=0)
        store.backend.put(found.manifest.key, manifest)
        np.testing.assert_array_equal(store.open(found.id).load()[0], found.load()[0])

    def test_trials_and_objects_that_are_not_known_here(self, store: Store) -> None:
        store.record_trial("t" * 8, {"trial": "t" * 8})
        store.backend.put("signatures/from-a-newer-version.json", b"{}")
        assert not gc(store, delete=True, grace=0).garbage
        assert store.trial("t" * 8) is not None

    def test_a_second_set_of_the_same_rows(self, store: Store) -> None:
        one = sealed_set(store.backend, IDS)
        two, _ = seal(store.backend, IDS, labels=class_labels(20) * 0)
        rm(store, [one.id], now=True)
        assert set(store.set_ids()) == {two.set}
        assert_readable(store, FeatureSet(store.backend, two))

    def test_units_whose_rows_are_in_a_set_that_lacks_an_object_and_not_in_another(self, store: Store) -> None:
        lacking, other = sealed_set(store.backend, IDS[:8]), sealed_set(store.backend, IDS[8:])
        write_units(store.backend, IDS[:8], 4)  # of other sizes, so that neither manifest names them
        gc(store, delete=True, grace=0)
        write_units(store.backend, IDS[:8], 4)
        store.backend.delete(f"{lacking.manifest.folder}/norms/c/0")
        assert not places(gc(store, delete=True, grace=0), "unit")
        index = RowIndex(store.backend, ENCODER_ID)
        np.testing.assert_array_equal(index.gather(IDS[8:]).norms, make_rows(IDS[8:]).norms)
        assert len(keys(store.backend, "unit-seals/")) == 2
        np.testing.assert_array_equal(other.load()[0], make_rows(IDS[8:]).embeddings.astype(np.float32))


class TestUnitsThatAreSealedMeanwhile:
    @pytest.mark.parametrize("grace", [0.0, GRACE_SECONDS])
    @pytest.mark.parametrize("now", [True, False])
    def test_d3_gc_eats_sealed_units(self, store: Store, clock: Clock, grace: float, now: bool) -> None:
        """A set is removed, extracted again and killed half way: what is sealed by then is nobody's to delete."""
        found = sealed_set(store.backend, IDS)
        rm(store, [found.id], now=now)
        if not now:
            gc(store, delete=True, grace=0)
        assert keys(store.backend, "gc/removed/") == [] or not now
        half = write_units(store.backend, IDS[:16], 8)
        clock.now += 25 * HOUR
        for _ in range(2):
            gc(store, delete=True, grace=grace)
            clock.now += 25 * HOUR
        assert [read_unit_seal(store.backend, ENCODER_ID, u.unit) for u in half] == half
        index = RowIndex(store.backend, ENCODER_ID)
        np.testing.assert_array_equal(index.gather(IDS[:16]).embeddings, make_rows(IDS[:16]).embeddings)
        assert not keys(store.backend, "gc/removed/")

    @pytest.mark.parametrize("grace", [0.0, 1e-3])
    @pytest.mark.parametrize("of", ["a set", "a removed set"])
    def test_at_any_instant_of_gc(self, of: str, grace: float) -> None:
        """They are not in the listing, or half of them: by the seals that are read afterwards they seem to be waste."""
        for instant in range(1, 100):
            store = memory_store()
            found = sealed_set(store.backend, IDS)
            gc(store, delete=True, grace=0)
            if of == "a removed set":
                rm(store, [found.id], now=True)
            sealed: list[UnitSeal] = []

            def write(store: Store = store, sealed: list[UnitSeal] = sealed) -> None:
                sealed.extend(write_units(store.backend, IDS, 8))

            view = Interrupting(store.backend, pause_at=instant, meanwhile=write)
            collected = gc(Store(view), delete=True, grace=grace)
            if view.operations < instant:
                break
            deleted = {g.place for g in collected.garbage if g.deleted}
            for unit in sealed:
                assert (unit.folder in deleted) == (read_unit_seal(store.backend, ENCODER_ID, unit.unit) is None)
                assert unit.folder not in deleted or of == "a set"
            assert not verify(store, data=True).damages
        assert 10 < instant < 99

    def test_by_two_collectors_and_a_writer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between a collector's look and its deletion another one deletes the same unit, and a writer seals it anew."""
        waited = 0
        for instant in range(1, 200):
            store = memory_store()
            rm(store, [sealed_set(store.backend, IDS).id])
            paused = threading.Event()

            def pause(seconds: float, paused: threading.Event = paused) -> None:
                paused.set()
                sleep(seconds / 100)

            monkeypatch.setattr("cryoprobe.stores.writing.fences.time.sleep", pause)
            with ThreadPoolExecutor(1) as pool:
                writing: list[Future[list[UnitSeal]]] = []

                def meanwhile(store: Store = store, paused: threading.Event = paused) -> None:
                    gc(store, delete=True, grace=0)
                    writing.append(pool.submit(write_units, store.backend, IDS, 8))  # noqa: B023
                    writing[0].add_done_callback(lambda _: paused.set())  # noqa: B023
                    assert paused.wait(60)  # it has sealed everything, or waits until the first collector is done

                view = Interrupting(store.backend, pause_at=instant, meanwhile=meanwhile)
                gc(Store(view), delete=True, grace=0)
                waited += bool(writing) and not writing[0].done()
                for unit in writing[0].result(60) if writing else ():
                    assert read_unit_seal(store.backend, ENCODER_ID, unit.unit) == unit
                    key = unit_seal_key(ENCODER_ID, unit.unit)
                    assert stays(
                        store.backend, key, unit, partial(read_unit_seal, store.backend, ENCODER_ID, unit.unit)
                    )
            if view.operations < instant:
                break
        assert 10 < instant < 199
        assert waited


class TestWaste:
    def test_claims_of_the_dead_and_of_the_silent(self, store: Store, clock: Clock) -> None:
        silent = f"claims/{ENCODER_ID}/{'4' * 64}.1.json"
        store.backend.put(silent, b'{"beat":1,"machine":"another","owner":"x","pid":1,"start":"1"}')
        store.backend.put("claims/0123456789ab", b"first")
        assert not gc(store, delete=True).garbage
        clock.now += SILENCE_SECONDS
        with Claims(store.backend) as claims:
            assert claims.take(ENCODER_ID, "5" * 64)
            assert places(gc(store, delete=True), "claim") == {silent, "claims/0123456789ab"}
            assert len(keys(store.backend, "claims/")) == 1

    def test_quarantine_unless_what_it_held_is_still_missing(self, store: Store) -> None:
        found = sealed_set(store.backend, IDS)
        key = f"{found.manifest.folder}/labels/c/0"
        data = store.backend.get(key)
        set_aside(store.backend, key)
        store.backend.delete(key)
        assert not places(gc(store, delete=True, grace=0), "quarantine")
        store.backend.put(key, data)
        assert len(places(gc(store, delete=True, grace=0), "quarantine")) == 1
        assert not keys(store.backend, "quarantine/")

    def test_bytes_that_are_linked_come_free_with_their_last_name(self, tmp_path: Path) -> None:
        store = open_store(tmp_path / "store", create=True)
        found = sealed_set(store.backend, IDS)
        units, seals = (sum(i.size for i in store.backend.list(f)) for f in ("units/", "unit-seals/"))
        unshared = du(store).units
        assert 0 < unshared < units  # the two whole chunks are the set's too
        assert sum(g.size for g in gc(store).garbage) == unshared + seals
        rm(store, [found.id])
        data = [g for g in gc(store).garbage if g.kind in ("attempt", "unit")]
        assert sum(g.size for g in data) == found.manifest.size + unshared + seals

    def test_no_empty_folder_is_left(self, tmp_path: Path) -> None:
        store = open_store(tmp_path / "store", create=True)
        rm(store, [sealed_set(store.backend, IDS).id], now=True)
        gc(store, delete=True, grace=0)
        assert {p.relative_to(store.url).as_posix() for p in Path(store.url).rglob("*")} == {
            "cryoprobe.json",
            "gc",
            "gc/clock",
        }


class TestRemoval:
    def test_a_removed_set_is_no_set_and_its_rows_are_encoded_again(self, store: Store) -> None:
        x = np.random.default_rng(0).normal(size=(6, 4))
        found = put_set(store, x, np.arange(6) % 2, classes=("a", "b"), split="train")
        (removed,) = rm(store, [found.id[:12]])
        assert (removed.set, removed.attempt, len(removed.units)) == (found.id, found.manifest.attempt, 1)
        assert not store.set_ids()
        assert not store.names()
        with pytest.raises(NotFound):
            store.open(found.id)
        found.load()  # whoever has it open reads on, until its data are collected
        gc(store, delete=True, grace=0)
        with pytest.raises(Corrupt):
            found.load()
        assert not store.rows_of(found.encoder_id)
        again = put_set(store, x, np.arange(6) % 2, classes=("a", "b"), split="train")
        np.testing.assert_array_equal(again.load()[0], x_unit(x))

    def test_made_again_before_it_is_collected_it_has_its_rows_from_there(self, store: Store) -> None:
        found = sealed_set(store.backend, IDS)
        rm(store, [found.id])
        again, sealed = seal(store.backend, IDS)
        assert sealed
        pin(store, again.set)
        gc(store, delete=True, grace=0)
        assert_readable(store, FeatureSet(store.backend, again))

    def test_none_is_removed_where_one_is_not_there_or_pinned(self, store: Store) -> None:
        one = sealed_set(store.backend, IDS)
        two, _ = seal(store.backend, IDS, labels=class_labels(20) * 0)
        with pytest.raises(NotFound):
            rm(store, [one.id, "f" * 64])
        pin(store, two.set, why="in the paper")
        with pytest.raises(Conflict, match="in the paper"):
            rm(store, [one.id, two.set])
        assert len(store.set_ids()) == 2
        pin(store, two.set[:8], remove=True)
        with pytest.raises(NotFound, match="is pinned"):
            pin(store, two.set, remove=True)
        rm(store, [one.id, two.set])
        assert not store.set_ids()
        assert not pins(store)

    def test_a_set_that_is_pinned_again_keeps_its_reason_unless_there_is_another(self, store: Store) -> None:
        found = sealed_set(store.backend, IDS)
        first = pin(store, found.id, why="in the paper")
        assert pin(store, found.id) == first
        assert pins(store) == [first]
        assert pin(store, found.id, why="in two papers").why == "in two papers"

    def test_a_damaged_pin_is_a_pin(self, store: Store) -> None:
        found = sealed_set(store.backend, IDS)
        pin(store, found.id)
        store.backend.put(f"pins/{found.id}.json", b"{")
        with pytest.raises(Conflict, match="damaged"):
            rm(store, [found.id])

    def test_a_set_with_a_damaged_manifest_can_be_removed_too(self, store: Store) -> None:
        found = sealed_set(store.backend, IDS)
        store.backend.put(found.manifest.key, b"{}")
        rm(store, [found.id])
        assert not verify(store).damages
        assert [k.split("/", 2)[2] for k in keys(store.backend, "quarantine/")] == [found.manifest.key]
        assert found.manifest.folder in places(gc(store), "attempt")


def x_unit(x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return (x / np.linalg.norm(x, axis=1)[:, None]).astype(np.float16).astype(np.float32)
