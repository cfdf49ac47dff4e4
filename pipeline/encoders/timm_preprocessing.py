"""timm's evaluation transform, by its configuration, with what is asked for otherwise; and what describes it."""

from __future__ import annotations

from typing import Any

from ...errors import BadInput
from ..options import PixelOptions
from ..specs import Preprocessing
from .families import ModelName
from .resizing import crop_fraction, cropped
from .transforms import ImageTransform, as_asked, to_rgb


def prepared(config: dict[str, Any], pixels: PixelOptions, name: str) -> tuple[ImageTransform, Preprocessing]:
    """Return what turns an image into a model's input, and what describes it.

    Parameters
    ----------
    config : dict
        As timm resolves it for a model, of the input size that is asked for.
    pixels : PixelOptions
    name : str
        Of the encoder, for messages.
    """
    import timm

    data: Any = timm.data
    config = config | _asked(pixels, config["input_size"][1:], name)
    # As timm's own data set reader does, images become RGB before any resizing.
    return as_asked(data.create_transform(**config, is_training=False), _preprocessing(config), pixels, [to_rgb])


def of_model(named: ModelName, pixels: PixelOptions, name: str) -> tuple[ImageTransform, Preprocessing]:
    """Return the preprocessing of a model of timm, for another encoder."""
    import timm

    full = named.name.removeprefix("timm:")
    data: Any = timm.data
    found: Any = timm.get_pretrained_cfg(full, allow_unregistered=False)
    if found is None:
        raise BadInput(f"timm has no preprocessing for {named.name}.", key=named.name)
    args = {} if pixels.side is None else {"input_size": (3, pixels.side, pixels.side)}
    return prepared(data.resolve_data_config(args, pretrained_cfg=found.to_dict()), pixels, name)


def _asked(pixels: PixelOptions, own: tuple[int, ...], name: str) -> dict[str, Any]:
    """Return what of timm's configuration is asked for otherwise."""
    asked: dict[str, Any] = {} if pixels.interpolation is None else {"interpolation": pixels.interpolation}
    if (sides := cropped(pixels, own, name)) is not None:
        resize, crop = sides
        asked |= {"input_size": (3, crop, crop), "crop_mode": "center", "crop_pct": crop_fraction(resize, crop)}
    return asked


def _preprocessing(config: dict[str, Any]) -> Preprocessing:
    return Preprocessing(
        library="timm",
        image_size=tuple(config["input_size"][1:]),
        resize_mode=config["crop_mode"],
        crop_fraction=config["crop_pct"],
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        color_mode="RGB, converted before resize and crop",
    )
