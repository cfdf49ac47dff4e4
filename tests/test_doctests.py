"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import os
from pathlib import Path

import pytest

import cryoprobe

ROOT = Path(cryoprobe.__file__).resolve().parent
FOLDERS = ("", "pipeline", "stores", "testing")
SOURCES = [path for folder in FOLDERS for path in (ROOT / folder).glob("**/*.py" if folder else "*.py")]


def _has_examples(text: str) -> bool:
    return any(">>> " in line and "+SKIP" not in line for line in text.splitlines())


MODULES = sorted(
    ".".join(["cryoprobe", *path.relative_to(ROOT).with_suffix("").parts])
    for path in SOURCES
    if _has_examples(path.read_text()) and path.name != "__init__.py"  # that example needs weights from a hub
)


@pytest.mark.parametrize("module", MODULES)
def test_examples_hold(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert (done.failed, done.attempted > 0) == (0, True)
    assert {*os.listdir(tmp_path)} <= {"cache"}, "an example leaves files behind"  # noqa: PTH208


def test_there_are_examples() -> None:
    assert len(MODULES) >= 5
