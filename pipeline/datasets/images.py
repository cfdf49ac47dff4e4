"""Bytes to images: what PIL opens, as it opens it, and one kind of error for everything that it cannot.

Colours and EXIF rotation are left as they are: an encoder's own preprocessing converts, as the library that the encoder
comes from does. The reference is open_clip's loader, which is ``Image.open`` and nothing else. There is one exception.
``convert("RGB")`` clips values above 255, so that 16-bit grey would become white. It is scaled to 8 bits here; floats
and 32-bit integers are refused, because the file does not tell which values are black and white.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...arrays import Array
from ...canonical import canonical_json
from ...errors import CryoprobeError
from ..passing import is_passing
from . import plugins
from .base import TooManyPixels, UndecodableImage
from .jpeg_decoders import decoded
from .pillow import pillow, pillow_image
from .pixel_limit import at_most
from .scaled_decoding import WHOLE_SIZE, scaled_to
from .signatures import what_is
from .transparency import ALPHAS

MAX_16_BIT = 65535

_DEEP = b"\ncryoprobe: values of more than 8 bits, grey scaled by 1/257\n"
"""What stands behind a file's bytes in its sample id if its values are not 0 to 255.

Before, such images were clipped. Rows of that kind have another id, and are never taken for rows of this one.
"""

_ALWAYS_8_BIT = (b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")
"""How JPEG, GIF, BMP and WebP files begin, which need no closer look."""
_PNG = b"\x89PNG\r\n\x1a\n"

_PHOTOMETRIC, _SAMPLE_FORMAT, _BITS, _PLANAR = 262, 339, 258, 284
"""Tags of a TIFF file: photometric interpretation, sample format, bits per sample, planar configuration."""
_WHITE_IS_ZERO, _SIGNED, _SEPARATE = 0, 2, 2
"""Values of the first, the second and the last."""


def decode_file(raw: bytes) -> Image.Image:
    """Decode the content of an image file: the first frame, in the mode that the file has; 16-bit grey as 8 bits.

    The result depends on `raw` alone, whatever the program has set in PIL; see `pillow`.

    Raises
    ------
    UndecodableImage
        If the bytes are empty, no image, cut short, more pixels than `pixel_limit` allows, or values of which nobody
        knows the range.
    MemoryError, OSError
        If it is the machine that fails, see `passing.is_passing`.
    """
    if not raw:
        raise UndecodableImage("is empty (0 bytes)")
    try:
        image = pillow_image.open(io.BytesIO(raw.removesuffix(_DEEP)))
        if image.format == "JPEG" and (other := decoded(image, raw)) is not None:
            return other
        whole, side = image.size, scaled_to()
        if side is not None and image.format == "JPEG":
            image.draft(image.mode, (side, side))
            image.info[WHOLE_SIZE] = whole
        image.load()
        return _with_bytes(image)
    except (UndecodableImage, CryoprobeError):  # the latter of a decoder that does not work
        raise
    except pillow.UnidentifiedImageError:
        return _by_plugin(raw)
    except pillow_image.DecompressionBombError as e:
        raise TooManyPixels(f"is too large: {_line(e)}") from None
    except Exception as e:  # forty formats, each with errors of its own on damaged files
        if is_passing(e):
            raise
        raise UndecodableImage(f"cannot be decoded: {_line(e)}") from None


def _by_plugin(raw: bytes) -> Image.Image:
    """Decode what Pillow cannot open by its plug-in; or say what it is."""
    try:
        image = plugins.opened(raw)
    except pillow_image.DecompressionBombError as e:
        raise TooManyPixels(f"is too large: {_line(e)}") from None
    except Exception as e:
        if is_passing(e):
            raise
        raise UndecodableImage(f"cannot be decoded: {_line(e)}") from None
    if image is None:
        raise UndecodableImage(what_is(raw))
    return image


def identified(raw: bytes) -> bytes:
    """Return the bytes whose sha256 is the sample id of an image file: its own, and a mark if its values are not bytes.

    Only the header is looked at, and of the common formats only the first bytes.
    """
    return raw + _DEEP if _is_deep(raw) else raw


def _is_deep(raw: bytes) -> bool:
    if raw.startswith(_ALWAYS_8_BIT):
        return False
    if raw.startswith(_PNG):
        return raw[24:26] == b"\x10\x00"  # 16 bits, grey
    try:
        with at_most(sys.maxsize):  # an id depends on nothing but the file
            image = pillow_image.open(io.BytesIO(raw))
        return _top(image) is not None or _refusal(image) is not None
    except Exception as e:  # no image: `decode_file` will say why
        if is_passing(e):
            raise
        return False


def _with_bytes(image: Any) -> Image.Image:
    """Return an image of the program's own PIL, whose values are 0 to 255.

    Raises
    ------
    UndecodableImage
        If they cannot be brought into that range.
    """
    if why := _refusal(image):
        raise UndecodableImage(why)
    if (top := _top(image)) is not None:
        grey = to_8_bits(np.asarray(image), top)
        inverted = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
        return Image.fromarray(255 - grey if inverted else grey)
    own = Image.Image()
    if image.mode in ("P", "PA"):
        own.__setstate__(image.__getstate__())  # with its palette
        if isinstance(own.info.get("transparency"), bytes):
            own.info = {ALPHAS if key == "transparency" else key: value for key, value in own.info.items()}
        return own
    own = own._new(image.im)  # the pixels are not copied
    own.info = image.info
    return own


def _top(image: Any) -> int | None:
    """Return the value of white in a grey image of more than 8 bits; None for images of bytes."""
    if image.mode.startswith("I;16"):
        twelve = image.format == "TIFF" and tuple(image.tag_v2.get(_BITS, ())) == (12,)
        return 4095 if twelve else MAX_16_BIT
    # PIL scales a PGM's own highest value to this one; older versions read PNG so too.
    return MAX_16_BIT if image.mode == "I" and image.format in ("PNG", "PPM") else None


def _refusal(image: Any) -> str | None:
    """Return why the values of an image cannot be used; None if they can."""
    what = None
    if image.mode == "F":
        what = "floats"
    elif image.mode == "I" and _top(image) is None:
        what = "32-bit or signed integers"
    elif _is_signed(image):
        what = "signed integers"
    elif image.format == "TIFF" and image.tag_v2.get(_PLANAR) == _SEPARATE and max(image.tag_v2.get(_BITS, (1,))) > 8:
        return "has channels of 16 bits in separate planes, which PIL misreads: save it with 8 bits, or interleaved"
    return None if what is None else unknown_range(what)


def _is_signed(image: Any) -> bool:
    """Return whether the file says that its integers have a sign, which PIL does not look at in every mode."""
    if image.format == "TIFF":
        return _SIGNED in tuple(image.tag_v2.get(_SAMPLE_FORMAT, ()))
    return bool(image.format == "FITS" and image.mode.startswith("I;16"))


def unknown_range(what: str) -> str:
    """Return the reason for which an image of such values is refused, and what to do."""
    return (
        f"holds {what}, and nothing says which value is black and which is white: save it with 8 or 16 bits "
        "(values from 0 to 1 as (255 * x).round().astype('uint8'))"
    )


def to_8_bits(values: Array, top: int = MAX_16_BIT) -> npt.NDArray[np.uint8]:
    """Scale grey values from 0…top to 0…255, rounded: from 16 bits, by 1/257."""
    wide = values.astype(np.uint32)
    wide *= 255
    wide += top // 2
    wide //= top
    return np.minimum(wide, 255, out=wide).astype(np.uint8)


def encode_pixels(pixels: Array) -> bytes:
    """Return the bytes that stand for one array image: canonical JSON of dtype and shape, a line feed, the pixels.

    Equal pixels give equal bytes whatever container they came in, so their sample id, the sha256, is equal too. Of
    16-bit grey the header says too how it is scaled; before it was clipped, and such rows have another id.

    Parameters
    ----------
    pixels : ndarray, uint8 [h, w] or [h, w, 1|3|4], or uint16 [h, w]
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    header: dict[str, Any] = {"dtype": little.dtype.name, "shape": list(little.shape)}
    if little.dtype.itemsize > 1:
        header["scale"] = "1/257"
    return canonical_json(header) + b"\n" + little.tobytes()


def decode_pixels(raw: bytes) -> Image.Image:
    """Turn what `encode_pixels` returned into an image: mode L, RGB or RGBA; 16-bit grey is scaled to 8 bits.

    Raises
    ------
    UndecodableImage
        If the bytes are anything else.
    """
    head, _, body = raw.partition(b"\n")
    try:
        header = json.loads(head)
        pixels = np.frombuffer(body, np.dtype(header["dtype"])).reshape(header["shape"])
    except (ValueError, TypeError, KeyError) as e:
        raise UndecodableImage(f"is not a row of pixels: {_line(e)}") from e
    return Image.fromarray(pixels if pixels.dtype == np.uint8 else to_8_bits(pixels))


def encode_image(image: Image.Image) -> bytes:
    """Return the bytes that stand for an image that a library has decoded already.

    Raises
    ------
    UndecodableImage
        If it holds floats, or integers of which it does not tell the range.
    """
    if image.mode in ("F", "I"):
        raise UndecodableImage(unknown_range("floats" if image.mode == "F" else "32-bit or signed integers"))
    if image.mode not in ("L", "RGB", "RGBA") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    return encode_pixels(np.asarray(image))


def _line(e: BaseException) -> str:
    return " ".join(str(e).split()) or type(e).__name__
