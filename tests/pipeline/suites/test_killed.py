"""Killed at any instant, a suite goes on by the same call, and ends as an undisturbed one does."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest
from support.data import write_images
from support.killing import Instant
from support.suite_runner import SuiteProcess

import cryoprobe

pytestmark = pytest.mark.slow

ROWS = 48
UNIT_ROWS = 8
KILLS = 4


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
