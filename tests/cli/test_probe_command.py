"""`cryoprobe probe` as people meet it: protocols, curves, options and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.cli import run
from support.data import put_set

import cryoprobe

NAMES = ("--model", "timm:m", "--dataset", "folder:/d")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with splits train and test of 4 classes, as if a model m had been run on /d."""
    root = tmp_path_factory.mktemp("probing") / "store"
    opened = cryoprobe.open_store(root, create=True)
    for name, n in (("train", 200), ("test", 80)):
        rng = np.random.default_rng(n)
        y = np.arange(n) % 4
        x = 2 * np.eye(4, 12)[y] + rng.normal(0, 1, (n, 12))
        put_set(opened, x, y, classes=("ant", "bee", "cat", "dog"), split=name)
    return root


def probe(store: Path, *words: str | Path, code: int = 0) -> tuple[str, str]:
    done = run("probe", *NAMES, "--store", store, *words, code=code)
    return done.stdout, done.stderr


def test_a_trial_is_printed_with_intervals_and_on_demand_with_its_classes(store: Path) -> None:
    out, _ = probe(store, "--C", "1,10", "--per-class")
    assert "95 % interval" in out
    assert "nll chooses, on validation rows" in out
    assert [line.split()[0] for line in out.splitlines() if line.split()[:1] in (["ant"], ["bee"], ["cat"], ["dog"])]
    assert "recall" in out


def test_a_curve_is_a_table_of_means_and_the_second_call_is_cached(store: Path) -> None:
    out, err = probe(store, "--C", "10", "--shots", "1,4", "--seeds", "2")
    assert "1 a class" in out
    assert "4 a class" in out
    assert " ± " in out
    assert "4 trials, 0 of them in the store" in err
    again, _ = probe(store, "--C", "10", "--shots", "1,4", "--seeds", "2")
    assert "4 of 4 trials answered from the store" in again
    done = json.loads(probe(store, "--C", "10", "--shots", "1,4", "--seeds", "2", "--json")[0])
    assert [row["draw"]["shots"] for row in done["summary"]] == [1, 4]


def test_a_protocol_names_itself_and_what_sets_it_apart(store: Path) -> None:
    out, err = probe(store, "--protocol", "dinov2-linear-testselect", "--param", "iterations=20")
    assert "protocol dinov2-linear-testselect" in out
    assert "raw features" in out
    assert "test top1 chooses, on the test rows" in out
    assert "un-augmented" in err
    assert "iterations = 20 instead of 12500" in err
    listed = run("results", "--store", store).stdout
    assert "testselect" in listed


def test_grids_of_any_parameter_are_read(store: Path) -> None:
    (done,) = json.loads(probe(store, "--probe", "ridge", "--grid", "alpha=0.1,10", "--json")[0])["trials"]
    assert [point["alpha"] for point in done["curve"]] == [0.1, 10.0]
    assert done["grid"] == {"alpha": [0.1, 10.0]}


def test_the_protocols_and_probes_are_listed() -> None:
    listed = run("protocols").stdout
    for name in ("clip-benchmark", "dinov2-linear-testselect", "coop-fewshot"):
        assert name in listed
    table = {row["name"]: row for row in json.loads(run("protocols", "--json").stdout)}
    assert table["bigvision-fewshot"]["parameters"] == {"l2": 1024.0}
    assert "alpha=[0.01" in run("probes").stdout


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--shots", "one"), "--shots takes numbers"),
        (("--fraction", "0.1;0.2"), "--fraction takes numbers"),
        (("--memory", "much"), "is not an amount for memory"),
        (("--memory", "1KiB", "--probe", "knn"), "needs all its rows at once"),
        (("--grid", "alpha"), "is not a grid"),
        (("--grid", "alpha=1,2", "--C", "1,2"), "Only one parameter"),
        (("--protocol", "clip", "--probe", "knn"), "cannot be combined with --protocol clip"),
        (("--protocol", "clip", "--param", "depth=3"), "no parameter 'depth'"),
        (("--save", "nowhere/probe.safetensors"), "nowhere"),
        (("--probe", "sklearn.ensemble.RandomForestClassifier", "--save", "p.safetensors"), "RandomForest"),
        (("--jobs", "0"), "--jobs must be 1"),
    ],
)
def test_what_cannot_be_is_one_message_and_exit_code_2(
    store: Path, words: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    _, err = probe(store, *words, code=2)
    assert err.startswith("cryoprobe: ")
    assert text in err
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_where_it_stopped(store: Path) -> None:
    words = ["probe", *NAMES, "--store", str(store), "--probe", "mlp", "--fraction", "0.5", "--seeds", "7", "--json"]
    command = [sys.executable, "-m", "cryoprobe.cli", *words, "--jobs", "1"]

    def count() -> int:
        return len(list((store / "trials").glob("*.json")))

    before = count()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + 120
    while count() < before + 2 and time.monotonic() < deadline:
        if process.poll() is not None:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = count() - before
    assert 2 <= stored <= 7
    done = json.loads(run(*words).stdout)
    assert done["cached"] == stored
    assert len(done["trials"]) == 7
    assert not cryoprobe.verify(store).damages


@pytest.mark.slow
def test_a_sweep_in_processes_is_interrupted_with_one_line(store: Path) -> None:
    """Ctrl-C in a terminal reaches all processes of a command: none of them prints a traceback."""
    words = ["probe", *NAMES, "--store", str(store), "--shots", "1,2,4,8", "--seeds", "50", "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cryoprobe.cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(3)]  # two trials are done: the processes are at work
    assert said[-1]
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130, [*said, rest]
    assert "Traceback" not in rest
    assert "cryoprobe: Interrupted" in rest


def test_several_probes_are_refused_with_the_command_that_takes_them(tmp_path: Path) -> None:
    done = run("probe", "--probe", "logreg", "--probe", "knn", "--store", tmp_path, code=2)
    assert "cryoprobe run --probe logreg --probe knn" in done.stderr
