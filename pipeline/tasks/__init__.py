"""Tasks: what is asked of a row's features. One label a row, or any number of labels.

What differs between the two stands here, a module for each: which targets can be used, how rows are drawn from them,
how predictions are read from an estimator, and how they are scored.
"""

from __future__ import annotations

from ...arrays import Targets
from .base import Prediction, Task, TestScores, ValidationScores
from .multi_label import MultiLabel
from .single_label import SingleLabel

__all__ = [
    "MULTI_LABEL",
    "SINGLE_LABEL",
    "Prediction",
    "Task",
    "TestScores",
    "ValidationScores",
    "task_named",
    "task_of",
]

SINGLE_LABEL = SingleLabel()
MULTI_LABEL = MultiLabel()


def task_of(y: Targets) -> Task:
    """Return the task that targets are of.

    Parameters
    ----------
    y : ndarray, int64 [n] or uint8 [n, C]

    Examples
    --------
    >>> import numpy as np
    >>> task_of(np.array([0, 2, 1])).name, task_of(np.array([[0, 1], [1, 1]])).name
    ('single-label', 'multi-label')
    """
    return task_named(multilabel=y.ndim != 1)


def task_named(*, multilabel: bool) -> Task:
    """Return the task that a stored document means by its field ``multilabel``."""
    return MULTI_LABEL if multilabel else SINGLE_LABEL
