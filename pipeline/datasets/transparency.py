"""Transparency of images: whether any pixel of one is transparent, and how it looks on a colour.

Of an image that `images.decode_file` returned; PIL tells of transparency in four ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

ALPHAS = "cryoprobe alphas"
"""Where the ``info`` of an image with a palette keeps the alphas of its colours.

Under PIL's own name for it they change no pixel of RGB, but PIL warns about them.
"""

_BANDS = ("RGBA", "LA", "PA", "RGBa", "La")
_KEYED = ("1", "L", "RGB", "P")
"""Modes in which one colour, or a list of a palette's, may be transparent."""


def alpha_of(image: Image.Image) -> Image.Image | None:
    """Return the alphas of an image, mode L; None if it has none.

    Examples
    --------
    >>> from PIL import Image
    >>> alpha_of(Image.new("RGBA", (2, 2), (255, 0, 0, 128))).getextrema()
    (128, 128)
    """
    if image.mode in _BANDS:
        return image.getchannel(len(image.getbands()) - 1)
    if image.mode not in _KEYED:
        return None
    if image.mode == "P" and ALPHAS in image.info:
        alphas = bytes(image.info[ALPHAS])[:256]
        return image.point([*alphas, *[255] * (256 - len(alphas))], "L")
    if "transparency" in image.info:
        return image.convert("RGBA").getchannel("A")
    return None


def is_transparent(image: Image.Image) -> bool:
    """Return whether an image has a pixel that is not opaque."""
    if image.mode == "P" and ALPHAS in image.info:
        alphas, counts = bytes(image.info[ALPHAS])[:256], image.histogram()
        return any(count for alpha, count in zip(alphas, counts, strict=False) if alpha != 255)
    alpha = alpha_of(image)
    return alpha is not None and alpha.getextrema()[0] != 255


def laid_on(image: Image.Image, colour: str) -> Image.Image:
    """Return an image as it looks on a colour, mode RGB; an image without alphas as it is.

    Parameters
    ----------
    image : Image
    colour : str
        ``white``, ``black`` or ``#rrggbb``.

    Examples
    --------
    >>> from PIL import Image
    >>> laid_on(Image.new("LA", (2, 2), (0, 51)), "white").getpixel((0, 0))
    (204, 204, 204)
    """
    from PIL import Image

    alpha = alpha_of(image)
    if alpha is None:
        return image
    visible = image.convert("LA") if image.mode == "La" else image
    visible = visible.convert("RGBA").convert("RGB")
    return Image.composite(visible, Image.new("RGB", image.size, colour), alpha)
