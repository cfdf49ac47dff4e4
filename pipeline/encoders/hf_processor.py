"""How images are prepared for a transformers model: by its own image processor, described completely.

The processor itself is called, image by image: it takes no longer than timm's transforms of the same steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ...errors import BadInput
from ..datasets.transparency import ALPHAS
from ..options import PixelOptions
from ..specs import Preprocessing
from .files_read import note_file
from .hf_files import PROCESSORS
from .resizing import crop_fraction, cropped
from .transforms import ImageTransform, Transform, as_asked

_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""PIL's numbers of resampling filters, which processors have for settings."""

_NOT_NUMBERS = {
    *("image_processor_type", "processor_class", "feature_extractor_type", "auto_map", "_processor_class"),
    *("device", "return_tensors", "data_format", "input_data_format", "disable_grouping", "do_reduce_labels"),
}
"""Settings of a processor that change no number of an image."""

_PROBES = ((96, 64), (70, 110))
"""Sizes of blank images that are sent through a processor, to see what comes out."""


def prepared(processor: Any, pixels: PixelOptions, name: str) -> tuple[ImageTransform, Preprocessing]:
    """Return what turns an image into a model's input, and what describes it.

    Parameters
    ----------
    processor : BaseImageProcessor
    pixels : PixelOptions
        What is not to be as the processor has it.
    name : str
        Of the encoder, for messages.

    Raises
    ------
    BadInput
        If the processor does not give one image of a fixed size, or cannot do what is asked for.
    """
    own = _settings(processor)
    asked = _asked(processor, own, pixels, name)
    settings = {**own, **asked}
    converts = bool(settings.get("do_convert_rgb"))

    def transform(image: Image.Image) -> torch.Tensor:
        image = _with_alphas(image) if converts else image.convert("RGB")
        found = processor(image, return_tensors="pt", **asked)["pixel_values"]
        return found[0].to(torch.float32)  # type: ignore[no-any-return]

    size = _size_of_output(transform, processor, name)
    if pixels.side is not None and size != (pixels.side, pixels.side):
        raise _refused(processor, name, "image-size" if pixels.crop is None else "crop", f"it gives {size}")
    return as_asked(transform, _described(processor, settings, size), pixels)


def load_processor(folder: Path, config: Any, name: str) -> Any:
    """Load the image processor that a folder names, as transformers' ``AutoImageProcessor`` does; runs no code of it.

    Raises
    ------
    BadInput
        If this version of transformers has no such processor.
    """
    from transformers import AutoImageProcessor

    for file in _files_of(folder):
        note_file(file)
    cause: Exception | None = None
    try:
        found = AutoImageProcessor.from_pretrained(
            str(folder), config=config, trust_remote_code=False, local_files_only=True
        )
        # Instead of one that it does not have, transformers may take another, by the kind of model.
        declared = _declared(folder)
        if declared is None or _bare(type(found).__name__) == _bare(declared):
            return found
        detail = f"it has no {declared}"
    except Exception as error:  # transformers raises what it likes
        cause, detail = error, str(error).strip().split("\n")[0]
    raise BadInput(
        f"transformers cannot load the image processor of {name}: {detail}",
        hint="No code of a repository is run here. A newer version may have the processor: pip install -U "
        "transformers; or wrap model and processor: cryoprobe.Encoder(module, preprocess, name=…, version=…).",
        key=name,
    ) from cause


def _files_of(place: Path) -> list[Path]:
    """Return the files that may describe a processor, the one that goes first first."""
    return [place] if place.is_file() else [place / file for file in reversed(PROCESSORS)]


def _declared(place: Path) -> str | None:
    """Return the class that the files of a processor name; None if they name none."""
    for file in _files_of(place):
        if file.is_file():
            settings = json.loads(file.read_text(encoding="utf-8"))
            settings = settings.get("image_processor", {} if file.name == PROCESSORS[1] else settings)
            if (named := settings.get("image_processor_type") or settings.get("feature_extractor_type")) is not None:
                return str(named)
    return None


def _bare(name: str) -> str:
    """Return the name of a processor's class, which has several for what does the same."""
    return name.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")


