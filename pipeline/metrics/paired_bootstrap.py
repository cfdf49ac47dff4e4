"""The difference of two scores on the same test rows, bootstrapped: rows are drawn for both at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...arrays import Array, Flags, Float64, Labels, Mask, Scores
from ...errors import BadInput
from .bootstrap import LEVEL, PrecisionSteps, mean_quotient, resample_counts, rows_of_groups

N_RESAMPLES = 2000


@dataclass(frozen=True)
class PairedInterval:
    """What the draws say of a difference.

    Parameters
    ----------
    low, high : float
        Ends of its 95 % percentile interval.
    p : float
        Two-sided: twice the share of draws on the rarer side of 0, of which the sample itself counts as one.
    """

    low: float
    high: float
    p: float


def paired_recall_interval(
    true: Labels, right: tuple[Mask, Mask], *, per_class: bool, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> PairedInterval:
    """Bootstrap the difference of two shares of right rows, or of two mean recalls over classes.

    Parameters
    ----------
    true : ndarray, int64 [n]
    right : pair of ndarray, bool [n]
        Which rows each has right.
    per_class : bool
        Whether the mean recall over the classes that come in a draw is meant.
    n_resamples, seed : int

    References
    ----------
    B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

    Examples
    --------
    >>> true = np.zeros(100, np.int64)
    >>> found = paired_recall_interval(true, (np.arange(100) < 90, np.arange(100) < 80), per_class=False)
    >>> 0.03 < found.low < 0.1 < found.high < 0.17, found.p < 0.01
    (True, True)
    """
    difference = right[0].astype(np.float64) - right[1]
    if not per_class:
        return _interval([difference @ counts / len(true) for counts in resample_counts(len(true), n_resamples, seed)])
    groups = rows_of_groups(true, int(true.max()) + 1)
    draws = [
        mean_quotient(groups @ (counts * difference[:, None]), groups @ counts)
        for counts in resample_counts(len(true), n_resamples, seed)
    ]
    return _interval(draws)


def paired_map_interval(
    true: Flags, scores: tuple[Scores, Scores], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> PairedInterval:
    """Bootstrap the difference of two mean average precisions, over the classes that come in a draw.

    Parameters
    ----------
    true : ndarray, uint8 [n, C]
    scores : pair of ndarray, float [n, C]
    n_resamples, seed : int
    """
    classes = np.flatnonzero(true.any(axis=0))
    steps = [[PrecisionSteps(true[:, c], of[:, c]) for c in classes] for of in scores]
    draws = []
    for counts in resample_counts(len(true), n_resamples, seed):
        one, other = (np.stack([step.average_precision(counts) for step in of]) for of in steps)  # [C, b]
        draws.append(_mean_over_classes(one) - _mean_over_classes(other))
    return _interval(draws)


def _mean_over_classes(each: Float64) -> Float64:
    return mean_quotient(np.nan_to_num(each), (~np.isnan(each)).astype(np.float64))


def _interval(parts: list[Array]) -> PairedInterval:
    draws = np.concatenate(parts)
    if not draws.size or np.isnan(draws).all():
        raise BadInput("there is nothing to compare: no draw has a score")
    draws = draws[~np.isnan(draws)]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    rarer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return PairedInterval(float(low), float(high), min(1.0, 2 * (1 + rarer) / (1 + draws.size)))
