"""From a fitted estimator and rows to scores: on validation rows, to choose by, and on test rows, to report."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..metrics.bootstrap import Interval, classification_intervals, multilabel_intervals
from ..metrics.ranking import mean_eleven_point_average_precision, one_vs_rest_roc_auc
from ..metrics.scores import (
    ClassificationMetrics,
    MultilabelMetrics,
    classification_metrics,
    mean_average_precision,
    multilabel_metrics,
    negative_log_likelihood,
    top_k,
)
from .labelled_features import LabelledFeatures
from .selection import ValidationScores
from .sklearn_calls import Prediction, predict

INTERVAL_SEED = 0
"""Of the bootstrap: test sets of one size have the same draws in every trial."""


class TestScores(NamedTuple):
    """Metrics on test rows, and their 95 % bootstrap intervals (1,000 resamples)."""

    metrics: ClassificationMetrics | MultilabelMetrics
    intervals: dict[str, Interval | None]


def score_test(test: LabelledFeatures, prediction: Prediction, n_classes: int) -> TestScores:
    """Score predictions of test rows in every way; see `classification_metrics` and `multilabel_metrics`."""
    scores = prediction.scores
    if test.multilabel:
        flags, claimed = test.y.astype(np.uint8), prediction.labels.astype(np.uint8)
        return TestScores(
            multilabel_metrics(flags, scores, claimed, ranking=True),
            multilabel_intervals(flags, scores, claimed, seed=INTERVAL_SEED),
        )
    y, labels = test.y.astype(np.int64), prediction.labels.astype(np.int64)
    probabilities = prediction.probabilities
    return TestScores(
        classification_metrics(y, scores, labels, n_classes, probabilities=probabilities, per_class=True),
        classification_intervals(y, scores, labels, n_classes, probabilities=probabilities, seed=INTERVAL_SEED),
    )


def score_validation(estimator: Any, val: LabelledFeatures, n_classes: int, *, also: str = "") -> ValidationScores:
    """Score an estimator on validation rows in every way that it can be chosen by.

    Parameters
    ----------
    estimator : object
    val : LabelledFeatures
    n_classes : int
    also : {"", "roc_auc", "mean_top1_top5"}
        A score that is computed only if it chooses; other names change nothing.
    """
    found = predict(estimator, val.x, n_classes, multilabel=val.multilabel)
    if val.multilabel:
        if found.scores is None:
            return ValidationScores()
        flags = val.y.astype(np.uint8)
        return ValidationScores(
            map=mean_average_precision(flags, found.scores),
            map_11_point=mean_eleven_point_average_precision(flags, found.scores),
        )
    y, labels = val.y.astype(np.int64), found.labels.astype(np.int64)
    hits = np.bincount(y[y == labels], minlength=n_classes)
    counts = np.bincount(y, minlength=n_classes)
    area = five = None
    if also == "roc_auc" and found.probabilities is not None:
        area = one_vs_rest_roc_auc(y, found.probabilities)
    elif also == "mean_top1_top5" and found.scores is not None:
        five = (float(np.mean(labels == y)) + top_k(y, found.scores, 5)) / 2
    return ValidationScores(
        roc_auc=area,
        mean_top1_top5=five,
        nll=None if found.probabilities is None else negative_log_likelihood(y, found.probabilities),
        top1=float(np.mean(labels == y)),
        mean_per_class_recall=float(np.mean(hits[counts > 0] / counts[counts > 0])),
    )
