"""DINOv2's evaluation by nearest neighbours: several k from one search, and how the reference draws rows per class.

It yields votes; what is made of them is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ....arrays import Array, Float64, Indices, Mask
from ....errors import BadInput
from ..sklearn_input import as_numpy
from .neighbours import KNNProbe

DINOV2_KS: tuple[int, ...] = (10, 20, 100, 200)
"""Numbers of neighbours in DINOv2's evaluation (dinov2/eval/knn.py)."""


class KNNVotes(NamedTuple):
    """Votes of one number of neighbours.

    Parameters
    ----------
    k : int
    classes : ndarray [C]
    votes : ndarray, float64 [m, C]
    tied : ndarray, bool [m]
        See `Votes`.
    """

    k: int
    classes: Array
    votes: Float64
    tied: Mask


def dinov2_knn(
    X: Any,
    y: Any,
    queries: Any,
    *,
    ks: Sequence[int] = DINOV2_KS,
    temperature: float = 0.07,
    block_size: int = 2048,
) -> Iterator[KNNVotes]:
    """Evaluate nearest neighbours by the rule of DINOv2's evaluation: one search serves every k.

    Parameters
    ----------
    X : array-like or tensor [n, d]
        Training rows; their norms do not matter.
    y : array-like or tensor [n]
        Labels.
    queries : array-like or tensor [m, d]
    ks : sequence of int
    temperature : float
        Of the softmax over the largest k.
    block_size : int
        See `KNNProbe`.

    Yields
    ------
    KNNVotes
        Each k, ascending.

    Raises
    ------
    BadInput
        If a k exceeds the number of training rows, or is below 1.

    Notes
    -----
    Formulas from dinov2/eval/knn.py.
    """
    if min(ks, default=0) < 1:
        raise BadInput("every k must be at least 1", hint="Give 1 or more.")
    ks = sorted(set(ks))
    probe = KNNProbe(ks[-1], weights="softmax", temperature=temperature, block_size=block_size)
    probe.fit(as_numpy(X), np.asarray(as_numpy(y)))
    for k, votes in zip(ks, probe.votes_at(queries, ks), strict=True):
        yield KNNVotes(k, probe.classes_, votes.shares, votes.tied)


def draw_per_class(y: Array, n_per_class: int, seed: int) -> Indices:
    """Return the indices of up to `n_per_class` rows of every class, class after class, in the order of the draw."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        drawn.append(rows[torch.randperm(len(rows), generator=generator).numpy()[:n_per_class]])
    return np.concatenate(drawn)
