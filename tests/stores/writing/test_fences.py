"""A writer and gc at the same attempt: whichever looks last gives way, and nothing sealed loses its data."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from support.interrupting import Interrupting, Stop
from support.store_data import ENCODER_ID, class_labels, keys, make_rows, sample_ids, seal, sealed_set, write_units

from cryoprobe.checksummed import dump_document
from cryoprobe.errors import Conflict, NotFound
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.format.unit_seal import read_unit_seal
from cryoprobe.stores.keeping import unreferenced
from cryoprobe.stores.keeping.gc import gc
from cryoprobe.stores.keeping.pins import pin, pins
from cryoprobe.stores.keeping.removal import rm
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.keys import unit_id
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.fences import FENCES, LONGEST_RUN_SECONDS, fence, objects_present
from cryoprobe.stores.writing.row_index import RowIndex, RowsRemoved

IDS = sample_ids(20)
UNIT = unit_id(ENCODER_ID, IDS)


@pytest.fixture(autouse=True)
def _claims_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are advice: take them all for abandoned, so that the fences alone keep gc and writers apart."""
    monkeypatch.setattr(unreferenced, "is_abandoned", lambda content, age: True)


def empty() -> MemoryBackend:
    backend = MemoryBackend()
    write_marker(backend)
    return backend


def with_units() -> MemoryBackend:
    backend = empty()
    write_units(backend, IDS, 8)
    return backend


def write_one_unit(backend: Backend) -> None:
    write_units(backend, IDS, len(IDS))


def collect(backend: Backend) -> None:
    gc(Store(backend), delete=True, grace=0)


def assert_unit_is_right(backend: Backend) -> None:
    sealed = read_unit_seal(backend, ENCODER_ID, UNIT)
    assert sealed is not None
    np.testing.assert_array_equal(sealed.read(backend, "embeddings"), make_rows(IDS).embeddings)
    np.testing.assert_array_equal(sealed.read(backend, "norms"), make_rows(IDS).norms)


def assert_set_is_right(backend: Backend) -> None:
    (only,) = Store(backend).set_ids()
    found = Store(backend).open(only)
    np.testing.assert_array_equal(found.load()[0], make_rows(IDS).embeddings.astype(np.float32))
    np.testing.assert_array_equal(found.labels(), class_labels(len(IDS)))
    assert not verify(Store(backend), data=True).damages


JOBS: dict[str, tuple[Callable[[], MemoryBackend], Callable[[Backend], object], Callable[[Backend], None], str]] = {
    "unit": (empty, write_one_unit, assert_unit_is_right, "unit-seals/"),
    "set": (with_units, lambda b: seal(b, IDS), assert_set_is_right, "manifests/"),
}


def operations_of(job: Callable[[Backend], object], shared: Backend) -> int:
    view = Interrupting(shared)
    job(view)
    return view.operations


@pytest.mark.parametrize("what", JOBS)
def test_gc_at_any_instant_of_writing(what: str) -> None:
    make, job, check, _ = JOBS[what]
    operations = operations_of(job, make())
    assert operations > 8
    for instant in range(1, operations + 1):
        shared = make()
        view = Interrupting(shared, pause_at=instant, meanwhile=lambda shared=shared: collect(shared))
        job(view)
        check(shared)
        assert not verify(Store(shared), data=True).damages


class Suspended(Interrupting):
    """A writer whose seal is on its way when it falls asleep; it arrives at a chosen instant of a gc meanwhile."""

    def __init__(self, shared: Backend, seals: str, instant: int) -> None:
        super().__init__(shared)
        self._seals = seals
        self._instant = instant
        self.collection: Interrupting | None = None

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if key.startswith(self._seals) and self.collection is None:
            self.collection = Interrupting(
                self.shared, pause_at=self._instant, meanwhile=lambda: self.shared.put_if_absent(key, data)
            )
            collect(self.collection)
        return super().put_if_absent(key, data)


@pytest.mark.parametrize("what", JOBS)
def test_a_seal_that_arrives_at_any_instant_of_gc(what: str) -> None:
    make, job, check, seals = JOBS[what]
    for instant in range(1, 1000):
        shared = make()
        writer = Suspended(shared, seals, instant)
        job(writer)
        check(shared)
        assert not verify(Store(shared), data=True).damages
        assert writer.collection is not None
        if writer.collection.operations < instant:
            break  # every instant of gc has been tried
    assert instant > 10


