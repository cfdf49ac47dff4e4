"""The command line between stores and files: what is printed, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run
from support.data import put_set, wait_until

import cryoprobe


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store with two sets of one model, and one of another."""
    opened = cryoprobe.open_store(tmp_path / "store", create=True)
    for i, (model, split) in enumerate([("timm:vit", "train"), ("timm:vit", "test"), ("open_clip:rn50", "train")]):
        x = np.random.default_rng(i).normal(size=(12, 6)).astype(np.float32)
        put_set(opened, x, np.arange(12) % 2, classes=["a", "b"], split=split, model=model, encoder=model)
    return tmp_path / "store"


def run_json(*words: str | Path, code: int = 0) -> Any:
    return json.loads(run(*words, "--json", code=code).stdout)


def ids(place: Path | str) -> set[str]:
    return set(cryoprobe.open_store(place).set_ids())


def test_push_pull_and_sync(store: Path, tmp_path: Path) -> None:
    team, mine = tmp_path / "team", tmp_path / "mine"
    told = run("push", team, "--store", store, "--model", "timm:*", "--dry-run").stdout
    assert "18 objects, 2 names" in told
    assert "would travel" in told
    assert not team.exists()
    pushed = run_json("push", team, "--store", store, "--model", "timm:*")
    assert [s["outcome"] for s in pushed["sets"]] == ["moved", "moved"]
    assert (pushed["objects"], pushed["names"], pushed["units"], pushed["dry_run"]) == (18, 2, 0, False)
    assert "nothing to move" in run("push", team, "--store", store, "--model", "timm:*").stdout

    set_ = min(ids(team))
    assert run_json("pull", team, set_[:10], "--store", mine)["bytes"] > 0
    assert ids(mine) == {set_}
    there, back = run_json("sync", mine, store, "--units")
    assert (there["target"], back["target"]) == (str(store), str(mine))
    assert ids(mine) == ids(store)
    assert back["units"] == 3
    assert run_json("verify", "--data", "--store", mine)["damages"] == []


def test_a_data_set_is_named_as_for_extract(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(7).normal(size=(12, 6)).astype(np.float32)
    opened = cryoprobe.open_store(store)
    birds = f"folder:{tmp_path / 'birds'}"
    made = put_set(opened, x, np.arange(12) % 2, classes=["a", "b"], split="train", dataset=birds)
    monkeypatch.chdir(tmp_path)
    assert [s["set"] for s in run_json("push", tmp_path / "team", "--store", store, "-d", "folder:birds")["sets"]] == [
        made.id
    ]
    assert len(run_json("pull", store, "--store", tmp_path / "mine", "-d", "folder:*/birds")["sets"]) == 1
    run("push", tmp_path / "other", "--store", store, "-d", "folder:birdz", code=3)


def test_export_and_import(store: Path, tmp_path: Path) -> None:
    set_ = min(ids(store))
    for name in ("x.npz", "x.safetensors", "x.parquet", "x.zip"):
        assert f"set {set_[:12]}, 12 rows" in run("export", set_[:8], tmp_path / name, "--store", store).stdout
    assert "raw" in run("export", set_, tmp_path / "x.npz", "--raw", "--store", store).stdout
    assert run_json("export", set_, tmp_path / "whole", "--zip", "--store", store)["format"] == "zip"
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "x.zip").read_bytes()
    assert run_json("import", tmp_path / "whole", "--store", tmp_path / "new")["sets"][0]["set"] == set_
    assert ids(tmp_path / "new") == {set_}


def test_what_goes_wrong_is_one_message_and_its_exit_code(store: Path, tmp_path: Path) -> None:
    new, where = tmp_path / "new", ["--store", store]
    (tmp_path / "text").write_text("text")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    set_ = min(ids(store))
    for words, code, said in (
        (["push", new, "--store", tmp_path / "absent"], 3, "no feature store"),
        (["push", new, "ffff", *where], 3, "no set 'ffff'"),
        (["push", new, "--model", "resnet*", *where], 3, "fits --model resnet*"),
        (["push", store, *where], 2, "the same store"),
        (["push", tmp_path / "other", *where], 2, "not a feature store, and not empty"),
        (["push", tmp_path / "text", *where], 2, "is a file"),
        (["push", "ftp://host/x", *where], 2, "not kept at ftp"),
        (["pull", tmp_path / "absent", *where], 3, "no feature store"),
        (["sync", tmp_path / "absent", store], 3, "no feature store"),
        (["export", "ffff", new, "--zip", *where], 3, "no set 'ffff'"),
        (["export", set_, tmp_path / "x.csv", *where], 2, "in which format"),
        (["export", set_, tmp_path / "no" / "x.npz", *where], 2, "no folder"),
        (["export", set_, tmp_path / "x.zip", "--raw", *where], 2, "Leave --raw out"),
        (["import", tmp_path / "absent.zip", "--store", new], 3, "no file"),
        (["import", tmp_path / "text", "--store", new], 2, "not an archive"),
    ):
        assert said in run(*words, code=code).stderr
    assert not new.exists()
    key = next(p for p in store.rglob("sets/*/*/norms/c/0"))
    key.unlink()
    assert key.relative_to(store).as_posix() in run("push", new, *where, code=4).stderr
    assert len(ids(new)) == 2


def test_interrupted_it_says_how_to_go_on_and_the_same_command_does(tmp_path: Path) -> None:
    opened = cryoprobe.open_store(tmp_path / "store", create=True)
    x = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    set_ = put_set(opened, x, np.zeros(500, np.int64), classes=["a"], split="train", chunk_rows=2).id
    target = tmp_path / "target"
    command = [sys.executable, "-m", "cryoprobe.cli", "push", str(target), "--store", opened.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: list(target.glob("sets/*/*/embeddings/c/*")), lambda: process.poll() is None)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    assert ids(target) == set()
    sent = len([p for p in target.glob("sets/**/*") if p.is_file()])
    moved = run_json("push", target, "--store", opened.url)
    assert moved["objects"] == len(opened.open(set_).manifest.objects) - sent > 0
    assert run_json("verify", "--data", "--store", target)["damages"] == []
