"""Seals of whose data nothing is left: replaced by whoever makes them again, never by accident, and collected."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pytest
from support.interrupting import Interrupting, Stop
from support.store_data import ENCODER_ID, class_labels, keys, make_rows, sample_ids, seal, sealed_set, write_units

from cryoprobe.errors import Conflict, Corrupt, NotFound
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.manifest import Manifest, read_manifest
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.keeping import unreferenced
from cryoprobe.stores.keeping.gc import gc
from cryoprobe.stores.keeping.pins import pin
from cryoprobe.stores.keeping.removal import rm
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.moving.transfer import push
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.fences import FENCES, has_no_data

IDS = sample_ids(20)
WHAT = ["unit", "set"]
FOLDER = {"unit": "units/", "set": "sets/"}
SEALS = {"unit": "unit-seals/", "set": "manifests/"}


@pytest.fixture(autouse=True)
def _claims_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreferenced, "is_abandoned", lambda content, age: True)


def before(what: str) -> MemoryBackend:
    """Return storage in which the unit, or the set, can be made."""
    backend = MemoryBackend()
    write_marker(backend)
    if what == "set":
        write_units(backend, IDS, 8)
    return backend


def make(what: str, backend: Backend) -> tuple[Manifest, bool] | None:
    if what == "set":
        return seal(backend, IDS)
    write_units(backend, IDS, len(IDS))
    return None


def whole(what: str = "set") -> MemoryBackend:
    backend = before(what)
    make(what, backend)
    return backend


def dataless(what: str) -> MemoryBackend:
    """Return storage with the seal of a unit or a set, of which nothing else is left."""
    backend = whole(what)
    for key in keys(backend, FOLDER[what]):
        backend.delete(key)
    return backend


def assert_right(what: str, backend: Backend) -> None:
    if what == "unit":
        seal(backend, IDS)
    (only,) = Store(backend).set_ids()
    found = Store(backend).open(only)
    np.testing.assert_array_equal(found.load()[0], make_rows(IDS).embeddings.astype(np.float32))
    np.testing.assert_array_equal(found.labels(), class_labels(len(IDS)))
    assert not verify(Store(backend), data=True).damages


def attempts(what: str, backend: Backend) -> set[str]:
    depth = {"unit": 4, "set": 3}[what]
    return {"/".join(key.split("/")[:depth]) for key in keys(backend, FOLDER[what])}


@pytest.mark.parametrize("what", WHAT)
def test_it_is_replaced_by_a_transfer(what: str) -> None:
    source = whole(what)
    if what == "unit":
        seal(source, IDS)
    target = dataless(what)
    assert verify(Store(target)).damages
    moved = push(Store(source), Store(target), units=True)
    assert (moved.sets[0].outcome, moved.units > 0) == ("moved", what == "unit")
    assert_right(what, target)


@pytest.mark.parametrize("what", WHAT)
def test_of_two_that_make_it_again_at_once_the_first_seal_stays(what: str) -> None:
    view = Interrupting(dataless(what))
    make(what, view)
    both = 0
    for instant in range(1, view.operations + 1):
        shared = dataless(what)
        told: list[tuple[Manifest, bool] | None] = []

        def other(shared: MemoryBackend = shared, told: list[tuple[Manifest, bool] | None] = told) -> None:
            told.append(make(what, shared))

        told.append(make(what, Interrupting(shared, pause_at=instant, meanwhile=other)))
        both += sum(answer is not None and answer[1] for answer in told) > 1
        assert_right(what, shared)
    assert view.operations > 10
    assert both <= 3  # the instants between reading the dataless seal and writing over it


@pytest.mark.parametrize("what", WHAT)
def test_one_that_appears_while_it_is_made_is_replaced_by_what_was_made(what: str) -> None:
    other, shared = whole(what), before(what)
    (key,) = keys(other, SEALS[what])[:1]

    class Late(Interrupting):
        def put_if_absent(self, key_: str, data: bytes) -> bool:
            if key_ == key:
                self.shared.put_if_absent(key, other.get(key))
            return super().put_if_absent(key_, data)

    done = make(what, Late(shared))
    assert done is None or done[1]
    assert len(attempts(what, shared)) == 1
    assert_right(what, shared)


def test_rows_of_a_seal_with_a_single_object_left_are_damaged_not_gone() -> None:
    shared = before("set")
    shared.delete(next(k for k in keys(shared, "units/") if k.endswith("embeddings")))
    with pytest.raises(Corrupt, match="is missing"):
        seal(shared, IDS)


def test_a_transfer_tells_that_it_moved_a_set_only_where_the_set_is_there() -> None:
    source, theirs = whole(), whole()
    (manifest,) = keys(theirs, "manifests/")
    data = keys(theirs, "sets/")
    for instant in range(1, 200):
        target = before("set")
        target.put(data[0], theirs.get(data[0]))

        class Arriving(Interrupting):
            """Somebody's seal arrives, the last of whose data is deleted at a chosen instant."""

            def put_if_absent(self, key: str, content: bytes) -> bool:
                if key == manifest:
                    self.shared.put_if_absent(key, theirs.get(manifest))
                return super().put_if_absent(key, content)

        def delete_last(target: MemoryBackend = target) -> None:
            target.delete(data[0])

        view = Arriving(target, pause_at=instant, meanwhile=delete_last)
        if push(Store(source), Store(view)).sets[0].outcome == "moved":
            assert_right("set", target)
        if view.operations < instant:
            break
    assert 10 < instant < 199


