"""The examples run as they stand."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import cryoprobe
from cryoprobe.cli import app

pytestmark = pytest.mark.slow

EXAMPLES = Path(cryoprobe.__file__).resolve().parent / "examples"


def test_two_people_share_a_store_in_a_bucket(s3: str) -> None:
    command = [sys.executable, str(EXAMPLES / "two_people.py"), s3]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "132 images: 12 encoded, 120 taken from the store" in done.stdout
    assert done.stdout.splitlines()[-1] == "Everything is what was written."


def test_two_people_have_other_images_under_the_same_path(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "same_path.py"), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(100 rows), by ada@" in done.stdout
    assert done.stdout.splitlines()[-1] == "Nobody got the other's numbers unasked."


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (
            "own_encoder.py",
            ["images: 1797 encoded, 0 taken", "images: 0 encoded, 1797 taken", "lab:tiny: top-1"],
        ),
        ("own_dataset.py", ["train: 1200 images, 1200 encoded", "test: 597 images, 0 encoded", "lab:digits: top-1"]),
    ],
)
def test_what_is_ones_own_is_extracted_once_and_probed_by_name(example: str, said: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / example), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in said:
        assert line in done.stdout


def test_so_they_are_on_the_command_line(tmp_path: Path) -> None:
    names = ["--model", "own_encoder:make_encoder", "--dataset", "own_dataset:make_dataset"]
    for verb in ("extract", "probe"):
        command = [sys.executable, "-m", "cryoprobe", verb, *names, "--store", str(tmp_path / "store"), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=EXAMPLES)
        assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(done.stdout)["trials"]
    assert result["metrics"]["top1"] > 0.5
    assert result["model"] == "own_encoder:make_encoder"


def test_the_workflow_gives_options_that_there_are(tmp_path: Path) -> None:
    text = (EXAMPLES / "ci" / "probe.yml").read_text()
    commands = {
        words[1]: words[2:] for words in map(shlex.split, re.findall(r"^ +(cryoprobe .*)$", text, re.MULTILINE))
    }
    assert {*commands} == {"extract", "probe"}
    group = typer.main.get_command(app)
    for name, words in commands.items():
        with group.commands[name].make_context(name, [*words, "--store", "features"]) as context:  # type: ignore[attr-defined]
            assert "folder:evaluation" in (context.params["dataset"], *context.params["dataset"])


@pytest.mark.parametrize(("high", "code"), [(0.9, 0), (0.84, 1)])
def test_the_check_of_the_workflow_fails_where_even_the_interval_is_below(
    high: float, code: int, tmp_path: Path
) -> None:
    trial = {
        "model": "m",
        "dataset": "d",
        "metric": "top1",
        "metrics": {"top1": 0.8},
        "intervals": {"top1": [0.7, high]},
    }
    (tmp_path / "result.json").write_text(json.dumps({"trials": [trial]}))
    command = [sys.executable, str(EXAMPLES / "ci" / "check_score.py"), str(tmp_path / "result.json"), "0.85"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.startswith("**m** on d: top1 0.8000")
    assert ("is below 0.85" in done.stderr) == bool(code)
