"""What a file is that PIL cannot open, and how HEIC and AVIF are read by a plug-in."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import zipfile
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from cryoprobe.pipeline.datasets import plugins
from cryoprobe.pipeline.datasets.base import UndecodableImage
from cryoprobe.pipeline.datasets.images import decode_file, identified
from cryoprobe.pipeline.datasets.pixel_limit import at_most
from cryoprobe.pipeline.datasets.signatures import container, what_is

HEIC = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(200)
RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def archive(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as file:
            file.writestr("a.png", b"image")
    else:
        with tarfile.open(fileobj=out, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("a.png"))
    return out.getvalue()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (HEIC, "a HEIC image: pip install pillow-heif"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "a camera's raw image (CR3)"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video"),
        (b"\xff\x0a" + bytes(9), "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(9), "a JPEG XL image"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(99), "a camera's raw image (CR2)"),
        (b"II*\0\x08\0\0\0" + bytes(200), "perhaps a camera's raw image"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw image (RAF)"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "a Git LFS pointer, not the file itself: git lfs pull",
        ),
        (b"/annex/objects/SHA256E-s1--0.png\n", "a git-annex pointer"),
        (b"\n <!DOCTYPE html><html>403 Forbidden</html>", "a web page"),
        (b"\xef\xbb\xbf<html>", "a web page"),
        ("<html><body>".encode("utf-16"), "a web page"),
        (b'<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML, such as a server's error"),
        (b'{"error":\n"quota"}', "JSON, such as a server's error"),
        (b"%PDF-1.7\n", "a PDF document"),
        (gzip.compress(b"image", mtime=0), "gzip-compressed: gunzip it"),
        (archive("zip"), "a ZIP archive"),
        (archive("tar"), "a tar archive"),
        (bytes(4096), "zeros"),
        (bytes(128) + b"DICM" + bytes(9), "a DICOM image"),
    ],
)
def test_a_file_is_named_by_its_first_bytes_with_what_to_do(raw: bytes, said: str) -> None:
    with pytest.raises(UndecodableImage) as refused:
        decode_file(raw)
    message = str(refused.value)
    assert message.startswith("is not an image that PIL can open, but ")
    assert said in message
    assert ": " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "raw", [b"a line\nanother\n", b"\xff", np.random.default_rng(1).bytes(4096), b"<3 you", b"{x}"]
)
def test_what_is_not_known_is_not_guessed(raw: bytes) -> None:
    assert what_is(raw) == "is not an image that PIL can open"


@pytest.mark.skipif(not features.check("avif"), reason="this PIL writes no AVIF")
def test_an_avif_file_is_told_from_a_heic_file() -> None:
    out = io.BytesIO()
    Image.fromarray(RGB).save(out, "AVIF")
    assert container(out.getvalue()) == "avif"
    assert container(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "avif"
    assert container(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf") == "heif"


def heif_plugin(size: tuple[int, int] = (8, 6)) -> Any:
    """Return what stands for pillow_heif: rows with some bytes behind each, as libheif gives them."""
    rows = np.zeros((6, 32), np.uint8)
    rows[:, :24] = RGB.reshape(6, 24)

    def open_heif(file: io.BytesIO, *, convert_hdr_to_8bit: bool, bgr_mode: bool) -> Any:
        assert convert_hdr_to_8bit
        assert not bgr_mode
        if file.read() != HEIC:
            raise EOFError("Extent references data\noutside of the file")
        return SimpleNamespace(mode="RGB", size=size, data=rows.tobytes(), stride=32)

    return SimpleNamespace(open_heif=open_heif)


def test_heic_is_read_where_its_plugin_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", heif_plugin())
    image = decode_file(HEIC)
    assert (type(image), image.mode) == (Image.Image, "RGB")
    np.testing.assert_array_equal(np.asarray(image), RGB)
    assert identified(HEIC) == HEIC
    with pytest.raises(UndecodableImage, match=r"^cannot be decoded: Extent references data outside of the file$"):
        decode_file(HEIC[:-1])
    with at_most(47), pytest.raises(UndecodableImage, match=r"^is too large: 8 x 6 .*--max-pixels"):
        decode_file(HEIC)


def test_what_pillow_reads_does_not_come_to_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "opened", lambda raw: pytest.fail("asked a plug-in"))
    for kind in ["PNG", "GIF", "TIFF"] + ["AVIF"] * features.check("avif"):
        out = io.BytesIO()
        Image.fromarray(RGB).save(out, kind)
        assert decode_file(out.getvalue()).size == (8, 6)


def test_avif_is_read_by_its_plugin_where_pillow_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = SimpleNamespace(AvifImagePlugin=SimpleNamespace(AvifImageFile=lambda file: Image.fromarray(RGB)))
    monkeypatch.setitem(sys.modules, "pillow_avif", plugin)
    damaged = b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(99)  # so that no PIL reads it
    np.testing.assert_array_equal(np.asarray(decode_file(damaged)), RGB)
