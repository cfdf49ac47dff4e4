import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.metrics import bootstrap, classification_metrics, multilabel_metrics
from cryoprobe.pipeline.metrics.bootstrap import classification_intervals, multilabel_intervals, resample_counts

TOLERANCE = 1e-12


def counts_of(n: int, n_resamples: int, seed: int) -> np.ndarray:
    return np.concatenate(list(resample_counts(n, n_resamples, seed)), axis=1).astype(np.int64)  # [n, B]


def single_label(n: int = 150, k: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.choice(k, n, p=np.append(np.full(k - 1, 0.99 / (k - 1)), 0.01))  # draws often lack the last class
    p = np.exp(rng.normal(size=(n, k)) + 1.5 * np.eye(k)[y])
    p[:, 2] = 0
    p /= p.sum(axis=1, keepdims=True)
    scores = np.round(np.log(np.maximum(p, 1e-9)), 1)
    scores[:, 2] = -np.inf
    p[:, 2] = np.nan  # a class that was not in training
    return y, scores, p


def quantiles(values: list[Any]) -> np.ndarray:
    return np.quantile(np.array([v for v in values if v is not None]), [0.025, 0.975])


def test_intervals_are_those_of_scoring_every_draw_by_itself() -> None:
    y, scores, p = single_label()
    predicted = scores.argmax(axis=1)
    ours = classification_intervals(y, scores, predicted, 8, probabilities=p, n_resamples=60, seed=3)
    each = []
    for draw in counts_of(150, 60, 3).T:
        rows = np.repeat(np.arange(150), draw)
        each.append(classification_metrics(y[rows], scores[rows], predicted[rows], 8, probabilities=p[rows]))
    for name in ("top1", "top5", "mean_per_class_recall", "macro_f1", "nll"):
        np.testing.assert_allclose(ours[name], quantiles([m[name] for m in each]), atol=TOLERANCE, err_msg=name)
    json.dumps(ours)


def test_multilabel_intervals_are_those_of_scoring_every_draw_by_itself() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random((120, 6)) < 0.25).astype(np.uint8)
    y[:, 1] = 0
    y[:, 2] = 0
    y[:2, 2] = 1  # draws often have no positive of this class
    scores = np.round(rng.normal(size=y.shape) + y, 1)
    predicted = (scores > 0.7).astype(np.uint8)
    ours = multilabel_intervals(y, scores, predicted, n_resamples=60, seed=1)
    each = []
    for draw in counts_of(120, 60, 1).T:
        rows = np.repeat(np.arange(120), draw)
        each.append(multilabel_metrics(y[rows], scores[rows], predicted[rows]))
    for name in ("map", "macro_f1", "micro_f1", "subset_accuracy"):
        np.testing.assert_allclose(ours[name], quantiles([m[name] for m in each]), atol=TOLERANCE, err_msg=name)
    json.dumps(ours)


def test_average_precision_of_a_draw_is_scikit_learns_with_the_counts_as_weights() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(200) < 0.3).astype(np.uint8)
    scores = np.round(rng.normal(size=200) + y, 1)
    counts = counts_of(200, 20, 0)
    ours = bootstrap.PrecisionSteps(y, scores).average_precision(counts.astype(np.float64))
    theirs = [average_precision_score(y, scores, sample_weight=draw) for draw in counts.T]
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


def test_a_draw_is_of_as_many_rows_and_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = counts_of(31, 50, 7)
    assert whole.shape == (31, 50)
    np.testing.assert_array_equal(whole.sum(axis=0), 31)
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 8 * 31 * 7)
    chunks = list(resample_counts(31, 50, 7))
    assert [c.shape[1] for c in chunks] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), whole)
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 1)
    np.testing.assert_array_equal(counts_of(31, 50, 7), whole)


def test_counts_are_multinomial() -> None:
    counts = counts_of(40, 20_000, 0)
    # Var = n p (1 - p) = 1 - 1/40, Cov = -n p² = -1/40; the sampling error of 20,000 draws is about 0.01.
    cov = np.cov(counts)
    np.testing.assert_allclose(counts.mean(axis=1), 1, atol=0.04)
    np.testing.assert_allclose(np.diag(cov), 1 - 1 / 40, atol=0.08)
    np.testing.assert_allclose(cov[~np.eye(40, dtype=bool)], -1 / 40, atol=0.04)


def test_the_interval_of_top1_is_about_the_binomial_one() -> None:
    y = np.zeros(2000, dtype=np.int64)
    predicted = (np.arange(2000) % 5 == 0).astype(np.int64)  # 80 % right
    low, high = classification_intervals(y, None, predicted, 2)["top1"] or [0, 0]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2000)
    assert low == pytest.approx(0.8 - half, abs=0.002)
    assert high == pytest.approx(0.8 + half, abs=0.002)


def test_a_seed_repeats_its_interval_and_touches_no_global_state() -> None:
    y, scores, p = single_label()
    np.random.seed(0)
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    first = classification_intervals(y, scores, scores.argmax(axis=1), 8, probabilities=p, seed=5)
    assert first == classification_intervals(y, scores, scores.argmax(axis=1), 8, probabilities=p, seed=5)
    assert first != classification_intervals(y, scores, scores.argmax(axis=1), 8, probabilities=p, seed=6)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_what_has_no_score_has_no_interval() -> None:
    y = np.array([0, 1, 1])
    found = classification_intervals(y, None, y, 3, n_resamples=10)
    assert found["top5"] is None
    assert found["nll"] is None
    assert found["top1"] == [1.0, 1.0]
    flags = np.zeros((3, 2), dtype=np.uint8)
    assert multilabel_intervals(flags, np.zeros((3, 2)), flags, n_resamples=10) == {
        "map": None,
        "macro_f1": [0.0, 0.0],
        "micro_f1": [0.0, 0.0],
        "subset_accuracy": [1.0, 1.0],
    }


def test_a_wider_level_has_a_wider_interval_and_nonsense_is_refused() -> None:
    y, scores, _ = single_label()
    predicted = scores.argmax(axis=1)
    narrow = classification_intervals(y, scores, predicted, 8, level=0.5)["top1"]
    wide = classification_intervals(y, scores, predicted, 8, level=0.99)["top1"]
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    with pytest.raises(BadInput, match="level"):
        classification_intervals(y, scores, predicted, 8, level=95)
    with pytest.raises(BadInput, match="draw"):
        classification_intervals(y, scores, predicted, 8, n_resamples=0)
    with pytest.raises(BadInput):
        multilabel_intervals(np.eye(3, dtype=np.uint8), np.zeros((3, 2)), np.eye(3, dtype=np.uint8))
