"""Scores of predictions against labels. Knows nothing of estimators, splits or features.

Two conventions that libraries differ in: averages over classes leave out the classes that do not occur (stated for
each), and a tie in the scores is broken in favour of the lower class index.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

import numpy as np

from ...arrays import Flags, Labels, Mask, Scores
from ...errors import BadInput
from .calibration import expected_calibration_error, negative_log_likelihood, seen_rows
from .per_class import PerClass, mean_f1, per_class_table
from .ranking import (
    average_precision,
    label_ranking_average_precision,
    mean_average_precision,
    mean_eleven_point_average_precision,
    mean_roc_auc,
    one_vs_rest_roc_auc,
)

__all__ = [
    "ClassificationMetrics",
    "MultilabelMetrics",
    "PerClass",
    "average_precision",
    "classification_metrics",
    "mean_average_precision",
    "multilabel_metrics",
    "negative_log_likelihood",
    "per_class_table",
    "top_k",
    "top_k_hits",
]

MANY_CLASSES = 128
"""From here on a confusion matrix is nearly empty, and as JSON megabytes of zeros."""


class ClassificationMetrics(TypedDict):
    """Scores of single-label predictions, between 0 and 1 but for counts, `nll` (nats) and supports."""

    top1: float
    top5: float | None
    mean_per_class_recall: float
    macro_f1: float
    confusion: NotRequired[list[list[int]]]
    confusion_nonzero: NotRequired[list[list[int]]]
    nll: NotRequired[float | None]
    ece: NotRequired[float | None]
    nll_rows: NotRequired[int]
    roc_auc: NotRequired[float | None]
    per_class: NotRequired[PerClass]


class MultilabelMetrics(TypedDict):
    """Scores of multi-label predictions, between 0 and 1."""

    map: float | None
    macro_f1: float
    micro_f1: float
    subset_accuracy: float
    flag_accuracy: NotRequired[float]
    hamming_score: NotRequired[float]
    lrap: NotRequired[float | None]
    map_11_point: NotRequired[float | None]
    roc_auc: NotRequired[float | None]


def classification_metrics(
    y_true: Labels,
    scores: Scores | None,
    predicted: Labels,
    n_classes: int,
    *,
    probabilities: Scores | None = None,
    per_class: bool = False,
) -> ClassificationMetrics:
    """Score single-label predictions.

    Parameters
    ----------
    y_true : ndarray, int64 [n]
    scores : ndarray, float [n, n_classes], or None
        Higher is likelier; -inf for a class that the probe cannot predict.
    predicted : ndarray, int64 [n]
    n_classes : int
    probabilities : ndarray, float [n, n_classes], optional
        NaN in the column of a class that was not in training, as `class_probabilities` returns them.
    per_class : bool
        Whether to add the table of classes.

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
            Counts, rows are true classes, columns predicted ones. Of more than `MANY_CLASSES` instead
            ``confusion_nonzero``: triples of true class, predicted class and count, for the counts that are not 0.
        nll, ece, roc_auc
            With `probabilities` only: `negative_log_likelihood`, `expected_calibration_error` (15 bins) and
            `one_vs_rest_roc_auc`. The first two are of the rows whose class was in training; None if one of these
            rows gives its class the probability 0, as votes do.
        nll_rows
            With `probabilities` only: how many rows nll and ece are of.
        per_class
            With `per_class` only: `per_class_table`.

    Raises
    ------
    BadInput
        If there are no rows, shapes disagree, a label is outside 0 … n_classes - 1, or `probabilities` are
        not such.

    Examples
    --------
    >>> scores = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 2.0, 1.0]])
    >>> found = classification_metrics(np.array([0, 1, 2]), scores, scores.argmax(axis=1), 3)
    >>> found["top1"], found["mean_per_class_recall"], found["confusion"]
    (0.666..., 0.666..., [[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    """
    _check_labels(y_true, predicted, n_classes)
    for name, given in (("scores", scores), ("probabilities", probabilities)):
        if given is not None and given.shape != (y_true.size, n_classes):
            raise BadInput(
                f"{name} do not have one row a sample and one column a class",
                hint=f"Pass {name} of shape [n, n_classes].",
                expected=(y_true.size, n_classes),
                found=given.shape,
            )
    confusion = np.bincount(y_true * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
    hits, actual, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)  # [K] each
    occurs = actual > 0
    found: ClassificationMetrics = {
        "top1": float(hits.sum() / y_true.size),
        "top5": None if scores is None or n_classes < 6 else top_k(y_true, scores, 5),
        "mean_per_class_recall": float(np.mean(hits[occurs] / actual[occurs])),
        "macro_f1": mean_f1(hits, actual, claimed),
    }
    if n_classes <= MANY_CLASSES:
        found["confusion"] = confusion.tolist()
    else:
        true, claim = np.nonzero(confusion)
        found["confusion_nonzero"] = np.stack([true, claim, confusion[true, claim]], axis=1).tolist()
    if probabilities is not None:
        found["nll"] = negative_log_likelihood(y_true, probabilities)
        found["ece"] = None if found["nll"] is None else expected_calibration_error(y_true, probabilities)
        found["nll_rows"] = int(seen_rows(y_true, probabilities).sum())
        found["roc_auc"] = one_vs_rest_roc_auc(y_true, probabilities)
    if per_class:
        found["per_class"] = per_class_table(confusion)
    return found


def top_k(y_true: Labels, scores: Scores, k: int) -> float:
    """Return the share of rows whose true class is among the k highest scores; see `top_k_hits`."""
    return float(np.mean(top_k_hits(y_true, scores, k)))


def top_k_hits(y_true: Labels, scores: Scores, k: int) -> Mask:
    """Say of each row whether its true class is among the k highest scores, bool [n].

    The rank of the true class is the number of classes with a higher score, plus those with the same score and a
    lower index.

    Examples
    --------
    >>> top_k_hits(np.array([2, 0]), np.array([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]]), k=2).tolist()
    [True, False]
    """
    own = np.take_along_axis(scores, y_true[:, None], axis=1)  # [n, 1]
    earlier = np.arange(scores.shape[1])[None, :] < y_true[:, None]  # [n, K]
    rank = np.sum((scores > own) | ((scores == own) & earlier), axis=1)  # [n]
    # NaN fails the second comparison too, so a broken score is never a hit.
    hits: Mask = (rank < k) & (own[:, 0] > -np.inf)
    return hits


def multilabel_metrics(
    y_true: Flags, scores: Scores | None, predicted: Flags, *, ranking: bool = False
) -> MultilabelMetrics:
    """Score multi-label predictions.

    Parameters
    ----------
    y_true, predicted : ndarray, uint8 [n, C]
        0 or 1.
    scores : ndarray, float [n, C], or None
        Higher is likelier.
    ranking : bool
        Whether to add the further scores of the order.

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
        flag_accuracy
            With `ranking` only: share of all flags that are right, 1 minus the Hamming loss.
        hamming_score
            With `ranking` only: of the classes that a row has or is said to have, the share that are both; mean over
            the rows, 1 for a row without any. So mteb calls it.
        map_11_point, roc_auc, lrap
            With `ranking` only: `mean_eleven_point_average_precision` (VOC2007's), `mean_roc_auc` and
            `label_ranking_average_precision`.

    Raises
    ------
    BadInput
        If there are no rows, or shapes disagree.

    Examples
    --------
    >>> flags, claimed = np.array([[1, 0], [1, 1]], np.uint8), np.array([[1, 0], [0, 1]], np.uint8)
    >>> multilabel_metrics(flags, None, claimed)["subset_accuracy"]
    0.5
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
    found: MultilabelMetrics = {
        "map": None if scores is None else mean_average_precision(y_true, scores),
        "macro_f1": mean_f1(hits, actual, claimed),
        "micro_f1": float(2 * hits.sum() / flags) if flags else 0.0,
        "subset_accuracy": float(np.mean(np.all(true == claim, axis=1))),
    }
    if ranking:
        both, either = (true & claim).sum(axis=1), (true | claim).sum(axis=1)  # [n] each
        found["flag_accuracy"] = float(np.mean(true == claim))
        found["hamming_score"] = float(np.mean(np.where(either == 0, 1.0, both / np.maximum(either, 1))))
        found["lrap"] = None if scores is None else label_ranking_average_precision(y_true, scores)
        found["map_11_point"] = None if scores is None else mean_eleven_point_average_precision(y_true, scores)
        found["roc_auc"] = None if scores is None else mean_roc_auc(y_true, scores)
    return found


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
