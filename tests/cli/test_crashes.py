"""Killed at any instant, or run by several at once, an extraction ends with one sealed set of the right rows."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests_support import write_images

import cryoprobe

ROWS = 400
UNIT_ROWS = 16
KILLS = 30


def start(data: Path, store: Path) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("extractor.py")
    return subprocess.Popen(
        [sys.executable, str(script), f"folder:{data}", str(store), str(UNIT_ROWS)], stdout=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    assert process.stdout is not None
    *_, last = process.stdout.read().splitlines()
    assert process.wait() == 0
    summary: dict[str, object] = json.loads(last)
    return summary


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_images(tmp_path / "data", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    return tmp_path / "data"


def assert_same_as_undisturbed(store: Path, data: Path, tmp_path: Path) -> None:
    undisturbed = finish(start(data, tmp_path / "undisturbed"))
    (only,) = cryoprobe.open_store(store).set_ids()
    assert only == undisturbed["set"]
    found = cryoprobe.open_store(store).open(only)
    expected = cryoprobe.open_store(tmp_path / "undisturbed").open(only)
    x, y = found.load()
    expected_x, expected_y = expected.load()
    np.testing.assert_array_equal(found.samples(), expected.samples())
    np.testing.assert_array_equal(y, expected_y)
    # The same images in other batches: equal but for the rounding of float32 sums, and float16 in the store.
    np.testing.assert_allclose(x, expected_x, atol=2e-3)
    assert not cryoprobe.verify(store, data=True).damages


def test_killed_at_thirty_random_instants_it_still_ends_with_the_right_set(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    instants = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        process = start(data, store)
        assert process.stdout is not None
        process.stdout.readline()  # importing torch is not the part that is worth killing
        time.sleep(instants.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= KILLS // 2, "the job is too short for these instants"
    before = len(list((store / "unit-seals").rglob("*.json")))
    last = finish(start(data, store))
    assert last["rows"] == ROWS
    assert last["encoded"] == ROWS - UNIT_ROWS * min(before, ROWS // UNIT_ROWS)
    assert_same_as_undisturbed(store, data, tmp_path)


def test_two_extractors_at_once_share_the_work_and_end_with_one_set(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    summaries = [finish(p) for p in [start(data, store), start(data, store)]]
    encoded = [int(str(s["encoded"])) for s in summaries]
    assert ROWS <= sum(encoded) <= ROWS + 2 * UNIT_ROWS
    assert_same_as_undisturbed(store, data, tmp_path)


def test_a_killed_extractors_claim_holds_nobody_up(data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    process = start(data, store)
    assert process.stdout is not None
    process.stdout.readline()
    while not list(store.glob("claims/*/*.json")):
        assert process.poll() is None
    process.send_signal(signal.SIGSTOP)  # so that the claim is still there when it dies
    claims = len(list(store.glob("claims/*/*.json")))
    process.kill()
    process.wait()
    summary = finish(start(data, store))
    assert summary["rows"] == ROWS
    assert not list(store.glob("claims/*/*.json"))
    assert claims >= 0
    assert_same_as_undisturbed(store, data, tmp_path)
