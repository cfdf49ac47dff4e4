"""Images as short vectors: two files of one picture, of other quality, size or brightness, have nearly the same one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ...arrays import Float32

if TYPE_CHECKING:
    from PIL import Image

SIDE = 16
"""Pixels of the side of the small grey image that is compared."""

ONE_COLOUR = 4
"""An image is plain if no channel has values further apart than this, of 255."""

_LEAST_CONTRAST = 4.0
"""Standard deviation, of 255 grey levels, below which a small image is noise, or a sky, and is not compared."""


class Pictures(NamedTuple):
    """What is kept of some images.

    Parameters
    ----------
    vectors : ndarray, float32 [n, SIDE²]
        Grey values less their mean, of unit norm: the product of two is the correlation of the small images. Zeros if
        an image is not there, or has too little contrast.
    plain : list of str or None
        The colour of plain images, as ``#rrggbb``.
    there : ndarray, bool [n]
        Which images were at hand.
    """

    vectors: Float32
    plain: list[str | None]
    there: npt.NDArray[np.bool_]


def pictures_of(images: Iterable[Image.Image | None], n: int) -> Pictures:
    """Look at n images, one by one; None stands for one that is not there."""
    vectors = np.zeros((n, SIDE * SIDE), np.float32)
    plain: list[str | None] = [None] * n
    there = np.zeros(n, bool)
    for i, image in enumerate(images):
        if image is not None:
            there[i] = True
            plain[i] = plain_colour(image)
            if plain[i] is None:
                vectors[i] = vector_of(image)
    return Pictures(vectors, plain, there)


def vector_of(image: Image.Image) -> Float32:
    """Return the small grey image less its mean, of unit norm, float32 [SIDE²]; zeros if it has too little contrast."""
    from PIL.Image import Resampling

    small = image.convert("L").resize((SIDE, SIDE), Resampling.BILINEAR)
    values = np.asarray(small, np.float32).ravel()
    values = values - values.mean()
    norm = float(np.linalg.norm(values))
    if norm < _LEAST_CONTRAST * SIDE:
        return np.zeros_like(values)
    unit: Float32 = values / np.float32(norm)
    return unit


def plain_colour(image: Image.Image) -> str | None:
    """Return the colour of an image that has only one, as ``#rrggbb``; None of others.

    Examples
    --------
    >>> from PIL import Image
    >>> plain_colour(Image.new("RGB", (8, 8), (255, 0, 16)))
    '#ff0010'
    >>> plain_colour(Image.linear_gradient("L")) is None
    True
    """
    ranges = image.convert("RGB").getextrema()
    if any(int(high) - int(low) > ONE_COLOUR for low, high in ranges):  # type: ignore[misc]
        return None
    return "#" + "".join(f"{(int(low) + int(high)) // 2:02x}" for low, high in ranges)  # type: ignore[misc]
