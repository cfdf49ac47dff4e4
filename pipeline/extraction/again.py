"""Stored rows whose images are encoded again: whether the stack of today gives what is in the store.

Embeddings are found by the weights and the preprocessing, not by the versions of the libraries that computed them, nor
by the machine. They should agree but for rounding. Where they do not, a library has drifted, a machine computes
otherwise, or the rows were made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from pydantic import JsonValue

from ...amounts import count
from ...arrays import Array
from ..datasets.base import Split, TooManyPixels, UndecodableImage
from ..encoders.embedding import CPU_BATCH, ImageLoader, encode_images
from ..specs import EncoderSpec, StoredDtype

ROUNDING: dict[StoredDtype, float] = {"float16": 2e-3, "float32": 3e-4}
"""How far two unit vectors may be apart that are one embedding. Rounding both to float16 moves them apart by 2**-10 at
most; in float32 a CPU and a GPU differ by a hundredth of what is allowed (docs/decisions/2026-11-27-gpu.md)."""


class Again(NamedTuple):
    """An image that is encoded again: its row in the split, its sample id and what its file holds."""

    row: int
    sample: bytes
    raw: bytes


@dataclass(frozen=True)
class Comparison:
    """How far stored rows are from what their images are encoded to now.

    Parameters
    ----------
    rows : int
        That were encoded again.
    differing : int
        Those that are further away than rounding explains.
    largest : float
        The largest distance of two unit vectors, 0 to 2.
    example : str
        Name of the image with the largest distance.
    too_large : int
        Images that were left out, since they have more pixels than are decoded here.
    """

    rows: int = 0
    differing: int = 0
    largest: float = 0.0
    example: str = ""
    too_large: int = 0

    @property
    def recorded(self) -> dict[str, JsonValue] | None:
        """What is recorded with the set; None if no row was encoded again."""
        if not self.rows:
            return None
        return {"rows": self.rows, "differing": self.differing, "largest": f"{self.largest:.3g}"}

    def remark(self, made: str = "") -> str | None:
        """Return a line if rows differ; None otherwise.

        Parameters
        ----------
        made : str
            By what the stored rows were made, as a sentence.

        Examples
        --------
        >>> Comparison(rows=32).remark() is None
        True
        >>> print(Comparison(32, 1, 0.5, "a/1.png").remark())
        1 of 32 stored rows that were encoded again differs from what its image gives here, by up to 0.5 (a/1.png): ...
        """
        if not self.differing:
            return None
        were = "was" if self.rows == 1 else "were"
        verb, whose = ("differs", "its image gives") if self.differing == 1 else ("differ", "their images give")
        return (
            f"{self.differing} of {count(self.rows, 'stored row')} that {were} encoded again {verb} from what {whose} "
            f"here, by up to {self.largest:.2g} ({self.example}): libraries have drifted, another machine computes "
            f"otherwise, or the rows are not what they should be. {made}".rstrip()
        )


def compare(
    loader: ImageLoader,
    spec: EncoderSpec,
    split: Split,
    images: Sequence[Again],
    stored: Array,
    batch_size: int = CPU_BATCH,
) -> Comparison:
    """Encode images again, and compare.

    Parameters
    ----------
    loader : ImageLoader
        Of the encoder.
    spec : EncoderSpec
        Of the stored rows.
    split : Split
    images : sequence of Again
    stored : ndarray [n, d]
        Their embeddings in the store.
    batch_size : int
        Images in one forward pass.
    """
    distances = np.full(len(images), 2.0)  # of one that could be decoded when it was stored, and now cannot
    compared = np.ones(len(images), bool)
    for start in range(0, len(images), batch_size):
        tensors, positions = [], []
        for position, image in enumerate(images[start : start + batch_size], start):
            try:
                tensors.append(loader.load(split.decode, image.raw, split.describe(image.row)))
                positions.append(position)
            except UndecodableImage as e:
                compared[position] = not isinstance(e, TooManyPixels)  # it was stored with another limit
        if tensors:
            usable, (encoded,) = encode_images(loader.encoder, tensors, [(spec.tap, spec.stored_dtype)])
            there = np.asarray(positions)[usable]
            apart = encoded.unit.astype(np.float64) - stored[there].astype(np.float64)
            distances[there] = np.linalg.norm(apart, axis=1)
    too_large = int((~compared).sum())
    if not compared.any():
        return Comparison(too_large=too_large)
    worst = int(np.argmax(np.where(compared, distances, -1)))
    differing = int((compared & (distances > ROUNDING[spec.stored_dtype])).sum())
    example = split.describe(images[worst].row)
    return Comparison(int(compared.sum()), differing, float(distances[worst]), example, too_large)
