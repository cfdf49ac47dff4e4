"""JPEGs decoded by torchcodec: near Pillow's pixels, with Pillow's rules, under a key of its own.

What needs no GPU is shown on the CPU, where torchcodec is called in the same way.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import put_set

import cryoprobe
from cryoprobe.errors import BadInput, NotFound, Unavailable
from cryoprobe.pipeline.datasets import jpeg_decoders
from cryoprobe.pipeline.datasets.base import TooManyPixels, UndecodableImage
from cryoprobe.pipeline.datasets.images import decode_file
from cryoprobe.pipeline.datasets.jpeg_decoders import check_decoder, decoded, decoding_on
from cryoprobe.pipeline.datasets.pillow import pillow_image
from cryoprobe.pipeline.datasets.pixel_limit import at_most
from cryoprobe.pipeline.encoders.embedding import ImageLoader
from cryoprobe.pipeline.encoders.resizing import pixels_described
from cryoprobe.pipeline.encoders.transforms import as_asked
from cryoprobe.pipeline.extraction.decoding_processes import work_of
from cryoprobe.pipeline.options import PixelOptions
from cryoprobe.pipeline.specs import EncoderSpec, Preprocessing

UNTRAINED: Any = {"untrained": True, "image_size": 64}


@pytest.fixture
def torchcodec() -> Iterator[None]:
    """Decode by torchcodec, if it is installed."""
    pytest.importorskip("torchcodec", reason="the extra nvjpeg is not installed")
    with decoding_on("cpu"):
        yield


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_pillow(raw: bytes) -> Image.Image:
    with decoding_on(None):
        return decode_file(raw)


def turned(orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture(90, 61), exif=exif.tobytes(), **options)


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 95, "subsampling": 0}, {"comment": b"\xff"}]
)
def test_pixels_are_pillow_s_within_rounding(mode: str, options: dict[str, Any]) -> None:
    raw = saved(picture(301, 197, mode), **options)
    found, expected = decode_file(raw), by_pillow(raw)
    assert (found.mode, found.size, found.info) == (expected.mode, expected.size, expected.info)
    assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 2


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_nothing_is_rotated(orientation: int) -> None:
    raw = turned(orientation)
    found, expected = decode_file(raw), by_pillow(raw)
    assert found.size == expected.size
    assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 2
    assert found.info["exif"] == expected.info["exif"], "what tells of the rotation is still there"


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (saved(picture(90, 61)), "RGB"),
        (saved(picture(90, 61, "L")), "L"),
        (saved(picture(90, 61)) + bytes(3), "RGB"),
        (saved(picture(90, 61)) + b"what a camera appends", None),
        (saved(picture(90, 61))[:-2], None),
        (saved(picture(90, 61), keep_rgb=True), None),
        (saved(picture(90, 61, "CMYK")), None),
        (saved(picture(90, 61), "PNG"), None),
    ],
    ids=["RGB", "grey", "zeros behind it", "a tail", "no end", "stored as RGB", "CMYK", "PNG"],
)
def test_what_pillow_knows_better_is_left_to_it(raw: bytes, expected: str | None) -> None:
    found = decoded(pillow_image.open(io.BytesIO(raw)), raw)
    assert (None if found is None else found.mode) == expected


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("RGB", "PNG"), ("RGB", "WEBP")])
def test_the_mode_of_all_others_stays(mode: str, kind: str) -> None:
    raw = saved(picture(90, 61, mode), kind)
    found, expected = decode_file(raw), by_pillow(raw)
    assert (found.mode, found.tobytes()) == (expected.mode, expected.tobytes())


def test_pillow_does_not_stand_in_for_a_decoder_that_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(jpeg_decoders, "_by_torchcodec", broken)
    with decoding_on("cuda:0"), pytest.raises(Unavailable, match="nvjpeg does not work on cuda:0: CUDA error: an ill"):
        decode_file(saved(picture(40, 30)))


@pytest.mark.usefixtures("torchcodec")
@pytest.mark.parametrize("keep", [1.0 / 3, 0.999])
def test_a_file_that_is_cut_short_is_refused_with_the_same_words(keep: float) -> None:
    whole = saved(picture(301, 197))
    said = []
    for decode in (decode_file, by_pillow):
        with pytest.raises(UndecodableImage) as error:
            decode(whole[: int(keep * len(whole))])
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.usefixtures("torchcodec")
def test_a_file_with_a_hole_is_treated_as_by_pillow() -> None:
    whole = saved(picture(301, 197))
    raw = whole[: len(whole) // 2] + whole[-len(whole) // 4 :]
    found, expected = decode_file(raw), by_pillow(raw)
    assert (found.mode, found.size) == (expected.mode, expected.size)


@pytest.mark.usefixtures("torchcodec")
def test_the_limit_of_pixels_holds() -> None:
    with at_most(1000), pytest.raises(TooManyPixels, match="301 x 197 pixels"):
        decode_file(saved(picture(301, 197)))


def folder(root: Path) -> str:
    for turn, name in enumerate(("a", "b")):
        (root / name).mkdir(parents=True)
        for i in range(6):
            picture(120 + 10 * i, 100).rotate(10 * i + 5 * turn).save(root / name / f"{i}.jpg")
    (root / "a" / "turned.jpg").write_bytes(turned(6))
    (root / "b" / "clear.png").write_bytes(saved(Image.new("RGBA", (50, 40), (9, 9, 9, 0)), "PNG"))
    return f"folder:{root}"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="nvJPEG decodes on a CUDA GPU")
def test_features_have_a_key_of_their_own_and_are_found_by_the_decoder(tmp_path: Path) -> None:
    pytest.importorskip("torchcodec", reason="the extra nvjpeg is not installed")
    data = folder(tmp_path / "data")
    store = cryoprobe.open_store(tmp_path / "s", create=True)
    (pillow,), (other,) = (
        cryoprobe.extract("timm:test_vit", data, store, decoder=decoder, device="cuda", **UNTRAINED)
        for decoder in (None, "nvjpeg")
    )
    assert other.set != pillow.set
    assert other.encoded == other.rows
    x, y = (store.open(found.set).load()[0] for found in (pillow, other))
    assert float((x * y).sum(1).min()) > 0.999
    assert store.open(other.set).manifest.encoder["preprocessing"]["decoder"] == "nvjpeg"
    (named,) = store.find(decoder="nvjpeg")
    assert (named.set, named.name.options["decoder"]) == (other.set, "nvjpeg")
    assert store.open(other.set).manifest.provenance.document["decoded_images"]["rotated"] == 1


def test_probe_chooses_sets_by_the_decoder(tmp_path: Path) -> None:
    store = cryoprobe.open_store(tmp_path / "s", create=True)
    x, labels = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 2
    sets = {
        decoder: put_set(store, x + i, labels, classes="ab", split="all", encoder=f"e{i}", decoder=decoder).id
        for i, decoder in enumerate((None, "nvjpeg"))
    }
    asked: Any = {"model": "timm:m", "dataset": "folder:/d", "probe": "nearest-mean"}
    assert cryoprobe.probe(store, **asked).trial.train == sets[None]
    assert cryoprobe.probe(store, **asked, decoder="nvjpeg").trial.train == sets["nvjpeg"]
    (named,) = store.find(decoder="nvjpeg")
    assert (named.set, named.name.options) == (sets["nvjpeg"], {"decoder": "nvjpeg"})


def test_it_is_part_of_the_key_and_a_key_without_it_stays_as_it_is() -> None:
    preprocessing = Preprocessing(library="timm", image_size=(64, 64))
    ids = {
        EncoderSpec(family="timm", architecture="a", weights="0" * 64, preprocessing=p, tap="cls").id
        for p in (preprocessing, preprocessing.model_copy(update={"decoder": None}))
    }
    assert len(ids) == 1
    asked = PixelOptions(decoder="nvjpeg")
    _, described = as_asked(lambda image: image, preprocessing, asked)
    ids.add(EncoderSpec(family="timm", architecture="a", weights="0" * 64, preprocessing=described, tap="cls").id)
    assert len(ids) == 2
    assert {"decoder": "nvjpeg"}.items() <= next(iter(pixels_described(described))).items()


def test_decoding_on_a_gpu_is_left_to_threads(tmp_path: Path) -> None:
    split = cryoprobe.load_dataset(folder(tmp_path / "data")).split("all")
    encoder = cryoprobe.load_encoder("timm:test_vit", device="cpu", **UNTRAINED)
    preprocessing = encoder.spec(encoder.taps[0]).preprocessing
    assert work_of(split, ImageLoader(encoder, preprocessing)) is not None
    assert work_of(split, ImageLoader(encoder, preprocessing.model_copy(update={"decoder": "nvjpeg"}))) is None


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(NotFound, match=r"torchcodec 0.16 or newer, which is not installed") as error:
        check_decoder("nvjpeg", torch.device("cuda:0"))
    assert error.value.hint == "pip install 'cryoprobe[nvjpeg]'"


def test_the_encoder_must_be_on_a_gpu() -> None:
    with pytest.raises(BadInput, match="decodes on a CUDA GPU, and the encoder computes on cpu"):
        cryoprobe.load_encoder("timm:test_vit", decoder="nvjpeg", device="cpu", **UNTRAINED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "opencv"}, "--decoder must be nvjpeg, or left out for Pillow, not 'opencv'"),
        ({"decoder": "nvjpeg", "fast_decode": True}, "--fast-decode decodes by Pillow, and --decoder nvjpeg does not"),
    ],
)
def test_what_is_no_decoder_and_two_of_them_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        cryoprobe.load_encoder("timm:test_vit", device="cpu", **options, **UNTRAINED)
