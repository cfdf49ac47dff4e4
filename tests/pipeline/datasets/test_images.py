import io
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from cryoprobe.pipeline.datasets import load_dataset
from cryoprobe.pipeline.datasets.base import UndecodableImage
from cryoprobe.pipeline.datasets.images import decode_file

RNG = np.random.default_rng(0)
PIXELS = np.repeat(np.repeat(RNG.integers(0, 256, (12, 16, 4), np.uint8), 4, 0), 4, 1)  # [48, 64, 4]
RGBA = Image.fromarray(PIXELS)
RGB = Image.fromarray(np.ascontiguousarray(PIXELS[..., :3]))
GREY = Image.fromarray(np.ascontiguousarray(PIXELS[..., 0]))
PALETTE = RGB.quantize(17)
DEEP = Image.fromarray((PIXELS[..., 0].astype(np.uint16) << 8) | PIXELS[..., 1])
FRAMES = [Image.fromarray(np.ascontiguousarray(np.roll(PIXELS[..., :3], i, 2))) for i in (1, 2)]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    more = {"append_images": [frame.copy() for frame in FRAMES]} if options.get("save_all") else {}
    image.copy().save(buffer, kind, **options, **more)  # copies: saving leaves traces in an image
    return buffer.getvalue()


def rotated(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(RGB, kind, exif=exif)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_colour_png() -> bytes:
    """16 bits per channel in colour, which PIL cannot write."""
    rows = np.repeat(PIXELS[..., :3], 2, 2).astype(">u1")  # each byte twice: 16-bit values
    return png(64, 48, 16, 2, b"".join(b"\0" + row.tobytes() for row in rows))


KINDS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg": ("RGB", lambda: saved(RGB, "JPEG", quality=90)),
    "jpeg progressive": ("RGB", lambda: saved(RGB, "JPEG", progressive=True, subsampling=2)),
    "jpeg grey": ("L", lambda: saved(GREY, "JPEG")),
    "jpeg cmyk": ("CMYK", lambda: saved(RGB.convert("CMYK"), "JPEG")),
    "jpeg with two pictures": ("RGB", lambda: saved(RGB, "MPO", save_all=True)),
    "jpeg with bytes behind it": ("RGB", lambda: saved(RGB, "JPEG") + b"motion photo" * 99),
    "png": ("RGB", lambda: saved(RGB, "PNG")),
    "png with alpha": ("RGBA", lambda: saved(RGBA, "PNG")),
    "png grey with alpha": ("LA", lambda: saved(RGBA.convert("LA"), "PNG")),
    "png with a palette": ("P", lambda: saved(PALETTE, "PNG")),
    "png with a transparent colour": ("P", lambda: saved(PALETTE, "PNG", transparency=3)),
    "png with a palette of alphas": ("P", lambda: saved(PALETTE, "PNG", transparency=bytes(range(17)))),
    "png of two colours": ("1", lambda: saved(GREY.convert("1"), "PNG")),
    "png of 16 bits in colour": ("RGB", deep_colour_png),
    "png animated": ("RGB", lambda: saved(RGB, "PNG", save_all=True)),
    "gif": ("P", lambda: saved(PALETTE, "GIF")),
    "gif grey": ("P", lambda: saved(GREY, "GIF")),
    "gif with transparency": ("P", lambda: saved(PALETTE, "GIF", transparency=3)),
    "gif animated": ("P", lambda: saved(PALETTE, "GIF", save_all=True, duration=40)),
    "tiff": ("RGB", lambda: saved(RGB, "TIFF")),
    "tiff compressed": ("RGBA", lambda: saved(RGBA, "TIFF", compression="tiff_lzw")),
    "tiff cmyk": ("CMYK", lambda: saved(RGB.convert("CMYK"), "TIFF")),
    "tiff lab": ("LAB", lambda: saved(Image.frombytes("LAB", (64, 48), PIXELS[..., :3].tobytes()), "TIFF")),
    "tiff of pages": ("RGB", lambda: saved(RGB, "TIFF", save_all=True)),
    "bmp": ("RGB", lambda: saved(RGB, "BMP")),
    "webp": ("RGB", lambda: saved(RGB, "WEBP", quality=80)),
    "webp with alpha": ("RGBA", lambda: saved(RGBA, "WEBP", lossless=True)),
    "webp animated": ("RGB", lambda: saved(RGB, "WEBP", save_all=True)),
    "ppm": ("RGB", lambda: saved(RGB, "PPM")),
    "tga": ("RGB", lambda: saved(RGB, "TGA")),
    "ico": ("RGBA", lambda: saved(RGBA, "ICO", sizes=[(48, 36), (16, 12)])),
    **{f"jpeg rotated {i}": ("RGB", partial(rotated, "JPEG", i)) for i in (2, 3, 6, 8)},
    "png rotated": ("RGB", lambda: rotated("PNG", 6)),
    "tiff rotated": ("RGB", lambda: rotated("TIFF", 6)),
    "webp rotated": ("RGB", lambda: rotated("WEBP", 6)),
    "one pixel": ("RGB", lambda: saved(RGB.crop((0, 0, 1, 1)), "PNG")),
    "one row": ("RGB", lambda: saved(RGB.resize((300, 1)), "PNG")),
    "one column": ("L", lambda: saved(GREY.resize((1, 300)), "PNG")),
}
if features.check("jpg_2000"):
    KINDS["jpeg 2000"] = ("RGB", lambda: saved(RGB, "JPEG2000"))
