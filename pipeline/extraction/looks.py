"""What images look like as they are decoded, seen in passing: of what is not decoded in a run, nothing is known.

It costs little beside the decoding: most images have no transparency and no EXIF data, and whether one is of a single
colour is asked of the pixels that the encoder gets.
"""

from __future__ import annotations

import struct
import threading
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..datasets.scaled_decoding import WHOLE_SIZE
from ..datasets.transparency import is_transparent
from ..specs import Preprocessing
from .findings import DecodedImages

if TYPE_CHECKING:
    import torch
    from PIL import Image

_EXAMPLES = 2
_ORIENTATION = 274
"""The EXIF tag; 1 is upright."""
_SHORT = 3
"""Its type."""


class Look(NamedTuple):
    """What was seen of one image: its size in pixels, and whether it is odd."""

    width: int
    height: int
    transparent: bool
    rotated: bool
    plain: bool


def look_of(image: Image.Image, tensor: torch.Tensor) -> Look:
    """Look at one image.

    Parameters
    ----------
    image : Image
        As it was decoded.
    tensor : Tensor
        What the encoder gets of it.
    """
    width, height = image.info.get(WHOLE_SIZE, image.size)
    return Look(width, height, is_transparent(image), is_rotated(image), is_plain(tensor))


class Looks:
    """Counts what is odd about images, from several threads.

    Parameters
    ----------
    preprocessing : Preprocessing
        Of the encoder that they are decoded for.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._background = preprocessing.background
        self._side = 0 if preprocessing.image_size is None else min(preprocessing.image_size)
        self._widths, self._heights = array("q"), array("q")
        self._upscaled = 0
        self._odd: dict[str, list[str]] = {}
        self._counts = {"transparent": 0, "rotated": 0, "plain": 0}
        self._lock = threading.Lock()

    def see(self, name: str, image: Image.Image, tensor: torch.Tensor) -> None:
        """Look at one image; see `look_of`."""
        self.add(name, look_of(image, tensor))

    def add(self, name: str, look: Look) -> None:
        """Count what was seen of one image."""
        with self._lock:
            self._widths.append(look.width)
            self._heights.append(look.height)
            self._upscaled += min(look.width, look.height) < self._side
            for kind in (kind for kind in self._counts if getattr(look, kind)):
                self._counts[kind] += 1
                # The first by name, whichever thread comes first.
                self._odd[kind] = sorted([*self._odd.get(kind, ()), name])[:_EXAMPLES]

    def summary(self) -> DecodedImages | None:
        """Return what was seen; None if no image was."""
        if not len(self._widths):
            return None
        widths, heights = np.frombuffer(self._widths, np.int64), np.frombuffer(self._heights, np.int64)
        order = np.argsort(widths * heights, kind="stable")
        smallest, median, largest = (
            (int(widths[i]), int(heights[i])) for i in (order[0], order[len(order) // 2], order[-1])
        )
        return DecodedImages(
            of=len(widths),
            background=self._background,
            input_side=self._side,
            upscaled=self._upscaled,
            smallest=smallest,
            median=median,
            largest=largest,
            examples={kind: tuple(names) for kind, names in self._odd.items()},
            **self._counts,
        )


def is_rotated(image: Image.Image) -> bool:
    """Return whether the EXIF data of an image say that it is to be turned or mirrored.

    They are read here, since PIL takes as long for them as for a part of the decoding; see the TIFF specification.
    """
    raw: Any = image.info.get("exif")
    if not isinstance(raw, bytes):
        return False
    tiff = raw.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return False
    (start,) = struct.unpack(order + "I", tiff[4:8])
    (entries,) = struct.unpack(order + "H", tiff[start : start + 2].ljust(2, b"\0"))
    orientation = struct.pack(order + "HHI", _ORIENTATION, _SHORT, 1)
    for at in range(start + 2, min(start + 2 + 12 * entries, len(tiff) - 11), 12):
        if tiff.startswith(orientation, at):
            return struct.unpack(order + "H", tiff[at + 8 : at + 10])[0] in range(2, 9)
    return False


def is_plain(tensor: torch.Tensor) -> bool:
    """Return whether all pixels [c, h, w] are the same.

    Examples
    --------
    >>> import torch
    >>> is_plain(torch.ones(3, 8, 8)), is_plain(torch.arange(192.0).reshape(3, 8, 8))
    (True, False)
    """
    if tensor.ndim != 3 or not tensor.numel() or str(tensor.layout) != "torch.strided":
        return False
    # NumPy looks at three values in a twentieth of the time that torch takes; it has no bfloat16.
    pixels = (tensor.float() if tensor.is_floating_point() else tensor).numpy(force=True)
    first = pixels[0, 0, 0]
    if first != pixels[0, pixels.shape[1] // 2, pixels.shape[2] // 3] or first != pixels[0, -1, -1]:
        return False  # most images end here
    return bool((pixels == pixels[:, :1, :1]).all())
