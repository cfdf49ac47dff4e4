"""Ranks: one trial on rows that two processes share has the result of one process, and many trials are shared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ranks as support
from support.data import put_set
from support.forking import CONTEXT
from support.ranks import CASES, LAMBDAS, probe_and_fall, problem
from support.servers import free_ports

import cryoprobe
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes.logistic import LogisticProbe, fit_path
from cryoprobe.pipeline.rank_group import RankGroup
from cryoprobe.pipeline.ranks import Rank

CLASSES = ("ant", "bee", "cat")
WAIT = 120


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of three data sets, in chunks of 64 rows; many training rows have twins with other labels."""
    folder = tmp_path_factory.mktemp("ranks") / "store"
    store = cryoprobe.open_store(folder, create=True)
    for name, classes in (("three", 3), ("two", 2), ("flags", 3)):
        for split, n, seed in (("train", 600, 0), ("test", 90, 1)):
            rng = np.random.default_rng(seed)
            y = rng.choice(classes, n, p=np.arange(classes, 0, -1) / np.arange(1, classes + 1).sum())
            x = np.eye(classes, 12)[y] + rng.normal(0, 0.6, (n, 12))
            if split == "train":
                x[400:500] = x[:100]
            labels = y if name != "flags" else (np.eye(3)[y] + (rng.random((n, 3)) < 0.2) > 0).astype(np.uint8)
            put_set(store, x, labels, classes=CLASSES[:classes], split=split, dataset=f"folder:/{name}", chunk_rows=64)
    return folder


