"""Recall, precision and F1 of every class, from counts of right, true and predicted rows."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from ...arrays import Int64


class PerClass(TypedDict):
    """One entry a class, in the order of the class indices; None where a quotient has no denominator."""

    recall: list[float | None]
    precision: list[float | None]
    f1: list[float | None]
    support: list[int]


def per_class_table(confusion: Int64) -> PerClass:
    """Return recall, precision, F1 and support of every class.

    Parameters
    ----------
    confusion : ndarray, int64 [K, K]
        Rows are true classes, columns predicted ones.

    Returns
    -------
    dict
        Lists of K. Recall is None for a class without rows, precision for one that is never predicted, F1 where both
        are missing: scikit-learn's ``precision_recall_fscore_support(zero_division=nan)``.
    """
    hits, actual, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)  # [K] each
    return {
        "recall": _quotients(hits, actual),
        "precision": _quotients(hits, claimed),
        "f1": _quotients(2 * hits, actual + claimed),
        "support": actual.tolist(),
    }


def mean_f1(hits: Int64, actual: Int64, claimed: Int64) -> float:
    """Return F1 = 2 TP / (2 TP + FP + FN) per class, averaged over the classes that occur on either side.

    Parameters
    ----------
    hits, actual, claimed : ndarray, int64 [K]
        Right, true and predicted rows of each class.

    Examples
    --------
    >>> mean_f1(np.array([1, 2]), actual=np.array([2, 2]), claimed=np.array([1, 3]))  # (2/3 + 4/5) / 2
    0.733...
    """
    total = actual + claimed
    occurs = total > 0
    return float(np.mean(2 * hits[occurs] / total[occurs])) if occurs.any() else 0.0


def _quotients(above: Int64, below: Int64) -> list[float | None]:
    return [float(a / b) if b else None for a, b in zip(above, below, strict=True)]
