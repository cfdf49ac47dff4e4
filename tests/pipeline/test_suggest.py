"""What is measured of precisions before anything is extracted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cryoprobe
from cryoprobe.errors import BadInput
from cryoprobe.pipeline import suggest
from cryoprobe.pipeline.encoders.tuning import Speed


def test_fp32_agrees_with_itself_and_bf16_nearly(tmp_path: Path) -> None:
    found = {
        s.precision: s
        for s in cryoprobe.suggest("timm:test_vit", "sklearn:digits", images=60, untrained=True, image_size=32)
    }
    assert list(found) == ["fp32", "bf16"]
    exact, narrow = found["fp32"], found["bf16"]
    assert (exact.cosine, exact.lowest_cosine, exact.neighbours, exact.predictions) == (1.0, 1.0, 1.0, 1.0)
    assert 0.9 < narrow.lowest_cosine <= narrow.cosine < 1
    assert 0 < narrow.neighbours <= 1
    assert all(s.images == 60 and s.images_per_second > 0 for s in found.values())
    assert not list(tmp_path.iterdir())


def test_features_that_have_nothing_in_common_do_not_agree() -> None:
    rng = np.random.default_rng(0)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.standard_normal((2, 400, 64)).astype(np.float32))
    found = suggest._compared("bf16", Speed(8, 1.0), a, b, rng.integers(0, 2, 400))
    assert abs(found.cosine) < 0.1
    assert found.neighbours == pytest.approx(20 / 399, abs=0.02)
    assert found.predictions == pytest.approx(0.5, abs=0.12)


def test_no_predictions_are_compared_without_classes() -> None:
    x = np.eye(8, dtype=np.float32)
    assert suggest._compared("bf16", Speed(8, 1.0), x, x, np.zeros(8, np.int64)).predictions is None


def test_encoders_that_are_loaded_already_are_refused() -> None:
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    with pytest.raises(BadInput, match="named"):
        cryoprobe.suggest(encoder, "sklearn:digits")  # type: ignore[arg-type]
