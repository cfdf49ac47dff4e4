"""JPEGs decoded at a fraction of their size: only where it is asked for, never too small, under a key of its own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cryoprobe
from cryoprobe.pipeline.datasets.images import decode_file
from cryoprobe.pipeline.datasets.scaled_decoding import decoding_to


def jpeg(width: int, height: int, kind: str = "JPEG", mode: str = "RGB") -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((2000, 1500), (500, 375)), ((600, 600), (300, 300)), ((511, 900), (511, 900)), ((100, 90), (100, 90))],
)
def test_no_side_becomes_shorter_than_it_is_asked_for(size: tuple[int, int], expected: tuple[int, int]) -> None:
    with decoding_to(256):
        assert decode_file(jpeg(*size)).size == expected
    assert decode_file(jpeg(*size)).size == size


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_formats_are_decoded_whole(kind: str) -> None:
    with decoding_to(100):
        assert decode_file(jpeg(900, 800, kind)).size == (900, 800)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_the_mode_stays(mode: str) -> None:
    with decoding_to(100):
        image = decode_file(jpeg(900, 800, mode=mode))
    assert (image.mode, image.size) == (mode, (113, 100))


def test_fast_features_are_near_the_others_have_a_key_of_their_own_and_are_found_by_name(tmp_path: Path) -> None:
    for turn, name in enumerate(("a", "b")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(5):
            Image.open(io.BytesIO(jpeg(1600 + 100 * i, 1300))).rotate(10 * i + 5 * turn).save(
                tmp_path / "data" / name / f"{i}.jpg"
            )
    arguments = {"untrained": True, "image_size": 64}
    whole, fast = (
        cryoprobe.extract("timm:test_vit", f"folder:{tmp_path / 'data'}", tmp_path / "s", fast_decode=flag, **arguments)
        for flag in (None, True)
    )
    assert fast[0].set != whole[0].set
    assert fast[0].encoded == 10
    store = cryoprobe.open_store(tmp_path / "s")
    a, b = (store.open(found[0].set).load()[0] for found in (whole, fast))
    assert float(np.abs(a - b).max()) > 0
    assert float((a * b).sum(1).min()) > 0.9
    assert store.open(fast[0].set).manifest.encoder["preprocessing"]["decoder"]
    (named,) = store.find(fast_decode=True)
    assert named.set == fast[0].set
    assert named.name.options["fast-decode"] is True
    # The sizes that are told are those of the files.
    looks = store.open(fast[0].set).manifest.provenance.document["decoded_images"]
    assert looks["largest"] == [2000, 1300]
