"""What each test row adds to a score: the numbers that paired tests are made of.

Of a score that is a weighted mean over rows, a row's share is its part of the sum. Of mean average precision it is the
row's influence: by how much the score would change with the weight of the row.
"""

from __future__ import annotations

import numpy as np

from ...arrays import Array, Float64, Labels
from ..metrics.ranking import average_precision
from .aligned import Aligned

EXACT = "top1"
"""Every row counts the same: McNemar's test is of it."""

TESTED = (EXACT, "mean_per_class_recall", "map")
"""Scores that paired tests are made for."""


def shares(aligned: Aligned, metric: str) -> tuple[Float64, Float64] | None:
    """Return the scores of trials on the rows that all have, and what each row adds.

    Parameters
    ----------
    aligned : Aligned
        Of T trials.
    metric : str

    Returns
    -------
    tuple of ndarray, float64 [T] and [T, n], or None
        Scores; and shares, whose sum over rows is the score, or of ``map`` its influences, whose sum is 0. None if the
        metric is not one of `TESTED`, or what was kept does not tell.
    """
    every = range(len(aligned.trials))
    if metric == "map" and aligned.multilabel:
        if any(np.isnan(values[:, aligned.true.any(axis=0)]).any() for values in aligned.values):
            return None
        each = [_map_influences(aligned.true, values) for values in aligned.values]
        return np.array([score for score, _ in each]), np.stack([of for _, of in each])
    if metric not in TESTED or aligned.multilabel:
        return None
    weights = row_weights(aligned.labels, metric)
    of = np.stack([aligned.right(i) * weights for i in every])
    return of.sum(axis=1), of


def row_weights(true: Labels, metric: str) -> Float64:
    """Return how much a row counts: 1/n of ``top1``, and 1/(K n_c) of the mean recall of K classes; float64 [n]."""
    if metric == EXACT:
        return np.full(len(true), 1 / len(true))
    _, classes, counts = np.unique(true, return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(counts) * counts[classes]), np.float64)


def _map_influences(true: Array, scores: Float64) -> tuple[float, Float64]:
    """Return the mean average precision over the classes that come, and the influence of each row [n]."""
    classes = np.flatnonzero(true.any(axis=0))
    each = [precision_influences(true[:, c], scores[:, c]) for c in classes]
    mean = float(np.mean([average_precision(true[:, c], scores[:, c]) for c in classes]))
    return mean, np.asarray(np.mean(each, axis=0), np.float64)


def precision_influences(true: Array, scores: Float64) -> Float64:
    """Return the derivative of average precision by the weight of each row, at weights of 1.

    With H(i) the positives, and T(i) the rows, that score at least as high as row i, and P positives in all, average
    precision is the mean of H(i)/T(i) over positives i; its derivative by the weight of row k, of flag y_k, is

        (y_k (H(k)/T(k) - AP) + sum over positives i that score at most as high as k of (y_k - H(i)/T(i)) / T(i)) / P

    The sum of the squares estimates the variance over test rows (the infinitesimal jackknife).

    Parameters
    ----------
    true : ndarray [n]
        Flags, at least one of which is set.
    scores : ndarray, float64 [n]

    Returns
    -------
    ndarray, float64 [n]
        They add up to 0.

    References
    ----------
    B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982), chapter 6.
    """
    order = np.argsort(-scores, kind="stable")
    flags, ranked = true[order].astype(np.float64), scores[order]
    new = np.append(True, ranked[1:] != ranked[:-1])
    starts = np.flatnonzero(new)
    group = np.cumsum(new) - 1  # [n], rows of equal score are one step
    ends = np.append(starts[1:], len(order))
    hits, taken = np.cumsum(flags)[ends - 1], ends.astype(np.float64)
    positives = np.add.reduceat(flags, starts)
    precision = hits / taken
    total = hits[-1]
    below = np.cumsum((positives / taken)[::-1])[::-1]  # sums over positives that score at most as high
    below_precise = np.cumsum((positives * precision / taken)[::-1])[::-1]
    mean = float((positives * precision).sum() / total)
    found = np.empty(len(order))
    found[order] = (flags * (precision[group] - mean) + flags * below[group] - below_precise[group]) / total
    return found
