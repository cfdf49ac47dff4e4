"""DINOv2's evaluation by nearest neighbours: several k from one search, on all rows or on draws of some per class.

It yields votes; what is made of them, an accuracy or its mean over draws, is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ....errors import BadInput
from ..labelled_rows import Float64, Indices, as_numpy
from .neighbours import KNNProbe

DINOV2_KS: tuple[int, ...] = (10, 20, 100, 200)
"""Numbers of neighbours in DINOv2's evaluation (dinov2/eval/knn.py)."""


class KNNVotes(NamedTuple):
    """Votes of one number of neighbours, in one draw of the training rows.

    Parameters
    ----------
    k : int
    attempt : int
        Which draw; 0 where all rows are used.
    classes : ndarray [C]
    votes : ndarray, float64 [m, C]
    """

    k: int
    attempt: int
    classes: npt.NDArray[Any]
    votes: Float64


def dinov2_knn(
    X: Any,
    y: Any,
    queries: Any,
    *,
    ks: Sequence[int] = DINOV2_KS,
    temperature: float = 0.07,
    n_per_class: int | None = None,
    tries: int = 1,
    seed: int = 0,
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
    n_per_class : int, optional
        Draw at most so many rows of each class. As in the reference, `ks` is then itself and `n_per_class`, less what
        exceeds `n_per_class`.
    tries : int
        Number of draws; the reference reports the mean of their scores.
    seed : int
        Draw t is by torch's generator with seed `seed` + t, class after class: with the same order of rows, seed 0
        gives the reference's draws. No global state is read or changed.
    block_size : int
        See `KNNProbe`.

    Yields
    ------
    KNNVotes
        Each k, ascending, of each try.

    Raises
    ------
    BadInput
        If a k exceeds the number of training rows, or a number is below 1.

    Notes
    -----
    Formulas from dinov2/eval/knn.py.
    """
    if min(ks, default=0) < 1 or tries < 1 or (n_per_class is not None and n_per_class < 1):
        raise BadInput("every k, the number of tries and the rows per class must be at least 1", hint="Give 1 or more.")
    X, y = as_numpy(X), np.asarray(as_numpy(y))
    if n_per_class is not None:
        ks = [k for k in (*ks, n_per_class) if k <= n_per_class]
    ks = sorted(set(ks))
    for attempt in range(1 if n_per_class is None else tries):
        drawn = slice(None) if n_per_class is None else draw_per_class(y, n_per_class, seed + attempt)
        probe = KNNProbe(ks[-1], weights="softmax", temperature=temperature, block_size=block_size)
        probe.fit(X[drawn], y[drawn])
        for k, votes in zip(ks, probe.predict_proba_at(queries, ks), strict=True):
            yield KNNVotes(k, attempt, probe.classes_, votes)


def draw_per_class(y: npt.NDArray[Any], n_per_class: int, seed: int) -> Indices:
    """Return the indices of up to `n_per_class` rows of every class, class after class, in the order of the draw."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        drawn.append(rows[torch.randperm(len(rows), generator=generator).numpy()[:n_per_class]])
    return np.concatenate(drawn)
