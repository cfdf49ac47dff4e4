"""Killed at any instant, or run by several at once, an extraction ends with one sealed set of the right rows."""

from __future__ import annotations

import math
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from support.data import wait_until, write_images
from support.extractor import Extraction
from support.killing import Instant

import cryoprobe

pytestmark = pytest.mark.slow

ROWS = 1600
UNIT_ROWS = 16
KILLS = 40
S3_KILLS = 20
S3_ROWS = 400


def start(data: Path, store: Path | str) -> Extraction:
    return Extraction(data, store, UNIT_ROWS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_images(tmp_path / "data", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    return tmp_path / "data"


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    write_images(tmp_path / "data", {"a": S3_ROWS // 2, "b": S3_ROWS // 2}, side=16)
    return tmp_path / "data"


def assert_same_as_undisturbed(store: Path | str, data: Path, tmp_path: Path) -> None:
    undisturbed = start(data, tmp_path / "undisturbed").summary()
    (only,) = cryoprobe.open_store(store).set_ids()
    assert only == undisturbed["set"]
    found = cryoprobe.open_store(store).open(only)
    expected = cryoprobe.open_store(tmp_path / "undisturbed").open(only)
    for mine, theirs in zip(found.load(), expected.load(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(found.sample_ids(), expected.sample_ids())
    np.testing.assert_array_equal(found.norms(), expected.norms())
    assert not cryoprobe.verify(store, data=True).damages


def kill_often(data: Path, store: Path | str, times: int, operations: int) -> None:
    """Start an extraction and kill it at one of its first operations on storage, or within 5 ms, again and again."""
    instants = random.Random(0)
    for _ in range(times):
        instant = Instant(instants.randint(1, operations), instants.choice([0.0, instants.uniform(0, 0.005)]))
        extraction = Extraction(data, store, UNIT_ROWS, instant)
        extraction.process.join()
        assert extraction.process.exitcode == -signal.SIGKILL


def test_killed_at_forty_random_instants_it_still_ends_with_the_right_set(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    kill_often(data, store, KILLS, 60)
    before = len(list((store / "unit-seals").rglob("*.json")))
    last = start(data, store).summary()
    assert last["rows"] == ROWS
    assert last["encoded"] == ROWS - UNIT_ROWS * min(before, ROWS // UNIT_ROWS)
    assert_same_as_undisturbed(store, data, tmp_path)


def test_killed_at_twenty_random_instants_on_s3_too(small_data: Path, s3: str, tmp_path: Path) -> None:
    kill_often(small_data, s3, S3_KILLS, 25)
    backend = cryoprobe.open_store(s3).backend
    before = len(list(backend.list("unit-seals/")))
    assert not cryoprobe.verify(s3, data=True).damages
    last = start(small_data, s3).summary()
    assert last["rows"] == S3_ROWS
    # A seal that was on its way when its writer died may have arrived since.
    assert last["encoded"] in (S3_ROWS - UNIT_ROWS * before, S3_ROWS - UNIT_ROWS * (before + 1))
    assert_same_as_undisturbed(s3, small_data, tmp_path)


@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_eight_extractors_at_once_encode_each_row_about_once_and_end_with_one_set(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rows, data = 192, tmp_path / "data"
    write_images(data, {"a": rows // 2, "b": rows // 2}, side=16)
    store: Path | str = tmp_path / "store" if kind == "disk" else request.getfixturevalue("s3")
    all_ = [start(data, store) for _ in range(8)]
    done = [e.summary() for e in all_]
    assert rows <= sum(d["encoded"] for d in done) <= rows + 8 * UNIT_ROWS
    assert {d["set"] for d in done} == set(cryoprobe.open_store(store).set_ids())
    assert_same_as_undisturbed(store, data, tmp_path)
    backend = cryoprobe.open_store(store).backend
    assert len({i.key.split("/")[2] for i in backend.list("sets/")}) == 1  # the losers' attempts are cleared away
    assert not list(backend.list("claims/"))


def test_two_extractors_at_once_share_the_work_and_end_with_one_set(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    both = [start(data, store), start(data, store)]
    encoded = [e.summary()["encoded"] for e in both]
    assert ROWS <= sum(encoded) <= ROWS + 2 * UNIT_ROWS
    assert_same_as_undisturbed(store, data, tmp_path)


def test_a_killed_extractors_claim_holds_nobody_up(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    extraction = start(data, store)
    extraction.wait_for_begin()
    wait_until(lambda: _claims(store), extraction.process.is_alive)
    assert extraction.process.pid is not None
    os.kill(extraction.process.pid, signal.SIGSTOP)  # so that it holds still while we look
    extraction.process.kill()
    extraction.process.join()
    # It may have stopped just between two claims; then the next test run will not.
    # Whoever waited until the claim has been silent for long enough would wait for ever.
    assert Extraction(data, store, UNIT_ROWS, silence_seconds=math.inf).summary()["rows"] == ROWS
    assert not _claims(store)
    assert_same_as_undisturbed(store, data, tmp_path)


def _claims(store: Path) -> list[Path]:
    return list(store.glob("claims/*/*.json"))
