"""`cryoprobe results`: one line a setting, and tables for papers and programs."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from support.cli import run
from support.data import put_set

import cryoprobe

NAMES = {"model": "timm:m", "dataset": "folder:/d"}


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    store = cryoprobe.open_store(tmp_path_factory.mktemp("results") / "store", create=True)
    rng = np.random.default_rng(0)
    for split, n in (("train", 60), ("test", 30)):
        y = np.arange(n) % 3
        put_set(store, np.eye(3, 8)[y] + rng.normal(0, 0.6, (n, 8)), y, classes=("ant", "bee", "cat"), split=split)
    cryoprobe.probe(store, **NAMES, probe="nearest-mean", shots=[1, 4], seeds=3)
    cryoprobe.probe(store, **NAMES, probe="few-shot-ridge")
    return ["--store", store.url]


def test_draws_are_one_line_with_their_spread(where: list[str]) -> None:
    head, *rows = run("results", *where).stdout.splitlines()
    assert "draws" in head.split()
    assert len(rows) == 3
    assert sum(" ± " in row for row in rows) == 2
    by_score = run("results", *where, "--sort", "score").stdout.splitlines()[1:]
    assert sorted(by_score) == sorted(rows)
    assert "4 a class" in run("results", *where, "--probe", "nearest*").stdout
    only = run("results", *where, "--probe", "few-*").stdout
    assert len(only.splitlines()) == 2


def test_csv_and_json_have_every_trial_with_all_it_has(where: list[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(run("results", *where, "--format", "csv").stdout)))
    trials = json.loads(run("results", *where, "--format", "json").stdout)
    assert len(rows) == len(trials) == 7
    assert {row["trial"] for row in rows} == {trial["trial"] for trial in trials}
    for row in rows:
        (trial,) = [t for t in trials if t["trial"] == row["trial"]]
        assert float(row["top1"]) == trial["metrics"]["top1"]
    assert json.loads(run("results", *where, "--json").stdout) == trials


def test_markdown_and_latex_leave_out_what_is_the_same_everywhere(where: list[str]) -> None:
    shown = run("results", *where, "--format", "md").stdout.splitlines()
    heads = [head.strip() for head in shown[0].strip("|").split("|")]
    assert {"probe", "draw", "score"} <= {*heads}
    assert not {"tap", "is", "test"} & {*heads}
    assert len(shown) == 5
    latex = run("results", *where, "--format", "latex").stdout
    assert latex.startswith("\\begin{tabular}")
    assert latex.count(" \\\\") == 4
    assert "$\\pm$" in latex
    assert "±" not in latex


def test_what_is_not_there_is_said(where: list[str]) -> None:
    assert "No trial in" in run("results", *where, "--probe", "nothing").stderr
    assert "table, csv, json, md, latex" in run("results", *where, "--format", "xlsx", code=2).stderr
    assert "score, model, dataset" in run("results", *where, "--sort", "luck", code=2).stderr


def test_quiet_prints_results_and_errors_and_nothing_else(where: list[str]) -> None:
    words = ["probe", *where, "--model", "timm:m", "--dataset", "folder:/d", "--shots", "2", "--seeds", "2"]
    loud, quiet = (run(*words, "--probe", "few-shot-ridge", *more) for more in ([], ["--quiet"]))
    assert "trials" in loud.stderr
    assert quiet.stderr == ""
    assert "2 a class" in quiet.stdout
    assert "there is no probe called" in run(*words, "-q", "--probe", "nothing", code=2).stderr.lower()
    assert "trials" in run(*words, "--probe", "few-shot-ridge").stderr