if features.check("avif"):
    KINDS["avif"] = ("RGB", lambda: saved(RGB, "AVIF"))


@cache
def transform() -> Callable[[Image.Image], torch.Tensor]:
    function: Callable[[Image.Image], torch.Tensor] = open_clip.image_transform(224, is_train=False)
    return function


def reference(path: Path) -> torch.Tensor:
    """Load an image as open_clip's own data sets do."""
    return transform()(Image.open(path))


# Images of the real world


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # of the reference
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_gives_the_pixels_that_open_clip_would_see(tmp_path: Path, kind: str) -> None:
    mode, make = KINDS[kind]
    path = tmp_path / "image"
    path.write_bytes(make())
    image = decode_file(path.read_bytes())
    assert image.mode == mode
    assert torch.equal(transform()(image), reference(path))


def test_a_palette_of_alphas_is_converted_without_a_warning_of_pil() -> None:
    image = decode_file(KINDS["png with a palette of alphas"][1]())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(PALETTE.convert("RGB")))


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "tif", "webp", "txt", ""])
def test_a_misleading_file_name_makes_no_difference(tmp_path: Path, ending: str) -> None:
    for kind in ("jpeg", "png", "webp", "tiff"):
        path = tmp_path / f"image.{ending}"
        path.write_bytes(KINDS[kind][1]())
        assert torch.equal(transform()(decode_file(path.read_bytes())), reference(path))


def test_the_first_frame_of_an_animation_is_the_image() -> None:
    for kind in ("png animated", "tiff of pages"):
        np.testing.assert_array_equal(np.asarray(decode_file(KINDS[kind][1]())), np.asarray(RGB))


def test_a_rotation_in_the_exif_data_is_not_carried_out() -> None:
    # open_clip does not, and published numbers are of images as they lie in the file.
    assert decode_file(rotated("JPEG", 6)).size == (64, 48)
    np.testing.assert_array_equal(np.asarray(decode_file(rotated("PNG", 6))), np.asarray(RGB))


def test_a_file_of_a_data_set_is_read_and_decoded_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_bytes(saved(RGB, "PNG"))
    split = load_dataset(f"folder:{tmp_path}").split("all")
    np.testing.assert_array_equal(np.asarray(split.decode(split.read(0))), np.asarray(RGB))


# What is no image, or only part of one


