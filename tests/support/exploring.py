"""Extractors, collectors, removals and kills in every order of events, each stopped where it matters: a search.

Two extractors, a collector and whoever removes a set share one storage in memory and run the real code of the stores.
Each runs in a thread of its own, one at a time, and hands over before or after operations of its that others can come
between. An event lets one of them go on to its next such point, or kills it there. From one beginning, every sequence
of events up to a depth is tried, but for those that come to a state that has been searched.

After every event, what somebody was told must hold: see `Told`.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest

from cryoprobe import parallel
from cryoprobe.canonical import digest
from cryoprobe.errors import NotFound
from cryoprobe.stores import feature_set as feature_set_module
from cryoprobe.stores.backends.backend import Backend, ObjectDetails, ObjectInfo
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.format.names import Name, NamedSet
from cryoprobe.stores.format.stored_names import write_name
from cryoprobe.stores.keeping import unreferenced
from cryoprobe.stores.keeping.gc import gc
from cryoprobe.stores.keeping.removal import rm
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.keys import set_id, unit_id
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing import fences
from cryoprobe.stores.writing import sets as sets_module
from cryoprobe.stores.writing import units as units_module
from cryoprobe.stores.writing.claims import Claims
from cryoprobe.stores.writing.fences import FENCES
from cryoprobe.stores.writing.row_index import RowIndex, RowsRemoved
from cryoprobe.stores.writing.sets import SetContent, seal_set
from cryoprobe.stores.writing.units import write_unit
from support.interrupting import Stop
from support.store_data import ENCODER, ENCODER_ID, class_labels, dataset_of, make_rows, sample_ids

HOUR = 3600.0
POOL = sample_ids(3)
DATA = {"A": POOL[:2], "B": POOL[1:]}
"""Two data sets of two images, of which they share one."""

UNIT_ROWS = {"A": 1, "B": 2}
"""A is extracted as two units, B as one, unless it finds rows."""

SPECS = {d: dataset_of(ids, class_labels(len(ids)), split=d) for d, ids in DATA.items()}
SETS = {d: set_id(ENCODER_ID, digest(spec)) for d, spec in SPECS.items()}
Time = Literal["no grace", "a day passes", "a day back"]
"""How gc is called, and what the clock does at each event: with a grace period of 24 hours in the other two."""

Verb = Literal["list", "get", "put", "put_if_absent", "delete"]


@dataclass
class Told:
    """What somebody was told, or has ended, so that it must hold.

    `sets`: sealed, and not removed since. `rows`: of units whose writers were told that they are sealed, by image, and
    in no set that was removed since. `gone`: removed, and not extracted again since. Nothing is promised of what is
    sealed while it is being removed.
    """

    sets: set[str] = field(default_factory=set)
    rows: set[bytes] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    removing: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    extracting: Counter[str] = field(default_factory=Counter)
    killed: set[str] = field(default_factory=set)

    def since(self, data: str) -> int | None:
        """Return what is equal later if no removal of it has been at work meanwhile; None while one is."""
        return None if self.removing[data] else self.removed[data]


class Actor(Backend):
    """One process: its view of the storage, in a thread that runs only while it has the turn.

    Parameters
    ----------
    world : World
    job : callable
        Given this view.
    """

    def __init__(self, world: World, job: Callable[[Actor], None]) -> None:
        self.url = world.storage.url
        self.error: BaseException | None = None
        self.done = False
        self.blocked = False
        self.log = hashlib.sha256()  # of all that it has read and done
        self._world = world
        self._storage = world.storage
        self._stops: Callable[[str, Verb, str], bool] = lambda *_: False
        self._dead = False
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(job,), daemon=True)
        self._thread.start()

    def go_on(self, stops: Callable[[str, Verb, str], bool]) -> None:
        """Let it run until ``stops("before" or "after", verb, key)`` of one of its operations, or its end."""
        self._stops, self.blocked = stops, False
        self._turn.release()
        assert self._back.acquire(timeout=60)
        if self.error is not None:
            raise self.error

    def finish(self) -> None:
        """Let it run to its end, or until it waits for somebody else."""
        self.go_on(lambda *_: False)

    def kill(self) -> None:
        """End it where it stands."""
        if self.done:
            return
        self._dead = True
        self.finish()
        self._thread.join(60)
        assert self.done

    def pause(self, seconds: float) -> None:
        """Wait for somebody else: what it does where it would sleep."""
        del seconds
        self.blocked = True
        self._hand_over()

    def _run(self, job: Callable[[Actor], None]) -> None:
        self._turn.acquire()
        _ACTORS[threading.get_ident()] = self
        try:
            if not self._dead:
                job(self)
        except Stop:
            pass
        except BaseException as e:
            self.error = e
        self.done = True
        del _ACTORS[threading.get_ident()]
        self._back.release()

    def _hand_over(self) -> None:
        self._back.release()
        assert self._turn.acquire(timeout=60)
        if self._dead:
            raise Stop

    def _do(self, verb: Verb, key: str, do: Callable[[], Any]) -> Any:
        if self._dead:
            raise Stop
        if self._stops("before", verb, key):
            self._hand_over()
        self._world.writes += verb not in ("list", "get")
        try:
            found = do()
        except NotFound:
            self.log.update(f"{verb} {key} -".encode())
            raise
        self.log.update(f"{verb} {key} {found!r}".encode())
        if self._stops("after", verb, key):
            self._hand_over()
        return found

    def get(self, key: str, limit: int | None = None) -> bytes:
        return self._do("get", key, lambda: self._storage.get(key, limit))  # type: ignore[no-any-return]

    def exists(self, key: str) -> bool:
        return self._do("get", key, lambda: self._storage.exists(key))  # type: ignore[no-any-return]

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(self._do("list", prefix, lambda: [*self._storage.list(prefix)]))

    def inspect(self, prefix: str = "") -> Iterator[ObjectDetails]:
        return iter(self._do("list", prefix, lambda: [*self._storage.inspect(prefix)]))

    def put(self, key: str, data: bytes) -> None:
        self._do("put", key, lambda: self._storage.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._do("put_if_absent", key, lambda: self._storage.put_if_absent(key, data))  # type: ignore[no-any-return]

    def delete(self, key: str) -> None:
        self._do("delete", key, lambda: self._storage.delete(key))

    def copy(self, source: str, target: str) -> None:
        self._do("put", target, lambda: self._storage.copy(source, target))


_ACTORS: dict[int, Actor] = {}


class Memory(MemoryBackend):
    """Storage that tells when its objects were written."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.url = "memory://searched"

    def written(self, key: str) -> float:
        return self._written[key]


