"""Transforms in two halves: pixels that are normalised by the batch are what the library's own transform gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.embedding import preprocessed, stacked
from cryoprobe.pipeline.encoders.transforms import ImageTransform

MODELS: dict[str, dict[str, Any]] = {
    "timm:test_vit": {},
    "timm:test_efficientnet": {"resize": 200, "crop": 160},
    "open_clip:ViT-B-32": {"background": "white"},
}


def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (53, 301, 3), dtype=np.uint8))
    tall = Image.fromarray(rng.integers(0, 256, (400, 97, 4), dtype=np.uint8), "RGBA")
    return [rgb, tall, rgb.convert("L"), rgb.convert("P"), rgb.convert("CMYK"), tall.convert("LA")]


@pytest.mark.parametrize("model", MODELS)
def test_normalised_pixels_are_what_the_librarys_transform_gives_to_the_last_bit(model: str) -> None:
    encoder: Any = load_encoder(model, untrained=True, device="cpu", **MODELS[model])
    transform = encoder._transform
    assert isinstance(transform, ImageTransform)
    assert transform.normalise is not None
    pixels = [preprocessed(encoder, image) for image in images()]
    assert {p.dtype for p in pixels} == {torch.uint8}
    expected = torch.stack([encoder.preprocess(image) for image in images()])
    np.testing.assert_array_equal(transform.normalise(stacked(encoder, pixels)).numpy(), expected.numpy())


def test_features_of_pixels_are_those_of_floats_to_the_last_bit() -> None:
    encoder: Any = load_encoder("timm:test_vit", untrained=True, device="cpu")
    pixels = stacked(encoder, [preprocessed(encoder, image) for image in images()])
    floats = torch.stack([encoder.preprocess(image) for image in images()])
    np.testing.assert_array_equal(encoder.encode(pixels)["pooled"].numpy(), encoder.encode(floats)["pooled"].numpy())


def test_a_transform_that_does_not_end_with_normalising_has_no_pixels() -> None:
    from torchvision import transforms

    for steps in ([transforms.ToTensor()], [transforms.ToTensor(), transforms.Grayscale()]):
        transform = ImageTransform(transforms.Compose(steps))
        assert transform.normalise is None
        assert transform.pixels(images()[0]) is None
