"""A library's evaluation transform in two halves: up to 8-bit pixels, and the arithmetic on them.

What most transforms end with, `ToTensor` and `Normalize`, is the same for every pixel. Left to the device, it is done
for a whole batch, and a quarter of the bytes is moved. The numbers are those of the transform, to the last bit on a
CPU: the same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..options import PixelOptions
from ..specs import Preprocessing
from .resizing import on_background

Transform = Callable[[Image.Image], torch.Tensor]
_Step = Callable[[Any], Any]


class ImageTransform:
    """An evaluation transform, image to float32 [3, h, w].

    Parameters
    ----------
    library : callable
        The library's own.
    first : sequence of callable
        Image to image: what is done before it.

    Attributes
    ----------
    normalise : Normalise or None
        What turns `pixels` into what the transform gives; None of a transform that does not end so.
    """

    def __init__(self, library: Transform, first: Sequence[Callable[[Image.Image], Image.Image]] = ()) -> None:
        self._library = library
        self._first = tuple(first)
        self._steps, self.normalise = _halves(library)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Turn an image into what the encoder takes."""
        for step in self._first:
            image = step(image)
        return self._library(image)

    def pixels(self, image: Image.Image) -> torch.Tensor | None:
        """Return uint8 [3, h, w], of which `normalise` makes what the transform gives; None if it cannot.

        In memory they are [h, w, 3], as the image has them.
        """
        if self.normalise is None:
            return None
        for step in (*self._first, *self._steps):
            image = step(image)
        if image.mode != "RGB":
            raise ValueError(f"the transform gives an image of mode {image.mode}, not RGB")
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def compact(self, image: Image.Image) -> torch.Tensor:
        """Return `pixels`, or what the transform gives if there are none."""
        pixels = self.pixels(image)
        return self(image) if pixels is None else pixels


class Normalise:
    """What `ToTensor` and `Normalize` do, on a batch.

    Parameters
    ----------
    mean, std : sequence of float
        Per channel, on the 0–1 scale.

    Examples
    --------
    >>> black = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    >>> Normalise((0.5, 0.5, 0.5), (0.25, 0.25, 0.5))(black)[0, :, 0, 0]
    tensor([-2., -2., -1.])
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        mean_std = tuple(torch.tensor(list(map(float, values))) for values in (mean, std))
        self._on = {torch.device("cpu"): mean_std}

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 [n, 3, h, w] of uint8 pixels, on their device, in memory [n, h, w, 3]."""
        if pixels.device not in self._on:
            self._on[pixels.device] = tuple(v.to(pixels.device) for v in self._on[torch.device("cpu")])
        n, channels, height, width = pixels.shape
        # By rows of w * 3 values: by three at a time, a CPU takes five times as long.
        mean, std = (values.repeat(width) for values in self._on[pixels.device])
        rows = pixels.permute(0, 2, 3, 1).reshape(n, height, width * channels)
        normal = rows.to(torch.float32).div_(255).sub_(mean).div_(std)
        return normal.view(n, height, width, channels).permute(0, 3, 1, 2)


def as_asked(
    library: Transform,
    preprocessing: Preprocessing,
    pixels: PixelOptions,
    first: Sequence[Callable[[Image.Image], Image.Image]] = (),
) -> tuple[ImageTransform, Preprocessing]:
    """Return a library's transform, with what any encoder can be asked for beside it, and what describes it.

    Parameters
    ----------
    library : callable
    preprocessing : Preprocessing
    pixels : PixelOptions
    first : sequence of callable
        Image to image: what is done before `library`, and after images are laid on a colour.
    """
    asked = {"background": pixels.background, "decoder": pixels.decoded_by}
    steps = (*on_background(pixels.background), *first)
    return ImageTransform(library, steps), preprocessing.model_copy(update=asked)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image as PIL does."""
    return image.convert("RGB")


def _halves(library: Transform) -> tuple[tuple[_Step, ...], Normalise | None]:
    """Return the steps on images of a composition, and what follows; nothing of any other transform."""
    steps: list[Any] = list(getattr(library, "transforms", ()))
    if len(steps) < 2 or not _is(steps[-2], "ToTensor", "MaybeToTensor") or not _is(steps[-1], "Normalize"):
        return (), None
    return tuple(steps[:-2]), Normalise(steps[-1].mean, steps[-1].std)


def _is(step: object, *names: str) -> bool:
    """Return whether a step is one of torchvision's, or of what timm and open_clip make of it."""
    kind = type(step)
    return kind.__name__ in names and kind.__module__.partition(".")[0] in ("torchvision", "timm", "open_clip")
