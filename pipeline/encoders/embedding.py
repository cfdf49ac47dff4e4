"""From the bytes of images to normalised embeddings: what extraction and prediction do alike, to the last bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...arrays import Array, Float32, Mask
from ...errors import BadInput, CryoprobeError
from ..datasets.base import TooManyPixels, UndecodableImage
from ..datasets.jpeg_decoders import decoding_on
from ..datasets.pixel_limit import REMEDY, at_most, most_pixels
from ..datasets.scaled_decoding import decoding_to
from ..passing import is_passing, patiently
from ..specs import NVJPEG, SCALED_JPEG, Preprocessing, StoredDtype, Tap
from .base import Encoder, PixelEncoder

if TYPE_CHECKING:
    import torch
    from PIL import Image

CPU_BATCH = 32
"""Images in a forward pass on a CPU: more only makes activations outgrow the caches (`benchmarks/encode_cpu.py`)."""
GPU_BATCH = 128

_BY_SHORT_SIDE = ("center", "shortest")
"""How timm and open_clip call a resizing after which the long side may have any length."""

NOT_USABLE = "the encoder's output is zero or not finite"
"""Why an image that could be encoded has no embedding."""


class Embeddings(NamedTuple):
    """Embeddings of n images at one tap.

    Parameters
    ----------
    unit : ndarray, float16 or float32 [n, d]
        Of unit L2 norm, up to the rounding of the dtype.
    norms : ndarray, float32 [n]
        Their norms before.
    """

    unit: Array
    norms: Float32


def default_batch(encoder: Encoder) -> int:
    """Return how many images to encode together where the user does not say."""
    return CPU_BATCH if str(encoder.device) == "cpu" else GPU_BATCH


@dataclass(frozen=True)
class ImageLoader:
    """Decodes and preprocesses images. Called from several threads at once.

    Parameters
    ----------
    encoder : Encoder
    preprocessing : Preprocessing
        The encoder's, which is asked for once, and not for every image.
    max_pixels : int or None
        Images of more pixels are refused; see `pixel_limit`.
    see : callable, optional
        Told the name of every image that was loaded, the image as it was decoded, and what the encoder gets of it.
    """

    encoder: Encoder
    preprocessing: Preprocessing
    max_pixels: int | None = None
    see: Callable[[str, Image.Image, torch.Tensor], None] | None = None

    def load(self, decode: Callable[[bytes], Image.Image], raw: bytes, what: str = "An image") -> torch.Tensor:
        """Decode and preprocess one image: uint8 or float32 [3, h, w], whichever the encoder takes.

        Parameters
        ----------
        decode : callable
        raw : bytes
        what : str
            Name of the image, for errors.

        Raises
        ------
        UndecodableImage
            If that fails because of what the image holds; the message is one line.
        Unavailable
            If it fails because of the machine, also when it is tried again.
        """
        take, device = partial(preprocessed, self.encoder), str(self.encoder.device)
        image, tensor = patiently(
            partial(load_image, decode, raw, take, self.preprocessing, self.max_pixels, device), what
        )
        if self.see is not None:
            self.see(what, image, tensor)
        return tensor


def load_image(
    decode: Callable[[bytes], Image.Image],
    raw: bytes,
    take: Callable[[Image.Image], torch.Tensor],
    preprocessing: Preprocessing,
    max_pixels: int | None,
    device: str = "cpu",
) -> tuple[Image.Image, torch.Tensor]:
    """Return an image as it is decoded, and what `take` makes of it, within the limits that an encoder sets."""
    gpu = device if preprocessing.decoder == NVJPEG else None
    with at_most(max_pixels), decoding_to(scaled_side(preprocessing)), decoding_on(gpu):
        image = decode(raw)
        check_resized(image.size, preprocessing)
        return image, take(image)


def preprocessed(encoder: Encoder, image: Image.Image) -> torch.Tensor:
    """Return what an encoder takes of an image: uint8 pixels if it can, else float32, [3, h, w].

    Raises
    ------
    UndecodableImage
        If the preprocessing fails on the image.
    """
    from PIL import Image

    try:
        return encoder.compact(image) if isinstance(encoder, PixelEncoder) else encoder.preprocess(image)
    except CryoprobeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:  # of a crop: not the image's fault
        raise BadInput(
            f"PIL.Image.MAX_IMAGE_PIXELS is {Image.MAX_IMAGE_PIXELS} in this program, less than the encoder's input.",
            hint="Leave it at PIL's default, or set it to None. Cryoprobe has a limit of its own.",
            key="MAX_IMAGE_PIXELS",
        ) from e
    except Exception as e:  # a transform may fail on an odd image in any way, and one image must not end the run
        if is_passing(e):
            raise
        raise UndecodableImage(f"cannot be preprocessed: {type(e).__name__}: {e}") from e


def scaled_side(preprocessing: Preprocessing) -> int | None:
    """Return how short the sides of a JPEG may become by decoding it at a fraction of its size; None for whole.

    Examples
    --------
    >>> scaled_side(Preprocessing(library="timm", image_size=(224, 224), crop_fraction=0.875, decoder=SCALED_JPEG))
    256
    """
    if preprocessing.decoder != SCALED_JPEG or preprocessing.image_size is None:
        return None
    return math.ceil(max(preprocessing.image_size) / (preprocessing.crop_fraction or 1.0))


def check_resized(size: tuple[int, int], preprocessing: Preprocessing) -> None:
    """Refuse an image that is so much longer than wide that scaling its short side would take memory without bound.

    Parameters
    ----------
    size : (int, int)
        Of the image, in pixels.
    preprocessing : Preprocessing

    Raises
    ------
    UndecodableImage
        If the resized image had more pixels than may be decoded.
    """
    if preprocessing.resize_mode not in _BY_SHORT_SIDE or preprocessing.image_size is None:
        return
    side = int(max(preprocessing.image_size) / (preprocessing.crop_fraction or 1.0))
    short, long = min(size), max(size)
    if side * (side * long // short) > most_pixels():
        raise TooManyPixels(
            f"is too long: with its short side scaled to {side} pixels, its {size[0]} x {size[1]} would become "
            f"{side} x {side * long // short}; the limit is {most_pixels()} pixels; {REMEDY}"
        )


Encoded = tuple[Mask, list[Embeddings]]
"""Which of n images have an embedding at every tap, bool [n], see `NOT_USABLE`; and those of them, for each output."""


def encode_images(
    encoder: Encoder, images: Sequence[torch.Tensor], outputs: Sequence[tuple[Tap, StoredDtype]]
) -> Encoded:
    """Encode preprocessed images together, in one pass.

    Parameters
    ----------
    encoder : Encoder
    images : sequence of Tensor [3, h, w]
        As an `ImageLoader` gives them.
    outputs : sequence of (tap, dtype)

    Raises
    ------
    BadInput
        If the images have several shapes.
    """
    return normalised(start_encoding(encoder, images)(), outputs)


def start_encoding(encoder: Encoder, images: Sequence[torch.Tensor]) -> Callable[[], Mapping[Tap, torch.Tensor]]:
    """Encode images, if possible without waiting for the device; what is returned waits, and gives the features."""
    batch = stacked(encoder, images)
    if isinstance(encoder, PixelEncoder) and encoder.device.type == "cuda":  # a CPU has nobody to wait for
        return encoder.start(batch)
    features = encoder.encode(batch)
    return lambda: features


def stacked(encoder: Encoder, images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return a batch; of pixels it is uint8 [n, 3, h, w], in memory [n, h, w, 3].

    Raises
    ------
    BadInput
        If the images have several shapes.
    """
    import torch

    if len(shapes := {tuple(image.shape) for image in images}) > 1:
        raise BadInput(
            f"The preprocessing of {encoder.name} gives tensors of several shapes: {sorted(shapes)[:4]}.",
            hint="Bring all images to one size and mode: convert to RGB, resize, crop.",
            key=encoder.name,
        )
    if all(image.dtype == torch.uint8 and image.ndim == 3 for image in images):
        return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
    return torch.stack(list(images))


