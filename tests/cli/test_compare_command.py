"""`cryoprobe compare`, and `results --pivot`: what is printed, and in which formats."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from support.cli import run
from support.data import put_set

import cryoprobe

CLASSES = ("ant", "b&e_e|<b>", "cat")
DATASETS = ("one", "two", "three")


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    store = cryoprobe.open_store(tmp_path_factory.mktemp("compare") / "store", create=True)
    for seed, dataset in enumerate(DATASETS):
        for model, noise in (("lab:good_1", 0.2), ("lab:fair", 1.5), ("lab:poor", 6.0)):
            for split, n in (("train", 90), ("test", 150)):
                rng = np.random.default_rng([seed, n])
                y = rng.integers(0, 3, n)
                x = (
                    1.5 * np.eye(3, 8)[y]
                    + 0.6 * rng.normal(size=(n, 8))
                    + noise * np.random.default_rng(len(model) + n).normal(size=(n, 8))
                )
                ids = [hashlib.sha256(f"{dataset} {split} {i}".encode()).digest() for i in range(n)]
                named = {"model": model, "encoder": model, "dataset": f"folder:/data/{dataset}"}
                found = put_set(store, x.astype(np.float32), y, classes=CLASSES, split=split, ids=ids, **named)
                store.name_samples(found, [f"{i}\x1b[2J.png" for i in range(n)])
            cryoprobe.probe(store, model=model, dataset=f"folder:/data/{dataset}", probe="nearest-mean", progress=False)
    return ["--store", store.url]


def test_a_pair_is_one_sentence_its_classes_and_its_samples(where: list[str]) -> None:
    lines = run("compare", "lab:good_1", "lab:poor", "-d", "folder:/data/one", *where).stdout.splitlines()
    assert lines[0].startswith("lab:good_1 is ")
    assert "points better than lab:poor in top1 on folder:/data/one with nearest-mean (95 %: " in lines[0]
    assert lines[0].endswith("150 test rows)")
    assert any(line.startswith("Classes that differ most, of 3") for line in lines)
    assert any("rows that only A, lab:good_1, has right, 5 of them" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert any(".png" in line for line in lines)


def test_several_models_are_a_row_a_pair_and_data_set_with_their_ranks(where: list[str]) -> None:
    shown = run("compare", "lab:good_1", "lab:fair", "lab:poor", *where).stdout
    table = [line for line in shown.splitlines() if "nearest-mean" in line]
    assert len(table) == 9
    assert "comparisons are significant (5 %); p is corrected for all (Holm)" in shown
    assert "Mean ranks over 3 data sets (Friedman p = " in shown
    assert "critical difference 1.91 (Nemenyi, 5 %)" in shown
    found = json.loads(run("compare", "lab:good_1", "lab:fair", "lab:poor", *where, "--json").stdout)
    assert len(found["pairs"]) == 9
    assert found["ranking"]["models"][0] == "lab:good_1"


def test_ranks_are_drawn(where: list[str], tmp_path: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    file = tmp_path / "ranks.png"
    run("compare", "lab:good_1", "lab:fair", "lab:poor", *where, "--png", file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert "three models or more" in run("compare", "lab:good_1", "lab:fair", *where, "--png", file, code=2).stderr


def test_what_cannot_be_compared_is_said(where: list[str]) -> None:
    assert "Name each once: A B" in run("compare", "lab:fair", *where, code=2).stderr
    assert "There are trials of: lab:fair, lab:good_1" in run("compare", "lab:fair", "lab:no", *where, code=3).stderr


def test_the_matrix_has_models_by_data_sets_with_marks_and_ranks(where: list[str]) -> None:
    lines = run("results", "--pivot", *where).stdout.splitlines()
    assert lines[0] == "nearest-mean: top1"
    assert lines[1].split() == ["model", "one", "three", "two", "mean", "rank"]
    (good,) = [line for line in lines if line.startswith("lab:good_1")]
    (poor,) = [line for line in lines if line.startswith("lab:poor")]
    assert good.count("*") == 3
    assert poor.count("*") == 0
    assert good.endswith("1.00")
    assert " to " in good
    assert lines[-1].startswith("* the best of its column")


def test_papers_get_bold_and_escaped_tables(where: list[str]) -> None:
    markdown = run("results", "--pivot", "--format", "md", *where).stdout
    assert "| model | one | three | two | mean rank |" in markdown
    assert markdown.count("**") == 2 * 3
    latex = run("results", "--pivot", "--format", "latex", *where).stdout
    assert r"\multicolumn{3}{c}{nearest-mean, top1}" in latex
    assert r"\cmidrule(lr){2-4}" in latex
    assert latex.count(r"\textbf{") == 3
    assert r"lab:good\_1 & " in latex


def test_programs_get_numbers(where: list[str], tmp_path: Path) -> None:
    found = json.loads(run("results", "--pivot", "--format", "json", *where).stdout)
    rows = list(csv.DictReader(io.StringIO(run("results", "--pivot", "--format", "csv", *where).stdout)))
    scores = {(cell["model"], cell["column"]["dataset"]): cell["score"] for cell in found["cells"]}
    assert len(scores) == 9
    for row in rows:
        for dataset in DATASETS:
            score = float(row[f"folder:/data/{dataset}, nearest-mean: top1"])
            assert score == scores[row["model"], f"folder:/data/{dataset}"]
    for more, columns in ((["--pivot"], 2 + 3 * 4), ([], None)):
        file = tmp_path / "table.parquet"
        run("results", *more, "--format", "parquet", "--output", file, *where)
        table = parquet.read_table(file)
        assert table.num_rows == (3 if more else 9)
        assert columns in (None, table.num_columns)
    assert "--output FILE.parquet" in run("results", "--format", "parquet", *where, code=2).stderr
    assert "parquet" in run("results", "--pivot", "--format", "xlsx", *where, code=2).stderr


def test_options_of_results_without_effect_are_refused(where: list[str], tmp_path: Path) -> None:
    assert "--sort does not sort" in run("results", "--pivot", "--sort", "score", *where, code=2).stderr
    refused = run("results", "--format", "csv", "-o", str(tmp_path / "x.csv"), *where, code=2).stderr
    assert "--output is for --format parquet" in refused
    assert not (tmp_path / "x.csv").exists()
    for form in ("latex", "md"):
        shown = run("results", "--pivot", "--format", form, "--probe", "nothing", *where, code=3)
        assert "no trial to tabulate" in shown.stderr
        assert shown.stdout == ""
