"""The command line on stores that a team shares: in a bucket, behind a web server, and by name."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from tests_servers import serving_folder
from tests_support import write_images

from cryoprobe import cli

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
    assert first["cached"] is False
    assert run_json(*probe)["cached"] is True
    assert len(run_json("results", *where)) == 1

    monkeypatch.setenv("CRYOPROBE_STORE", s3)
    named = run_json("ls")
    assert {n["name"]["split"] for n in named} == {"train", "test"}
    shown = run_json("show", named[0]["set"][:12])
    assert shown["path"].startswith(f"{s3}/sets/{named[0]['set']}/")
    assert s3 in run("show", named[0]["set"][:12])[0]
    checked = run_json("verify", "--data")
    assert (checked["sets"], checked["damages"]) == (2, [])


def test_a_store_in_a_folder_is_read_over_http_by_its_name(
    data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("extract", *SMALL, *data, "--store", tmp_path / "store")
    with serving_folder(tmp_path / "store") as url:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "cryoprobe.toml").write_text(f'[stores]\nteam = "{url}"\n')
        where = ["--store", "team"]
        assert len(run_json("ls", *where)) == 2
        assert run_json("verify", "--data", *where)["damages"] == []
        probed = run_json("probe", "--model", "timm:test_vit", "--untrained", *data, *where, "--C", "1")
        assert 0 <= probed["metrics"]["top1"] <= 1
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