NO_IMAGES = {
    "nothing": b"",
    "one byte": b"\xff",
    "text": b"a line\nanother line\n",
    "html": b"<!doctype html>\n<html><body>404 Not Found</body></html>\n",
    "json": b'{"error":\n"quota"}',
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "zip": b"PK\x05\x06" + bytes(18),
    "zeros": bytes(4096),
    "noise": RNG.bytes(4096),
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "png header": b"\x89PNG\r\n\x1a\n",
    "jpeg header": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "gif header": b"GIF89a",
    "tiff header": b"II*\0\x08\0\0\0",
    "bmp header": b"BM" + bytes(52),
    "webp header": b"RIFF\x10\0\0\0WEBPVP8 ",
    "png of no size": png(0, 0, 8, 2, b""),
    "png without rows": png(20, 20, 8, 2, b""),
}


@pytest.mark.parametrize("what", NO_IMAGES)
def test_what_is_no_image_is_said_to_be_none_in_one_line(what: str) -> None:
    with pytest.raises(UndecodableImage) as refused:
        decode_file(NO_IMAGES[what])
    message = str(refused.value)
    assert message.startswith(("is empty", "is not an image", "cannot be decoded", "is too large"))
    assert "\n" not in message
    assert "BytesIO" not in message


def test_zero_bytes_have_a_message_of_their_own() -> None:
    with pytest.raises(UndecodableImage, match=r"^is empty \(0 bytes\)$"):
        decode_file(b"")


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "tiff", "tiff compressed", "bmp", "webp", "ppm", "jpeg cmyk"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_an_image_cut_short_is_refused_and_never_padded(tmp_path: Path, kind: str, part: float) -> None:
    raw = KINDS[kind][1]()
    path = tmp_path / "image"
    path.write_bytes(raw[: int(part * len(raw))])
    with pytest.raises(UndecodableImage) as refused:
        decode_file(path.read_bytes())
    assert "\n" not in str(refused.value)
    with pytest.raises((OSError, SyntaxError, ValueError)):
        reference(path)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_cut_gives_an_error_or_the_pixels_that_open_clip_would_see(tmp_path: Path, kind: str) -> None:
    raw = KINDS[kind][1]()
    path = tmp_path / "image"
    for cut in range(1, len(raw), len(raw) // 5 + 1):
        path.write_bytes(raw[:cut])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = np.asarray(Image.open(path).convert("RGB"))
            except Exception:
                with pytest.raises(UndecodableImage):
                    decode_file(raw[:cut])
            else:
                np.testing.assert_array_equal(np.asarray(decode_file(raw[:cut]).convert("RGB")), expected)


@pytest.mark.skipif(not features.check("avif"), reason="this PIL reads no AVIF")
def test_an_error_that_no_other_format_has_is_the_one_error_too() -> None:
    raw = bytearray(saved(RGB, "AVIF", save_all=True))
    clock = raw.index(b"mdhd") + 4
    version = raw[clock]
    start = clock + 4 + (16 if version else 8)
    raw[start : start + 4] = bytes(4)  # no ticks per second: PIL divides by them
    with pytest.raises(UndecodableImage, match=r"^cannot be decoded: "):
        decode_file(bytes(raw))


# Size


@pytest.mark.parametrize(
    "raw",
    [
        png(60_000, 60_000, 8, 2, b""),
        png(2**31 - 1, 2**31 - 1, 8, 2, b""),
        png(20_000, 20_000, 1, 0, b"\0" * 100_000),
        b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + b"," + bytes(20) + b";",
        saved(RGB, "BMP").replace(struct.pack("<II", 64, 48), struct.pack("<II", 60_000, 60_000)),
    ],
    ids=["png", "largest-png", "png-of-one-bit", "gif", "bmp"],
)
def test_a_decompression_bomb_is_refused_before_any_memory_is_taken(raw: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UndecodableImage, match=r"^is too large: .*decompression bomb") as refused:
        decode_file(raw)
    assert "\n" not in str(refused.value)
    assert len(raw) < 200_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


def test_text_that_unpacks_to_far_more_than_the_file_is_refused() -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000), 9))
    with pytest.raises(UndecodableImage, match=r"^cannot be decoded: .*too large"):
        decode_file(png(4, 4, 8, 0, (b"\0" + bytes(4)) * 4, text))


