"""How well scores put the positives of a class before its negatives: average precision and ROC area.

Only the order of the scores counts, so a score may be a margin, a logit or a probability. Rows with the same score come
in together: no result depends on the order of the rows. A threshold is never chosen here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...arrays import Flags, Labels, Scores


def average_precision(y_true: Flags, scores: Scores) -> float:
    """Return the area under the precision-recall steps of one class.

    AP = sum_i (R_i - R_{i-1}) P_i over the distinct scores in descending order, as scikit-learn's
    ``average_precision_score``: rows with the same score come in together, so their order does not matter.

    Parameters
    ----------
    y_true : ndarray, uint8 [n]
        At least one positive.
    scores : ndarray, float [n]

    Examples
    --------
    >>> average_precision(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))  # (1 + 2/3) / 2
    0.833...
    """
    hits, taken = _precision_recall_steps(y_true, scores)
    gained = np.diff(hits, prepend=0)
    return float(np.sum(gained * (hits / taken)) / hits[-1])


def eleven_point_average_precision(y_true: Flags, scores: Scores) -> float:
    """Return the average precision of the VOC2007 challenge for one class.

    AP = 1/11 sum_t max{P_i : R_i >= t} for t = 0, 0.1, …, 1 (Everingham et al. 2010, section 4.2, equations 1 and 2).
    Recalls are compared with t as integers: in floating point, 3 of 10 positives may or may not reach 0.3. Where scores
    are tied, the challenge's own code takes the rows in any order; here they come in together.

    Parameters
    ----------
    y_true : ndarray, uint8 [n]
        At least one positive. Rows that the challenge calls difficult must be left out before.
    scores : ndarray, float [n]

    Examples
    --------
    >>> eleven_point_average_precision(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))  # (6 + 5 · 2/3) / 11
    0.848...
    """
    hits, taken = _precision_recall_steps(y_true, scores)
    # The best precision at this recall or a higher one, so that the curve falls.
    envelope = np.maximum.accumulate((hits / taken)[::-1])[::-1]
    # The first step with hits / hits[-1] >= t / 10.
    reached = np.searchsorted(10 * hits, np.arange(11) * hits[-1], side="left")
    return float(np.mean(envelope[reached]))


def roc_auc(y_true: Flags, scores: Scores) -> float | None:
    """Return the area under the ROC curve: the chance that a positive outscores a negative, ties counting half.

    AUC = (sum of the positives' ranks - P (P + 1) / 2) / (P N), with mid-ranks for ties: the Mann-Whitney statistic
    (Hanley and McNeil 1982, section III; Fawcett 2006, section 7).

    Parameters
    ----------
    y_true : ndarray, uint8 [n]
    scores : ndarray, float [n]
        NaN, the score of a broken probe, ranks below everything.

    Returns
    -------
    float or None
        None without positives, or without negatives.

    Examples
    --------
    >>> roc_auc(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))
    0.75
    """
    positive = y_true.astype(bool)
    n_positive = int(positive.sum())
    n_negative = positive.size - n_positive
    if not n_positive or not n_negative:
        return None
    _, group, size = np.unique(_with_nan_last(scores), return_inverse=True, return_counts=True)
    # Twice the mid-rank of a group of ties, (first + last place), in integers: exact up to n of 2e9 rows.
    doubled = 2 * np.cumsum(size) - size + 1
    rank_sum = int(doubled[group[positive]].sum())  # twice the sum
    return (rank_sum - n_positive * (n_positive + 1)) / (2 * n_positive * n_negative)


def one_vs_rest_roc_auc(y_true: Labels, probabilities: Scores) -> float | None:
    """Return the ROC area of single-label probabilities.

    With two columns it is the area of class 1. With more, the mean over the classes that occur in `y_true` of each
    against the rest, as scikit-learn's ``roc_auc_score(multi_class="ovr", average="macro")``.

    Parameters
    ----------
    y_true : ndarray, int64 [n]
    probabilities : ndarray, float [n, K]
        Comparable between rows, as probabilities are and raw logits are not. NaN in the column of a class that was not
        in training: such a class ranks nothing, and counts 0.5.

    Returns
    -------
    float or None
        None where all rows are of one class.

    Examples
    --------
    >>> one_vs_rest_roc_auc(np.array([0, 1, 1]), np.array([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]]))
    1.0
    """
    k = probabilities.shape[1]
    if k == 2:
        return roc_auc(y_true == 1, probabilities[:, 1])
    areas = [roc_auc(y_true == c, probabilities[:, c]) for c in np.unique(y_true)]
    defined = [area for area in areas if area is not None]
    return float(np.mean(defined)) if defined else None


def mean_average_precision(y_true: Flags, scores: Scores) -> float | None:
    """Return the mean `average_precision` over the columns that have a positive; None where no column has one."""
    return _mean_over_columns(average_precision, y_true, scores)


def mean_eleven_point_average_precision(y_true: Flags, scores: Scores) -> float | None:
    """Return the mean `eleven_point_average_precision` over the columns that have a positive; None without any."""
    return _mean_over_columns(eleven_point_average_precision, y_true, scores)


def label_ranking_average_precision(y_true: Flags, scores: Scores) -> float | None:
    """Return how far up a row's own labels stand in the row's order of scores, mean over the rows.

    For each label of a row: of the labels with at least its score, the share that the row has; 1 for a row that has no
    label, or all. It is scikit-learn's ``label_ranking_average_precision_score`` (Tsoumakas et al. 2010, section 7).

    Parameters
    ----------
    y_true : ndarray, uint8 [n, C]
    scores : ndarray, float [n, C]
        Comparable between columns, as probabilities are.

    Returns
    -------
    float or None
        None where a score is not finite.

    Examples
    --------
    >>> label_ranking_average_precision(np.array([[1, 0, 0], [0, 1, 1]]), np.array([[0.5, 0.9, 0.1], [0.1, 0.9, 0.8]]))
    0.75
    """
    from sklearn.metrics import label_ranking_average_precision_score

    if not np.isfinite(scores).all():
        return None
    return float(label_ranking_average_precision_score(y_true.astype(np.int64), scores))


def mean_roc_auc(y_true: Flags, scores: Scores) -> float | None:
    """Return the mean `roc_auc` over the columns [n, C] that have positives and negatives; None without any."""
    areas = [roc_auc(y_true[:, c], scores[:, c]) for c in range(y_true.shape[1])]
    defined = [area for area in areas if area is not None]
    return float(np.mean(defined)) if defined else None


def _mean_over_columns(measure: Callable[[Flags, Scores], float], y_true: Flags, scores: Scores) -> float | None:
    columns = np.flatnonzero(y_true.any(axis=0))
    if columns.size == 0:
        return None
    return float(np.mean([measure(y_true[:, c], scores[:, c]) for c in columns]))


def _precision_recall_steps(y_true: Flags, scores: Scores) -> tuple[Labels, Labels]:
    """Positives found, and rows taken, down to each distinct score [s]."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    hits = np.cumsum(y_true[order], dtype=np.int64)[last_of_tie]
    return hits, np.flatnonzero(last_of_tie) + 1


def _with_nan_last(scores: Scores) -> Scores:
    return np.where(np.isnan(scores), -np.inf, scores)
