"""Preprocessing that is asked for instead of a library's own: resize and crop, the filter, a colour below transparency.

Each is described by the fields of `Preprocessing` that the library's own has, so that equal preprocessing has one id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from ...errors import BadInput
from ...stores.format.names import Name
from ..datasets.transparency import laid_on
from ..options import PixelArguments, PixelOptions
from ..specs import NVJPEG, SCALED_JPEG, Preprocessing

if TYPE_CHECKING:
    from PIL import Image


def crop_fraction(resize: int, crop: int) -> float:
    """Return the fraction that stands for a resize and a crop: timm resizes to ``floor(crop / fraction)``.

    It is ``crop / resize``, or the next smaller number if rounding would make that another resize.

    Examples
    --------
    >>> crop_fraction(256, 224)
    0.875
    >>> math.floor(224 / (224 / 354)), math.floor(224 / crop_fraction(354, 224))
    (353, 354)
    """
    fraction = crop / resize
    while math.floor(crop / fraction) < resize:
        fraction = math.nextafter(fraction, 0.0)
    return fraction


def cropped(pixels: PixelOptions, own: tuple[int, ...], name: str) -> tuple[int, int] | None:
    """Return resize and crop in pixels; None if they are not asked for.

    Parameters
    ----------
    pixels : PixelOptions
    own : tuple of int
        Height and width of the encoder's input.
    name : str
        Of the encoder.

    Raises
    ------
    BadInput
        If no square of that size can be cropped.
    """
    if pixels.resize is None:
        return None
    if pixels.side is None and own[0] != own[1]:
        raise BadInput(
            f"The input of {name} is {own[0]} x {own[1]}, not a square.", hint="Give --crop too.", key="crop"
        )
    crop = pixels.side or own[0]
    if crop > pixels.resize:
        raise BadInput(
            f"The input of {name} is a square of {crop} pixels, which cannot be cropped of images whose shorter side "
            f"has {pixels.resize}.",
            hint=f"Give a larger --resize, or --crop {pixels.resize} or less.",
            key="resize",
        )
    return pixels.resize, crop


def on_background(colour: str | None) -> tuple[Callable[[Image.Image], Image.Image], ...]:
    """Return the steps that lay transparent images on a colour: one, or none if there is no colour."""
    return () if colour is None else (partial(laid_on, colour=colour),)


def pixels_of(name: Name) -> PixelArguments:
    """Return the options of pixels with which a set was extracted."""
    return PixelArguments(
        image_size=name.image_size,
        resize=name.resize,
        crop=name.crop,
        interpolation=name.interpolation,
        background=name.background,
        fast_decode=name.fast_decode,
        decoder=name.decoder,
        preprocess=name.preprocess,
    )


def pixels_described(preprocessing: Preprocessing) -> Iterator[PixelArguments]:
    """Yield the options that may have made a preprocessing: another input alone, or a resize and a crop."""
    size, fraction = preprocessing.image_size, preprocessing.crop_fraction
    if size is None or size[0] != size[1]:
        return
    by = preprocessing.interpolation
    decoder = preprocessing.decoder
    same = PixelArguments(
        background=preprocessing.background,
        fast_decode=decoder == SCALED_JPEG or None,
        decoder=decoder if decoder == NVJPEG else None,
    )
    yield PixelArguments(**same, image_size=size[0])
    yield PixelArguments(**same, image_size=size[0], interpolation=by)
    if fraction:
        resize = math.floor(size[0] / fraction)
        yield PixelArguments(**same, resize=resize, crop=size[0], interpolation=by)