def test_a_large_photograph_is_decoded_without_a_warning() -> None:
    # Above the size at which PIL warns, below that at which it refuses: panoramas and scans.
    raw = png(9500, 9500, 1, 0, bytes(9500 * 1189))
    code = (
        "import sys; from cryoprobe.pipeline.datasets.images import decode_file;"
        "print(decode_file(sys.stdin.buffer.read()).size)"
    )
    found = subprocess.run([sys.executable, "-W", "default", "-c", code], input=raw, capture_output=True, check=True)
    assert found.stdout.decode().strip() == "(9500, 9500)"
    assert found.stderr == b""


# Threads


def test_threads_decode_at_once_and_get_what_one_gets() -> None:
    files = [KINDS[kind][1]() for kind in ("jpeg", "png", "gif", "tiff compressed", "webp", "bmp")]
    expected = [np.asarray(decode_file(raw)) for raw in files]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: np.asarray(decode_file(files[i % len(files)])), range(40 * len(files))))
    for i, image in enumerate(found):
        np.testing.assert_array_equal(image, expected[i % len(files)])


def test_one_damaged_file_does_not_disturb_the_threads_that_decode_others() -> None:
    good, bad = KINDS["tiff compressed"][1](), KINDS["tiff compressed"][1]()[:-300]

    def decode(i: int) -> bool:
        try:
            return bool(np.array_equal(np.asarray(decode_file(bad if i % 2 else good)), np.asarray(RGBA)))
        except UndecodableImage:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(decode, range(200))) == [True, False] * 100


def test_every_format_is_known_from_the_first_image_on() -> None:
    # PIL loads what rarer formats need when it meets a file that it does not know, and not safely: a thread that
    # comes while another loads is told that a good file is no image.
    code = (
        "import sys; from cryoprobe.pipeline.datasets.images import decode_file, pillow_image as own;"
        "decode_file(sys.stdin.buffer.read()); before = set(own.ID); own.init(); print(set(own.ID) - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], input=saved(RGB, "PNG"), capture_output=True, check=True)
    assert found.stdout.decode().strip() == "set()"


# Any bytes whatever


SEEDS = [
    KINDS[kind][1]()
    for kind in (
        "png",
        "png with a palette",
        "jpeg",
        "jpeg cmyk",
        "gif animated",
        "tiff",
        "tiff compressed",
        "webp",
        "bmp",
    )
] + [rotated("JPEG", 6), saved(DEEP, "PNG"), saved(PALETTE, "BMP"), saved(GREY, "TIFF", compression="tiff_lzw")]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.sampled_from(SEEDS)))
    near = st.integers(0, min(len(raw), 200) - 1)  # most of what can go wrong is in the header
    for position, value in draw(
        st.lists(st.tuples(near | st.integers(0, len(raw) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    ):
        raw[position] = value
    kept = draw(st.just(len(raw)) | st.integers(0, len(raw)))
    return bytes(raw[:kept]) + draw(st.just(b"") | st.binary(max_size=16))


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=600, deadline=None)
@given(damaged())
def test_any_damage_gives_an_image_or_the_one_error(raw: bytes) -> None:
    try:
        image = decode_file(raw)
    except UndecodableImage as e:
        assert str(e) and "\n" not in str(e)  # noqa: PT017, PT018
    else:
        assert min(image.size) > 0
        image.convert("RGB")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_give_an_image_or_the_one_error(raw: bytes) -> None:
    try:
        decode_file(raw).load()
    except UndecodableImage as e:
        assert str(e) and "\n" not in str(e)  # noqa: PT017, PT018
