"""Preprocessing that is asked for: what the encoder gets is what published code gives it, and has an id of its own."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import timm.data
import torch
from PIL import Image
from torchvision import transforms

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.base import Encoder
from cryoprobe.pipeline.encoders.resizing import crop_fraction

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 140, 3), np.uint8))
CLIP = "open_clip:ViT-S-32-alt"
"""Its input is 224 pixels, resized by its shorter side."""


def vit(**options: Any) -> Encoder:
    return load_encoder("timm:test_vit", untrained=True, device="cpu", **options)


def reference(resize: int, crop: int, mean: Any, std: Any, by: str = "bicubic") -> transforms.Compose:
    """Return what dinov2/data/transforms.py (make_classification_eval_transform) does."""
    return transforms.Compose(
        [
            transforms.Resize(resize, interpolation=transforms.InterpolationMode(by)),
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


@pytest.mark.parametrize("by", ["bicubic", "bilinear", "lanczos", "nearest"])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (354, 224), (64, 64), (72, 64)])
def test_timm_images_are_resized_and_cropped_as_dinov2_does(resize: int, crop: int, by: str) -> None:
    encoder = vit(resize=resize, crop=crop, interpolation=by)
    config = timm.data.resolve_model_data_config(timm.create_model("test_vit"))
    assert torch.equal(encoder.preprocess(PICTURE), reference(resize, crop, config["mean"], config["std"], by)(PICTURE))
    stored = encoder.spec("pooled").preprocessing
    assert stored.image_size == (crop, crop)
    assert math.floor(crop / stored.crop_fraction) == resize
    assert (stored.interpolation, stored.resize_mode) == (by, "center")


@pytest.mark.parametrize("by", ["bicubic", "nearest"])
def test_open_clip_images_are_resized_and_cropped(by: str) -> None:
    encoder = load_encoder(CLIP, untrained=True, device="cpu", resize=256, crop=224, interpolation=by)
    own = open_clip.create_model_and_transforms("ViT-S-32-alt")[0].visual
    assert torch.equal(encoder.preprocess(PICTURE), reference(256, 224, own.image_mean, own.image_std, by)(PICTURE))
    stored = encoder.spec("post_projection").preprocessing
    assert (stored.resize_mode, stored.crop_fraction, stored.interpolation) == ("shortest", 0.875, by)


def test_what_a_library_does_anyway_has_the_same_id_and_the_same_pixels() -> None:
    plain = load_encoder(CLIP, untrained=True, device="cpu")
    asked = load_encoder(CLIP, untrained=True, device="cpu", resize=224, crop=224, interpolation="bicubic")
    assert asked.spec("post_projection") == plain.spec("post_projection")
    assert torch.equal(asked.preprocess(PICTURE), plain.preprocess(PICTURE))
    large = vit(image_size=304)  # test_vit crops 95 %
    again = vit(resize=320, crop=304)
    assert again.spec("pooled") == large.spec("pooled")
    assert torch.equal(again.preprocess(PICTURE), large.preprocess(PICTURE))


def test_a_fraction_stands_for_one_resize_whatever_is_rounded() -> None:
    for crop in (32, 224, 256, 336, 518):
        fractions = [crop_fraction(resize, crop) for resize in range(crop, 2 * crop + 60)]
        assert [math.floor(crop / f) for f in fractions] == list(range(crop, 2 * crop + 60))
        assert len(set(fractions)) == len(fractions)


def test_every_option_is_in_the_id_and_none_of_them_changes_an_old_one() -> None:
    plain = vit(image_size=32).spec("pooled")
    assert "background" not in json.dumps(plain.written)
    others = [
        vit(image_size=32, interpolation="bilinear"),
        vit(image_size=32, background="white"),
        vit(image_size=32, background="#fefefe"),
        vit(resize=40, crop=32),
        vit(resize=41, crop=32),
    ]
    assert len({plain.id, *(encoder.spec("pooled").id for encoder in others)}) == 6
    assert vit(image_size=32, background="#FFFFFF").spec("pooled") == others[1].spec("pooled")


@pytest.mark.parametrize("name", ["timm:test_vit", CLIP])
def test_transparent_images_are_laid_on_the_background(name: str) -> None:
    rgba = PICTURE.convert("RGBA")
    rgba.putalpha(Image.fromarray(np.where(np.arange(140)[None, :] < np.full((90, 1), 70), 255, 0).astype(np.uint8)))
    white = PICTURE.copy()
    white.paste((255, 255, 255), (70, 0, 140, 90))
    plain, laid = (load_encoder(name, untrained=True, device="cpu", background=b) for b in (None, "white"))
    assert torch.equal(laid.preprocess(rgba), plain.preprocess(white))
    assert not torch.equal(plain.preprocess(rgba), plain.preprocess(white))
    assert torch.equal(laid.preprocess(PICTURE), plain.preprocess(PICTURE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 32}, "--crop goes with --resize"),
        ({"resize": 40, "crop": 32, "image_size": 32}, "--crop is the side of the input"),
        ({"resize": 40, "crop": 50}, "A square of 50 pixels cannot be cropped"),
        ({"resize": 40}, "is a square of 160 pixels, which cannot be cropped"),
        ({"resize": 5000, "crop": 32}, "5000 px is out of bounds"),
        ({"interpolation": "cubic"}, "--interpolation must be bicubic, bilinear, lanczos or nearest"),
        ({"background": "red"}, "--background must be white, black or #rrggbb, not 'red'"),
        ({"background": "#ff"}, "--background must be white, black or #rrggbb"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        vit(**options)


def test_a_resize_alone_crops_what_the_model_takes() -> None:
    assert vit(resize=200).spec("pooled") == vit(resize=200, crop=160).spec("pooled")


def test_a_filter_that_open_clips_own_transform_has_not_needs_a_resize() -> None:
    with pytest.raises(BadInput, match="has no filter lanczos"):
        load_encoder(CLIP, untrained=True, device="cpu", interpolation="lanczos")


def test_an_unknown_option_is_refused_as_python_does() -> None:
    with pytest.raises(TypeError, match="Did you mean 'resize'"):
        load_encoder("timm:test_vit", untrained=True, resized=3)  # type: ignore[call-arg]
