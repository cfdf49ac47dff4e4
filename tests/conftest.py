"""Fixtures that many tests share: no test reads or writes the user's own cache, and none asks a network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a sample index of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CRYOPROBE_CACHE", str(folder))
    monkeypatch.delenv("CRYOPROBE_STORE", raising=False)
    return folder
