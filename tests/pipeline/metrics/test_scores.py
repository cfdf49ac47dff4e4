import json

import numpy as np
import pytest
from sklearn import metrics as sk

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.metrics import classification_metrics, multilabel_metrics

TOLERANCE = 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_single_label_metrics_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = 12
    y = rng.choice([0, 1, 2, 3, 5, 8, 9], 300)  # some classes do not occur
    scores = rng.normal(size=(300, k)) + 2 * np.eye(k)[y]
    scores[:, 11] = -np.inf
    predicted = scores.argmax(axis=1)
    ours = classification_metrics(y, scores, predicted, k)
    assert ours["top1"] == pytest.approx(sk.accuracy_score(y, predicted), abs=TOLERANCE)
    assert ours["top5"] == pytest.approx(
        sk.top_k_accuracy_score(y, np.nan_to_num(scores), k=5, labels=np.arange(k)), abs=TOLERANCE
    )
    recall = sk.recall_score(y, predicted, labels=np.unique(y), average="macro", zero_division=0)
    assert ours["mean_per_class_recall"] == pytest.approx(recall, abs=TOLERANCE)
    assert ours["macro_f1"] == pytest.approx(sk.f1_score(y, predicted, average="macro", zero_division=0), abs=TOLERANCE)
    np.testing.assert_array_equal(ours["confusion"], sk.confusion_matrix(y, predicted, labels=np.arange(k)))
    json.dumps(ours)


@pytest.mark.parametrize("seed", range(5))
def test_multilabel_metrics_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = (rng.random((200, 8)) < 0.2).astype(np.uint8)
    y[:, 3] = 0  # a class without positives
    scores = np.round(rng.normal(size=y.shape) + y, 1)  # rounding makes ties
    predicted = (scores > 0.8).astype(np.uint8)
    predicted[:, 3] = 0
    ours = multilabel_metrics(y, scores, predicted)
    with_positives = np.flatnonzero(y.any(axis=0))
    assert ours["map"] == pytest.approx(
        sk.average_precision_score(y[:, with_positives], scores[:, with_positives], average="macro"), abs=TOLERANCE
    )
    macro = sk.f1_score(y, predicted, average="macro", zero_division=np.nan)
    assert ours["macro_f1"] == pytest.approx(macro, abs=TOLERANCE)
    assert ours["micro_f1"] == pytest.approx(sk.f1_score(y, predicted, average="micro"), abs=TOLERANCE)
    assert ours["subset_accuracy"] == pytest.approx(sk.accuracy_score(y, predicted), abs=TOLERANCE)
    json.dumps(ours)


def test_top5_is_none_without_scores_and_below_six_classes() -> None:
    y = np.array([0, 1, 2])
    assert classification_metrics(y, None, y, 10)["top5"] is None
    assert classification_metrics(y, np.eye(3, 5), y, 5)["top5"] is None
    assert classification_metrics(y, np.eye(3, 6), y, 6)["top5"] == 1.0


def test_among_equal_scores_the_lower_class_index_is_in_the_top_five() -> None:
    y = np.arange(8)
    assert classification_metrics(y, np.zeros((8, 8)), y, 8)["top5"] == 5 / 8


def test_a_class_that_cannot_be_predicted_is_never_in_the_top_five() -> None:
    scores = np.full((1, 8), -np.inf)
    scores[0, :2] = 0.0
    for impossible in (3, 7):
        y = np.array([impossible])
        assert classification_metrics(y, scores, np.array([0]), 8)["top5"] == 0.0
    assert classification_metrics(np.array([0]), np.full((1, 8), np.nan), np.array([0]), 8)["top5"] == 0.0


def test_map_is_none_without_scores_or_positives() -> None:
    y = np.eye(3, dtype=np.uint8)
    assert multilabel_metrics(y, None, y)["map"] is None
    nothing = np.zeros_like(y)
    assert multilabel_metrics(nothing, np.ones((3, 3)), nothing) == {
        "map": None,
        "macro_f1": 0.0,
        "micro_f1": 0.0,
        "subset_accuracy": 1.0,
    }


def test_shapes_and_labels_that_do_not_fit_are_refused() -> None:
    y = np.array([0, 1])
    with pytest.raises(BadInput):
        classification_metrics(y, np.zeros((2, 2)), y, 3)
    with pytest.raises(BadInput):
        classification_metrics(y, None, np.array([0, 3]), 3)
    with pytest.raises(BadInput):
        classification_metrics(np.array([-1, 0]), None, y, 3)
    with pytest.raises(BadInput):
        classification_metrics(y[:0], None, y[:0], 3)
    with pytest.raises(BadInput):
        multilabel_metrics(np.eye(3, dtype=np.uint8), np.zeros((3, 2)), np.eye(3, dtype=np.uint8))


def test_the_confusion_of_many_classes_lists_what_is_not_zero() -> None:
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 300, 500), rng.integers(0, 300, 500)
    found = classification_metrics(y, None, predicted, 300)
    assert "confusion" not in found
    matrix = np.zeros((300, 300), dtype=np.int64)
    for true, claim, count in found["confusion_nonzero"]:
        matrix[true, claim] = count
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(y, predicted, labels=range(300)))