def _settings(processor: Any) -> dict[str, Any]:
    """Return the settings of a processor as plain JSON, but for those that change no number."""
    found = {key: value for key, value in processor.to_dict().items() if key not in _NOT_NUMBERS}
    return {key: _plain(value) for key, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _asked(processor: Any, own: Mapping[str, Any], pixels: PixelOptions, name: str) -> dict[str, Any]:
    """Return the settings that are to be others than the processor's own."""
    asked: dict[str, Any] = {}
    if pixels.interpolation is not None:
        if "resample" not in own:
            raise _refused(processor, name, "interpolation", "it does not resize")
        if pixels.interpolation == "lanczos" and backend_of(processor) == "torchvision" and not _has_lanczos():
            raise _refused(processor, name, "interpolation", "torchvision has no lanczos before 0.27")
        asked["resample"] = next(n for n, by in _FILTERS.items() if by == pixels.interpolation)
    if pixels.resize is not None:
        if not _resizes_plainly(processor):
            raise _refused(processor, name, "resize", "it resizes in a way of its own")
        if (sides := cropped(pixels, _crop_of(own), name)) is not None:
            resize, crop = sides
            square = {"height": crop, "width": crop}
            asked |= {"do_resize": True, "size": {"shortest_edge": resize}, "do_center_crop": True, "crop_size": square}
    elif pixels.side is not None:
        asked |= _of_side(processor, own, pixels.side, name)
    return asked


def backend_of(processor: Any) -> str:
    """Return what a processor computes with: torchvision's functions of tensors, or PIL."""
    return str(getattr(processor, "backend", "pil"))


def _has_lanczos() -> bool:
    """Say whether torchvision has the filter; instead of it, transformers would take another."""
    import torchvision

    major, minor = torchvision.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (0, 27)


def _of_side(processor: Any, own: Mapping[str, Any], side: int, name: str) -> dict[str, Any]:
    """Return the settings for another input: what is cut off, if anything, stays the same share."""
    square = {"height": side, "width": side}
    size = own.get("size") or {}
    edges = [size[key] for key in ("shortest_edge", "height", "width") if key in size]
    if not own.get("do_resize") or not edges or "longest_edge" in size:
        raise _refused(processor, name, "image-size", "it does not resize to a fixed size")
    if not own.get("do_center_crop"):
        return {"size": {"shortest_edge": side} if "shortest_edge" in size else square}
    fraction = _crop_of(own)[0] / edges[0]
    resize = math.floor(side / fraction)
    by = {"shortest_edge": resize} if "shortest_edge" in size else {"height": resize, "width": resize}
    return {"size": by, "crop_size": square}


def _crop_of(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return the height and width that come out of a processor, by its settings."""
    size = settings.get("crop_size") if settings.get("do_center_crop") else None
    size = size or settings.get("size") or {}
    edge = size.get("shortest_edge", 0)
    return int(size.get("height", edge)), int(size.get("width", edge))


def _resizes_plainly(processor: Any) -> bool:
    """Say whether a processor resizes as all of its backend do; some have a share to cut off, or other rounding."""
    return str(type(processor).resize.__module__) == "transformers.image_processing_backends"


def _size_of_output(transform: Transform, processor: Any, name: str) -> tuple[int, int]:
    shapes = set()
    for size in _PROBES:
        try:
            shapes.add(tuple(transform(Image.new("RGB", size, "gray")).shape))
        except Exception as error:  # each processor fails in its own way
            detail = str(error).strip().split("\n")[0]
            raise BadInput(
                f"{type(processor).__name__} of {name} fails on an image of {size}: {detail}", key=name
            ) from error
    shape = shapes.pop()
    if shapes or len(shape) != 3 or shape[0] != 3:
        raise BadInput(
            f"{type(processor).__name__} of {name} does not bring images to one size: {[shape, *shapes]}.",
            hint="Say to which: --resize 256 --crop 224.",
            key=name,
        )
    return shape[1], shape[2]


def _described(processor: Any, settings: Mapping[str, Any], size: tuple[int, int]) -> Preprocessing:
    """Describe a processor: in the fields that all libraries share, and with all that it has beside them."""
    edges, crop = settings.get("size") or {}, _crop_of(settings)
    shortest = edges.get("shortest_edge")
    own_share = settings.get("crop_pct")
    resized = shortest or edges.get("height") or crop[0]
    fraction = crop_fraction(resized, crop[0]) if resized and crop[0] <= resized else 1.0
    kind = type(processor)
    more = {
        "processor": kind.__name__.removesuffix("Fast"),
        "backend": backend_of(processor),
        "settings": {k: v for k, v in settings.items() if k not in ("image_mean", "image_std")},
    }
    normalises = settings.get("do_normalize")
    return Preprocessing.model_validate(
        {
            "library": "transformers",
            "image_size": size,
            "resize_mode": "shortest" if shortest else "squash",
            "crop_fraction": own_share or fraction,
            "interpolation": _FILTERS.get(settings.get("resample", -1)),
            "mean": _channels(settings.get("image_mean")) if normalises else None,
            "std": _channels(settings.get("image_std")) if normalises else None,
            "color_mode": "RGB, transparency on white, converted by the processor"
            if settings.get("do_convert_rgb")
            else "RGB, converted before the processor",
            **more,
        }
    )


def _channels(values: Any) -> tuple[float, ...] | None:
    if values is None:
        return None
    return (float(values),) * 3 if isinstance(values, int | float) else tuple(float(v) for v in values)


def _with_alphas(image: Image.Image) -> Image.Image:
    """Give a palette its alphas back, which PIL alone would have shown to the processor."""
    if ALPHAS not in image.info:
        return image
    image = image.copy()
    image.info["transparency"] = image.info[ALPHAS]
    return image


def _refused(processor: Any, name: str, option: str, why: str) -> BadInput:
    return BadInput(
        f"{type(processor).__name__} of {name} has no --{option}: {why}.", hint=f"Leave --{option} out.", key=option
    )
