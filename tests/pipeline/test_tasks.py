"""Tasks: single-label and multi-label targets answer the same questions, each in its own way."""

from __future__ import annotations

import numpy as np
import pytest

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.tasks import MULTI_LABEL, SINGLE_LABEL, Prediction, Task, task_named, task_of

LABELS = np.array([0, 2, 1, 0, 2, 0])
FLAGS = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]], np.uint8)
BOTH = pytest.mark.parametrize(("task", "y"), [(SINGLE_LABEL, LABELS), (MULTI_LABEL, FLAGS)])


@BOTH
def test_targets_and_stored_documents_lead_to_their_task(task: Task, y: np.ndarray) -> None:
    assert task_of(y) is task is task_named(multilabel=y.ndim == 2)
    assert y.shape == task.shape(len(y), 3)
    assert y.dtype == task.dtype


@BOTH
def test_targets_in_another_list_of_classes_have_the_same_rows(task: Task, y: np.ndarray) -> None:
    moved = task.recoded(y, np.array([3, 0, 1]), 4)
    assert task.rows_per_class(moved, 4)[[3, 0, 1]].tolist() == task.rows_per_class(y, 3).tolist()
    assert task.rows_per_class(task.widened(y, 5), 5).tolist() == [*task.rows_per_class(y, 3).tolist(), 0, 0]
    assert len(set(task.codes(moved).tolist())) == len(set(task.codes(y).tolist()))


@BOTH
def test_targets_out_of_range_are_a_problem(task: Task, y: np.ndarray) -> None:
    assert task.problem(y, 3) is None
    assert "outside 0" in str(task.problem(y + task.values(3), 3))
    assert "dtype float64" in str(task.problem(y.astype(float), 3))


@BOTH
def test_targets_that_do_not_vary_train_nothing(task: Task, y: np.ndarray) -> None:
    task.check_trainable(y)
    with pytest.raises(BadInput):
        task.check_trainable(np.repeat(y[:1], 4, axis=0))


@BOTH
def test_right_predictions_have_the_best_score(task: Task, y: np.ndarray) -> None:
    scores = np.eye(3)[y] if y.ndim == 1 else y.astype(float)
    right = Prediction(y, scores)
    assert task.score_of(y, right) == 1.0
    assert task.test_scores(y, right, 3).metrics[task.score] == 1.0  # type: ignore[literal-required]
    assert getattr(task.validation_scores(y, right, 3, also=""), task.score) == 1.0


def test_a_score_is_of_one_task_or_the_other() -> None:
    for name in ("top1", "nll", "map", "lrap", "map_11_point", "mean_per_class_recall"):
        assert SINGLE_LABEL.has_score(name) != MULTI_LABEL.has_score(name)