class World:
    """The storage, who is at work on it, and what they were told."""

    def __init__(self, time: Time) -> None:
        self.now = 1e9
        self.time = time
        self.storage = Memory(clock=lambda: self.now)
        write_marker(self.storage)
        self.told = Told()
        self.writes = 0
        self.actors: dict[str, Actor] = {}

    def abandon(self) -> None:
        """End everybody."""
        for actor in self.actors.values():
            with suppress(BaseException):
                actor.kill()

    # What they do.

    def extract(self, view: Actor, data: str) -> None:
        """Do what an extractor does with a store, without an encoder."""
        told, ids = self.told, DATA[data]
        told.gone.discard(data)
        told.extracting[data] += 1
        try:
            for _ in range(8):
                with suppress(RowsRemoved):
                    index = RowIndex(view, ENCODER_ID)
                    for start in range(0, len(ids), UNIT_ROWS[data]):
                        missing = index.missing(ids[start : start + UNIT_ROWS[data]])
                        if missing:
                            self._write_unit(view, index, missing)
                    self._seal_set(view, index, data)
                    return
            raise AssertionError("its rows were withdrawn again and again")
        finally:
            told.extracting[data] -= 1

    def _write_unit(self, view: Actor, index: RowIndex, ids: list[bytes]) -> None:
        before = {d: self.told.since(d) for d in DATA}
        seal = write_unit(view, ENCODER_ID, unit_id(ENCODER_ID, ids), make_rows(ids))
        if _WRITERS[seal.attempt] is view:
            undisturbed = [d for d in DATA if before[d] is not None and before[d] == self.told.since(d)]
            self.told.rows |= {i for i in ids if all(d in undisturbed for d in DATA if i in DATA[d])}
        index.add(seal)

    def _seal_set(self, view: Actor, index: RowIndex, data: str) -> None:
        before = self.told.since(data)
        manifest, _ = seal_set(
            view,
            index,
            SetContent(
                encoder=ENCODER,
                dataset=SPECS[data],
                ids=DATA[data],
                labels=class_labels(len(DATA[data])),
                failed=(),
                chunk_rows=UNIT_ROWS[data],
                provenance={},
            ),
        )
        if before is not None and before == self.told.since(data):
            self.told.sets.add(data)
        name = Name(model="m", dataset=data, split="s", tap="t")
        counts = {"rows": manifest.rows, "dim": manifest.dim, "failed": 0, "size": manifest.size}
        write_name(view, NamedSet(name=name, set=manifest.set, encoder=ENCODER_ID, named=1, **counts))

    def remove(self, view: Actor, data: str, *, now: bool) -> None:
        told = self.told
        told.sets.discard(data)
        told.rows -= set(DATA[data])
        told.removing[data] += 1
        told.removed[data] += 1
        try:
            rm(Store(view), [SETS[data]], now=now)
        except NotFound:
            return
        finally:
            told.removing[data] -= 1
        if not told.extracting[data]:
            told.gone.add(data)

    def collect(self, view: Actor) -> None:
        gc(Store(view), delete=True, grace=0.0 if self.time == "no grace" else 24 * HOUR)

    # Events

    def happen(self, event: str) -> bool:
        """Let one event happen; return whether anything has changed, or anybody has come a step further."""
        self.now += {"no grace": 0.0, "a day passes": 25 * HOUR, "a day back": -25 * HOUR}[self.time]
        before = dict(self.storage.list()), [a.log.hexdigest() for a in self.actors.values()]
        writes = self.writes
        getattr(self, f"_{event.replace(' ', '_')}")()
        self._tidy()
        after = dict(self.storage.list()), [a.log.hexdigest() for a in self.actors.values()]
        return before != after or writes != self.writes

    def _tidy(self) -> None:
        self.actors = {role: a for role, a in self.actors.items() if not a.done}

    def _actor(self, role: str, job: Callable[[Actor], None]) -> Actor:
        if role not in self.actors:
            self.actors[role] = Actor(self, job)
        return self.actors[role]

    def _write(self) -> None:
        """Let the writer go on until it is about to seal."""
        self._actor("writer", lambda view: self.extract(view, "A")).go_on(
            lambda when, verb, key: when == "before" and verb == "put_if_absent" and is_seal(key)
        )

    def _seal(self) -> None:
        """Let the writer go on until it has just sealed."""
        self._actor("writer", lambda view: self.extract(view, "A")).go_on(
            lambda when, verb, key: when == "after" and verb in ("put_if_absent", "put") and is_seal(key)
        )

    def _extract(self) -> None:
        self._actor("other", lambda view: self.extract(view, "A")).finish()

    def _extract_B(self) -> None:  # noqa: N802
        self._actor("another", lambda view: self.extract(view, "B")).finish()

    def _rm(self) -> None:
        self._actor("remover", lambda view: self.remove(view, "A", now=False)).finish()

    def _rm_now(self) -> None:
        self._actor("remover", lambda view: self.remove(view, "A", now=True)).finish()

    def _half_rm(self) -> None:
        """Let somebody who removes the set go on until its manifest is about to be deleted."""
        self._actor("remover", lambda view: self.remove(view, "A", now=True)).go_on(
            lambda when, verb, key: when == "before" and verb == "delete" and key.startswith("manifests/")
        )

    def _list(self) -> None:
        """Let a collector go on until it has listed the store."""
        if "collector" not in self.actors:
            self._actor("collector", self.collect).go_on(
                lambda when, verb, key: when == "after" and verb == "list" and key == ""
            )

    def _read(self) -> None:
        """Let a collector go on until it is about to delete."""
        self._actor("collector", self.collect).go_on(_BEFORE_DELETING)

    def _gc(self) -> None:
        self._actor("collector", self.collect).finish()

    def _kill(self) -> None:
        for role in ("writer", "remover", "other", "another"):
            if role in self.actors:
                self.actors[role].kill()
                self.told.killed.add(role)
                return

    def _kill_gc(self) -> None:
        """Kill the collector; if it was about to delete, after the first object."""
        if "collector" in self.actors:
            collector = self.actors["collector"]
            collector.go_on(lambda when, verb, key: when == "before" or verb == "delete")
            if not collector.done:
                collector.kill()
            self.told.killed.add("collector")

    # What must hold

    def check(self) -> None:
        """Look whether all holds that somebody was told."""
        told, store = self.told, Store(self.storage)
        there = store.set_ids()
        for data in told.sets:
            assert_right(store, data)
        for data in told.gone:
            assert SETS[data] not in there, f"{data} is there again"
        assert not {n.set for n in store.names()} & {SETS[d] for d in told.gone}
        if told.rows:
            index = RowIndex(self._without_remains(), ENCODER_ID)
            ids = sorted(told.rows)
            np.testing.assert_array_equal(index.gather(ids).embeddings, make_rows(ids).embeddings)

    def _without_remains(self) -> Backend:
        """Return the storage without seals of which a part is left: of a killed writer, by a collector killed too."""
        if "collector" not in self.told.killed:
            return self.storage
        copy = MemoryBackend()
        for key, _ in self.storage.list():
            copy.put(key, self.storage.get(key))
        forget_remains(copy, self.told)
        return copy

    def end(self) -> None:
        """Let everybody finish, and look whether everything can be extracted, and only what is needed is left."""
        while self.actors:
            at_work = list(self.actors)
            for actor in list(self.actors.values()):
                actor.finish()
            self._tidy()
            if list(self.actors) == at_work:  # they wait for somebody who is dead
                self._forget_fences()
        assert not self.actors
        self.check()
        if "collector" in self.told.killed:
            forget_remains(self.storage, self.told)
            self._forget_fences()
        self.time = "no grace"
        for data in DATA:
            self.actors["other"] = Actor(self, partial(self.extract, data=data))
            self.actors["other"].finish()
            self._tidy()
            assert not self.actors
        self.told.gone.clear()
        assert self.told.sets == set(DATA)
        self.now += 30 * 24 * HOUR
        for _ in range(3):
            self._gc()
            self._tidy()
        self.check()
        assert not verify(Store(self.storage), data=True).damages
        left = {k.partition("/")[0] for k, _ in self.storage.list()} - {"sets", "manifests", "names", "cryoprobe.json"}
        assert left <= {"gc"}, left
        assert {k for k, _ in self.storage.list("gc/")} <= {"gc/clock", "gc/candidates.json"}

    def _forget_fences(self) -> None:
        """Delete what a killed collector has left behind, as if its process were seen to be dead."""
        assert "collector" in self.told.killed
        for key, _ in self.storage.list(FENCES):
            self.storage.delete(key)

    def state(self) -> str:
        """Return a text that is equal for states which no event can tell apart."""
        now = self.now
        parts = []
        for key, _ in self.storage.list():
            written = f" {now - self.storage.written(key):.0f}" if key.startswith("gc/") else ""
            content = self.storage.get(key)
            text = content.decode() if content[:1] == b"{" else hashlib.sha256(content).hexdigest()
            parts.append(f"{key}{written} {text}")
        told = self.told
        parts.append(f"{sorted(told.sets)} {sorted(told.rows)} {sorted(told.gone)} {sorted(told.killed)}")
        parts += [f"{role} {a.blocked} {a.log.hexdigest()}" for role, a in sorted(self.actors.items())]
        text = re.sub(r'"(checksum|removed|at|pid|start)":("[^"]*"|[0-9.e+]+),?', "", "\n".join(parts))
        labels: dict[str, str] = {}
        text = _ATTEMPT.sub(lambda m: labels.setdefault(m[0], f"attempt {len(labels)}"), text)
        return hashlib.sha256(text.encode()).hexdigest()


