"""A store with a few models on two data sets, and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.chromium import chromium
from support.reported import fill

import cryoprobe


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reported")
    for dataset in ("birds", "fish"):
        fill(folder / "store", folder, dataset)
    return folder / "store"


@pytest.fixture(scope="session")
def page(filled: Path) -> Path:
    file = filled.parent / "report.html"
    cryoprobe.report(filled, file)
    return file


@pytest.fixture(scope="session")
def browser() -> Any:
    with chromium() as started:
        yield started
