"""Percentile bootstrap intervals of test scores.

The rows of the test set are drawn anew, with replacement, and each draw is scored. The interval says how much a score
would vary with other test rows of the same kind; it says nothing of other training rows, seeds or validation draws.

A draw of n rows is a vector of n counts, how often each row came (a multinomial vector), and every score here is a
quotient of sums of such counts. So no row is copied: a chunk of draws is a matrix [n, b], and a sum over a group of
rows is a sparse product with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import Array, Flags, Float64, Labels, Scores
from ...errors import BadInput
from .calibration import surprisals
from .scores import classification_metrics, multilabel_metrics, top_k_hits

Interval = list[float]
"""Lower and upper end."""

N_RESAMPLES = 1000
LEVEL = 0.95

_CHUNK_BYTES = 2**25
"""Of one chunk of counts; a few arrays of this size live at a time."""


def classification_intervals(
    y_true: Labels,
    scores: Scores | None,
    predicted: Labels,
    n_classes: int,
    *,
    probabilities: Scores | None = None,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Return the intervals of single-label scores.

    Percentile intervals (Efron and Tibshirani 1993, section 13.3). Each draw is scored as `classification_metrics`
    scores a test set: a class that does not come in a draw is left out of that draw's averages.

    Parameters
    ----------
    y_true, scores, predicted, n_classes, probabilities
        As `classification_metrics` takes them.
    n_resamples : int
    level : float
        Coverage, between 0 and 1.
    seed : int
        Of a generator of its own. Test sets of one size have the same draws, so that scores of two probes on the same
        rows can be compared draw by draw.

    Returns
    -------
    dict
        ``[low, high]`` of top1, top5, mean_per_class_recall, macro_f1 and nll; None where the score itself is None.

    Raises
    ------
    BadInput
        As `classification_metrics`; if `level` or `n_resamples` is out of range.

    Examples
    --------
    >>> y = np.arange(100) % 2
    >>> found = classification_intervals(y, None, np.where(np.arange(100) < 90, y, 1 - y), 2)  # 90 of 100 are right
    >>> [round(end, 1) for end in found["top1"]]
    [0.8, 1.0]
    """
    classification_metrics(
        y_true, scores, predicted, n_classes, probabilities=probabilities
    )  # refuses what is misshapen
    n = y_true.size
    right = (y_true == predicted).astype(np.float64)
    of_true, of_predicted = rows_of_groups(y_true, n_classes), rows_of_groups(predicted, n_classes)  # sparse [K, n]
    among_five = None
    if scores is not None and n_classes >= 6:
        among_five = top_k_hits(y_true, scores, 5).astype(np.float64)
    surprisal = seen = None
    raw = None if probabilities is None else surprisals(y_true, probabilities)
    if raw is not None and not np.isinf(raw).any():  # NaN for a class that the probe has never seen
        surprisal, seen = np.nan_to_num(raw), (~np.isnan(raw)).astype(np.float64)

    draws: dict[str, list[Float64]] = {k: [] for k in ("top1", "top5", "mean_per_class_recall", "macro_f1", "nll")}
    for counts in resample_counts(n, n_resamples, seed):  # [n, b]
        hits = of_true @ (counts * right[:, None])  # [K, b]
        actual, claimed = of_true @ counts, of_predicted @ counts
        draws["top1"].append(hits.sum(axis=0) / n)
        draws["mean_per_class_recall"].append(mean_quotient(hits, actual))
        draws["macro_f1"].append(mean_quotient(2 * hits, actual + claimed))
        if among_five is not None:
            draws["top5"].append(among_five @ counts / n)
        if surprisal is not None and seen is not None:
            draws["nll"].append(_quotient(surprisal @ counts, seen @ counts))
    return {name: _interval(parts, level) for name, parts in draws.items()}


