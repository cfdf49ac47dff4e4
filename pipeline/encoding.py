"""From the bytes of images to normalised embeddings: what extraction and prediction do alike, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .datasets.base import UndecodableImage
from .encoders.base import Encoder
from .specs import StoredDtype, Tap

if TYPE_CHECKING:
    import torch
    from PIL import Image

CPU_BATCH = 32
"""Images in a forward pass on a CPU: more only makes activations outgrow the caches (`benchmarks/encode_cpu.py`)."""
GPU_BATCH = 128

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

    unit: npt.NDArray[Any]
    norms: npt.NDArray[np.float32]


def default_batch(encoder: Encoder) -> int:
    """Return how many images to encode together where the user does not say."""
    return CPU_BATCH if str(encoder.device) == "cpu" else GPU_BATCH


def load_image(encoder: Encoder, decode: Callable[[bytes], Image.Image], raw: bytes) -> torch.Tensor:
    """Decode and preprocess one image, float32 [3, h, w]. Called from several threads at once.

    Raises
    ------
    UndecodableImage
        If that fails in any way; the message is one line.
    """
    try:
        return encoder.preprocess(decode(raw))
    except UndecodableImage:
        raise
    except Exception as e:  # a transform may fail on an odd image in any way, and one image must not end the run
        raise UndecodableImage(f"cannot be preprocessed: {type(e).__name__}: {e}") from e


def encode_images(
    encoder: Encoder, images: Sequence[torch.Tensor], outputs: Sequence[tuple[Tap, StoredDtype]]
) -> tuple[npt.NDArray[np.bool_], list[Embeddings]]:
    """Encode preprocessed images together, in one pass.

    Parameters
    ----------
    encoder : Encoder
    images : sequence of Tensor, float32 [3, h, w]
    outputs : sequence of (tap, dtype)

    Returns
    -------
    usable : ndarray, bool [n]
        Which images have an embedding at every tap; see `NOT_USABLE`.
    embeddings : list of Embeddings
        Of the usable images, for each of `outputs`.
    """
    import torch

    encoded = encoder.encode(torch.stack(list(images)))
    raw = [encoded[tap].numpy().astype(np.float32, copy=False) for tap, _ in outputs]  # each [n, d]
    lengths = [np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64)) for x in raw]
    usable = np.logical_and.reduce([np.isfinite(length) & (length > 0) for length in lengths])
    return usable, [
        Embeddings((x[usable] / length[usable, None]).astype(dtype), length[usable].astype(np.float32))
        for (_, dtype), x, length in zip(outputs, raw, lengths, strict=True)
    ]
