"""Bytes to images: what PIL opens, as it opens it, and one kind of error for everything that it cannot.

Nothing is converted here, neither colours nor EXIF rotation: an encoder's own preprocessing converts, as the library
that the encoder comes from does. The reference is open_clip's loader, which is ``Image.open`` and nothing else.
"""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ...canonical import canonical_json
from .base import UndecodableImage

# DecompressionBombWarning (above PIL's limit, below twice that) is no failure; a filter set once is thread-safe,
# where `warnings.catch_warnings` is not.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode_file(raw: bytes) -> Image.Image:
    """Decode the content of an image file: the first frame, in the mode that the file has.

    Raises
    ------
    UndecodableImage
        If the bytes are empty, no image, cut short, or more pixels than PIL's decompression-bomb limit allows.
    """
    if not raw:
        raise UndecodableImage("is empty (0 bytes)")
    # PIL loads its rarer formats when it meets a file that it does not know. A thread that comes while another loads
    # them may be told that a good file is no image; no thread passes this line before all are there.
    Image.preinit()
    Image.init()
    try:
        image = Image.open(io.BytesIO(raw))
        image.load()
    except UnidentifiedImageError:
        raise UndecodableImage("is not an image that PIL can open") from None
    except Image.DecompressionBombError as e:
        raise UndecodableImage(f"is too large: {_line(e)}") from None
    except Exception as e:  # forty formats, each with errors of its own on damaged files
        raise UndecodableImage(f"cannot be decoded: {_line(e)}") from None
    return image


def encode_pixels(pixels: npt.NDArray[Any]) -> bytes:
    """Return the bytes that stand for one array image: canonical JSON of dtype and shape, a line feed, the pixels.

    Equal pixels give equal bytes whatever container they came in, so their sample id, the sha256, is equal too.

    Parameters
    ----------
    pixels : ndarray, uint8 [h, w] or [h, w, 1|3|4], or uint16 [h, w]
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    return canonical_json({"dtype": little.dtype.name, "shape": list(little.shape)}) + b"\n" + little.tobytes()


def decode_pixels(raw: bytes) -> Image.Image:
    """Turn what `encode_pixels` returned into an image: mode L, RGB, RGBA or I;16."""
    head, _, body = raw.partition(b"\n")
    header = json.loads(head)
    return Image.fromarray(np.frombuffer(body, np.dtype(header["dtype"])).reshape(header["shape"]))


def encode_image(image: Image.Image) -> bytes:
    """Return the bytes that stand for an image that a library has decoded already."""
    if image.mode not in ("L", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    return encode_pixels(np.asarray(image))


def _line(e: BaseException) -> str:
    return " ".join(str(e).split()) or type(e).__name__
