"""Killed at any instant, or run by several at once, an extraction ends with one sealed set of the right rows."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tests_extractor import Extraction
from tests_support import write_images

import cryoprobe

ROWS = 1600
UNIT_ROWS = 16
KILLS = 30


def start(data: Path, store: Path) -> Extraction:
    return Extraction(data, store, UNIT_ROWS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_images(tmp_path / "data", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    return tmp_path / "data"


def assert_same_as_undisturbed(store: Path, data: Path, tmp_path: Path) -> None:
    undisturbed = start(data, tmp_path / "undisturbed").summary()
    (only,) = cryoprobe.open_store(store).set_ids()
    assert only == undisturbed["set"]
    found = cryoprobe.open_store(store).open(only)
    expected = cryoprobe.open_store(tmp_path / "undisturbed").open(only)
    for mine, theirs in zip(found.load(), expected.load(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(found.samples(), expected.samples())
    np.testing.assert_array_equal(found.norms(), expected.norms())
    assert not cryoprobe.verify(store, data=True).damages


def test_killed_at_thirty_random_instants_it_still_ends_with_the_right_set(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    instants = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        extraction = start(data, store)
        extraction.wait_for_begin()  # loading the encoder is not the part that is worth killing
        time.sleep(instants.uniform(0, 0.15))
        extraction.process.kill()
        extraction.process.join()
        killed += extraction.process.exitcode == -signal.SIGKILL
    assert killed >= KILLS // 2, "the job is too short for these instants"
    before = len(list((store / "unit-seals").rglob("*.json")))
    last = start(data, store).summary()
    assert last["rows"] == ROWS
    assert last["encoded"] == ROWS - UNIT_ROWS * min(before, ROWS // UNIT_ROWS)
    assert_same_as_undisturbed(store, data, tmp_path)


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
    while not _claims(store):
        assert extraction.process.is_alive()
    assert extraction.process.pid is not None
    os.kill(extraction.process.pid, signal.SIGSTOP)  # so that it holds still while we look
    held = _claims(store)
    extraction.process.kill()
    extraction.process.join()
    # It may have stopped just between two claims, and the next test run will not.
    started = time.monotonic()
    assert start(data, store).summary()["rows"] == ROWS
    assert time.monotonic() - started < 60 or not held
    assert not _claims(store)
    assert_same_as_undisturbed(store, data, tmp_path)


def _claims(store: Path) -> list[Path]:
    return list(store.glob("claims/*/*.json"))
