"""A store with a few models on two data sets, and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.chromium import chromium
from support.once import once
from support.reported import fill

import cryoprobe


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        for dataset in ("birds", "fish"):
            fill(folder / "store", folder, dataset)
        cryoprobe.report(folder / "store", folder / "report.html")

    return once(tmp_path_factory, "reported", make) / "store"


@pytest.fixture(scope="session")
def page(filled: Path) -> Path:
    return filled.parent / "report.html"


@pytest.fixture(scope="session")
def browser() -> Any:
    with chromium() as started:
        yield started