def test_a_set_that_is_made_again_and_pinned_while_the_dataless_one_is_removed_stays() -> None:
    lost = set()  # how many operations before its end
    for instant in range(1, 60):
        shared = dataless("set")
        (set_,) = Store(shared).set_ids()
        pinned = []

        def meanwhile(shared: MemoryBackend = shared, set_: str = set_, pinned: list[bool] = pinned) -> None:
            try:
                make("set", shared)
                pin(Store(shared), set_)
                pinned.append(True)
            except (Conflict, NotFound):
                pass

        view = Interrupting(shared, pause_at=instant, meanwhile=meanwhile)
        try:
            rm(Store(view), [set_])
        except Conflict:
            assert pinned
        if pinned and set_ not in Store(shared).set_ids():
            lost.add(view.operations - instant)
        if view.operations < instant:
            break
    assert 10 < instant < 59
    # The instant between the last look at the manifest and its deletion; names, and those of samples, are listed after.
    assert lost <= {2}


def test_gc_leaves_nothing_of_an_attempt_that_grew_after_it_had_looked() -> None:
    """Its writer wakes after gc's survey, writes the rest, and is dead when its seal arrives, after gc's last look."""
    shared = before("set")
    begun, go_on, written, arrive, sealed = (threading.Event() for _ in range(5))

    class Writer(Interrupting):
        def put(self, key: str, data: bytes) -> None:
            super().put(key, data)
            if key.startswith("sets/") and not begun.is_set():
                begun.set()
                assert go_on.wait(60)

        def put_if_absent(self, key: str, data: bytes) -> bool:
            if not key.startswith("manifests/"):
                return super().put_if_absent(key, data)
            written.set()
            assert arrive.wait(60)
            super().put_if_absent(key, data)
            sealed.set()
            raise Stop

    class Collector(Interrupting):
        def put(self, key: str, data: bytes) -> None:
            if key.startswith(FENCES):
                go_on.set()
                assert written.wait(60)
            super().put(key, data)

        def delete(self, key: str) -> None:
            if key.startswith("sets/") and not arrive.is_set():
                arrive.set()
                assert sealed.wait(60)
            super().delete(key)

    def write() -> None:
        with contextlib.suppress(Stop):
            make("set", Writer(shared))

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(60)
    gc(Store(Collector(shared)), delete=True, grace=0)
    thread.join()
    (key,) = Store(shared).set_ids().values()
    assert has_no_data(shared, read_manifest(shared, key).folder)
    assert make("set", shared) is not None
    assert_right("set", shared)


@pytest.mark.parametrize("again", [False, True])
def test_a_dataless_unit_is_collected_unless_it_is_made_again(again: bool) -> None:
    shared = dataless("unit")
    found = gc(Store(shared), delete=True)
    assert [g.kind for g in found.garbage] == ["unit"]
    assert keys(shared, "unit-seals/")  # its grace period has just begun

    class Made(Interrupting):
        def put(self, key: str, data: bytes) -> None:
            if key.startswith(FENCES):
                make("unit", self.shared)
            super().put(key, data)

    gc(Store(Made(shared) if again else shared), delete=True, grace=0)
    assert len(keys(shared, "unit-seals/")) == again
    assert not verify(Store(shared), data=True).damages
    if again:
        assert_right("unit", shared)


def test_units_of_another_grouping_leave_nothing_behind() -> None:
    shared = before("unit")
    write_units(shared, IDS[2:6], 4)
    for key in keys(shared, "units/"):
        shared.delete(key)
    sealed_set(shared, IDS)
    assert verify(Store(shared)).damages
    gc(Store(shared), delete=True, grace=0)
    assert not verify(Store(shared), data=True).damages
    assert not keys(shared, f"unit-seals/{ENCODER_ID}/")
