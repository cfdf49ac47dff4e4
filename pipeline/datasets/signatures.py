"""What a file is that PIL cannot open, told by its first bytes, and what to install or run."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..first_bytes import FETCH_AGAIN, HEAD, recognised

_CONVERT = "convert it to PNG or JPEG"
_DEVELOP = f"{_CONVERT} with the camera's own program, or rawpy"
_HEIC = "pip install pillow-heif"
_AVIF = "unless it is damaged, upgrade Pillow or pip install pillow-avif-plugin"
_UNPACK = "unpack it"

_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\x0a", "a JPEG XL image", _CONVERT),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image", _CONVERT),
    (b"%PDF-", "a PDF document", "convert its pages to PNG, such as by pdftoppm -png"),
    (b"%!PS", "a PostScript document", f"{_CONVERT}; PIL needs Ghostscript for it"),
    (b"PK\x03\x04", "a ZIP archive (or a document of an office program)", _UNPACK),
    (b"PK\x05\x06", "an empty ZIP archive", FETCH_AGAIN),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video", "extract its frames, such as by ffmpeg"),
    (b"\x93NUMPY", "a NumPy array", "save its images as PNG"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its images as PNG"),
    (b"v/1\x01", "an OpenEXR image, whose values are floats", "save it with 8 or 16 bits"),
    (b"#?RADIANCE", "a Radiance HDR image, whose values are floats", "save it with 8 or 16 bits"),
    (b"II*\0\x10\0\0\0CR", "a camera's raw image (CR2)", _DEVELOP),
    (b"IIRO", "a camera's raw image (ORF)", _DEVELOP),
    (b"IIRS", "a camera's raw image (ORF)", _DEVELOP),
    (b"MMOR", "a camera's raw image (ORF)", _DEVELOP),
    (b"IIU\0", "a camera's raw image (RW2)", _DEVELOP),
    (b"FUJIFILMCCD-RAW", "a camera's raw image (RAF)", _DEVELOP),
    (b"FOVb", "a camera's raw image (X3F)", _DEVELOP),
    (b"\0MRM", "a camera's raw image (MRW)", _DEVELOP),
    (b"II*\0", "a TIFF of a kind that PIL cannot open, perhaps a camera's raw image (ARW, DNG, NEF)", _DEVELOP),
    (b"MM\0*", "a TIFF of a kind that PIL cannot open, perhaps a camera's raw image (NEF, DNG)", _DEVELOP),
    (b"II+\0", "a BigTIFF of a kind that PIL cannot open", _CONVERT),
    (b"MM\0+", "a BigTIFF of a kind that PIL cannot open", _CONVERT),
    (b"II\xbc", "a JPEG XR image", _CONVERT),
)
"""Of files that begin so: what they are, and what to do."""

HEIF, AVIF = "heif", "avif"

_BRANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        HEIF: ("a HEIC image", _HEIC),
        AVIF: ("an AVIF image", _AVIF),
        "crx": ("a camera's raw image (CR3)", _DEVELOP),
        "video": ("a video", "extract its frames, such as by ffmpeg"),
    }
)

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2")
_AVIF_BRANDS = (b"avif", b"avis")
_DICOM_AT = 128
_TAR_AT = 257


def container(raw: bytes) -> str | None:
    r"""Return which kind of file an ISO container is: `HEIF`, `AVIF`, ``crx``, ``video``; None for other files.

    Examples
    --------
    >>> container(b"\0\0\0\x1cftypheic" + bytes(16)), container(b"GIF89a")
    ('heif', None)
    """
    if raw[4:8] != b"ftyp":
        return None
    brand, end = raw[8:12], min(int.from_bytes(raw[:4], "big"), HEAD)
    brands = {brand, *(raw[at : at + 4] for at in range(16, end, 4))}
    if brand in _AVIF_BRANDS or (brand in _HEIF_BRANDS and brands & set(_AVIF_BRANDS)):
        return AVIF
    if brand in _HEIF_BRANDS:
        return HEIF
    return "crx" if brand == b"crx " else "video"


def what_is(raw: bytes) -> str:
    r"""Return why a file is not an image for PIL, as the end of a sentence that begins with its name.

    Examples
    --------
    >>> what_is(b"version https://git-lfs.github.com/spec/v1\noid sha256:00")
    'is not an image that PIL can open, but a Git LFS pointer, not the file itself: git lfs pull'
    >>> what_is(b"what?")
    'is not an image that PIL can open'
    """
    found = _known(raw)
    return "is not an image that PIL can open" + ("" if found is None else f", but {found[0]}: {found[1]}")


def _known(raw: bytes) -> tuple[str, str] | None:
    kind = container(raw)
    if kind is not None:
        return _BRANDS[kind]
    for beginning, what, remedy in _BEGINNINGS:
        if raw.startswith(beginning):
            return what, remedy
    if raw[_DICOM_AT : _DICOM_AT + 4] == b"DICM":
        return "a DICOM image", f"{_CONVERT}, such as by pydicom"
    if raw[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return "a tar archive", _UNPACK
    return recognised(raw)
