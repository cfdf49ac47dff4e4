"""Metrics: scores of predictions against labels, their intervals and tables. Knows nothing of probes."""

from .bootstrap import Interval, classification_intervals, multilabel_intervals
from .calibration import negative_log_likelihood
from .scores import ClassificationMetrics, MultilabelMetrics, classification_metrics, multilabel_metrics

__all__ = [
    "ClassificationMetrics",
    "Interval",
    "MultilabelMetrics",
    "classification_intervals",
    "classification_metrics",
    "multilabel_intervals",
    "multilabel_metrics",
    "negative_log_likelihood",
]
