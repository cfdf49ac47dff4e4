"""The report card of an encoder: it sees what differs, and says what the encoder is."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import ImageOps
from support.cli import run

import cryoprobe
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.base import Encoder
from cryoprobe.pipeline.encoders.check import TOLERANCE, compare
from cryoprobe.pipeline.encoders.references import Reference, timm_reference
from cryoprobe.pipeline.encoders.registry import ModelName


@pytest.mark.parametrize(
    ("model", "taps"),
    [
        ("timm:test_vit", {"pooled": 64, "cls": 64, "patch_mean": 64}),
        ("timm:test_resnet", {"pooled": 96}),
        ("open_clip:ViT-S-32-alt", {"post_projection": 256, "pre_projection": 384, "cls": 384, "patch_mean": 384}),
    ],
)
def test_encoders_equal_their_librarys_own_call(model: str, taps: dict[str, int]) -> None:
    report = cryoprobe.check_encoder(model, untrained=True, device="cpu", speed=False)
    assert report.agrees
    assert report.pixels_differ == 0
    assert report.outputs_differ <= TOLERANCE
    assert report.taps == taps
    assert (report.images_per_second, report.gflops) == ({}, None)
    encoder = load_encoder(model, untrained=True, device="cpu")
    assert report.encoder == encoder.spec(encoder.taps[0]).id


def reference() -> tuple[Encoder, Reference]:
    encoder = load_encoder("timm:test_resnet", untrained=True, device="cpu")
    state = encoder._tower.module.state_dict()  # type: ignore[attr-defined]
    return encoder, timm_reference(ModelName("timm", "test_resnet"), encoder.spec("pooled"), state)


def test_another_preprocessing_is_seen() -> None:
    encoder, right = reference()
    pixels, outputs = compare(encoder, right)
    assert pixels == 0
    assert outputs <= TOLERANCE
    turned = right._replace(preprocess=lambda image: right.preprocess(ImageOps.mirror(image)))
    pixels, outputs = compare(encoder, turned)
    assert pixels > 0.1
    assert outputs > TOLERANCE
    smaller = right._replace(preprocess=lambda image: right.preprocess(image)[:, ::2, ::2])
    assert compare(encoder, smaller)[0] == float("inf")


def test_another_output_is_seen() -> None:
    encoder, right = reference()
    assert compare(encoder, right._replace(encode=lambda x: right.encode(x) * 1.001))[1] > TOLERANCE
    assert compare(encoder, right._replace(encode=lambda x: right.encode(x)[:, :9]))[1] == float("inf")
    assert not torch.is_inference_mode_enabled()


def test_the_command_prints_a_card() -> None:
    said = run("models", "timm:test_vit", "--check", "--untrained", "--device", "cpu").stdout
    for words in ("equals the library's own call", "greyscale", "resize to 168", "pooled (64)", "GFLOP", "bf16"):
        assert words in said
    found = json.loads(run("models", "timm:test_vit", "--check", "--untrained", "--device", "cpu", "--json").stdout)
    assert found["agrees"] is True
    assert found["parameters"] == sum(
        p.numel()
        for p in load_encoder("timm:test_vit", untrained=True)._tower.module.parameters()  # type: ignore[attr-defined]
    )
    assert set(found["images_per_second"]) == {"fp32", "bf16"}


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(NotFound, match="There is no encoder"):
        cryoprobe.check_encoder("timm:resnet10", untrained=True)
    with pytest.raises(BadInput, match="says which architecture, not which weights"):
        cryoprobe.check_encoder("open_clip:ViT-S-32-alt")
