"""Whether a probe's probabilities can be believed: likelihood, reliability, expected calibration error.

A class that was not in training has NaN in its column of the probabilities (`class_probabilities` puts it there): the
probe says nothing of it, which is not the same as saying 0.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from ...arrays import Float64, Labels, Mask, Scores
from ...errors import BadInput

N_BINS = 15
"""Bins of the expected calibration error (Guo et al. 2017, section 5: "M = 15 bins")."""


class Reliability(TypedDict):
    """The reliability diagram: one entry a bin, None where the bin is empty."""

    count: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]


def negative_log_likelihood(y_true: Labels, probabilities: Scores) -> float | None:
    """Return the mean of -ln p(true class), in nats.

    Rows of a class that the probe has never seen, which has probability 0 whatever the probe's parameters are, are left
    out. None if no other row is left, and if one of them gives its class the probability 0: the mean is infinite then,
    and a number in its place would only count such rows.

    Parameters
    ----------
    y_true : ndarray, int64 [n]
    probabilities : ndarray, float [n, n_classes]
        NaN in the column of a class that was not in training.

    Examples
    --------
    >>> negative_log_likelihood(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]]))
    0.693...
    """
    each = surprisals(y_true, probabilities)
    each = each[~np.isnan(each)]
    return float(each.mean()) if each.size and np.isfinite(each).all() else None


def surprisals(y_true: Labels, probabilities: Scores) -> Float64:
    """Return -ln p(true class) of each row, float64 [n]: NaN if the probe has never seen the class, inf if p is 0."""
    p = probabilities[np.arange(y_true.size), y_true]
    with np.errstate(divide="ignore"):
        return -np.log(p, dtype=np.float64)


def seen_rows(y_true: Labels, probabilities: Scores) -> Mask:
    """Say which rows are of a class that was in training, bool [n]: those that nll and ece are of."""
    return ~np.isnan(probabilities[np.arange(y_true.size), y_true])


def expected_calibration_error(y_true: Labels, probabilities: Scores, n_bins: int = N_BINS) -> float | None:
    """Return the mean distance between confidence and accuracy.

    ECE = sum_m |B_m| / n · |acc(B_m) - conf(B_m)| over equal-width bins ((m-1)/M, m/M] of the highest probability
    (Guo et al. 2017, section 2, equation 3). The estimate depends on the number of bins, and grows on few rows: compare
    values only between test sets of one size.

    Parameters
    ----------
    y_true : ndarray, int64 [n]
    probabilities : ndarray, float [n, n_classes]
        NaN in the column of a class that was not in training; rows of such a class are left out, as they are of
        `negative_log_likelihood`. None if no other row is left.
    n_bins : int
        M.

    Raises
    ------
    BadInput
        If there are no rows, or a highest probability is not between 0 and 1.

    Examples
    --------
    >>> expected_calibration_error(np.array([0, 0]), np.array([[0.75, 0.25], [0.25, 0.75]]))  # one bin: 0.75 - 0.5
    0.25
    """
    counts, confidence, right = _binned(y_true, probabilities, n_bins)
    return float(np.abs(right - confidence).sum() / counts.sum()) if counts.any() else None


def reliability(y_true: Labels, probabilities: Scores, n_bins: int = N_BINS) -> Reliability:
    """Return how many rows, which mean confidence and which accuracy each bin of `expected_calibration_error` has.

    Raises
    ------
    BadInput
        If there are no rows, or a highest probability is not between 0 and 1.
    """
    counts, confidence, right = _binned(y_true, probabilities, n_bins)
    return {
        "count": counts.tolist(),
        "confidence": [float(s / n) if n else None for s, n in zip(confidence, counts, strict=True)],
        "accuracy": [float(s / n) if n else None for s, n in zip(right, counts, strict=True)],
    }


def _binned(y_true: Labels, probabilities: Scores, n_bins: int) -> tuple[Labels, Float64, Float64]:
    """Rows, sum of confidences and right predictions of each bin [n_bins]."""
    known = np.where(np.isnan(probabilities), -np.inf, probabilities)  # [n, K]
    top = known.max(axis=1, initial=-np.inf)
    if not top.size or not np.all((top > 0) & (top <= 1 + 1e-6)):
        raise BadInput(
            "calibration needs rows of probabilities between 0 and 1",
            hint="Pass what predict_proba returns, not scores.",
            found=None if not top.size else (float(top.min()), float(top.max())),
        )
    seen = seen_rows(y_true, probabilities)
    right, top = (known.argmax(axis=1) == y_true)[seen], top[seen]
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    # side="left" puts a confidence that is an edge into the bin below it; float32 sums may exceed 1 by a rounding.
    place = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, n_bins - 1)
    counts = np.bincount(place, minlength=n_bins)
    # astype for the type checker: numpy's stubs do not say that weights make the sums float64.
    confidence = np.bincount(place, weights=top, minlength=n_bins).astype(np.float64)
    return counts, confidence, np.bincount(place, weights=right, minlength=n_bins).astype(np.float64)
