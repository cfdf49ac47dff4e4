"""The commands that look at what a store keeps, and change it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cli import run
from support.data import write_images
from support.servers import serving_folder

import cryoprobe
from cryoprobe import cli
from cryoprobe.commands.printing import keeping_tables
from cryoprobe.pipeline import provenance

SMALL = ["--model", "timm:test_vit", "--untrained", "--image-size", "32"]


def run_json(*words: str | Path, code: int = 0) -> Any:
    return json.loads(run(*words, "--json", code=code).stdout)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extract two splits to a store beside the images."""
    folder = tmp_path_factory.mktemp("made")
    write_images(folder / "data" / "train", {"a": 4, "b": 4})
    write_images(folder / "data" / "test", {"a": 2, "b": 2}, seed=1)
    words = ["extract", *SMALL, "--dataset", f"folder:{folder / 'data'}", "--store", str(folder / "store")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYOPROBE_CACHE", str(folder / "cache"))
        patch.setattr(sys, "argv", ["/usr/bin/cryoprobe", *words, "--unit-rows", "4"])
        patch.setattr(provenance, "_command", None)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy that commands find by themselves."""
    monkeypatch.setenv("CRYOPROBE_STORE", str(tmp_path / "store"))
    return Path(shutil.copytree(made / "store", tmp_path / "store"))


def set_of(split: str) -> str:
    (named,) = run_json("ls", "--split", split)
    return str(named["set"])


def spoil(store: Path, pattern: str) -> None:
    path = sorted(store.glob(pattern))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


class TestLooking:
    def test_ls_by_patterns(self, store: Path) -> None:
        assert {n["name"]["split"] for n in run_json("ls", "-m", "timm:*", "--tap", "pool*")} == {"train", "test"}
        assert run_json("ls", "-d", "folder:/elsewhere*") == []
        assert "folder:" in run("ls", "--split", "tr*n").stdout

    def test_a_data_set_may_be_named_as_it_was_extracted(
        self, store: Path, made: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(made)
        for words in (["ls"], ["log"]):
            assert len(run_json(*words, "-d", "folder:data")) == 2
        assert len(run_json("du", "-d", "folder:data")["sets"]) == 2
        assert len(run_json("ls", "-d", "folder:*/data")) == 2

    def test_where_nothing_fits_it_is_said_of_how_many(self, store: Path, made: Path) -> None:
        for words in (["ls"], ["log"], ["du"]):
            done = run(*words, "-m", "timm:*", "-d", "csv:/no.csv")
            assert done.stderr == f"No set fits --model timm:* --dataset csv:/no.csv: {store} has 2.\n"
            assert "dataset" not in done.stdout or words == ["du"]
            assert run(*words, "-m", "timm:*").stderr == run(*words).stderr == ""
        for words in (["ls"], ["log"]):
            done = run(*words, "--split", "none", "--json")
            assert (done.stdout, done.stderr) == ("[]\n", "")
        done = run("results", "-m", "none")
        assert (done.stdout, done.stderr) == ("", f"No trial in {store} fits.\n")
        assert run("results", "-m", "none", "--json").stdout == "[]\n"

    def test_log_of_a_set(self, store: Path) -> None:
        train, test = set_of("train"), set_of("test")
        assert [e["set"] for e in run_json("log", train[:8])] == [train]
        assert {e["set"] for e in run_json("log", train, test[:10], train)} == {train, test}
        assert run_json("log", train, "--split", "test") == []
        assert "There is no set 'ffff'" in run("log", "ffff", code=3).stderr
        spoil(store, f"manifests/*/{train}.json")
        assert [e["set"] for e in run_json("log")] == [test]
        assert train in run("log", train[:8], code=4).stderr

    def test_log_tells_the_command(self, store: Path, made: Path) -> None:
        entries = run_json("log")
        assert {e["name"]["split"] for e in entries} == {"train", "test"}
        assert entries[0]["command"][:4] == ["cryoprobe", "extract", "--model", "timm:test_vit"]
        assert entries[0]["command"][-1] == "4"
        assert all([entries[0]["user"], entries[0]["host"], entries[0]["versions"]["torch"]])
        said = run("log", "--split", "test").stdout
        assert f"$ cryoprobe extract --model timm:test_vit --untrained --image-size 32 --dataset folder:{made}" in said
        assert "4 rows, 4 encoded" in said

    def test_du(self, store: Path) -> None:
        used = run_json("du")
        assert len(used["sets"]) == 2
        assert used["total"] == sum(p.stat().st_size for p in store.rglob("*") if p.is_file())
        assert "total:" in run("du", "-m", "timm:*").stdout

    def test_diff(self, store: Path) -> None:
        a, b = set_of("train"), set_of("test")
        found = run_json("diff", a[:10], b)
        assert (found["common"], found["only_a"], found["only_b"]) == (0, 8, 4)
        assert found["dataset"]["split"] == ["train", "test"]
        said = run("diff", a, b).stdout
        assert "dataset.split" in said
        assert "images in both: 0" in said
        assert "identical, bit by bit" in run("diff", a, a, "--other", store).stdout
        assert "There is no set" in run("diff", a, "ffff", code=3).stderr

    def test_verify_of_a_part_says_what_it_did_not_look_at(self, store: Path) -> None:
        found = run_json("verify", "--data", "--subset", "25%", "--seed", "3")
        assert found["hashed"] == -(-found["objects"] // 4)
        left = found["objects"] - found["hashed"]
        assert f"of the other {left} only the sizes" in run("verify", "--data", "--subset", "0.25").stdout
        for wrong in ("0", "200%", "some", "-5%"):
            assert "For example --subset 5%" in run("verify", "--data", f"--subset={wrong}", code=2).stderr
        assert "Add --data" in run("verify", "--subset", "5%", code=2).stderr


class TestRemoving:
    def test_rm_then_gc(self, store: Path) -> None:
        train = set_of("train")
        assert "--yes" in run("rm", train, code=2).stderr
        assert set_of("train") == train
        assert f"removed {train}" in run("rm", train[:9], "--yes").stdout
        assert run_json("ls", "--split", "train") == []
        waiting = run_json("gc")
        assert waiting["freed"] == 0
        assert {g["kind"] for g in waiting["garbage"]} == {"attempt", "unit"}
        assert "Nothing was deleted" in run("gc").stdout
        assert "freed: 0 B" in run("gc", "--delete").stdout
        assert "freed:" in run("gc", "--delete", "--grace", "0s").stdout
        assert not list(store.glob(f"sets/{train}"))
        assert run_json("verify", "--data")["damages"] == []
        run("gc", "--delete", "--grace", "0s")
        assert "Nothing is to be collected" in run("gc").stdout

    def test_rm_now(self, store: Path) -> None:
        test = set_of("test")
        assert run_json("rm", test, "--yes", "--now")[0]["set"] == test
        assert not list(store.glob(f"sets/{test}"))
        assert "There is no set" in run("rm", "ffff", "--yes", code=3).stderr

    @pytest.mark.parametrize(("answer", "goes"), [("y\n", True), ("n\n", False), ("", False)])
    def test_it_asks_on_a_terminal(self, store: Path, answer: str, goes: bool) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        opened, wanted = cryoprobe.open_store(store), [set_of("train")]
        if goes:
            keeping_tables.confirm_removal(opened, wanted, Terminal(answer))
        else:
            with pytest.raises(cryoprobe.BadInput, match="Nothing was removed"):
                keeping_tables.confirm_removal(opened, wanted, Terminal(answer))

    def test_pins(self, store: Path) -> None:
        train = set_of("train")
        assert "for the paper" in run("pin", train[:8], "--why", "for the paper").stdout
        assert [p["set"] for p in run_json("pin")] == [train]
        said = run("rm", train, set_of("test"), "--yes", code=7).stderr
        assert "for the paper" in said
        assert "pin --remove" in said
        assert len(run_json("ls")) == 2
        run("pin", "--remove", train[:8])
        assert run_json("pin") == []
        run("pin", "--remove", train, code=3)
        run("pin", "ffff", code=3)
        assert "Say which set" in run("pin", "--remove", code=2).stderr

    @pytest.mark.parametrize("grace", ["soon", "-1s", "5 years", ""])
    def test_a_grace_period_that_is_none(self, store: Path, grace: str) -> None:
        assert "For example --grace 24h" in run("gc", f"--grace={grace}", code=2).stderr


class TestRepair:
    def test_from_another_store_or_by_rm_and_extract(self, store: Path, made: Path) -> None:
        assert "Every object is what was sealed" in run("repair").stdout
        spoil(store, "manifests/*/*.json")
        said = run("repair", code=4).stdout
        assert "not repaired" in said
        assert "--from" in said
        assert [r["action"] for r in run_json("repair", "--from", made / "store")] == ["restored"]
        spoil(store, "manifests/*/*.json")
        said = run("repair", code=4).stdout
        assert "cryoprobe rm" in said
        (set_,) = {d["owner"] for d in run_json("verify", "--data", code=4)["damages"]}
        run("rm", set_, "--yes", "--now")
        run("extract", *SMALL, "--dataset", f"folder:{made / 'data'}", "--unit-rows", "4")
        assert run_json("verify", "--data")["damages"] == []

    def test_arguments(self, store: Path) -> None:
        run("repair", "--from", store / "nowhere", code=3)
        run("repair", "ffff", code=3)


def test_there_is_no_store(tmp_path: Path) -> None:
    for words in (["du"], ["log"], ["gc"], ["pin"], ["repair"], ["diff", "a", "b"], ["rm", "a", "--yes"]):
        assert "no feature store" in run(*words, "--store", tmp_path / "nothing", code=3).stderr


def test_what_can_only_be_read_is_only_looked_at(store: Path) -> None:
    train = set_of("train")
    with serving_folder(store) as url:
        where = ["--store", url]
        assert len(run_json("log", *where)) == 2
        assert len(run_json("du", *where)["sets"]) == 2
        assert run_json("gc", *where)["garbage"]
        for words in (["gc", "--delete"], ["pin", train], ["rm", train, "--yes"]):
            assert "over http it is only read" in run(*words, *where, code=5).stderr
    assert set_of("train") == train


def test_what_a_url_holds_beside_its_place_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_command", None)
    assert provenance.provenance([]).command is None
    words = ["cryoprobe", "extract", "--store", "s3://key:secret@bucket/x?token=1", "--dataset", "csv:a@b"]
    provenance.record_command(words)
    assert provenance.provenance([]).command == [*words[:3], "s3://bucket/x", *words[4:]]
