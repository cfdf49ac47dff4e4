"""What a probe says of each row that it was not fitted on: k-fold cross-validation on stored embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...arrays import Float32, Float64, Indices, Labels, SampleIds
from ...errors import BadInput
from ...id_arrays import repeats
from ..probes.labelled_features import FeatureMatrix, LabelledFeatures
from ..probes.logistic import LogisticProbe

GRID: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0)
"""Values of C to choose from. Wrong labels want a stronger penalty than a probe is usually given."""

_LEAST = np.finfo(np.float64).tiny


class OutOfFold(NamedTuple):
    """Probabilities of rows by a probe that was fitted on other rows.

    Parameters
    ----------
    probabilities : ndarray, float64 [n, K]
    C : float
        Of the penalty: the value of the grid with the smallest loss on the first fold.
    """

    probabilities: Float64
    C: float


def folds_of(labels: Labels, ids: SampleIds, folds: int, seed: int) -> Indices:
    """Return the fold of each row, int64 [n].

    Every class is spread evenly over the folds. Rows with the same image are in one fold: a probe that was fitted on an
    image with a wrong label would confirm that label.

    Parameters
    ----------
    labels : ndarray, int64 [n]
    ids : ndarray, uint8 [n, 32]
        Sample ids.
    folds, seed : int

    Examples
    --------
    >>> import hashlib
    >>> ids = np.stack([np.frombuffer(hashlib.sha256(bytes([i])).digest(), np.uint8) for i in range(6)])
    >>> fold = folds_of(np.array([0, 0, 0, 1, 1, 1]), ids, folds=3, seed=0)
    >>> sorted(fold[:3].tolist()), sorted(fold[3:].tolist())
    ([0, 1, 2], [0, 1, 2])
    """
    rng = np.random.default_rng(seed)
    again = repeats(ids)
    first = np.ones(len(labels), bool)
    first[again.rows] = False
    rows = rng.permutation(np.flatnonzero(first))
    rows = rows[np.argsort(labels[rows], kind="stable")]  # class after class
    fold = np.empty(len(labels), np.int64)
    fold[rows] = np.arange(len(rows)) % folds
    fold[again.rows] = fold[again.first]
    return fold


def out_of_fold(
    x: Float32, labels: Labels, ids: SampleIds, *, folds: int, seed: int, grid: Sequence[float] = GRID
) -> OutOfFold:
    """Fit logistic regression on all folds but one, and return what it says of the rows of that one; fold by fold.

    Parameters
    ----------
    x : ndarray, float32 [n, d]
        Embeddings of unit norm.
    labels : ndarray, int64 [n]
        0 to K - 1; of each class there are rows in several folds.
    ids : ndarray, uint8 [n, 32]
    folds, seed : int
        See `folds_of`.
    grid : sequence of float
        Values of C to choose from.

    Raises
    ------
    BadInput
        If all rows of a class are in one fold.
    """
    classes = int(labels.max()) + 1
    fold = folds_of(labels, ids, folds, seed)
    whole = LabelledFeatures(x, labels, FeatureMatrix(x))
    found = np.zeros((len(labels), classes))
    C: float | None = None
    for k in range(folds):
        rows, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if not len(held):
            continue
        if len(np.unique(labels[rows])) < classes:
            raise BadInput(
                "All images of a class are in one fold, with their copies in other classes: no probe can learn it.",
                hint="Take another number of folds, or more rows.",
                key="folds",
            )
        part = whole.take(rows)
        values = tuple(grid) if C is None else (C,)
        probes = LogisticProbe(tol=1e-3).fit_many(part.for_logistic, part.y, values)
        said = [probe.predict_proba(x[held]) for probe in probes]
        losses = [float(-np.log(np.maximum(p[np.arange(len(held)), labels[held]], _LEAST)).mean()) for p in said]
        best = int(np.argmin(losses))
        C = values[best]
        found[held] = said[best]
    assert C is not None
    return OutOfFold(found, C)
