import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cryoprobe.pipeline.probes.closed_form.centroids import NearestMeanProbe

METRICS = ["cosine", "euclidean"]
TOLERANCE = 1e-11


@parametrize_with_checks([NearestMeanProbe(), NearestMeanProbe("euclidean")])
def test_the_probe_passes_scikit_learns_checks(estimator, check) -> None:
    check(estimator)


def blobs(n: int, d: int = 8, n_classes: int = 4, seed: int = 0, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    return rng.normal(size=(n, d)) + 2 * np.eye(n_classes, d)[y] + offset, y


def reference(x: np.ndarray, y: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    if metric == "cosine":
        x, queries = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, queries))
    means = np.stack([x[y == c].mean(axis=0) for c in np.unique(y)])
    if metric == "cosine":
        return queries @ means.T / np.linalg.norm(means, axis=1)
    return -np.square(queries[:, None] - means).sum(axis=2) / 2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_scores_are_similarities_to_the_class_means(metric: str, n_classes: int) -> None:
    x, y = blobs(300, n_classes=n_classes)
    queries = blobs(100, n_classes=n_classes, seed=1)[0]
    expected = reference(x, y, queries, metric)
    probe = NearestMeanProbe(metric).fit(x, np.array(list("edcba"))[y])
    expected = expected[:, ::-1]
    scores = probe.decision_function(queries)
    if n_classes == 2:
        np.testing.assert_allclose(scores, expected[:, 1] - expected[:, 0], atol=TOLERANCE)
    else:
        np.testing.assert_allclose(scores, expected, atol=TOLERANCE)
    np.testing.assert_array_equal(probe.predict(queries), probe.classes_[expected.argmax(axis=1)])


def test_euclidean_predictions_are_scikit_learns() -> None:
    x, y = blobs(300)
    queries = blobs(500, seed=1)[0]
    ours, theirs = NearestMeanProbe("euclidean").fit(x, y), NearestCentroid().fit(x, y)
    np.testing.assert_allclose(ours.means_, theirs.centroids_, atol=TOLERANCE)
    np.testing.assert_array_equal(ours.predict(queries), theirs.predict(queries))


@pytest.mark.parametrize("metric", METRICS)
def test_float32_rows_far_from_the_origin_score_as_their_float64_copies(metric: str) -> None:
    x, y = blobs(300, offset=1000.0 if metric == "euclidean" else 0.0)
    x = x.astype(np.float32)
    probe = NearestMeanProbe(metric).fit(x, y)
    assert probe.decision_function(x).dtype == np.float32
    np.testing.assert_allclose(
        probe.decision_function(x), reference(x.astype(float), y, x.astype(float), metric), rtol=1e-5, atol=1e-5
    )


def test_cosine_does_not_see_the_length_of_rows() -> None:
    x, y = blobs(100)
    scaled = x * np.random.default_rng(0).uniform(0.01, 100, (100, 1))
    expected = NearestMeanProbe().fit(x, y).decision_function(x)
    np.testing.assert_allclose(NearestMeanProbe().fit(scaled, y).decision_function(scaled), expected, atol=TOLERANCE)


def test_rows_of_zeros_and_means_that_cancel_have_cosine_zero() -> None:
    probe = NearestMeanProbe().fit([[1.0, 0], [-1.0, 0], [0, 2.0], [0, 3.0], [3.0, 0]], [0, 0, 1, 1, 2])
    np.testing.assert_array_equal(probe.decision_function([[0.0, 0], [0, 1]]), [[0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(probe.predict([[0.0, 0]]), [0])


def test_tensors_are_taken_as_arrays() -> None:
    x, y = blobs(60)
    x = x.astype(np.float32)
    expected = NearestMeanProbe().fit(x, y).decision_function(x)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    np.testing.assert_array_equal(NearestMeanProbe().fit(*tensors).decision_function(tensors[0]), expected)


def test_the_probe_works_in_pipelines_and_searches() -> None:
    x, y = blobs(150)
    assert cross_val_score(make_pipeline(StandardScaler(), NearestMeanProbe()), x, y, cv=3).mean() > 0.6
    assert GridSearchCV(NearestMeanProbe(), {"metric": METRICS}, cv=3).fit(x, y).best_score_ > 0.6


def test_a_metric_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="metric"):
        NearestMeanProbe("manhattan").fit(*blobs(20))
