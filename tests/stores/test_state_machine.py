"""Writers, readers, gc, rm, pins and crashes in any order and inside one another, held against a plain model.

There are two stores: a shared one, and a private one, which some writers and readers use as a layer above it. Whatever
happens, a set that its writer was told is sealed stays readable until somebody removes it, and no row that can be read
is another's. One operation is stopped before any of its own operations on the storage, and another one is carried out
there; either may crash at any of its writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.interrupting import Interrupting, Stop
from support.store_data import ENCODER, ENCODER_ID, class_labels, dataset_of, make_rows, sample_ids, write_units

from cryoprobe import parallel
from cryoprobe.canonical import digest
from cryoprobe.errors import Conflict, Corrupt, NotFound
from cryoprobe.stores import feature_set as feature_set_module
from cryoprobe.stores.backends.backend import Backend, ObjectDetails, ObjectInfo
from cryoprobe.stores.backends.layered import LayeredBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.manifest import read_manifest
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.format.unit_seal import read_unit_seal
from cryoprobe.stores.keeping import unreferenced
from cryoprobe.stores.keeping.gc import gc
from cryoprobe.stores.keeping.pins import pin
from cryoprobe.stores.keeping.removal import rm
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.keys import id_in, set_id
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing import fences
from cryoprobe.stores.writing.row_index import RowIndex, RowsRemoved
from cryoprobe.stores.writing.sets import SetContent, seal_set

pytestmark = pytest.mark.slow

CHUNK = 4
POOL = sample_ids(14)
DATA = [POOL[:4], POOL[:8], POOL[2:9], POOL[4:14]]
"""Data sets that share images, and some of them whole units."""

LABELS = [class_labels(len(ids)) for ids in DATA]
SPECS = [dataset_of(ids, labels) for ids, labels in zip(DATA, LABELS, strict=True)]
SETS = [set_id(ENCODER_ID, digest(spec)) for spec in SPECS]
ROWS = [make_rows(ids) for ids in DATA]

SHARED, PRIVATE = "shared", "private"

places = st.sampled_from([SHARED, SHARED, PRIVATE])
data_sets = st.integers(0, len(DATA) - 1)
crashes = st.one_of(st.none(), st.tuples(st.integers(1, 40), st.booleans()))
graces = st.sampled_from([0.0, 3600.0])


def extract(backend: Backend, number: int, index: RowIndex | None = None) -> None:
    """Do what an extractor does with a store, without an encoder."""
    for _ in range(8):
        with suppress(RowsRemoved):
            index = index or RowIndex(backend, ENCODER_ID)
            ids = DATA[number]
            for start in range(0, len(ids), CHUNK):
                missing = index.missing(ids[start : start + CHUNK])
                if missing:
                    for seal in write_units(backend, missing, CHUNK):
                        index.add(seal)
            seal_set(
                backend,
                index,
                SetContent(
                    encoder=ENCODER,
                    dataset=SPECS[number],
                    ids=ids,
                    labels=LABELS[number],
                    failed=(),
                    chunk_rows=CHUNK,
                    provenance={},
                ),
            )
            return
    raise AssertionError("it was withdrawn again and again")


def assert_right(feature_set: FeatureSet) -> None:
    number = SETS.index(feature_set.id)
    x, y = feature_set.load()
    np.testing.assert_array_equal(x, ROWS[number].embeddings.astype(np.float32))
    np.testing.assert_array_equal(y, LABELS[number])
    np.testing.assert_array_equal(feature_set.norms(), ROWS[number].norms)
    np.testing.assert_array_equal(feature_set.sample_ids(), ROWS[number].samples)


class Below(Backend):
    """One of several stores on the same storage, so that one process's operations on all of them are counted as one."""

    def __init__(self, storage: Backend, place: str) -> None:
        self.url = f"{storage.url}/{place}"
        self._storage = storage
        self._prefix = f"{place}/"

    def get(self, key: str, limit: int | None = None) -> bytes:
        return self._storage.get(self._prefix + key, limit)

    def exists(self, key: str) -> bool:
        return self._storage.exists(self._prefix + key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for key, size in self._storage.list(self._prefix + prefix):
            yield ObjectInfo(key.removeprefix(self._prefix), size)

    def inspect(self, prefix: str = "") -> Iterator[ObjectDetails]:
        for found in self._storage.inspect(self._prefix + prefix):
            yield found._replace(key=found.key.removeprefix(self._prefix))

    def put(self, key: str, data: bytes) -> None:
        self._storage.put(self._prefix + key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._storage.put_if_absent(self._prefix + key, data)

    def delete(self, key: str) -> None:
        self._storage.delete(self._prefix + key)

    def copy(self, source: str, target: str) -> None:
        self._storage.copy(self._prefix + source, self._prefix + target)


def folder_of(backend: Backend, seal: str) -> str:
    """Return the folder of what a manifest or unit seal names."""
    kind, encoder, file = seal.split("/")
    if kind == "manifests":
        return read_manifest(backend, seal).folder
    found = read_unit_seal(backend, encoder, id_in(file))
    assert found is not None
    return found.folder


def layers(storage: Backend) -> LayeredBackend:
    """Return the private store above the shared one."""
    return LayeredBackend(Below(storage, PRIVATE), [Below(storage, SHARED)], prepare=write_marker)


@dataclass
class Model:
    """What must be true of a store.

    `sealed` are the numbers of sets that somebody was told are sealed, `doubtful` those whose writer crashed, or was
    told so while somebody removed them: they may be there, whole or missing data, or not. `pinned` are those that
    somebody was told are pinned, `perhaps_pinned` those that somebody has ever tried to pin.
    """

    sealed: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)
    pinned: set[int] = field(default_factory=set)
    perhaps_pinned: set[int] = field(default_factory=set)


class StoreMachine(RuleBasedStateMachine):
    """The two stores, and a model of each."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1e9
        self.storage = MemoryBackend(clock=lambda: self.now)
        self.models = {place: Model() for place in (SHARED, PRIVATE)}
        for place in self.models:
            write_marker(Below(self.storage, place))
        self.someone_else = False

    # Operations: each takes a view of the storage and a place, and says in the model what it has done.

    def write(self, storage: Backend, place: str, number: int, *, layered: bool = False) -> None:
        model, backend = self.models[place], layers(storage) if layered else Below(storage, place)
        was, was_doubtful = number in model.sealed, number in model.doubtful
        if not was:
            model.doubtful.add(number)
        extract(backend, number)
        if layered and SETS[number] not in Store(Below(self.storage, PRIVATE)).set_ids():
            if not self.someone_else:  # it is sealed below, and nothing of it was written above
                assert SETS[number] in Store(Below(self.storage, SHARED)).set_ids()
                if not was_doubtful:
                    model.doubtful.discard(number)
            return
        if was and number not in model.sealed:
            model.doubtful.add(number)  # it was removed meanwhile, perhaps after it was found
        elif number not in model.sealed and number in model.doubtful:
            model.sealed.add(number)
            model.doubtful.discard(number)

    def remove(self, storage: Backend, place: str, number: int, *, now: bool) -> None:
        model = self.models[place]
        was_pinned, was = number in model.pinned, number in model.sealed
        if not was_pinned:
            model.sealed.discard(number)
            model.doubtful.add(number)
        try:
            rm(Store(Below(storage, place)), [SETS[number]], now=now)
        except NotFound:
            assert was_pinned or not was or number not in model.sealed
            return
        except Conflict:
            assert number in model.pinned | model.perhaps_pinned or was_pinned or self.someone_else
            if was and not was_pinned and not self.someone_else:
                model.sealed.add(number)
                model.doubtful.discard(number)
            return
        assert not was_pinned or number not in model.pinned
        if number in model.sealed:  # by somebody else, who was told so before it was removed, or after
            model.sealed.discard(number)
            model.doubtful.add(number)

    def pin(self, storage: Backend, place: str, number: int, *, remove: bool) -> None:
        model = self.models[place]
        if remove:
            model.pinned.discard(number)
        else:
            model.perhaps_pinned.add(number)
        try:
            pin(Store(Below(storage, place)), SETS[number], remove=remove)
        except (NotFound, Conflict):
            return
        if not remove and number in model.sealed:
            model.pinned.add(number)

    def collect(self, storage: Backend, place: str, grace: float) -> None:
        gc(Store(Below(storage, place)), delete=True, grace=grace)

    def read(self, storage: Backend, place: str, number: int) -> None:
        try:
            assert_right(Store(Below(storage, place)).open(SETS[number]))
        except (NotFound, Corrupt):
            assert number not in self.models[place].sealed or self.someone_else

    def read_layered(self, storage: Backend, number: int) -> None:
        try:
            assert_right(Store(layers(storage)).open(SETS[number]))
        except NotFound:
            assert not any(number in model.sealed for model in self.models.values()) or self.someone_else
        except Corrupt:  # a doubtful one above hides one that is sealed below
            private, shared = self.models[PRIVATE], self.models[SHARED]
            certain = number in private.sealed or (number in shared.sealed and number not in private.doubtful)
            assert not certain or self.someone_else

    def operation(self, kind: str, place: str, number: int, grace: float) -> Callable[[Backend], None]:
        return {
            "write": partial(self.write, place=place, number=number),
            "write layered": partial(self.write, place=PRIVATE, number=number, layered=True),
            "remove": partial(self.remove, place=place, number=number, now=False),
            "remove now": partial(self.remove, place=place, number=number, now=True),
            "pin": partial(self.pin, place=place, number=number, remove=False),
            "unpin": partial(self.pin, place=place, number=number, remove=True),
            "gc": partial(self.collect, place=place, grace=grace),
            "read": partial(self.read, place=place, number=number),
            "read layered": partial(self.read_layered, number=number),
        }[kind]

    kinds = st.sampled_from(
        (
            *("write", "write", "write layered", "write layered", "read", "read layered"),
            *("remove", "remove now", "pin", "unpin", "gc", "gc"),
        )
    )

    def carry_out(
        self,
        operation: Callable[[Backend], None],
        crash: tuple[int, bool] | None,
        pause_at: int | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        at, after = crash or (None, False)
        view = Interrupting(self.storage, crash_at=at, after=after, pause_at=pause_at, meanwhile=meanwhile)
        with suppress(Stop):
            operation(view)

    @initialize(numbers=st.sets(data_sets, max_size=3))
    def begin(self, numbers: set[int]) -> None:
        for number in numbers:
            self.write(self.storage, SHARED, number)

    @rule(kind=kinds, place=places, number=data_sets, grace=graces, crash=crashes)
    def alone(self, kind: str, place: str, number: int, grace: float, crash: tuple[int, bool] | None) -> None:
        self.carry_out(self.operation(kind, place, number, grace), crash)

    @rule(
        first=kinds,
        second=kinds,
        where=st.tuples(places, places),
        numbers=st.tuples(data_sets, data_sets),
        grace=graces,
        crash=st.tuples(crashes, crashes),
        pause_at=st.integers(1, 80),
    )
    def one_inside_another(
        self,
        first: str,
        second: str,
        where: tuple[str, str],
        numbers: tuple[int, int],
        grace: float,
        crash: tuple[tuple[int, bool] | None, tuple[int, bool] | None],
        pause_at: int,
    ) -> None:
        self.someone_else = True
        outer = self.operation(first, where[0], numbers[0], grace)
        inner = self.operation(second, where[1], numbers[1], grace)
        self.carry_out(outer, crash[0], pause_at, lambda: self.carry_out(inner, crash[1]))
        self.someone_else = False

    @rule(number=data_sets, grace=graces, then=data_sets)
    def an_index_from_before(self, number: int, grace: float, then: int) -> None:
        """An extractor has looked at the store; then sets are removed and collected, and it goes on."""
        shared, model = Below(self.storage, SHARED), self.models[SHARED]
        index = RowIndex(shared, ENCODER_ID)
        if number not in model.pinned:
            self.remove(self.storage, SHARED, number, now=True)
        self.collect(self.storage, SHARED, grace)
        extract(shared, then, index)
        model.sealed.add(then)
        model.doubtful.discard(then)

    @rule(hours=st.floats(0.1, 3))
    def time_passes(self, hours: float) -> None:
        self.now += 3600 * hours

    @invariant()
    def sealed_sets_are_there_and_right(self) -> None:
        for place, model in self.models.items():
            store = Store(Below(self.storage, place))
            there = store.set_ids()
            assert {SETS[n] for n in model.sealed} <= there.keys()
            for set_ in there:
                number = SETS.index(set_)
                try:
                    assert_right(store.open(set_))
                except Corrupt:
                    assert number in model.doubtful, f"a sealed set lost data: {number} ({place})"

    def teardown(self) -> None:
        """Without crashes, everybody finishes, and only what is needed is left."""
        for place, model in self.models.items():
            backend = Below(self.storage, place)
            store = Store(backend)
            broken = {d.owner for d in verify(store, data=True).damages} & store.set_ids().keys()
            assert broken <= {SETS[n] for n in model.doubtful}
            # A seal whose writer has crashed and whose data gc has taken for abandoned is replaced. Only where that gc
            # has crashed too, some data may be left, and `repair` would be needed.
            for seal in {d.seal for d in verify(store, data=True).damages}:
                if any(backend.list(f"{folder_of(backend, seal)}/")):
                    backend.delete(seal)
            for number in range(len(DATA)):
                extract(backend, number)
            self.now += 30 * 86400
            for _ in range(3):
                gc(store, delete=True, grace=0)
            assert not verify(store, data=True).damages
            assert set(store.set_ids()) == set(SETS)
            for set_ in SETS:
                assert_right(store.open(set_))
            assert not gc(store).garbage
            assert not list(backend.list("units/"))
            assert not list(backend.list("unit-seals/"))


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same order of operations in every run; and claims, which are only advice, are all lost."""
    monkeypatch.setattr(unreferenced, "is_abandoned", lambda content, age: True)
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", lambda at_once, **options: ThreadPoolExecutor(1, **options))
    monkeypatch.setattr(feature_set_module, "_READERS", 1)
    monkeypatch.setattr(fences, "LONGEST_WAIT_SECONDS", 0)  # for somebody who cannot go on before us


def test_the_store_keeps_its_promises_in_any_order_of_events(request: pytest.FixtureRequest) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    examples = request.config.getoption("--hypothesis-seed", default=None)
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=40 if examples is None else 300,
            stateful_step_count=12,
            derandomize=examples is None,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
