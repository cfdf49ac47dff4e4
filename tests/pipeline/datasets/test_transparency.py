"""Transparency: found in whatever way a file has it, and laid on a colour."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cryoprobe.pipeline.datasets.images import decode_file
from cryoprobe.pipeline.datasets.transparency import is_transparent, laid_on

RNG = np.random.default_rng(4)
RGB = RNG.integers(0, 256, (20, 30, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (20, 30), np.uint8)


def decoded(image: Image.Image, kind: str = "PNG", **options: Any) -> Image.Image:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return decode_file(out.getvalue())


def palette(alphas: bytes | int) -> Image.Image:
    return decoded(Image.fromarray(RGB).quantize(8), transparency=alphas)


def keyed(mode: str) -> Image.Image:
    """Return an image one colour of which is transparent: that of its first pixel."""
    image = Image.fromarray(RGB).convert(mode)
    return decoded(image, transparency=image.getpixel((0, 0)))


KINDS = {
    "RGBA": lambda: decoded(Image.fromarray(np.dstack([RGB, ALPHA]))),
    "LA": lambda: decoded(Image.fromarray(np.dstack([RGB[..., 0], ALPHA]), "LA")),
    "RGBA tiff": lambda: decoded(Image.fromarray(np.dstack([RGB, ALPHA])), "TIFF"),
    "RGBA webp": lambda: decoded(Image.fromarray(np.dstack([RGB, ALPHA])), "WEBP", lossless=True, exact=True),
    "P with alphas": lambda: palette(bytes([0, 128, 255, 7])),
    "P with one colour": lambda: palette(3),
    "gif": lambda: decoded(Image.fromarray(RGB).quantize(8), "GIF", transparency=3),
    "RGB with a key": lambda: keyed("RGB"),
    "L with a key": lambda: keyed("L"),
    "PA": lambda: Image.fromarray(np.dstack([RGB, ALPHA])).convert("PA"),
}


@pytest.mark.parametrize("colour", ["white", "black", "#10a0f0"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_laid_on_a_colour(kind: str, colour: str) -> None:
    image = KINDS[kind]()
    rgba = image if image.mode != "P" else _with_alphas(image)
    values = np.asarray(rgba.convert("RGBA")).astype(np.float64)
    below = np.array(Image.new("RGB", (1, 1), colour).getpixel((0, 0)))
    share = values[..., 3:] / 255
    expected = values[..., :3] * share + below * (1 - share)
    found = laid_on(image, colour)
    assert found.mode == "RGB"
    assert is_transparent(image)
    assert np.abs(np.asarray(found) - expected).max() <= 0.51
    assert share.min() < 1


def _with_alphas(image: Image.Image) -> Image.Image:
    """Return an image with a palette as Pillow itself would have opened it."""
    out = io.BytesIO()
    image.save(out, "PNG", transparency=image.info.get("cryoprobe alphas", image.info.get("transparency")))
    return Image.open(io.BytesIO(out.getvalue()))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "1", "YCbCr"])
def test_an_image_without_alphas_is_left_alone(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    assert not is_transparent(image)
    assert laid_on(image, "white") is image


def test_opaque_alphas_and_unused_colours_are_not_transparent() -> None:
    assert not is_transparent(Image.fromarray(np.dstack([RGB, np.full_like(ALPHA, 255)])))
    two = Image.fromarray(np.zeros((4, 4), np.uint8)).convert("P")
    assert not is_transparent(decoded(two, transparency=bytes([255, 0])))
    opaque = Image.fromarray(np.dstack([RGB, np.full_like(ALPHA, 255)]))
    np.testing.assert_array_equal(np.asarray(laid_on(opaque, "white")), RGB)
