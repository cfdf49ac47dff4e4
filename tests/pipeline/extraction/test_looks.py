"""What is seen of images as they are decoded."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from cryoprobe.pipeline.datasets.images import decode_file
from cryoprobe.pipeline.extraction.again import Comparison
from cryoprobe.pipeline.extraction.findings import DecodedImages, RepeatedImages
from cryoprobe.pipeline.extraction.looks import Looks, is_plain, is_rotated
from cryoprobe.pipeline.specs import Preprocessing

PREPROCESSING = Preprocessing(library="timm", image_size=(32, 32))
SIZE = (8, 8)
VARIED = torch.arange(3 * 32 * 32.0).reshape(3, 32, 32)


def with_exif(kind: str, orientation: int, **more: str) -> Image.Image:
    exif = Image.Exif()
    exif[274] = orientation
    exif[271] = "Maker" * 9
    out = io.BytesIO()
    Image.new("RGB", (8, 6)).save(out, kind, exif=exif, **more)
    return decode_file(out.getvalue())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotation_is_found_as_pil_finds_it(kind: str, orientation: int) -> None:
    image = with_exif(kind, orientation)
    assert is_rotated(image) == (orientation != 1)
    assert image.getexif()[274] == orientation


@pytest.mark.parametrize(
    "raw", [b"", b"Exif\0\0", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01", 3]
)
def test_damaged_exif_data_are_no_rotation(raw: object) -> None:
    image = Image.new("RGB", (2, 2))
    image.info["exif"] = raw
    assert not is_rotated(image)


def test_big_endian_exif_is_read() -> None:
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    image = Image.new("RGB", (2, 2))
    image.info["exif"] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)
    assert is_rotated(image)


def test_an_image_is_plain_only_if_every_pixel_is_the_same() -> None:
    flat = torch.tensor([1.0, -2.0, 0.5])[:, None, None].expand(3, 32, 32)
    assert is_plain(flat)
    assert is_plain(flat.to(torch.bfloat16))
    for place in (0, 5, 31):
        spoilt = flat.clone()
        spoilt[2, place, 31 - place] = 7
        assert not is_plain(spoilt)
    assert not is_plain(torch.zeros(0, 3, 3))


def test_nothing_is_said_of_what_was_not_decoded() -> None:
    assert Looks(PREPROCESSING).summary() is None


def test_threads_count_together_and_the_examples_are_the_first_by_name() -> None:
    looks = Looks(PREPROCESSING)
    clear, turned = Image.new("RGBA", (20, 50), (0, 0, 0, 0)), with_exif("JPEG", 6)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: looks.see(f"{i:03d}.png", clear if i % 3 == 1 else turned, VARIED), range(90, -1, -1)))
    found = looks.summary()
    assert found is not None
    assert (found.of, found.transparent, found.rotated, found.plain, found.upscaled) == (91, 30, 61, 0, 91)
    assert found.examples == {"transparent": ("001.png", "004.png"), "rotated": ("000.png", "002.png")}
    assert (found.smallest, found.median, found.largest) == ((8, 6), (8, 6), (20, 50))


def test_sizes_are_ordered_by_their_pixels() -> None:
    looks = Looks(PREPROCESSING)
    for size in ((100, 100), (32, 31), (400, 32), (33, 33), (64, 64)):
        looks.see("a", Image.new("L", size), VARIED)
    found = looks.summary()
    assert found is not None
    assert (found.smallest, found.median, found.largest) == ((32, 31), (64, 64), (400, 32))
    assert found.upscaled == 1


def test_remarks_are_made_of_what_is_unusual() -> None:
    looks = Looks(PREPROCESSING.model_copy(update={"background": "white"}))
    for name in "abc":
        looks.see(name, Image.new("RGBA", (40, 40), (0, 0, 0, 9)), VARIED)
    found = looks.summary()
    assert found is not None
    assert (found.transparent, found.background, found.remarks("train")) == (3, "white", [])
    plain = Looks(PREPROCESSING)
    for name in "abc":
        plain.see(name, Image.new("RGBA", (40, 40), (0, 0, 0, 9)), torch.zeros(3, 32, 32))
    seen = plain.summary()
    assert seen is not None
    transparent, one_colour = seen.remarks("train")
    assert transparent.startswith("3 of the 3 images decoded for split 'train' have transparent pixels")
    assert "--background white" in transparent
    assert "are of one colour for the encoder, such as a and b." in one_colour


def test_an_array_is_not_changed_by_looking() -> None:
    tensor = VARIED.clone()
    Looks(PREPROCESSING).see("a", Image.fromarray(np.zeros((3, 3), np.uint8)), tensor)
    assert torch.equal(tensor, VARIED)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            DecodedImages(of=8, rotated=1, smallest=SIZE, median=SIZE, largest=SIZE),
            "1 of the 8 images decoded for split 'x' has an EXIF rotation, which",
        ),
        (
            DecodedImages(of=1, transparent=1, smallest=SIZE, median=SIZE, largest=SIZE),
            "The only image decoded for split 'x' has transparent pixels.",
        ),
        (
            RepeatedImages(of=8, repeated=1, contradicted=1),
            "1 of 8 rows of split 'x' repeats the image of an earlier row; 1 has an image that has several labels.",
        ),
    ],
)
def test_one_image_is_not_several(found: DecodedImages | RepeatedImages, said: str) -> None:
    assert found.remarks("x")[0].startswith(said)


def test_one_row_is_not_several() -> None:
    said = Comparison(rows=1, differing=1, largest=0.5, example="a.png").remark()
    assert said is not None
    assert said.startswith("1 of 1 stored row that was encoded again differs from what its image gives here")
