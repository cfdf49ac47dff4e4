from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics as sk

from cryoprobe.pipeline.metrics.ranking import (
    average_precision,
    eleven_point_average_precision,
    mean_eleven_point_average_precision,
    mean_roc_auc,
    one_vs_rest_roc_auc,
    roc_auc,
)

TOLERANCE = 1e-12


def tied(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.round(rng.normal(size=shape), 1)


@pytest.mark.parametrize("seed", range(5))
def test_roc_area_is_scikit_learns_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = (rng.random(400) < 0.3).astype(np.uint8)
    scores = tied(rng, (400,)) + y
    assert roc_auc(y, scores) == pytest.approx(sk.roc_auc_score(y, scores), abs=TOLERANCE)


def test_roc_area_is_the_share_of_pairs_in_the_right_order() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(60) < 0.4).astype(np.uint8)
    scores = tied(rng, (60,))
    pairs = [np.sign(p - q) / 2 + 0.5 for p in scores[y == 1] for q in scores[y == 0]]
    assert roc_auc(y, scores) == pytest.approx(np.mean(pairs), abs=TOLERANCE)


def test_roc_area_of_constant_scores_is_a_half_and_of_one_class_none() -> None:
    y = np.array([0, 1, 1, 0, 1], dtype=np.uint8)
    assert roc_auc(y, np.zeros(5)) == 0.5
    assert roc_auc(y, np.full(5, -np.inf)) == 0.5
    assert roc_auc(y, np.full(5, np.nan)) == 0.5
    assert roc_auc(np.ones(5, dtype=np.uint8), np.arange(5.0)) is None


@pytest.mark.parametrize("seed", range(3))
def test_one_vs_rest_roc_area_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(5, size=300)
    p = np.exp(tied(rng, (300, 5)) + np.eye(5)[y])
    p /= p.sum(axis=1, keepdims=True)
    expected = sk.roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert one_vs_rest_roc_auc(y, p) == pytest.approx(expected, abs=TOLERANCE)


def test_with_two_classes_the_roc_area_is_that_of_the_second() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=50)
    p = rng.random(50)
    both = np.stack([1 - p, p], axis=1)
    assert one_vs_rest_roc_auc(y, both) == pytest.approx(sk.roc_auc_score(y, p), abs=TOLERANCE)


def test_a_class_that_was_not_in_training_has_a_roc_area_of_a_half() -> None:
    y = np.array([0, 1, 2, 0, 1])
    p = np.stack([y == 0, y == 1, np.full(5, np.nan)], axis=1).astype(np.float64)
    assert one_vs_rest_roc_auc(y, p) == pytest.approx((1 + 1 + 0.5) / 3, abs=TOLERANCE)
    assert one_vs_rest_roc_auc(np.zeros(5, dtype=np.int64), p) is None


def test_macro_roc_area_leaves_out_columns_of_one_kind() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((200, 6)) < 0.3).astype(np.uint8)
    y[:, 1], y[:, 4] = 0, 1
    scores = tied(rng, y.shape) + y
    kept = [0, 2, 3, 5]
    expected = sk.roc_auc_score(y[:, kept], scores[:, kept], average="macro")
    assert mean_roc_auc(y, scores) == pytest.approx(expected, abs=TOLERANCE)
    assert mean_roc_auc(y[:, [1, 4]], scores[:, [1, 4]]) is None


def eleven_points_by_the_definition(y: np.ndarray, scores: np.ndarray) -> float:
    """Every threshold, in exact fractions."""
    curve = []
    for threshold in np.unique(scores):
        taken = scores >= threshold
        hits = int(y[taken].sum())
        curve.append((Fraction(hits, int(y.sum())), Fraction(hits, int(taken.sum()))))
    best = [max(p for r, p in curve if r >= Fraction(t, 10)) for t in range(11)]
    return float(sum(best) / 11)


@pytest.mark.parametrize("seed", range(5))
def test_eleven_point_precision_is_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.zeros(120, dtype=np.uint8)
    y[rng.choice(120, [1, 3, 10, 20, 37][seed], replace=False)] = 1  # 10 and 20 put recalls exactly on tenths
    scores = tied(rng, (120,)) + y
    expected = eleven_points_by_the_definition(y, scores)
    assert eleven_point_average_precision(y, scores) == pytest.approx(expected, abs=TOLERANCE)


def test_eleven_point_precision_of_a_perfect_order_is_one() -> None:
    y = np.array([1, 1, 1, 0, 0], dtype=np.uint8)
    assert eleven_point_average_precision(y, -np.arange(5.0)) == 1.0
    # One positive, second of four: precision 1/2 at every recall.
    y = np.array([0, 1, 0, 0], dtype=np.uint8)
    assert eleven_point_average_precision(y, -np.arange(4.0)) == pytest.approx(0.5, abs=TOLERANCE)


def test_mean_of_eleven_points_is_over_columns_with_positives() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((80, 3)) < 0.3).astype(np.uint8)
    y[:, 1] = 0
    scores = tied(rng, y.shape)
    expected = np.mean([eleven_points_by_the_definition(y[:, c], scores[:, c]) for c in (0, 2)])
    assert mean_eleven_point_average_precision(y, scores) == pytest.approx(expected, abs=TOLERANCE)
    assert mean_eleven_point_average_precision(y[:, [1]], scores[:, [1]]) is None


def test_no_measure_depends_on_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(90) < 0.4).astype(np.uint8)
    scores = tied(rng, (90,))
    shuffled = rng.permutation(90)
    for measure in (average_precision, eleven_point_average_precision, roc_auc):
        assert measure(y, scores) == measure(y[shuffled], scores[shuffled])
