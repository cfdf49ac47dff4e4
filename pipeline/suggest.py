"""`extract --suggest`: how fast an encoder is here in each precision, and how far its features agree with fp32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

import numpy as np

from ..arrays import Features, Targets
from ..errors import BadInput
from ..parallel import ordered_map
from ..progress import Reporter
from ..reporting import reporter_for
from .datasets import limit_split
from .datasets.base import Dataset, Split, UndecodableImage
from .defaults import with_defaults
from .encoders.base import Encoder
from .encoders.embedding import ImageLoader, encode_images
from .encoders.tuning import Speed, fastest, speeds
from .extraction.opening import open_data, open_encoder
from .keywords import check_names, read, takes
from .loading_threads import loading_threads
from .options import EngineOptions, ExtractArguments, ExtractionOptions, ExtractRunOptions

if TYPE_CHECKING:
    import torch

IMAGES = 256
_NEIGHBOURS = 20
_PRECISIONS = {"cuda": ("fp32", "tf32", "bf16", "fp16"), "cpu": ("fp32", "bf16"), "mps": ("fp32", "fp16")}
"""Those that a kind of device computes by itself."""


@dataclass(frozen=True)
class Suggestion:
    """One precision.

    Parameters
    ----------
    precision : str
    images_per_second : float
        Of the encoder alone, on images that are decoded.
    batch_size : int
        With which it is that fast.
    cosine, lowest_cosine : float
        Of an image's features and those of fp32: the median, and the lowest.
    neighbours : float
        Share of an image's nearest neighbours among these images that are those of fp32.
    predictions : float or None
        Share of equal predictions of two ridge classifiers, trained on half of the images in either precision; None
        without labels of at least two classes.
    images : int
        On which this was measured.
    """

    precision: str
    images_per_second: float
    batch_size: int
    cosine: float
    lowest_cosine: float
    neighbours: float
    predictions: float | None
    images: int


@takes(ExtractArguments, ExtractionOptions, ExtractRunOptions, EngineOptions)
def suggest(
    model: str,
    dataset: str | Dataset,
    *,
    images: int = IMAGES,
    progress: bool = True,
    reporter: Reporter | None = None,
    **options: Unpack[ExtractArguments],
) -> list[Suggestion]:
    """Measure an encoder in each precision that the device has; nothing is written.

    Parameters
    ----------
    model : str
    dataset : str or Dataset
        Of its first split a class-balanced part is taken.
    images : int
        How many, at most.
    progress : bool
        Say what is going on, on a terminal or in a notebook.
    reporter : Reporter, optional
        Takes that instead.
    **options
        As of `extract`; `precision` is left out.

    Returns
    -------
    list of Suggestion
        fp32 first.

    Raises
    ------
    BadInput, NotFound
    """
    check_names("suggest", options, ExtractionOptions, ExtractRunOptions, EngineOptions)
    read(EngineOptions, options)  # makes no difference here, but must be right
    if not isinstance(model, str):
        raise BadInput("Precisions can be compared of encoders that are named alone.", key="model")
    reporter = reporter_for(progress, reporter)
    told = with_defaults({**options, "precision": "fp32"}, model, reporter)
    asked, running = read(ExtractionOptions, told), read(ExtractRunOptions, told)
    whole = open_data(dataset, asked, reporter).parts[0]
    split = limit_split(whole, min(images, len(whole)), 0)
    found: list[Suggestion] = []
    right: Features | None = None
    tensors: list[torch.Tensor] = []
    labels: Targets = split.labels
    precisions: Sequence[str] = ("fp32",)
    while len(found) < len(precisions):
        precision = precisions[len(found)]
        try:
            encoder = open_encoder(model, asked.model_copy(update={"precision": precision}), running)
        except BadInput as error:
            if not found:
                raise
            reporter.note(f"{precision} is left out: {error.message}")
            precisions = [other for other in precisions if other != precision]
            continue
        if not tensors:
            tensors, usable = _decoded(split, encoder, running)
            labels = labels[usable]
            precisions = _PRECISIONS.get(encoder.device.type, precisions)
        reporter.note(f"Measuring {precision} on {encoder.device} …")
        speed = fastest(speeds(encoder, tensors[0]))
        features = _features(encoder, tensors, speed.batch_size)
        right = features if right is None else right
        found.append(_compared(precision, speed, right, features, labels))
    return found


def _decoded(split: Split, encoder: Encoder, running: ExtractRunOptions) -> tuple[list[torch.Tensor], list[int]]:
    """Return the images that can be decoded, and their rows."""
    loader = ImageLoader(encoder, encoder.spec(encoder.taps[0]).preprocessing, running.max_pixels)

    def load(row: int) -> torch.Tensor | None:
        try:
            return loader.load(split.decode, split.read(row), split.describe(row))
        except (OSError, UndecodableImage):
            return None

    with loading_threads(running.threads) as pool:
        tensors = list(ordered_map(pool, load, range(len(split)), 4 * running.threads))
    usable = [row for row, tensor in enumerate(tensors) if tensor is not None]
    if len(usable) < 2:
        raise BadInput(
            f"{len(usable)} of {len(split)} images of split {split.name!r} can be decoded; two are needed.",
            key=split.name,
        )
    return [tensor for tensor in tensors if tensor is not None], usable


def _features(encoder: Encoder, tensors: Sequence[torch.Tensor], size: int) -> Features:
    """Return unit features [n, d]; zeros where the encoder gives none."""
    parts = []
    for start in range(0, len(tensors), size):
        usable, (embeddings,) = encode_images(encoder, tensors[start : start + size], [(encoder.taps[0], "float32")])
        part = np.zeros((len(usable), embeddings.unit.shape[1]), np.float32)
        part[usable] = embeddings.unit
        parts.append(part)
    return np.concatenate(parts)


def _compared(precision: str, speed: Speed, right: Features, found: Features, labels: Targets) -> Suggestion:
    cosines = np.einsum("nd,nd->n", right.astype(np.float64), found.astype(np.float64))
    return Suggestion(
        precision=precision,
        images_per_second=round(speed.images_per_second, 1),
        batch_size=speed.batch_size,
        cosine=round(float(np.median(cosines)), 6),
        lowest_cosine=round(float(cosines.min()), 6),
        neighbours=round(_equal_neighbours(right, found), 4),
        predictions=_equal_predictions(right, found, labels),
        images=len(right),
    )


def _equal_neighbours(a: Features, b: Features) -> float:
    """Return which share of the nearest neighbours of the rows of `a` are those of `b` too."""
    k = min(_NEIGHBOURS, len(a) - 1)
    nearest = []
    for x in (a, b):
        similar = x @ x.T
        np.fill_diagonal(similar, -np.inf)
        nearest.append(np.argpartition(-similar, k - 1, axis=1)[:, :k])
    return float(np.mean([len(np.intersect1d(p, q)) / k for p, q in zip(*nearest, strict=True)]))


def _equal_predictions(a: Features, b: Features, labels: Targets) -> float | None:
    from sklearn.linear_model import RidgeClassifier

    train, test = slice(0, None, 2), slice(1, None, 2)
    if labels.ndim != 1 or len(set(labels[train].tolist())) < 2:
        return None
    said = [RidgeClassifier().fit(x[train], labels[train]).predict(x[test]) for x in (a, b)]
    return round(float((said[0] == said[1]).mean()), 4)