class Killed(Suspended):
    """A writer whose seal arrives at a chosen instant of a gc, and that is dead by then."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        super().put_if_absent(key, data)
        if self.collection is not None:
            raise Stop
        return True


@pytest.mark.parametrize("what", JOBS)
def test_what_a_killed_writer_has_sealed_though_gc_deleted_it_is_made_again(what: str) -> None:
    make, job, check, seals = JOBS[what]
    dataless = 0
    for instant in range(1, 1000):
        shared = make()
        writer = Killed(shared, seals, instant)
        with pytest.raises(Stop):
            job(writer)
        dataless += bool(verify(Store(shared)).damages)
        job(shared)
        check(shared)
        assert not verify(Store(shared), data=True).damages
        assert writer.collection is not None
        if writer.collection.operations < instant:
            break
    assert instant > 10
    assert dataless


class Asleep(Interrupting):
    """A writer that falls asleep just before it seals, until it is woken."""

    def __init__(self, shared: Backend, seals: str) -> None:
        super().__init__(shared)
        self._seals = seals
        self.asleep, self.woken = threading.Event(), threading.Event()

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if key.startswith(self._seals) and not self.woken.is_set():
            self.asleep.set()
            assert self.woken.wait(60)
        return super().put_if_absent(key, data)


@pytest.mark.parametrize("what", JOBS)
def test_a_writer_that_wakes_at_any_instant_of_gc_and_finishes(what: str) -> None:
    make, job, check, seals = JOBS[what]
    for instant in range(1, 1000):
        shared = make()
        writer = Asleep(shared, seals)
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(job, writer)
            assert writer.asleep.wait(60)

            def finish(writer: Asleep = writer, writing: Future[object] = writing) -> None:
                writer.woken.set()
                writing.result(60)

            view = Interrupting(shared, pause_at=instant, meanwhile=finish)
            collect(view)
            finish()
        check(shared)
        assert not verify(Store(shared), data=True).damages
        if view.operations < instant:
            break
    assert instant > 10


def test_a_writer_whose_data_are_deleted_again_and_again_gives_up_and_has_sealed_nothing() -> None:
    shared = empty()

    class Deleting(Interrupting):
        def put(self, key: str, data: bytes) -> None:
            super().put(key, data)
            collect(self.shared)

    with pytest.raises(Conflict, match="was deleted from"):
        write_one_unit(Deleting(shared))
    assert not keys(shared, "unit-seals/")
    assert not keys(shared, "units/")


def test_a_fence_names_what_may_go_for_as_long_as_it_lasts() -> None:
    shared = empty()
    shared.put("sets/a/b/c", b"x")
    assert objects_present(shared, "sets/a/b", ["sets/a/b/c"])
    with fence(shared, ["sets/a/b"]):
        assert not objects_present(shared, "sets/a/b", ["sets/a/b/c"])
        assert objects_present(shared, "sets/a/other", [])
    assert objects_present(shared, "sets/a/b", ["sets/a/b/c"])
    assert not objects_present(shared, "sets/a/b", ["sets/a/b/c", "sets/a/b/d"])
    shared.put(f"{FENCES}0.json", b"damaged")
    assert not objects_present(shared, "sets/a/b", ["sets/a/b/c"])


def test_a_fence_of_a_killed_run_holds_until_another_run_finds_it() -> None:
    now = [1e9]
    shared = MemoryBackend(clock=lambda: now[0])
    write_marker(shared)
    shared.put(f"{FENCES}0.json", dump_document({"folders": [], "machine": "another", "pid": 1, "start": "1"}))
    collect(shared)
    assert keys(shared, FENCES)  # nobody here can tell whether that process is alive
    now[0] += LONGEST_RUN_SECONDS
    collect(shared)
    assert not keys(shared, FENCES)


class TestRowsThatAreRemovedWhileTheyAreUsed:
    def test_rows_of_a_collected_unit_are_found_in_the_set_that_has_them(self) -> None:
        shared = with_units()
        index = RowIndex(shared, ENCODER_ID)
        seal(shared, IDS)
        collect(shared)
        assert not keys(shared, "units/")
        np.testing.assert_array_equal(index.gather(IDS).embeddings, make_rows(IDS).embeddings)

    def test_rows_that_are_nowhere_any_more_are_withdrawn_and_can_be_written_again(self) -> None:
        shared = empty()
        found = sealed_set(shared, IDS)
        index = RowIndex(shared, ENCODER_ID)
        rm(Store(shared), [found.id], now=True)
        assert not keys(shared, "sets/")
        with pytest.raises(RowsRemoved):
            index.gather(IDS[:9])
        assert set(index.missing(IDS)) >= set(IDS[:9])
        with pytest.raises(RowsRemoved):
            index.gather(IDS)
        assert index.missing(IDS) == IDS

    def test_what_is_damaged_rather_than_removed_is_still_an_error(self) -> None:
        shared = with_units()
        index = RowIndex(shared, ENCODER_ID)
        shared.delete(next(k for k in keys(shared, "units/") if k.endswith("embeddings")))
        with pytest.raises(Exception, match="is missing"):
            index.gather(IDS)


class TestPinsAndRemovalAtOnce:
    def test_a_pin_at_any_instant_of_rm_holds_or_says_that_it_does_not(self) -> None:
        kept = 0
        for instant in range(1, 200):
            shared = empty()
            found = sealed_set(shared, IDS)
            answers = []

            def try_to_pin(shared: MemoryBackend = shared, set_: str = found.id, answers: list[bool] = answers) -> None:
                try:
                    pin(Store(shared), set_)
                    answers.append(True)
                except (Conflict, NotFound):
                    answers.append(False)

            view = Interrupting(shared, pause_at=instant, meanwhile=try_to_pin)
            try:
                rm(Store(view), [found.id])
            except Conflict:
                assert answers == [True]
            pinned = [p.set for p in pins(Store(shared))]
            assert pinned == ([found.id] if answers == [True] else [])
            if pinned:
                kept += 1
                assert found.id in Store(shared).set_ids()
                found.load()
            if view.operations < instant:
                break
        assert 5 < instant < 199
        assert kept

    def test_killed_at_any_write_rm_leaves_a_whole_set_or_none_and_goes_on(self) -> None:
        for at in range(1, 50):
            for after in (False, True):
                shared = empty()
                found = sealed_set(shared, IDS)
                view = Interrupting(shared, crash_at=at, after=after)
                try:
                    rm(Store(view), [found.id], now=True)
                except Stop:
                    pass
                else:
                    assert at > 10
                    return
                if found.id in Store(shared).set_ids():
                    assert_set_is_right(shared)
                assert not verify(Store(shared), data=True).damages
                try:
                    rm(Store(shared), [found.id], now=True)
                except NotFound:
                    assert not keys(shared, "gc/removed/")
                assert not Store(shared).set_ids()
                collect(shared)
                assert not keys(shared, "sets/")
                assert not keys(shared, "units/")
        raise AssertionError("rm never came to its end")
