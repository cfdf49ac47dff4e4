"""The command line on stores that a team shares: in a bucket, behind a web server, and by name."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from support.data import wait_until, write_images
from support.servers import serving_folder

from cryoprobe import cli
from cryoprobe.folders import config_file
from cryoprobe.stores.backends.objects import ObjectBackend

SMALL = ["--model", "timm:test_vit", "--untrained", "--image-size", "32"]


def run(*words: str | Path, code: int = 0) -> tuple[str, str]:
    """Run a command in this process; return what it prints to the two streams."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended, redirect_stdout(out), redirect_stderr(err):
        cli.app([*map(str, words)], prog_name="cryoprobe")
    assert ended.value.code == code, f"{ended.value.code}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue(), err.getvalue()


def run_json(*words: str | Path, code: int = 0) -> Any:
    return json.loads(run(*words, "--json", code=code)[0])


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    write_images(tmp_path / "data" / "train", {"a": 12, "b": 12})
    write_images(tmp_path / "data" / "test", {"a": 6, "b": 6}, seed=1)
    return ["--dataset", f"folder:{tmp_path / 'data'}"]


def test_extract_probe_ls_show_and_verify_on_s3(data: list[str], s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ["--store", s3]
    extracted = run_json("extract", *SMALL, *data, *where, "--unit-rows", "8")
    assert (extracted["rows"], extracted["encoded"], extracted["sealed"]) == (36, 36, True)
    assert run_json("extract", *SMALL, *data, *where)["encoded"] == 0

    probe = ["probe", "--model", "timm:test_vit", "--untrained", *data, *where, "--C", "1"]
    first = run_json(*probe)
    assert first["cached"] == 0
    assert run_json(*probe)["cached"] == 1
    assert len(run_json("results", *where)) == 1
    # Trials in other processes, to which the sets are sent.
    swept = run_json(*probe, "--shots", "1,2", "--seeds", "2", "--jobs", "2")
    assert swept["cached"] == 0
    assert len(run_json("results", *where)) == 5

    monkeypatch.setenv("CRYOPROBE_STORE", s3)
    named = run_json("ls")
    assert {n["name"]["split"] for n in named} == {"train", "test"}
    shown = run_json("show", named[0]["set"][:12])
    assert shown["path"].startswith(f"{s3}/sets/{named[0]['set']}/")
    assert s3 in run("show", named[0]["set"][:12])[0]
    checked = run_json("verify", "--data")
    assert (checked["sets"], checked["damages"]) == (2, [])


def test_two_processes_that_extract_the_same_images_to_s3_share_the_work(data: list[str], s3: str) -> None:
    command = [sys.executable, "-m", "cryoprobe.cli", "extract", *SMALL, *data, "--store", s3, "--split", "train"]
    command += ["--unit-rows", "4", "--batch-size", "4", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    ended = [p.communicate(timeout=120) for p in both]
    assert [p.returncode for p in both] == [0, 0], ended
    done = [json.loads(out) for out, _ in ended]
    assert sum(d["encoded"] for d in done) == 24
    assert done[0]["set"] == done[1]["set"]
    checked = run_json("verify", "--data", "--store", s3)
    assert (checked["sets"], checked["units"], checked["damages"]) == (1, 6, [])
    assert not list(ObjectBackend(s3).list("claims/"))


def test_an_extraction_to_s3_that_was_killed_is_finished_by_the_same_command(tmp_path: Path, s3: str) -> None:
    write_images(tmp_path / "data", {"a": 100, "b": 100})
    words = ["extract", *SMALL, "--dataset", f"folder:{tmp_path / 'data'}", "--store", s3, "--unit-rows", "4"]
    backend = ObjectBackend(s3)
    with subprocess.Popen([sys.executable, "-m", "cryoprobe.cli", *words], stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: list(backend.list("unit-seals/")), lambda: process.poll() is None)
        process.kill()
    sealed = len(list(backend.list("unit-seals/")))
    assert 0 < sealed < 50
    done = run_json(*words)
    assert done["rows"] == 200
    # What the server had received when the process died may yet have been sealed.
    assert done["encoded"] in (200 - 4 * sealed, 200 - 4 * (sealed + 1))
    checked = run_json("verify", "--data", "--store", s3)
    assert (checked["sets"], checked["units"], checked["damages"]) == (1, 50, [])


def test_a_store_in_a_folder_is_read_over_http_by_its_name(
    data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("extract", *SMALL, *data, "--store", tmp_path / "store")
    with serving_folder(tmp_path / "store") as url:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "cryoprobe.toml").write_text(f'[stores]\nteam = "{url}"\n')
        where = ["--store", "team"]
        assert len(run_json("ls", *where)) == 2
        assert f"store team: {url} (by {tmp_path / 'cryoprobe.toml'})" in run("ls", *where)[1]
        assert run_json("verify", "--data", *where)["damages"] == []
        probed = run_json("probe", "--model", "timm:test_vit", "--untrained", *data, *where, "--C", "1")
        assert 0 <= probed["trials"][0]["metrics"]["top1"] <= 1
        assert "over http it is only read" in " ".join(probed["notes"])
        assert run_json("results", *where) == []
        _, said = run("extract", *SMALL, *data, *where, "--split", "train", "--tap", "cls", code=5)
        assert "over http it is only read" in said
        _, said = run("ls", "--store", "taem", code=3)
        assert "known are team" in said
        assert "Traceback" not in said


def test_secrets_in_a_url_are_not_repeated() -> None:
    _, said = run("ls", "--store", "s3://key:secret@bucket/x", code=2)
    assert "user name" in said
    assert "secret" not in said
    for words in (["ls", "https://me:secret@host"], ["import", "https://me:secret@host/a.zip", "--store", "s"]):
        _, said = run(*words, code=2 if words[0] == "ls" else 3)
        assert "secret" not in said


def test_a_private_store_above_a_shared_one_encodes_only_what_is_new(
    data: list[str], tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support.servers import READ_ACCESS

    extracted = run_json("extract", *SMALL, *data, "--store", s3)
    before = list(ObjectBackend(s3).list())
    for name, value in READ_ACCESS.items():
        monkeypatch.setenv(name, value)  # whoever may only read
    config_file().parent.mkdir(parents=True)
    config_file().write_text(f'[stores]\nteam = "{s3}"\n')  # which makes it a place that is trusted
    both = ["--store", tmp_path / "own", "--from", "team"]
    assert len(run_json("ls", *both)) == 2
    assert not (tmp_path / "own").exists()
    probe = ["probe", "--model", "timm:test_vit", "--untrained", *data, "--C", "1"]
    probed = run_json(*probe, *both)
    assert not [note for note in probed["notes"] if "could not be stored" in note]
    assert len(run_json("results", *both)) == len(run_json("results", "--store", tmp_path / "own")) == 1

    write_images(tmp_path / "data" / "train", {"a": 2, "b": 1}, seed=2)
    grown = run_json("extract", *SMALL, *data, *both, "--unit-rows", "8")
    assert (grown["encoded"], grown["rows"]) == (3, extracted["rows"] + 3)
    again, said = run("extract", *SMALL, *data, *both, "--json")
    assert json.loads(again)["encoded"] == 0
    assert f"is in {s3}, and nothing of it is in" in said  # the test set
    assert len(run_json("ls", *both)) == 3  # the test set was sealed below, and is not sealed again
    assert len(run_json("ls", "--store", tmp_path / "own")) == 1
    assert run_json("verify", "--data", "--store", tmp_path / "own")["damages"] == []
    (trial,) = run_json(*probe, *both)["trials"]
    assert trial["rows"]["train"] + trial["rows"]["val"] == 27
    assert list(ObjectBackend(s3).list()) == before

    monkeypatch.chdir(tmp_path)
    (tmp_path / "cryoprobe.toml").write_text(f'[stores]\nmine = {{store = "own", from = ["{s3}"]}}\n')
    assert len(run_json("ls", "--store", "mine")) == 3
    newest = run_json("ls", "--store", "mine")[0]
    assert str(tmp_path / "own") in run_json("show", newest["set"][:12], "--store", "mine")["path"]
    _, said = run("ls", "--store", "mine", "--from", "nowhere", code=3)
    assert "known are mine" in said


def test_the_spool_of_shards_is_shown_and_cleared(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = cache / "shards"
    for file in ("files/a.tar", "files/b.tar", "files/b.tar.lock", "indices/a.json"):
        (shards / file).parent.mkdir(parents=True, exist_ok=True)
        (shards / file).write_bytes(bytes(512))
    monkeypatch.setenv("CRYOPROBE_SPOOL_SIZE", "3MiB")
    assert run_json("cache")["shards"] == {
        "folder": str(shards / "files"),
        "size": 3 << 20,
        "files": 2,
        "bytes": 1024,
    }
    assert "holds: 2 shards, 1.0 KiB" in run("cache")[0]
    assert "removed 2 shards, 1.0 KiB" in run("cache", "--clear")[0]
    assert [path.name for path in shards.rglob("*") if path.is_file()] == ["b.tar.lock"]
    assert run_json("cache")["shards"]["files"] == 0


def test_what_was_read_from_a_bucket_is_cached_shown_and_cleared(data: list[str], s3: str) -> None:
    run("extract", *SMALL, *data, "--store", s3)
    assert run_json("cache", "--clear")["objects"] == 0
    probe = ["probe", "--model", "timm:test_vit", "--untrained", *data, "--store", s3]
    run(*probe, "--C", "1", "--cache-size", "0")
    assert run_json("cache")["objects"] == 0
    run(*probe, "--C", "2")
    held = run_json("cache")
    assert held["objects"] == 7  # embeddings, labels and sample ids of two sets, and the names
    assert held["bytes"] > 0
    assert f"folder: {held['folder']}" in run("cache")[0]
    assert "removed 7 objects" in run("cache", "--clear")[0]
    assert run_json("cache")["bytes"] == 0
    _, said = run(*probe, "--cache-size", "plenty", code=2)
    assert "'plenty' is not an amount for cache-size" in said
