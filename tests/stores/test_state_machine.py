"""Writers, readers, gc, rm, pins and crashes in any order and inside one another, held against a plain model.

Whatever happens, a set that its writer was told is sealed stays readable until somebody removes it, and no row that can
be read is another's. One operation is stopped before any of its own operations on the storage, and another one is
carried out there; either may crash at any of its writes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from interrupting import Interrupting, Stop
from store_data import ENCODER, ENCODER_ID, class_labels, dataset_of, make_rows, sample_ids, write_units

from cryoprobe.canonical import digest
from cryoprobe.errors import Conflict, Corrupt, NotFound
from cryoprobe.stores import feature_set as feature_set_module
from cryoprobe.stores import layout, parallel
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.keeping import waste
from cryoprobe.stores.keeping.gc import gc
from cryoprobe.stores.keeping.pins import pin
from cryoprobe.stores.keeping.removal import rm
from cryoprobe.stores.rows import RowIndex, Withdrawn
from cryoprobe.stores.sets import seal_set
from cryoprobe.stores.store import Store
from cryoprobe.stores.verify import verify

CHUNK = 4
POOL = sample_ids(14)
DATA = [POOL[:4], POOL[:8], POOL[2:9], POOL[4:14]]
"""Data sets that share images, and some of them whole units."""

LABELS = [class_labels(len(ids)) for ids in DATA]
SPECS = [dataset_of(ids, labels) for ids, labels in zip(DATA, LABELS, strict=True)]
SETS = [layout.set_id(ENCODER_ID, digest(spec)) for spec in SPECS]
ROWS = [make_rows(ids) for ids in DATA]

data_sets = st.integers(0, len(DATA) - 1)
crashes = st.one_of(st.none(), st.tuples(st.integers(1, 40), st.booleans()))
graces = st.sampled_from([0.0, 3600.0])


def extract(backend: Backend, number: int, index: RowIndex | None = None) -> None:
    """Do what an extractor does with a store, without an encoder."""
    for _ in range(8):
        with suppress(Withdrawn):
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
                encoder=ENCODER,
                dataset=SPECS[number],
                ids=ids,
                labels=LABELS[number],
                failed=(),
                chunk_rows=CHUNK,
                provenance={},
            )
            return
    raise AssertionError("it was withdrawn again and again")


def assert_right(feature_set: FeatureSet) -> None:
    number = SETS.index(feature_set.id)
    x, y = feature_set.load()
    np.testing.assert_array_equal(x, ROWS[number].embeddings.astype(np.float32))
    np.testing.assert_array_equal(y, LABELS[number])
    np.testing.assert_array_equal(feature_set.norms(), ROWS[number].norms)
    np.testing.assert_array_equal(feature_set.samples(), ROWS[number].samples)


class StoreMachine(RuleBasedStateMachine):
    """A store, and what must be true of it.

    `sealed` are the numbers of sets that somebody was told are sealed, `doubtful` those whose writer crashed, or was
    told so while somebody removed them: they may be there, whole or missing data, or not. `pinned` are those that
    somebody was told are pinned, `perhaps_pinned` those that somebody has ever tried to pin.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1e9
        self.shared = MemoryBackend(clock=lambda: self.now)
        layout.write_marker(self.shared)
        self.sealed: set[int] = set()
        self.doubtful: set[int] = set()
        self.pinned: set[int] = set()
        self.perhaps_pinned: set[int] = set()

    # Operations: each takes a view of the storage, and says in the model what it has done.

    def write(self, backend: Backend, number: int) -> None:
        was = number in self.sealed
        if not was:
            self.doubtful.add(number)
        extract(backend, number)
        if was and number not in self.sealed:
            self.doubtful.add(number)  # it was removed meanwhile, perhaps after it was found
        elif number not in self.sealed and number in self.doubtful:
            self.sealed.add(number)
            self.doubtful.discard(number)

    def remove(self, backend: Backend, number: int, *, now: bool) -> None:
        was_pinned, was = number in self.pinned, number in self.sealed
        if not was_pinned:
            self.sealed.discard(number)
            self.doubtful.add(number)
        try:
            rm(Store(backend), [SETS[number]], now=now)
        except NotFound:
            assert was_pinned or not was or number not in self.sealed
            return
        except Conflict:
            assert number in self.pinned | self.perhaps_pinned or was_pinned or self.someone_else
            if was and not was_pinned and not self.someone_else:
                self.sealed.add(number)
                self.doubtful.discard(number)
            return
        assert not was_pinned or number not in self.pinned
        if number in self.sealed:  # by somebody else, who was told so before it was removed, or after
            self.sealed.discard(number)
            self.doubtful.add(number)

    def pin(self, backend: Backend, number: int, *, remove: bool) -> None:
        if remove:
            self.pinned.discard(number)
        else:
            self.perhaps_pinned.add(number)
        try:
            pin(Store(backend), SETS[number], remove=remove)
        except (NotFound, Conflict):
            return
        if not remove and number in self.sealed:
            self.pinned.add(number)

    def collect(self, backend: Backend, grace: float) -> None:
        gc(Store(backend), delete=True, grace=grace)

    def read(self, backend: Backend, number: int) -> None:
        store = Store(backend)
        try:
            found = store.open(SETS[number])
            assert_right(found)
        except (NotFound, Corrupt):
            assert number not in self.sealed or self.someone_else

    someone_else = False

    def operation(self, kind: str, number: int, grace: float) -> Callable[[Backend], None]:
        return {
            "write": lambda b: self.write(b, number),
            "remove": lambda b: self.remove(b, number, now=False),
            "remove now": lambda b: self.remove(b, number, now=True),
            "pin": lambda b: self.pin(b, number, remove=False),
            "unpin": lambda b: self.pin(b, number, remove=True),
            "gc": lambda b: self.collect(b, grace),
            "read": lambda b: self.read(b, number),
        }[kind]

    kinds = st.sampled_from(["write", "write", "write", "remove", "remove now", "pin", "unpin", "gc", "gc", "read"])

    def carry_out(
        self,
        operation: Callable[[Backend], None],
        crash: tuple[int, bool] | None,
        pause_at: int | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        at, after = crash or (None, False)
        backend = Interrupting(self.shared, crash_at=at, after=after, pause_at=pause_at, meanwhile=meanwhile)
        with suppress(Stop):
            operation(backend)

    @initialize(numbers=st.sets(data_sets, max_size=3))
    def begin(self, numbers: set[int]) -> None:
        for number in numbers:
            self.write(self.shared, number)

    @rule(kind=kinds, number=data_sets, grace=graces, crash=crashes)
    def alone(self, kind: str, number: int, grace: float, crash: tuple[int, bool] | None) -> None:
        self.carry_out(self.operation(kind, number, grace), crash)

    @rule(
        first=kinds,
        second=kinds,
        numbers=st.tuples(data_sets, data_sets),
        grace=graces,
        crash=st.tuples(crashes, crashes),
        pause_at=st.integers(1, 80),
    )
    def one_inside_another(
        self,
        first: str,
        second: str,
        numbers: tuple[int, int],
        grace: float,
        crash: tuple[tuple[int, bool] | None, tuple[int, bool] | None],
        pause_at: int,
    ) -> None:
        self.someone_else = True
        outer = self.operation(first, numbers[0], grace)
        inner = self.operation(second, numbers[1], grace)
        self.carry_out(outer, crash[0], pause_at, lambda: self.carry_out(inner, crash[1]))
        self.someone_else = False

    @rule(number=data_sets, grace=graces, then=data_sets)
    def an_index_from_before(self, number: int, grace: float, then: int) -> None:
        """An extractor has looked at the store; then sets are removed and collected, and it goes on."""
        index = RowIndex(self.shared, ENCODER_ID)
        if number not in self.pinned:
            self.remove(self.shared, number, now=True)
        self.collect(self.shared, grace)
        extract(self.shared, then, index)
        self.sealed.add(then)
        self.doubtful.discard(then)

    @rule(hours=st.floats(0.1, 3))
    def time_passes(self, hours: float) -> None:
        self.now += 3600 * hours

    @invariant()
    def sealed_sets_are_there_and_right(self) -> None:
        store = Store(self.shared)
        there = store.set_ids()
        assert {SETS[n] for n in self.sealed} <= there.keys()
        for set_ in there:
            number = SETS.index(set_)
            try:
                assert_right(store.open(set_))
            except Corrupt:
                assert number in self.doubtful, f"a sealed set lost data: {number}"

    def teardown(self) -> None:
        """Without crashes, everybody finishes, and only what is needed is left."""
        store = Store(self.shared)
        broken = {d.owner for d in verify(store, data=True).damages} & store.set_ids().keys()
        assert broken <= {SETS[n] for n in self.doubtful}
        for set_ in broken:  # a writer and the gc that took its data for abandoned have both crashed
            self.shared.delete(store.set_ids()[set_])
        for d in verify(store, data=True).damages:
            self.shared.delete(d.seal)
        for number in range(len(DATA)):
            extract(self.shared, number)
        self.now += 30 * 86400
        for _ in range(3):
            gc(store, delete=True, grace=0)
        assert not verify(store, data=True).damages
        assert set(store.set_ids()) == set(SETS)
        for set_ in SETS:
            assert_right(store.open(set_))
        assert not gc(store).garbage
        assert not list(self.shared.list("units/"))
        assert not list(self.shared.list("unit-seals/"))


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same order of operations in every run; and claims, which are only advice, are all lost."""
    monkeypatch.setattr(waste, "is_abandoned", lambda content, age: True)
    monkeypatch.setattr(parallel, "_AT_ONCE", 1, raising=False)
    monkeypatch.setattr(feature_set_module, "_READERS", 1, raising=False)


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