@pytest.fixture(scope="module")
def together(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what two processes that torchrun started have found, and the store that they used."""
    folder = tmp_path_factory.mktemp("together")
    shutil.copytree(filled, folder / "store")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, support.__file__, str(folder / "store"), str(folder)], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def by_rank(together: Path) -> list[dict[str, Any]]:
    return [json.loads((together / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_have_the_result_of_one_process(store: Path, by_rank: list[dict[str, Any]], case: str) -> None:
    alone = cryoprobe.probe(store, model="timm:m", **CASES[case])["trials"][0]
    shared = by_rank[0][case]
    assert shared["trial"] == alone["trial"]
    assert shared["solver"]["rows"] == alone["solver"]["rows"]
    for name in ("chosen", "chosen_by", "rows", "warnings", "remarks", "test_in_train", "converged", "classes"):
        assert shared[name] == alone[name], name
    if "neighbours" in case or "shares no rows" in case:
        assert shared["predictions"] == alone["predictions"]
        assert shared["metrics"] == alone["metrics"]
        return
    for name in ("confusion", "top1", "subset_accuracy", "macro_f1"):  # of labels alone
        assert shared["metrics"].get(name) == alone["metrics"].get(name)
    assert max(shared["solver"]["gap"], alone["solver"]["gap"]) <= 1e-4
    assert shared["solver"]["objective"] == pytest.approx(alone["solver"]["objective"], rel=1e-4)


def test_every_rank_returns_what_the_first_has_stored(together: Path, by_rank: list[dict[str, Any]]) -> None:
    assert by_rank[0] == by_rank[1]
    store = cryoprobe.open_store(together / "store")
    for trial in by_rank[0].values():
        stored = store.trial(trial["trial"])
        assert stored is not None
        assert stored["metrics"] == trial["metrics"]


@pytest.mark.parametrize("name", ["weights", "float64", "one has no rows", "a part for curvature"])
def test_fits_to_shared_rows_find_the_optimum(together: Path, name: str) -> None:
    x, y, weights = problem()
    whole = fit_path(x, y, LAMBDAS, sample_weight=weights if name == "weights" else None, tol=1e-6)
    for rank in range(2):
        found = np.load(together / f"{rank}.npz")[name]
        np.testing.assert_allclose(found, whole.objective, rtol=2e-6)


def test_shared_rows_that_are_read_for_every_pass_have_the_same_optimum(together: Path) -> None:
    store = cryoprobe.open_store(together / "store")
    x, y = store.open(json.loads((together / "0.json").read_text())["balanced"]["train"]).load()
    whole = LogisticProbe(tol=1e-6).fit(x, y)
    for rank in range(2):
        assert np.load(together / f"{rank}.npz")["read for every pass"][0] == pytest.approx(whole.objective_, rel=2e-6)


def test_ranks_that_are_out_of_step_are_refused_and_sums_are_those_of_all(together: Path) -> None:
    for rank in range(2):
        assert np.load(together / f"{rank}.npz")["out of step"].tolist() == [2, 8, 3.0, 2.0]


class Started:
    """Processes that run the same command, each as one rank."""

    def __init__(self, folder: Path, environs: Sequence[dict[str, str]], words: Sequence[str], **fall: Any) -> None:
        self.outputs = [folder / f"said-{i}" for i in range(len(environs))]
        self.processes: list[BaseProcess] = []
        for i, (environ, output) in enumerate(zip(environs, self.outputs, strict=True)):
            falls = fall if i == len(environs) - 1 else {}
            given = ([w.replace("RANK", str(i)) for w in words], environ, output)
            process = CONTEXT.Process(target=probe_and_fall, args=given, kwargs=falls)
            process.start()
            self.processes.append(process)

    def code(self, i: int) -> int | None:
        self.processes[i].join(WAIT)
        return self.processes[i].exitcode

    def said(self, i: int) -> str:
        return self.outputs[i].read_text()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def meeting(**more: str) -> list[dict[str, str]]:
    (port,) = free_ports(1)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", **more}
    return [{**where, "RANK": str(i)} for i in range(2)]


@pytest.mark.parametrize(("number", "seconds"), [(signal.SIGKILL, "600"), (signal.SIGSTOP, "2")])
def test_a_rank_that_is_gone_ends_the_others_with_one_message(
    store: Path, tmp_path: Path, number: int, seconds: str
) -> None:
    words = ["probe", "-s", str(store), "-m", "timm:m", "-d", "folder:/three", "--C", "1,10"]
    started = Started(tmp_path, meeting(CRYOPROBE_RANK_TIMEOUT=seconds), words, at=5, number=number)
    try:
        assert started.code(0) == 8
        said = started.said(0)
    finally:
        started.end()
    assert "another rank ended" in said
    assert "Traceback" not in said
    assert not list((store / "trials").glob("*.json"))


SWEEP = ["probe", "-m", "timm:m", "-d", "folder:/three", "--C", "1", "--shots", "2,4", "--seeds", "3"]


def test_many_small_trials_are_shared_through_the_store(store: Path, tmp_path: Path) -> None:
    words = [*SWEEP, "-s", str(store), "--rank", "RANK/2"]
    started = Started(tmp_path, [{}, {}], words)
    try:
        assert [started.code(0), started.code(1)] == [0, 0]
        said = [started.said(i) for i in range(2)]
    finally:
        started.end()
    assert "2 ranks share 6 trials" in said[0]
    assert said[1].splitlines()[-1] == "rank 1/2: done; rank 0 prints the result"
    trials = {t["trial"]: t for t in cryoprobe.results(store)}
    sweep: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/three", "C": 1.0, "shots": [2, 4], "seeds": 3}
    alone = cryoprobe.probe(store, **sweep, rank="1/2", rerun=True)
    assert {t["trial"]: t["metrics"] for t in alone} == {i: t["metrics"] for i, t in trials.items()}
    assert len(trials) == len(alone) == 6


def test_a_rank_that_is_alone_runs_the_whole_sweep_and_keeps_what_others_did(store: Path) -> None:
    sweep = {"model": "timm:m", "dataset": "folder:/three", "C": 1.0, "shots": [2], "seeds": 3}
    first = cryoprobe.probe(store, **{**sweep, "seeds": 1})
    result = cryoprobe.probe(store, **sweep, rank=Rank(1, 2))
    assert [trial.cached for trial in result] == [True, False, False]
    assert result.trials[0] == first.trial
    assert result.rank == Rank(1, 2)


def test_ranks_that_do_not_know_where_to_meet_are_told_so(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(BadInput, match="MASTER_ADDR"):
        cryoprobe.probe(store, model="timm:m", dataset="folder:/three", C=1.0, rank="0/2")
    with pytest.raises(BadInput, match="0/8 to 7/8"):
        cryoprobe.probe(store, model="timm:m", dataset="folder:/three", rank="2/2")


def test_the_tasks_of_a_job_array_run_one_trial_each_by_itself(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ID", "1"), ("MIN", "0"), ("COUNT", "4")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    result = cryoprobe.probe(store, model="timm:m", dataset="folder:/three", C=1.0)
    assert result.rank is None
    assert not result.trial.cached


def test_a_group_needs_the_ranks_that_it_is_told_of() -> None:
    with pytest.raises(BadInput, match="MASTER_ADDR"):
        RankGroup(Rank(0, 2), {})