def is_seal(key: str) -> bool:
    return key.startswith(("unit-seals/", "manifests/"))


def _BEFORE_DELETING(when: str, verb: Verb, key: str) -> bool:  # noqa: N802
    return when == "before" and verb == "delete" and key.startswith(("sets/", "units/", "unit-seals/"))


def assert_right(store: Store, data: str) -> None:
    found, rows = store.open(SETS[data]), make_rows(DATA[data])
    np.testing.assert_array_equal(found.load()[0], rows.embeddings.astype(np.float32))
    np.testing.assert_array_equal(found.sample_ids(), rows.samples)


def forget_remains(backend: Backend, told: Told) -> None:
    """Delete seals of which a part of the data is left, as `repair` does with units; of sets nobody was told of."""
    for damage in verify(Store(backend), data=True).damages:
        assert damage.owner not in {SETS[d] for d in told.sets}
        backend.delete(damage.seal)


def _new_attempt() -> str:
    attempt = f"{next(_COUNT):012x}"
    _WRITERS[attempt] = _ACTORS.get(threading.get_ident())
    return attempt


_COUNT = itertools.count(0xA00000000000)
_WRITERS: dict[str, Actor | None] = {}
_ATTEMPT = re.compile(r"\ba0000[0-9a-f]{7}\b")