def multilabel_intervals(
    y_true: Flags,
    scores: Scores | None,
    predicted: Flags,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Return the intervals of multi-label scores, as `classification_intervals` does of single-label ones.

    Returns
    -------
    dict
        ``[low, high]`` of map, macro_f1, micro_f1 and subset_accuracy; None where the score itself is None.

    Raises
    ------
    BadInput
        As `multilabel_metrics`; if `level` or `n_resamples` is out of range.
    """
    multilabel_metrics(y_true, scores, predicted)  # refuses what is misshapen
    n = len(y_true)
    true, claim = y_true.astype(np.float64), predicted.astype(np.float64)  # [n, C]
    both, either = true * claim, true + claim
    exact = np.all(true == claim, axis=1).astype(np.float64)
    steps = []
    if scores is not None:
        steps = [PrecisionSteps(y_true[:, c], scores[:, c]) for c in np.flatnonzero(y_true.any(axis=0))]

    draws: dict[str, list[Float64]] = {k: [] for k in ("map", "macro_f1", "micro_f1", "subset_accuracy")}
    for counts in resample_counts(n, n_resamples, seed):  # [n, b]
        hits, flags = both.T @ counts, either.T @ counts  # [C, b]
        draws["macro_f1"].append(mean_quotient(2 * hits, flags, empty=0.0))
        draws["micro_f1"].append(np.nan_to_num(_quotient(2 * hits.sum(axis=0), flags.sum(axis=0))))
        draws["subset_accuracy"].append(exact @ counts / n)
        if steps:
            each = np.stack([step.average_precision(counts) for step in steps])  # [C, b], NaN without positives
            has = ~np.isnan(each)
            draws["map"].append(_quotient(np.where(has, each, 0.0).sum(axis=0), has.sum(axis=0)))
    return {name: _interval(parts, level) for name, parts in draws.items()}


def resample_counts(n: int, n_resamples: int, seed: int) -> Iterator[Float64]:
    """Draw n of n rows with replacement, many times; yield how often each row came.

    Yields
    ------
    ndarray, float64 [n, b]
        A chunk of draws, one a column; each column is a multinomial vector that adds up to n. The draws do not depend
        on how many go into a chunk.
    """
    if n_resamples < 1:
        raise BadInput("a bootstrap needs at least one draw", hint="1,000 is usual.", found=n_resamples)
    rng = np.random.default_rng(seed)
    size = max(1, _CHUNK_BYTES // (8 * n))
    for start in range(0, n_resamples, size):
        b = min(size, n_resamples - start)
        # Counting drawn indices is several times faster than numpy's multinomial, which draws n binomials.
        drawn = rng.integers(n, size=(b, n))
        cells = drawn * b + np.arange(b)[:, None]
        yield np.bincount(cells.ravel(), minlength=n * b).reshape(n, b).astype(np.float64)


class PrecisionSteps:
    """`average_precision` of one class for many draws at once.

    Precision counts only at scores that some positive has, so rows in between are added up first: the products have one
    row for each such score, not one for each test row.
    """

    def __init__(self, y_true: Array, scores: Scores) -> None:
        n = y_true.size
        order = np.argsort(-scores, kind="stable")
        positive = y_true[order] != 0
        ranked = scores[order]
        tie = np.cumsum(np.append(False, ranked[1:] != ranked[:-1]))  # [n], which distinct score a row has
        with_positive, starts = np.unique(tie[positive], return_index=True)
        rows = order[positive]
        self._found = _rows_in_runs(rows, np.append(starts, rows.size), n)
        ends = np.searchsorted(tie, with_positive, side="right")
        self._taken = _rows_in_runs(order[: ends[-1]], np.append(0, ends), n)

    def average_precision(self, counts: Float64) -> Float64:
        """Return [b] from counts [n, b]; NaN for a draw without a positive."""
        gained: Float64 = self._found @ counts  # [s, b]
        hits, taken = np.cumsum(gained, axis=0), np.cumsum(self._taken @ counts, axis=0)
        precision = np.divide(hits, taken, out=np.zeros_like(gained), where=taken > 0)
        return _quotient(np.sum(gained * precision, axis=0), hits[-1])


def _rows_in_runs(rows: npt.NDArray[np.intp], borders: Array, n: int) -> Any:
    """Sparse matrix [s, n] that adds up the runs of `rows` between the s + 1 borders."""
    from scipy import sparse

    return sparse.csr_matrix((np.ones(rows.size), rows, borders), shape=(borders.size - 1, n))


def rows_of_groups(labels: Labels, n_classes: int) -> Any:
    """Sparse matrix [K, n] that adds up the rows of each class."""
    order = np.argsort(labels, kind="stable")
    return _rows_in_runs(order, np.searchsorted(labels[order], np.arange(n_classes + 1)), labels.size)


def _quotient(above: Float64, below: Array) -> Float64:
    quotient: Float64 = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return quotient


def mean_quotient(above: Float64, below: Float64, empty: float = np.nan) -> Float64:
    """Mean over the classes with a denominator [b], of [K, b]; `empty` for a draw without any."""
    occurs = below > 0
    each = np.divide(above, below, out=np.zeros_like(above), where=occurs)
    means: Float64 = _quotient(each.sum(axis=0), occurs.sum(axis=0))
    means[np.isnan(means)] = empty
    return means


def _interval(parts: list[Float64], level: float) -> Interval | None:
    """Quantiles of the draws that have a score; None without any."""
    if not 0 < level < 1:
        raise BadInput(f"level {level} is not between 0 and 1", hint="Give for example 0.95.")
    draws = np.concatenate(parts) if parts else np.empty(0)
    draws = draws[~np.isnan(draws)]
    if not draws.size:
        return None
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]
