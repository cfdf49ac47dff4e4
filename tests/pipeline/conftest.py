"""A small real encoder, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryoprobe import load_encoder
from cryoprobe.pipeline.encoders import Encoder


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """Return timm's 64-dimensional test ViT with random weights, at 32 pixels."""
    return load_encoder("timm:test_vit", untrained=True, image_size=32)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a folder for a store that does not exist yet."""
    return tmp_path / "store"