class Inline:
    """An executor that does what it is given at once, so that each actor is one thread."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as e:
            future.set_exception(e)
        return future


def prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs repeatable. All claims are lost: they are advice, and nothing may depend on them."""
    monkeypatch.setattr(unreferenced, "is_abandoned", lambda content, age: True)
    monkeypatch.setattr(Claims, "_keep_alive", lambda self: None)  # nor is a thread at work that nobody lets go on
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", Inline)
    monkeypatch.setattr(feature_set_module, "_READERS", 1)
    monkeypatch.setattr(fences, "LONGEST_WAIT_SECONDS", math.inf)
    monkeypatch.setattr(fences.time, "sleep", lambda seconds: _ACTORS[threading.get_ident()].pause(seconds))
    for module in (fences, sets_module, units_module):
        monkeypatch.setattr(module, "new_attempt", _new_attempt)


BEGINNINGS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "units": ("seal", "write", "write", "kill"),
    "a set": ("extract",),
    "a set and its units' sets": ("extract", "extract B", "gc"),
    "a removed set": ("extract", "rm now"),
}
EVENTS = (
    *("write", "seal", "kill", "extract", "extract B"),
    *("list", "read", "gc", "kill gc"),
    *("rm", "rm now", "half rm"),
)


@dataclass
class Searched:
    """How many sequences of events were played, and how many of them came to new states."""

    sequences: int = 0
    states: int = 0


