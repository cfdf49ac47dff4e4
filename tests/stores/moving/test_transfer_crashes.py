"""A transfer killed at any instant leaves nothing half readable, and the same transfer again ends it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.data import put_set
from support.killing import Instant
from support.mover import Mover
from support.store_data import keys

import cryoprobe

pytestmark = pytest.mark.slow

SETS, ROWS, CHUNK_ROWS = 3, 48, 4
KILLS = 15  # of each of the three ways, so 45
MOST_STARTS = 4 * KILLS


@pytest.fixture
def mover(s3: str) -> Iterator[Mover]:
    """Run transfers in processes that know the way to the S3 server."""
    running = Mover()
    yield running
    running.close()


def fill(place: str) -> set[str]:
    """Make a store with sets of many small chunks, and rows that are in no set; return the ids of the sets."""
    store = cryoprobe.open_store(place, create=True)
    rng = np.random.default_rng(0)
    return {
        put_set(
            store,
            rng.normal(size=(ROWS, 6)).astype(np.float32),
            np.arange(ROWS) % 3,
            classes=["a", "b", "c"],
            split=f"part{i}",
            chunk_rows=CHUNK_ROWS,
        ).id
        for i in range(SETS)
    }


@pytest.mark.parametrize("way", ["push to S3", "pull from S3", "push to a folder"])
def test_killed_at_random_instants_it_leaves_nothing_half_readable(
    way: str, tmp_path: Path, s3: str, mover: Mover
) -> None:
    source = s3 if way == "pull from S3" else str(tmp_path / "source")
    sets = fill(source)
    verb = "pull" if way.startswith("pull") else "push"
    first = f"{s3}-first" if way == "push to S3" else str(tmp_path / "first")
    operations = mover.operations(verb, *((first, source) if verb == "pull" else (source, first)))
    instants = random.Random(way)
    killed = half = 0
    target = ""
    for start in range(MOST_STARTS):
        if not target or sets <= set(cryoprobe.open_store(target).set_ids()):
            new = f"target{start}"
            target = f"{s3}-{new}" if way == "push to S3" else str(tmp_path / new)
        ends = (target, source) if verb == "pull" else (source, target)
        instant = Instant(instants.randint(1, operations // 2), instants.choice([0.0, instants.uniform(0, 0.005)]))
        killed += mover.kill(verb, *ends, instant)
        found = cryoprobe.open_store(target)
        assert cryoprobe.verify(found, data=True).damages == ()
        half += len(keys(found.backend, "sets/")) > 0 and set(found.set_ids()) < sets
        if killed == KILLS:
            break
    assert killed == KILLS
    assert half >= KILLS // 3, "the instants are not those of the transfer"

    moved = getattr(cryoprobe, verb)(*ends, units=True)
    assert {s.set for s in moved.sets} == sets
    assert cryoprobe.verify(target, data=True).damages == ()
    for set_ in sets:
        for mine, theirs in zip(*(cryoprobe.open_store(p).open(set_).load() for p in (source, target)), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert len(cryoprobe.open_store(target).names()) == SETS
    assert getattr(cryoprobe, verb)(*ends, units=True).objects == 0