def normalised(features: Mapping[Tap, torch.Tensor], outputs: Sequence[tuple[Tap, StoredDtype]]) -> Encoded:
    """Return features as embeddings of unit norm.

    Parameters
    ----------
    features : mapping of str to Tensor
        float32 [n, d] by tap.
    outputs : sequence of (tap, dtype)
    """
    raw = [features[tap].numpy().astype(np.float32, copy=False) for tap, _ in outputs]  # each [n, d]
    lengths = [np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64)) for x in raw]
    usable = np.logical_and.reduce([np.isfinite(length) & (length > 0) for length in lengths])
    return usable, [
        Embeddings((x[usable] / length[usable, None]).astype(dtype), length[usable].astype(np.float32))
        for (_, dtype), x, length in zip(outputs, raw, lengths, strict=True)
    ]


def named_failures(failed: Sequence[tuple[str, str]], most: int = 20) -> list[str]:
    """Return indented lines that name the first samples that failed, and count the others.

    Parameters
    ----------
    failed : sequence of (str, str)
        Name and reason.
    most : int
    """
    if len(failed) > 1 and len({error for _, error in failed}) == 1:
        return [f"  {failed[0][0]}: {failed[0][1]}", f"  … and {len(failed) - 1} more for the same reason"]
    lines = [f"  {name}: {error}" for name, error in failed[:most]]
    return lines + ([f"  … and {len(failed) - most} more"] if len(failed) > most else [])


def advice_on_all(failed: Sequence[tuple[str, str]], advice: str = "") -> str:
    """Return what to do if every sample failed: one cause is likelier than many bad images.

    Parameters
    ----------
    failed : sequence of (str, str)
        Name and reason.
    advice : str
        What the data set knows of it.
    """
    if all(error == NOT_USABLE for _, error in failed):
        return "This is the encoder's fault, not that of the images: look at its weights and its --image-size."
    return advice or "As none can be used, one cause is likely: see to the data set, and to what was named."