def search(beginning: Sequence[str], time: Time, depth: int, events: Sequence[str] = EVENTS) -> Searched:
    """Try all sequences of events up to a depth; raise an `AssertionError` with the first that breaks a promise."""
    searched = Searched()
    seen: set[str] = set()
    level: list[tuple[str, ...]] = [()]
    for _ in range(depth):
        following = []
        for sequence in level:
            for event in events:
                searched.sequences += 1
                if play(beginning, time, (*sequence, event), seen):
                    searched.states += 1
                    following.append((*sequence, event))
        level = following
    return searched


def wander(beginning: Sequence[str], time: Time, depth: int, walks: int, seed: int) -> Searched:
    """Try random sequences of events of a depth, and look after each event; raise as `search` does."""
    rng, searched, seen = random.Random(f"{seed} {time} {[*beginning]}"), Searched(), set[str]()
    for _ in range(walks):
        sequence = [rng.choice(EVENTS) for _ in range(depth)]
        searched.sequences += 1
        searched.states += play(beginning, time, sequence, seen, each=True)
    return searched


def play(beginning: Sequence[str], time: Time, sequence: Sequence[str], seen: set[str], *, each: bool = False) -> bool:
    """Play a sequence of events, and look whether all holds at its end; return whether it has come to a new state.

    Parameters
    ----------
    beginning, sequence : sequence of str
        Events.
    time : str
    seen : set of str
        States that have been searched; the new one is added.
    each : bool
        Look after each event, too.
    """
    world = World("no grace")
    try:
        for event in beginning:
            world.happen(event)
        world.time = time
        moved = True
        for event in sequence:
            moved = world.happen(event)
            if each:
                world.check()
        state = world.state()
        if not moved or state in seen:
            world.abandon()
            return False
        world.check()
        world.end()
    except BaseException as e:
        world.abandon()
        raise AssertionError(f"{[*beginning]} then, {time!r}: {[*sequence]}: {type(e).__name__}: {e}") from e
    seen.add(state)
    return True
