"""What nearest neighbours can't know is left out of a result, and said: votes that nobody cast, ties, twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from support.probing import problem

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import Draw, LabelledFeatures, ProbeRequest, run_probe
from cryoprobe.pipeline.probes.outcome import ProbeOutcome
from cryoprobe.pipeline.probes.sklearn_calls import predict
from cryoprobe.pipeline.probes.twins import Twins, twins
from cryoprobe.pipeline.protocols import protocol_named

K, D = 10, 32


def blobs(n: int, seed: int, *, spread: float = 1.0) -> LabelledFeatures:
    """Return n rows around ten centres that are far apart, a class each."""
    centres = 3 * np.random.default_rng(99).normal(size=(K, D))
    y = np.arange(n) % K
    x = centres[y] + spread * np.random.default_rng(seed).normal(size=(n, D))
    return LabelledFeatures((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y)


def noise(n: int, seed: int, labels: Any) -> LabelledFeatures:
    return LabelledFeatures(np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32), np.asarray(labels))


def knn(
    train: LabelledFeatures,
    test: LabelledFeatures,
    val: LabelledFeatures | None = None,
    n_classes: int = K,
    **request: Any,
) -> ProbeOutcome:
    return run_probe(ProbeRequest(probe="knn", **request), train, val, test, n_classes)


@pytest.mark.parametrize("how", [{}, {"params": {"weights": "softmax"}}, {"params": {"k": 500}}], ids=str)
def test_knn_k_exceeds(how: dict[str, Any]) -> None:
    done = knn(blobs(10, 0), blobs(100, 1), **how)
    assert done.chosen == {"k": 10.0}
    assert any("was cut to 10" in remark for remark in done.remarks)
    uniform = how.get("params", {}).get("weights") != "softmax"
    assert any("all predictions are the same" in line for line in done.warnings) == uniform
    assert done.metrics["top1"] == (0.1 if uniform else 1.0)


def test_knn_k_exceeds_in_a_grid_and_where_another_parameter_is_tuned() -> None:
    done = knn(blobs(40, 0), blobs(100, 1), blobs(40, 2), grid={"k": [1, 3, 100, 200]})
    assert [point["k"] for point in done.curve] == [1.0, 3.0, 40.0]
    assert done.remarks == ["k = 100, 200 was cut to 40: there are no more training rows that can vote"]
    other = knn(
        blobs(10, 0),
        blobs(100, 1),
        blobs(10, 2),
        params={"weights": "softmax", "k": 50},
        grid={"temperature": [0.07, 0.1]},
    )
    assert other.chosen["k"] == 20.0  # train and validation rows together
    assert "k = 50 was cut to 20" in other.remarks[0]


@pytest.mark.parametrize("classes", [range(4), range(6, 10)], ids=["first classes", "last classes"])
def test_knn_top5(classes: range) -> None:
    """On pure noise, top-5 of one neighbour is its top-1: the other nine classes got no vote, whatever their number."""
    train = noise(500, 0, np.arange(500) % K)
    test = noise(300, 1, np.resize(classes, 300))
    one, three = knn(train, test, params={"k": 1}), knn(train, test, params={"k": 3})
    assert one.metrics["top5"] == one.metrics["top1"]
    assert three.metrics["top5"] < 0.35  # three of ten classes at most
    low, high = one.intervals["top5"] or (1, 1)
    assert low <= one.metrics["top1"] <= high
    posed = problem({"temperature": 0.07}, n=(420, 120, 200))
    done = protocol_named("dinov2-knn").run(posed)
    counted = done.estimator.predict_proba(posed.test.matrix)[np.arange(200), posed.test.y] > 0
    assert done.metrics["top5"] <= counted.mean()


def test_classes_without_a_vote_are_no_hit_for_any_estimator_that_votes() -> None:
    train, test = noise(60, 0, np.arange(60) % K), noise(50, 1, np.arange(50) % K)
    for estimator in (KNeighborsClassifier(1), RandomForestClassifier(2, random_state=0)):
        found = predict(estimator.fit(train.x, train.y), test, K)
        assert found.scores is not None
        np.testing.assert_array_equal(np.isneginf(found.scores), estimator.predict_proba(test.matrix) == 0)
    far = LabelledFeatures(test.matrix + 50 * np.eye(50, D, dtype=np.float32), test.y)
    density = predict(GaussianNB(var_smoothing=1e-12).fit(train.x, train.y), far, K)
    assert density.scores is not None
    assert np.isfinite(density.scores).all()  # a density that underflows still ranks


def test_knn_grid_nll() -> None:
    """Votes are chosen by top-1: of rows that give their class no vote, a likelihood would count only how many."""
    rng = np.random.default_rng(0)
    modes = rng.normal(size=(20, 6, D))

    def draw(per_mode: int) -> LabelledFeatures:
        y, m = np.repeat(np.arange(20), 6 * per_mode), np.tile(np.repeat(np.arange(6), per_mode), 20)
        x = modes[y, m] + 0.95 * rng.normal(size=(len(y), D))
        return LabelledFeatures((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y)

    train, val, test = draw(6), draw(6), draw(10)
    grid = {"k": [1, 3, 5, 10, 20, 50, 100, 200]}
    done = knn(train, test, val, 20, grid=grid)
    best = max(point["top1"] for point in done.curve)
    assert done.chosen_by == "top1"
    assert next(p["top1"] for p in done.curve if p["k"] == done.chosen["k"]) == best
    assert done.curve[0]["nll"] is None
    assert done.metrics["nll"] is done.metrics["ece"] is done.intervals["nll"] is None
    assert any("nll and ece are left out" in line and "of 1,200 test rows" in line for line in done.warnings)
    asked = knn(train, test, val, 20, grid=grid, choose_by="nll")
    assert asked.chosen_by == "top1"
    assert any("top1 chooses" in line and "nll is infinite" in line for line in asked.warnings)


def test_unseen_class_nll() -> None:
    """Likelihood and calibration are of the same rows, those whose class was in training, and it is said how many."""
    seen = blobs(200, 0)
    train = seen.take(np.flatnonzero(seen.y < 5))
    done = knn(train, blobs(40, 1), params={"k": 5})
    assert done.metrics["top1"] == 0.5
    assert (done.metrics["nll"], done.metrics["ece"], done.metrics["nll_rows"]) == (0.0, 0.0, 20)
    assert any("nll and ece are of 20 of 40 test rows" in line for line in done.warnings)


def test_identical_rows_and_contradicting_labels_are_counted() -> None:
    x = np.random.default_rng(0).normal(size=(60, 40)).astype(np.float32)
    y = np.arange(60) % 3
    assert twins(LabelledFeatures(x, y)) == Twins(0, 1, 0)
    x[10:20], x[31] = x[10], x[30]
    y[10:20], y[30], y[31] = 1, 0, 2
    assert twins(LabelledFeatures(x, y)) == Twins(12, 10, 2)
    x[:, ::3] = 0.0
    x[5], x[6] = 0.0, -0.0
    y[5], y[6] = 2, 2
    assert twins(LabelledFeatures(x, y)) == Twins(14, 10, 2)
    flags = np.eye(3, dtype=np.uint8)[y]
    assert twins(LabelledFeatures(x, flags)) == Twins(14, 10, 2)


def test_identical_rows_are_told_of_nearest_neighbours_and_large_groups_of_any_probe() -> None:
    train, test = blobs(200, 0, spread=3.0), blobs(100, 1, spread=3.0)
    same = np.array(train.matrix)
    same[:3] = same[0]
    few = knn(LabelledFeatures(same, train.y), test).warnings
    assert any(line.startswith("3 of 200 training rows are identical") for line in few)
    assert any(line.startswith("3 of 200 training rows have the features of a row with another label") for line in few)
    same[:30] = same[0]
    lines = run_probe(ProbeRequest(probe="nearest-mean"), LabelledFeatures(same, train.y), None, test, K).warnings
    assert "30 of 200 training rows are identical" in lines
    assert not any("identical" in line for line in knn(train, test).warnings)


def test_ties_across_k_are_counted_and_equal_votes_are_told() -> None:
    x = np.repeat(np.eye(4, dtype=np.float32), 30, axis=0)
    train = LabelledFeatures(x, np.repeat(np.arange(4), 30))
    test = LabelledFeatures(np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]], np.array([0, 1, 2, 3, 0]))
    lines = knn(train, test, n_classes=4, params={"k": 20}).warnings
    assert any("for 5 of 5 test rows the neighbours number 20 and 21 are equally near" in line for line in lines)
    lines = knn(train, test, n_classes=4, params={"k": 30}).warnings
    assert not any("equally near:" in line for line in lines)
    between = LabelledFeatures(np.array([[1, 1, 0, 0]], dtype=np.float32), np.array([1]))
    lines = knn(train, between, n_classes=4, params={"k": 60}).warnings
    assert any("for 1 of 1 test rows several classes have the most votes" in line for line in lines)
    posed = problem({"temperature": 0.07}, draw=Draw())
    again = LabelledFeatures(np.repeat(posed.train.matrix, 2, axis=0), np.repeat(posed.train.y, 2))
    odd = protocol_named("dinov2-knn").run(
        type(posed)(**{**posed.__dict__, "train": again.take(np.arange(1, len(again)))})
    )
    assert any("have an identical twin" in line for line in odd.warnings)


def test_validation_rows_that_share_no_class_with_train_are_refused_and_missing_classes_are_told() -> None:
    part = blobs(100, 0)
    low, high = part.take(np.flatnonzero(part.y < 5)), part.take(np.flatnonzero(part.y >= 5))
    with pytest.raises(BadInput, match="no class in common"):
        knn(low, low, high, grid={"k": [1, 3]})
    lines = knn(part, part, low, grid={"k": [1, 3]}).warnings
    assert "5 of train's classes have no validation row" in lines
    lines = knn(low, part, part, grid={"k": [1, 3]}).warnings
    assert "5 of the validation rows' classes have no train row: they count as wrong" in lines
