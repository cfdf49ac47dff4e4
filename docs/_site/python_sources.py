"""A hook of mkdocs: lays the package out as it is installed, so that its docstrings can be read without importing it.

The repository's folder is the package. Read as it stands it would have tests, benchmarks and environments in it.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_LAID_OUT = _ROOT / ".build" / "reference" / "cryoprobe"


def on_startup(*, command: str, dirty: bool) -> None:
    """Make the folder that mkdocstrings looks in; it passes over folders that are not there when it is configured."""
    shutil.rmtree(_LAID_OUT, ignore_errors=True)
    packages = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    for package in packages:
        inner = Path(*package.split(".")[1:])
        (_LAID_OUT / inner).mkdir(parents=True)
        for module in (_ROOT / inner).glob("*.py"):
            shutil.copy(module, _LAID_OUT / inner / module.name)
