"""How fast an encoder is on its device, measured: by batch size, and whether another precision would be faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..passing import is_out_of_memory
from .base import Encoder
from .embedding import default_batch, preprocessed, start_encoding

if TYPE_CHECKING:
    import torch

_CPU_SIZES = (8, 16, 32, 64)
_GPU_SIZES = (32, 64, 128, 256, 512, 1024)
_GAIN = 1.03
"""A larger batch is taken only if it is faster by this factor."""
_SECONDS = 1.0
_LONGEST_SECONDS = 30.0


class Speed(NamedTuple):
    """Images a second at a batch size."""

    batch_size: int
    images_per_second: float


def speeds(encoder: Encoder, image: torch.Tensor, seconds: float = _SECONDS) -> list[Speed]:
    """Measure batch sizes, from small to large, until one is not faster or does not fit.

    Parameters
    ----------
    encoder : Encoder
    image : Tensor [3, h, w]
        Any preprocessed image.
    seconds : float
        For each size, beside what the first batch takes.

    Returns
    -------
    list of Speed
        At least one.
    """
    found: list[Speed] = []
    began = time.perf_counter()
    for size in _CPU_SIZES if str(encoder.device) == "cpu" else _GPU_SIZES:
        try:
            found.append(Speed(size, images_per_second(encoder, [image] * size, seconds)))
        except RuntimeError as error:
            if not is_out_of_memory(error) or not found:
                raise
            break
        if len(found) > 1 and found[-1].images_per_second < _GAIN * found[-2].images_per_second:
            break
        if time.perf_counter() - began > _LONGEST_SECONDS:
            break
    return found


def images_per_second(encoder: Encoder, images: list[torch.Tensor], seconds: float = _SECONDS) -> float:
    """Measure the forward pass on one batch of preprocessed images, over and over."""
    start_encoding(encoder, images)()  # kernels are chosen and memory is taken
    began, done = time.perf_counter(), 0
    last = start_encoding(encoder, images)
    while True:
        following = start_encoding(encoder, images)
        last()
        done += len(images)
        last = following
        if time.perf_counter() - began > seconds:
            last()
            return (done + len(images)) / (time.perf_counter() - began)


def fastest(found: list[Speed]) -> Speed:
    """Return the smallest batch that no larger one beats by much.

    Examples
    --------
    >>> fastest([Speed(32, 100.0), Speed(64, 150.0), Speed(128, 151.0)]).batch_size
    64
    """
    best = found[0]
    for speed in found[1:]:
        if speed.images_per_second > _GAIN * best.images_per_second:
            best = speed
    return best


def chosen_batch(encoder: Encoder, asked: int | str | None, note: Callable[[str], None]) -> int:
    """Return how many images to encode together; where that is to be measured, tell what was found.

    Parameters
    ----------
    encoder : Encoder
    asked : int, "auto" or None
        None for the usual number.
    note : callable
    """
    if asked is None:
        return default_batch(encoder)
    if isinstance(asked, int):
        return asked
    found = speeds(encoder, example(encoder))
    best = fastest(found)
    others = ", ".join(f"{s.batch_size}: {s.images_per_second:.3g}" for s in found if s != best)
    note(
        f"Batches of {best.batch_size}: the encoder makes {best.images_per_second:.3g} images/s"
        + (f" ({others})" if others else "")
    )
    return best.batch_size


def example(encoder: Encoder) -> torch.Tensor:
    """Return a preprocessed image to measure with."""
    from PIL import Image

    return preprocessed(encoder, Image.effect_noise((320, 240), 64).convert("RGB"))


def faster_precision(encoder: Encoder) -> str | None:
    """Return what is to be said where another precision is much faster on an encoder's device; None elsewhere."""
    import torch

    spec = encoder.spec(encoder.taps[0])
    if spec.precision != "fp32" or spec.family == "own":
        return None
    if encoder.device.type == "cuda" and torch.cuda.get_device_capability(encoder.device) >= (8, 0):
        how = "several times as fast as fp32"
    elif encoder.device.type == "cpu" and has_bf16_instructions():
        how = "some twice as fast as fp32, or more"
    else:
        return None
    return (
        f"On this device --precision bf16 is {how}. Its features differ a little, and are kept as those of another "
        "encoder. `extract --suggest` measures both."
    )


def has_bf16_instructions() -> bool:
    """Return whether this CPU multiplies bfloat16 by itself; elsewhere torch emulates it, and bf16 is slower."""
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in names if hasattr(torch.cpu, name))
