import itertools
import json

import numpy as np
import pytest
from sklearn import metrics as sk

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.metrics import classification_metrics, multilabel_metrics
from cryoprobe.pipeline.metrics.calibration import (
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    surprisals,
)
from cryoprobe.pipeline.metrics.per_class import per_class_table

TOLERANCE = 1e-12


def sample(seed: int, n: int = 400, k: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    p = np.exp(2 * rng.normal(size=(n, k)) + 2 * np.eye(k)[y])
    return y, p / p.sum(axis=1, keepdims=True)


def ece_by_a_loop(y: np.ndarray, p: np.ndarray, bins: int) -> float:
    total = 0.0
    edges = np.linspace(0, 1, bins + 1)
    for low, high in itertools.pairwise(edges):
        rows = [i for i in range(len(y)) if low < p[i].max() <= high]
        if rows:
            accuracy = np.mean([p[i].argmax() == y[i] for i in rows])
            confidence = np.mean([p[i].max() for i in rows])
            total += len(rows) / len(y) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_the_definition(seed: int, bins: int) -> None:
    y, p = sample(seed)
    assert expected_calibration_error(y, p, bins) == pytest.approx(ece_by_a_loop(y, p, bins), abs=TOLERANCE)


def test_a_confidence_on_an_edge_is_in_the_bin_below_it() -> None:
    # Of 4 bins: 0.5 ends the second, 0.75 the third, 1 the fourth.
    p = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    assert reliability(np.zeros(3, dtype=np.int64), p, 4) == {
        "count": [0, 1, 1, 1],
        "confidence": [None, 0.5, 0.75, 1.0],
        "accuracy": [None, 1.0, 1.0, 1.0],
    }


def test_sure_and_right_is_calibrated_and_sure_and_wrong_is_not() -> None:
    p = np.eye(3)
    assert expected_calibration_error(np.arange(3), p) == 0.0
    assert expected_calibration_error(np.array([1, 2, 0]), p) == 1.0


def test_the_reliability_diagram_adds_up_to_the_error() -> None:
    y, p = sample(0)
    table = reliability(y, p)
    json.dumps(table)
    filled = [m for m in range(15) if table["count"][m]]
    gaps = [table["count"][m] * abs(table["accuracy"][m] - table["confidence"][m]) for m in filled]
    assert sum(gaps) / 400 == pytest.approx(expected_calibration_error(y, p), abs=TOLERANCE)


def test_likelihood_and_calibration_are_of_the_rows_whose_class_was_in_training() -> None:
    y = np.array([0, 2])
    p = np.array([[1.0, 0.0, np.nan], [1.0, 0.0, np.nan]])
    assert expected_calibration_error(y, p) == 0.0
    assert expected_calibration_error(y[1:], p[1:]) is None
    found = classification_metrics(y, p, p[:, :2].argmax(axis=1), 3, probabilities=p)
    assert (found["nll"], found["ece"], found["nll_rows"]) == (0.0, 0.0, 1)
    assert negative_log_likelihood(y, p) == 0.0
    np.testing.assert_array_equal(surprisals(y, p), [0.0, np.nan])


def test_what_is_no_probability_is_refused() -> None:
    y = np.array([0, 1])
    for p in (np.array([[2.0, -1.0], [0.5, 0.5]]), np.full((2, 2), np.nan), np.zeros((2, 2))):
        with pytest.raises(BadInput, match="probabilities"):
            expected_calibration_error(y, p)
    with pytest.raises(BadInput):
        expected_calibration_error(y[:0], np.zeros((0, 2)))


def test_probabilities_add_likelihood_calibration_and_roc_area() -> None:
    y, p = sample(1)
    plain = classification_metrics(y, np.log(p), p.argmax(axis=1), 7)
    ours = classification_metrics(y, np.log(p), p.argmax(axis=1), 7, probabilities=p)
    assert {key: ours[key] for key in plain} == plain
    assert set(ours) - set(plain) == {"nll", "ece", "nll_rows", "roc_auc"}
    assert ours["nll"] == pytest.approx(sk.log_loss(y, p), abs=TOLERANCE)
    assert ours["ece"] == pytest.approx(ece_by_a_loop(y, p, 15), abs=TOLERANCE)
    assert ours["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"), abs=TOLERANCE)
    json.dumps(ours)
    with pytest.raises(BadInput, match="probabilities"):
        classification_metrics(y, None, y, 7, probabilities=p[:, :6])


def test_the_table_of_classes_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    y = rng.choice([0, 1, 2, 5], 200)
    predicted = np.where(rng.random(200) < 0.6, y, rng.choice([0, 1, 4], 200))
    table = classification_metrics(y, None, predicted, 7, per_class=True)["per_class"]
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        y, predicted, labels=np.arange(7), zero_division=np.nan
    )
    for ours, theirs in ((table["precision"], precision), (table["recall"], recall), (table["f1"], f1)):
        np.testing.assert_allclose(np.array(ours, dtype=np.float64), theirs, atol=TOLERANCE)  # None is NaN
    assert table["support"] == support.tolist()
    json.dumps(table)


def test_a_class_that_occurs_nowhere_has_no_quotients() -> None:
    assert per_class_table(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]])) == {
        "recall": [0.75, None, None],
        "precision": [1.0, 0.0, None],
        "f1": [6 / 7, 0.0, None],
        "support": [4, 0, 0],
    }


def test_ranking_adds_the_eleven_point_precision_and_the_roc_area() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((100, 4)) < 0.3).astype(np.uint8)
    scores = rng.normal(size=y.shape) + y
    predicted = (scores > 0.5).astype(np.uint8)
    plain = multilabel_metrics(y, scores, predicted)
    ours = multilabel_metrics(y, scores, predicted, ranking=True)
    assert {key: ours[key] for key in plain} == plain
    assert set(ours) - set(plain) == {"map_11_point", "roc_auc", "lrap", "flag_accuracy", "hamming_score"}
    assert ours["roc_auc"] == pytest.approx(sk.roc_auc_score(y, scores), abs=TOLERANCE)
    unranked = multilabel_metrics(y, None, predicted, ranking=True)
    assert unranked["map_11_point"] is None
    assert unranked["roc_auc"] is None
