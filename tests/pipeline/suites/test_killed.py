"""Killed at any instant, a suite goes on by the same call, and ends as an undisturbed one does."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.data import wait_until, write_images
from support.killing import Instant
from support.suite_runner import SuiteProcess

import cryoprobe

pytestmark = pytest.mark.slow

ROWS = 48
UNIT_ROWS = 8
KILLS = 3


def suite_on(root: Path) -> dict[str, Any]:
    data = []
    for seed in (1, 2):
        write_images(root / f"data{seed}", {"ant": ROWS // 4, "bee": ROWS // 4}, seed=seed, side=16)
        data.append({"name": f"folder:{root / f'data{seed}'}", "layout": "class"})
    model = {"name": "timm:test_vit", "untrained": True, "image_size": 32}
    return {
        "models": [model, {**model, "seed": 1}],
        "data": data,
        "protocols": [{"probe": "knn", "params": {"k": 3}}, {"probe": "ridge"}],
        "unit_rows": UNIT_ROWS,
        "batch_size": 4,
        "workers": 1,
        "jobs": 1,
    }


def trials_of(store: Path) -> dict[str, Any]:
    return {trial.trial: (trial.metrics, trial.chosen, trial.name) for trial in cryoprobe.results(store)}


def test_killed_at_random_instants_a_suite_ends_as_an_undisturbed_one_and_encodes_nothing_sealed_twice(
    tmp_path: Path,
) -> None:
    suite = suite_on(tmp_path)
    undisturbed, operations = SuiteProcess(suite, tmp_path / "undisturbed").finish()
    assert sum(one["encoded"] for one in undisturbed["extractions"]) == 2 * ROWS
    store, instants = tmp_path / "store", random.Random(0)
    for _ in range(KILLS):
        instant = Instant(instants.randint(1, operations // KILLS), instants.choice([0.0, instants.uniform(0, 0.01)]))
        killed = SuiteProcess(suite, store, instant)
        killed.process.join()
        assert killed.process.exitcode == -signal.SIGKILL
    sealed = len(list((store / "unit-seals").rglob("*.json")))
    trials_before = len(cryoprobe.results(store))
    last, _ = SuiteProcess(suite, store).finish()
    encoded = sum(one["encoded"] for one in last["extractions"])
    assert encoded == 2 * ROWS - UNIT_ROWS * sealed
    assert sum(cell["status"] == "stored" for cell in last["cells"]) == trials_before
    assert [cell["status"] for cell in last["cells"]].count("failed") == 0
    assert {*cryoprobe.open_store(store).set_ids()} == {*cryoprobe.open_store(tmp_path / "undisturbed").set_ids()}
    assert trials_of(store) == trials_of(tmp_path / "undisturbed")
    assert len(trials_of(store)) == 8
    assert not cryoprobe.verify(store, data=True).damages


def test_ctrl_c_while_encoding_ends_the_command_at_once_with_one_line(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"ant": 500, "bee": 500}, side=16)
    command = [sys.executable, "-m", "cryoprobe", "run", "-m", "timm:test_vit", "-d", f"folder:{tmp_path / 'data'}"]
    command += ["--store", str(tmp_path / "store"), "--batch-size", "1", "models.0.untrained=true", "-q"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    claims = tmp_path / "store" / "claims"
    wait_until(lambda: claims.is_dir() and any(claims.rglob("*.json")), lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("cryoprobe: Interrupted")
    assert err.count("\n") == 1
    assert not cryoprobe.results(tmp_path / "store")
