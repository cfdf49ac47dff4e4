"""SIGKILL at random instants of gc and repair: no sealed set is lost, no wrong row is read, the same call finishes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from support import store_data
from support.forking import CONTEXT
from support.killing import Instant, Operations
from support.store_data import class_labels, flip, keys, make_rows, sample_ids, seal, sealed_set, write_units

from cryoprobe.errors import Corrupt
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.keeping.gc import gc
from cryoprobe.stores.keeping.removal import rm
from cryoprobe.stores.keeping.repair import repair
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store

pytestmark = pytest.mark.slow

KILLS = 20  # of each, on each kind of storage
KEPT, REMOVED, UNFINISHED = sample_ids(24), sample_ids(16, seed=1), sample_ids(8, seed=2)


Job = Callable[[str, str], object]


def _collect(place: str, other: str) -> None:
    gc(place, delete=True, grace=0)


def _repair(place: str, other: str) -> None:
    repair(place, source=other)


def _child(
    job: Job, place: str, other: str, environment: dict[str, str], instant: Instant | None, parent: Connection
) -> None:
    os.environ.update(environment)  # where the S3 server is; the fork server may be older than it
    operations = Operations(instant)
    job(place, other)
    operations.finish()
    parent.send(operations.count)


def started(job: Job, place: str, other: Path, instant: Instant | None = None) -> tuple[BaseProcess, Connection]:
    """Begin a job in another process; return the process, and what it answers at its end."""
    answers, child = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_child, args=(job, place, str(other), dict(os.environ), instant, child))
    process.start()
    child.close()
    return process, answers


def killed(job: Job, place: str, other: Path, instant: Instant) -> bool:
    """Run a job in another process and kill it at an instant; return whether that came before its end."""
    process, _ = started(job, place, other, instant)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == -signal.SIGKILL


def operations_of(job: Job, place: str, other: Path) -> int:
    process, answers = started(job, place, other)
    count = answers.recv()
    process.join()
    return int(count)


def instants_among(operations: int, seed: int) -> Iterator[Instant]:
    """Yield instants at the beginning of one of so many operations, or within 5 ms of it."""
    chance = random.Random(seed)
    while True:
        yield Instant(chance.randint(1, operations), chance.choice([0.0, chance.uniform(0, 0.005)]))


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where a store can be made."""
    return str(request.getfixturevalue("s3") if request.param == "s3" else tmp_path / "store")


def assert_kept(store: Store, set_: str, *, may_be_damaged: bool = False) -> None:
    found = store.open(set_)
    try:
        x, y = found.load()
    except Corrupt:
        assert may_be_damaged
        return
    np.testing.assert_array_equal(x, make_rows(KEPT).embeddings.astype(np.float32))
    np.testing.assert_array_equal(y, class_labels(len(KEPT)))


def test_gc_killed_at_random_instants(place: str, tmp_path: Path) -> None:
    store = open_store(place, create=True)
    kept = sealed_set(store.backend, KEPT, chunk_rows=8).id

    def litter() -> None:
        """Leave a removed set, units of the kept one, an abandoned attempt, and units of an unfinished extraction."""
        write_units(store.backend, KEPT, 8)
        write_units(store.backend, UNFINISHED, 8)
        rm(store, [sealed_set(store.backend, REMOVED, chunk_rows=8, split="gone").id])
        store.backend.put(f"sets/{kept}/0123456789ab/zarr.json", b"{")
        store.backend.put(f"units/{store_data.ENCODER_ID}/{'0' * 64}/0123456789ab/norms", b"half")

    litter()
    instants = instants_among(operations_of(_collect, place, tmp_path), 0)
    early = 0
    while early < KILLS:
        litter()
        early += killed(_collect, place, tmp_path, next(instants))
        assert not verify(store, data=True).damages
        assert_kept(store, kept)
        assert set(store.set_ids()) == {kept}
    gc(store, delete=True, grace=0)
    gc(store, delete=True, grace=0)  # records of what is gone
    assert not gc(store).garbage
    assert_kept(store, kept)
    assert len(keys(store.backend, "unit-seals/")) == 1  # of the unfinished extraction
    assert not keys(store.backend, "gc/fences/")
    again, sealed = seal(store.backend, UNFINISHED, split="finished")
    assert sealed
    assert set(store.set_ids()) == {kept, again.set}


def test_repair_killed_at_random_instants(place: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    store = open_store(place, create=True)
    kept = sealed_set(store.backend, KEPT, chunk_rows=8)
    for info in store.backend.list():  # a copy of the store, by copying its objects
        LocalBackend(other).put(info.key, store.backend.get(info.key))
    bits = np.random.default_rng(0)

    def damage() -> None:
        """Damage a chunk and the unit that it came from, the labels, a document and the manifest."""
        wounds = ["embeddings/c/1/0", "labels/c/0", "zarr.json", "norms/c/2"]
        units = keys(store.backend, "units/")
        for key in [*(f"{kept.manifest.folder}/{w}" for w in wounds), *units[:4], kept.manifest.key]:
            data = LocalBackend(other).get(key)
            store.backend.put(key, flip(data, int(bits.integers(len(data) * 8))))

    damage()
    instants = instants_among(operations_of(_repair, place, other), 1)
    assert not verify(store, data=True).damages
    early = 0
    while early < KILLS:
        damage()
        early += killed(_repair, place, other, next(instants))
        with_manifest = kept.manifest.key not in {d.key for d in verify(store).damages}
        if with_manifest:
            assert_kept(store, kept.id, may_be_damaged=True)
        done = repair(place, source=other)
        assert {r.action for r in done} <= {"restored"}
        assert not verify(store, data=True).damages
        assert_kept(store, kept.id)
    quarantined = keys(store.backend, "quarantine/")
    assert len(quarantined) >= 9
    assert any(k.endswith(kept.manifest.key) for k in quarantined)


@pytest.mark.parametrize("grace", [0.0, 86400.0])
def test_a_temporary_file_of_a_killed_writer_goes_and_that_of_a_living_one_stays(tmp_path: Path, grace: float) -> None:
    store = open_store(tmp_path / "store", create=True)
    old, young = (Path(store.url) / "sets" / f".tmp-{name}" for name in ("old", "young"))
    old.parent.mkdir()
    for path in (old, young):
        path.write_bytes(b"half of an object")
    an_hour_ago = time.time() - 3600
    os.utime(old, (an_hour_ago, an_hour_ago))
    gc(store, delete=True, grace=grace)
    assert young.exists()
    assert old.exists() == bool(grace)
