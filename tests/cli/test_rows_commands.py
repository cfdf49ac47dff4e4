"""The commands about rows and single trials: mistakes, show and rm."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from support.cli import run
from support.data import put_set

import cryoprobe
from cryoprobe.commands.printing import keeping_tables
from cryoprobe.errors import BadInput

EVIL = "test/\x1b[31mred\u202e.png"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a store that commands find by themselves, with splits train and test whose rows have names."""
    opened = cryoprobe.open_store(tmp_path / "store", create=True)
    for seed, (split, n) in enumerate((("train", 120), ("test", 60))):
        rng = np.random.default_rng(seed)
        y = np.arange(n) % 3
        x = 1.5 * np.eye(3, 8)[y] + rng.normal(size=(n, 8))
        found = put_set(opened, x, y, classes=("ant", "bee, wild", "cat"), split=split)
        opened.name_samples(found, [f"{split}/{i},{c}.png" for i, c in enumerate(y)])
    monkeypatch.setenv("CRYOPROBE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def trial(store: Path) -> str:
    done = run("probe", "--model", "timm:m", "--dataset", "folder:/d", "--C", "1").stdout
    return done.split("trial ")[1].split(",")[0]


def test_mistakes_are_the_same_in_every_form(trial: str) -> None:
    found = json.loads(run("mistakes", trial, "--json").stdout)
    assert found["wrong"] == len(found["mistakes"]) > 3
    rows = list(csv.DictReader(io.StringIO(run("mistakes", trial, "--format", "csv").stdout)))
    assert [(int(r["row"]), r["name"], r["true"]) for r in rows] == [
        (m["row"], m["name"], m["true"]) for m in found["mistakes"]
    ]
    head, columns, *lines = run("mistakes", trial, "--top", "3").stdout.splitlines()
    assert f"{found['wrong']} of 60 test rows" in head
    assert "the 3 surest are listed" in head
    assert columns.split()[:4] == ["row", "name", "true", "predicted"]
    assert len(lines) == 3
    bees = json.loads(run("mistakes", trial, "--class", "bee, wild", "--json").stdout)
    assert {m["true"] for m in bees["mistakes"]} == {"bee, wild"}
    assert bees["of"] == 20


def test_what_cannot_be_listed_is_said(trial: str, store: Path) -> None:
    assert "no format 'xml'" in run("mistakes", trial, "--format", "xml", code=2).stderr
    assert "top is 1 or more" in run("mistakes", trial, "--top", "0", code=2).stderr
    assert "no class 'wasp'" in run("mistakes", trial, "--class", "wasp", code=2).stderr
    assert "no trial 'feed'" in run("mistakes", "feed", code=3).stderr
    for key in (store / "sample-names").rglob("*.gz"):
        key.unlink()
    done = run("mistakes", trial)
    assert "extract, run again, writes them" in done.stderr
    assert "name" not in done.stdout.splitlines()[1]


def test_names_of_strangers_do_not_control_the_terminal(store: Path) -> None:
    opened = cryoprobe.open_store(store)
    (test,) = [opened.open(n.set) for n in opened.names() if n.name.split == "test"]
    opened.name_samples(test, [EVIL] * 60)
    out = run("probe", "--model", "timm:m", "--dataset", "folder:/d", "--C", "1").stdout
    shown = run("mistakes", out.split("trial ")[1].split(",")[0]).stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert r"\u001b[31mred\u202e.png" in shown


def test_samples_are_listed_row_by_row(store: Path) -> None:
    (test,) = [n["set"] for n in json.loads(run("ls", "--split", "test", "--json").stdout)]
    rows = list(csv.DictReader(io.StringIO(run("show", test, "--samples").stdout)))
    assert len(rows) == 60
    assert (rows[4]["row"], rows[4]["name"], rows[4]["label"]) == ("4", "test/4,1.png", "bee, wild")
    found = json.loads(run("show", test, "--samples", "--limit", "2", "--json").stdout)
    assert [(s["row"], s["name"], s["label"]) for s in found] == [
        (0, "test/0,0.png", "ant"),
        (1, "test/1,1.png", "bee, wild"),
    ]
    assert found[1]["id"] == rows[1]["sample"]
    assert "--limit is of --samples" in run("show", test, "--limit", "2", code=2).stderr


def test_everything_about_a_trial(trial: str, store: Path) -> None:
    shown = run("show", trial).stdout
    for said in (
        "logreg on timm:m",
        "top1",
        "protocol: plain",
        "created: ",
        "versions: ",
        "predictions: kept",
        "train: ",
    ):
        assert said in shown
    document = json.loads(run("show", trial, "--json").stdout)
    assert document["trial"].startswith(trial)
    assert document["metrics"]["top1"] == cryoprobe.trial(store, trial).metrics["top1"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_trial_is_removed_only_if_that_is_meant(trial: str, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "1 trial would be removed" in run("rm", trial, code=2).stderr
    opened = cryoprobe.open_store(store)
    (test,) = [n.set for n in opened.names() if n.name.split == "test"]
    with pytest.raises(BadInput, match="Nothing was removed"):
        keeping_tables.confirm_removal(opened, [trial, test], Terminal("n\n"))
    asked = capsys.readouterr()
    assert "Remove 1 set and 1 trial from" in asked.err
    assert trial in asked.out
    done = run("rm", trial, "--yes").stdout
    assert done.startswith(f"removed {trial}")
    assert "gc" not in done
    assert run("results", "--json").stdout.strip() == "[]"
    assert list((store / "predictions").rglob("*.safetensors")) == []


def test_a_sweep_prints_ids_that_can_be_pasted(store: Path) -> None:
    out = run("probe", "--model", "timm:m", "--dataset", "folder:/d", "--C", "1", "--shots", "1", "--seeds", "2").stdout
    ids = next(line for line in out.splitlines() if line.startswith("trials: ")).removeprefix("trials: ").split(", ")
    assert len(ids) == 2
    for trial in ids:
        assert "test rows" in run("mistakes", trial, "--top", "1").stdout


def test_samples_are_of_sets_and_a_trial_names_its_own(trial: str, store: Path) -> None:
    said = run("show", trial, "--samples", code=2).stderr
    sets = {n.name.split: n.set[:12] for n in cryoprobe.open_store(store).names()}
    assert f"{trial} is a trial" in said
    assert f"train {sets['train']}, test {sets['test']}" in said


@pytest.mark.parametrize("words", [("show", "ffff"), ("show", "ffff", "--samples"), ("rm", "ffff", "--yes")])
def test_an_unknown_id_may_be_of_a_set_or_of_a_trial(store: Path, words: tuple[str, ...]) -> None:
    said = run(*words, code=3).stderr
    assert "There is no set and no trial 'ffff'" in said
    assert "cryoprobe ls --store" in said
    assert "cryoprobe results --store" in said


def test_one_mistake_is_not_several(trial: str) -> None:
    assert "(the surest is listed; --top has more)" in run("mistakes", trial, "--top", "1").stdout
