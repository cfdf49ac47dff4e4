"""The list of models is kept on this machine, and is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import cryoprobe
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.model_list import timm_sizes

WARM = """
import sys, cryoprobe
names = [m.name for m in cryoprobe.list_models("resnet10t*")]
assert names == ["timm:resnet10t.c3_in1k"], names
heavy = {"torch", "timm", "open_clip", "torchvision", "transformers"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRYOPROBE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models.json"


def test_a_list_that_is_kept_needs_neither_torch_nor_the_libraries(cache: Path) -> None:
    made = cryoprobe.list_models()
    assert cryoprobe.list_models() == made
    assert [(m.image_size, m.width) for m in cryoprobe.list_models()] == [(m.image_size, m.width) for m in made]
    subprocess.run([sys.executable, "-c", WARM], check=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"made_with": {}, "models": []}', "OTHER VERSION"])
def test_a_list_of_other_versions_or_a_damaged_one_is_made_anew(cache: Path, content: str) -> None:
    whole = cryoprobe.list_models("resnet10t*")
    kept = json.loads(cache.read_text())
    if content == "OTHER VERSION":
        content = json.dumps({"made_with": {**kept["made_with"], "timm": "0.1"}, "models": []})
    cache.write_text(content)
    assert cryoprobe.list_models("resnet10t*") == whole
    assert json.loads(cache.read_text()) == kept


def test_a_list_that_cannot_be_kept_is_made_each_time(cache: Path) -> None:
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file where the folder should be")
    assert [m.name for m in cryoprobe.list_models("resnet10t*")] == ["timm:resnet10t.c3_in1k"]


@pytest.mark.parametrize(
    "model", ["timm:test_vit", "timm:test_efficientnet", "timm:test_resnet", "open_clip:ViT-S-32-alt"]
)
def test_pixels_width_and_parameters_are_those_of_the_model(cache: Path, model: str) -> None:
    found = next(m for m in cryoprobe.list_models(f"{model}*") if m.architecture == model.partition(":")[2])
    encoder = load_encoder(model, untrained=True, device="cpu")
    (tap,), size = encoder.taps, encoder.spec(encoder.taps[0]).preprocessing.image_size
    assert size == (found.image_size, found.image_size)
    import torch

    assert found.width == encoder.encode(torch.zeros(1, 3, *size))[tap].shape[1]
    if found.family == "timm":
        module = encoder._tower.module  # type: ignore[attr-defined]
        assert found.parameters == sum(p.numel() for p in module.parameters())


def test_every_architecture_has_a_size() -> None:
    import timm

    unknown = set(timm.list_models()) - timm_sizes().keys()
    assert len(unknown) < 0.2 * len(timm.list_models()), "run benchmarks/model_sizes.py for this version of timm"
