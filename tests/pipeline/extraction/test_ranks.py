"""The same command started several times, each told which it is: complete, as of one alone, and little done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import logged_encoder
from support.data import write_images

import cryoprobe

pytestmark = pytest.mark.slow

ROWS, BATCH, UNIT = 240, 8, 16
_CHECKED = -(-ROWS // 50)
"""So many of what others have encoded are encoded again, to be compared."""
_TESTS = Path(__file__).resolve().parents[2]
_EXTRACT = ["extract", "--model", logged_encoder.NAME, "--store", "store"]
_EXTRACT += ["--batch-size", str(BATCH), "--unit-rows", str(UNIT), "--workers", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of images; they are old enough for their dates to tell when they change."""
    folder = tmp_path_factory.mktemp("data")
    write_images(folder, {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    time.sleep(2.1)
    return folder


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Any]:
    """Return the set that one process makes, with its embeddings and labels."""
    folder = tmp_path_factory.mktemp("alone")
    assert _start(folder, data, {}).wait() == 0
    return _made(folder)


def _start(folder: Path, data: Path, variables: Mapping[str, str], *before: str) -> subprocess.Popen[bytes]:
    """Start one process, in a working folder that all share; each has a cache of its own, as machines have."""
    if not (folder / "log").exists():
        logged_encoder.begin(folder, {})
    number = variables.get("RANK", variables.get("SLURM_ARRAY_TASK_ID", ""))
    environ = {**os.environ, **variables, "CRYOPROBE_CACHE": str(folder / f"cache{number}")}
    environ["PYTHONPATH"] = os.pathsep.join([str(_TESTS), environ.get("PYTHONPATH", "")])
    command = [sys.executable, *before, "-m", "cryoprobe", *_EXTRACT, "--dataset", f"folder:{data}"]
    return subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE if before else None)


def _ranks(of: int, variable: str = "RANK", size: str = "WORLD_SIZE") -> Iterator[dict[str, str]]:
    return ({variable: str(i), size: str(of)} for i in range(of))


def _made(folder: Path) -> tuple[str, Any, Any]:
    store = cryoprobe.open_store(folder / "store")
    assert not cryoprobe.verify(store, data=True).damages
    assert not [key for key in store.backend.keys("claims/")]
    (set_,) = store.set_ids()
    return (set_, *store.open(set_).load())


def _assert_same(folder: Path, alone: tuple[str, Any, Any]) -> None:
    set_, x, y = _made(folder)
    assert set_ == alone[0]
    np.testing.assert_array_equal(x, alone[1])
    np.testing.assert_array_equal(y, alone[2])


def _encoded_more_than_once(folder: Path) -> int:
    counts = logged_encoder.encoded(folder)
    assert len(counts) == ROWS
    return counts.total() - ROWS - _CHECKED


def test_four_ranks_share_the_work(tmp_path: Path, data: Path, alone: tuple[str, Any, Any]) -> None:
    processes = [_start(tmp_path, data, variables) for variables in _ranks(4)]
    assert [process.wait() for process in processes] == [0] * 4
    _assert_same(tmp_path, alone)
    assert _encoded_more_than_once(tmp_path) <= 4 * BATCH


def test_a_job_array_of_which_one_never_starts(tmp_path: Path, data: Path, alone: tuple[str, Any, Any]) -> None:
    array = _ranks(4, "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    processes = [_start(tmp_path, data, variables) for i, variables in enumerate(array) if i != 2]
    assert [process.wait() for process in processes] == [0] * 3
    _assert_same(tmp_path, alone)
    assert _encoded_more_than_once(tmp_path) <= 3 * BATCH


def test_torchrun_starts_again_what_was_killed(tmp_path: Path, data: Path, alone: tuple[str, Any, Any]) -> None:
    logged_encoder.begin(tmp_path, {1: {2: "kill"}})
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4", "--max-restarts", "2"]
    process = _start(tmp_path, data, {}, *torchrun)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    _assert_same(tmp_path, alone)
    # What was not sealed by the killed one; and a batch in each of the others that torchrun ended and started again.
    assert _encoded_more_than_once(tmp_path) <= UNIT + 8 * BATCH


def _start_and_wait_for(batches: int, folder: Path, data: Path) -> subprocess.Popen[bytes]:
    """Start the first of two, and wait until it has encoded so much."""
    process = _start(folder, data, {"RANK": "0", "WORLD_SIZE": "2"})
    while logged_encoder.encoded(folder).total() < batches * BATCH:
        assert process.poll() is None
        time.sleep(0.05)
    return process


def test_one_that_is_slow_is_overtaken(tmp_path: Path, data: Path, alone: tuple[str, Any, Any]) -> None:
    logged_encoder.begin(tmp_path, {0: {3: ["slow", 30]}})
    slow = _start_and_wait_for(2, tmp_path, data)
    assert _start(tmp_path, data, {"RANK": "1", "WORLD_SIZE": "2"}).wait() == 0
    assert slow.wait() == 0
    _assert_same(tmp_path, alone)
    assert _encoded_more_than_once(tmp_path) <= 2 * BATCH
    by_the_slow_one = (tmp_path / "log" / "0.txt").read_text().split()
    # Of its 120 images what it had sealed, and had claimed or begun to claim as it became slow.
    assert len(by_the_slow_one) <= 2 * BATCH + 3 * UNIT


def test_one_that_is_killed_costs_what_it_had_not_sealed(
    tmp_path: Path, data: Path, alone: tuple[str, Any, Any]
) -> None:
    logged_encoder.begin(tmp_path, {0: {3: ["slow", 600]}})
    first = _start_and_wait_for(2, tmp_path, data)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert _start(tmp_path, data, {"RANK": "1", "WORLD_SIZE": "2"}).wait() == 0
    _assert_same(tmp_path, alone)
    assert _encoded_more_than_once(tmp_path) <= 3 * BATCH
