"""Scores of predictions against labels. Knows nothing of estimators, splits or features.

Two conventions that libraries differ in: averages over classes leave out the classes that do not occur (stated for
each), and a tie in the scores is broken in favour of the lower class index.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt

from ...errors import BadInput

Labels = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.floating]


class ClassificationMetrics(TypedDict):
    """Scores of single-label predictions, all but `confusion` between 0 and 1."""

    top1: float
    top5: float | None
    mean_per_class_recall: float
    macro_f1: float
    confusion: list[list[int]]


class MultilabelMetrics(TypedDict):
    """Scores of multi-label predictions, between 0 and 1."""

    map: float | None
    macro_f1: float
    micro_f1: float
    subset_accuracy: float


def classification_metrics(
    y_true: Labels, scores: Scores | None, predicted: Labels, n_classes: int
) -> ClassificationMetrics:
    """Score single-label predictions.

    Parameters
    ----------
    y_true : ndarray, int64 [n]
    scores : ndarray, float [n, n_classes], or None
        Higher is likelier; -inf for a class that the probe cannot predict.
    predicted : ndarray, int64 [n]
    n_classes : int

    Returns
    -------
    dict
        top1
            Share of rows whose `predicted` is right.
        top5
            Share of rows whose true class is among the five highest scores; None without scores, and for fewer than
            six classes, where it would say nothing. Among equal scores the lower class index comes first. A class
            with score -inf is never among the five.
        mean_per_class_recall
            Mean of the recalls of the classes that occur in `y_true`.
        macro_f1
            Mean F1 over the classes that occur in `y_true` or in `predicted`; a class that is never hit counts 0. It
            is scikit-learn's ``f1_score(average="macro", zero_division=0)``.
        confusion
            Counts, rows are true classes, columns predicted ones.

    Raises
    ------
    BadInput
        If there are no rows, shapes disagree, or a label is outside 0 … n_classes - 1.
    """
    _check_labels(y_true, predicted, n_classes)
    if scores is not None and scores.shape != (y_true.size, n_classes):
        raise BadInput(
            "scores do not have one row a sample and one column a class",
            hint="Pass scores of shape [n, n_classes].",
            expected=(y_true.size, n_classes),
            found=scores.shape,
        )
    confusion = np.bincount(y_true * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
    hits, actual, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)  # [K] each
    occurs = actual > 0
    return {
        "top1": float(hits.sum() / y_true.size),
        "top5": None if scores is None or n_classes < 6 else top_k(y_true, scores, 5),
        "mean_per_class_recall": float(np.mean(hits[occurs] / actual[occurs])),
        "macro_f1": _mean_f1(hits, actual, claimed),
        "confusion": confusion.tolist(),
    }


def top_k(y_true: Labels, scores: Scores, k: int) -> float:
    """Return the share of rows whose true class is among the k highest scores.

    The rank of the true class is the number of classes with a higher score, plus those with the same score and a
    lower index.
    """
    own = np.take_along_axis(scores, y_true[:, None], axis=1)  # [n, 1]
    earlier = np.arange(scores.shape[1])[None, :] < y_true[:, None]  # [n, K]
    rank = np.sum((scores > own) | ((scores == own) & earlier), axis=1)  # [n]
    # NaN fails the second comparison too, so a broken score is never a hit.
    return float(np.mean((rank < k) & (own[:, 0] > -np.inf)))


def negative_log_likelihood(y_true: Labels, probabilities: Scores) -> float | None:
    """Return the mean of -ln p(true class), in nats.

    Rows of a class that the probe has never seen, which has probability 0 whatever the probe's parameters are, are left
    out; None where no other row is left. A probability that rounded to 0 counts as the smallest normal number.

    Parameters
    ----------
    y_true : ndarray, int64 [n]
    probabilities : ndarray, float [n, n_classes]
        NaN in the column of a class that was not in training.
    """
    p = probabilities[np.arange(y_true.size), y_true]
    p = p[~np.isnan(p)]
    if not p.size:
        return None
    return float(-np.log(np.maximum(p, np.finfo(np.float64).tiny)).mean())


def multilabel_metrics(y_true: Flags, scores: Scores | None, predicted: Flags) -> MultilabelMetrics:
    """Score multi-label predictions.

    Parameters
    ----------
    y_true, predicted : ndarray, uint8 [n, C]
        0 or 1.
    scores : ndarray, float [n, C], or None
        Higher is likelier.

    Returns
    -------
    dict
        map
            Mean of `average_precision` over the classes that have a positive in `y_true`; None without scores or
            without any positive.
        macro_f1
            Mean F1 over the classes that occur in `y_true` or in `predicted` (scikit-learn's macro average with
            ``zero_division=nan``).
        micro_f1
            F1 of all flags taken together; 0 where no flag is set.
        subset_accuracy
            Share of rows whose flags are all right.

    Raises
    ------
    BadInput
        If there are no rows, or shapes disagree.
    """
    for name, other in (("predicted", predicted), ("scores", scores)):
        if other is not None and (other.shape != y_true.shape or y_true.size == 0):
            raise BadInput(
                f"{name} and the true labels must have one shape and at least one row",
                hint="Pass arrays of shape [n, C].",
                expected=y_true.shape,
                found=other.shape,
            )
    true, claim = y_true.astype(bool), predicted.astype(bool)  # [n, C]
    hits, actual, claimed = (true & claim).sum(axis=0), true.sum(axis=0), claim.sum(axis=0)  # [C] each
    flags = int(actual.sum() + claimed.sum())
    return {
        "map": None if scores is None else mean_average_precision(y_true, scores),
        "macro_f1": _mean_f1(hits, actual, claimed),
        "micro_f1": float(2 * hits.sum() / flags) if flags else 0.0,
        "subset_accuracy": float(np.mean(np.all(true == claim, axis=1))),
    }


def mean_average_precision(y_true: Flags, scores: Scores) -> float | None:
    """Return the mean `average_precision` over the columns that have a positive; None where no column has one."""
    columns = np.flatnonzero(y_true.any(axis=0))
    if columns.size == 0:
        return None
    return float(np.mean([average_precision(y_true[:, c], scores[:, c]) for c in columns]))


def average_precision(y_true: Flags, scores: Scores) -> float:
    """Return the area under the precision-recall steps of one class.

    AP = sum_i (R_i - R_{i-1}) P_i over the distinct scores in descending order, as scikit-learn's
    ``average_precision_score``: rows with the same score come in together, so their order does not matter.

    Parameters
    ----------
    y_true : ndarray, uint8 [n]
        At least one positive.
    scores : ndarray, float [n]
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    hits = np.cumsum(y_true[order], dtype=np.int64)[last_of_tie]
    precision = hits / (np.flatnonzero(last_of_tie) + 1)
    gained = np.diff(hits, prepend=0)
    return float(np.sum(gained * precision) / hits[-1])


def _mean_f1(hits: Labels, actual: Labels, claimed: Labels) -> float:
    """F1 = 2 TP / (2 TP + FP + FN) per class, averaged over the classes that occur on either side."""
    total = actual + claimed
    occurs = total > 0
    return float(np.mean(2 * hits[occurs] / total[occurs])) if occurs.any() else 0.0


def _check_labels(y_true: Labels, predicted: Labels, n_classes: int) -> None:
    if y_true.ndim != 1 or y_true.shape != predicted.shape or y_true.size == 0:
        raise BadInput(
            "true and predicted labels must be vectors of one length, at least 1",
            hint="Pass arrays of shape [n].",
            expected=y_true.shape,
            found=predicted.shape,
        )
    for name, labels in (("true", y_true), ("predicted", predicted)):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= n_classes:
            raise BadInput(
                f"a {name} label is outside 0 … {n_classes - 1}",
                hint="Labels are indices into the class names.",
                found=low if low < 0 else high,
            )
