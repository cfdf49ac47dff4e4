import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import sklearn_input
from cryoprobe.pipeline.probes.knn.dinov2_knn import DINOV2_KS, dinov2_knn, draw_per_class
from cryoprobe.pipeline.probes.knn.nearest import nearest
from cryoprobe.pipeline.probes.knn.neighbours import KNNProbe

METRICS = ["cosine", "euclidean"]
TOLERANCE = 1e-12


@parametrize_with_checks([KNNProbe(), KNNProbe(weights="softmax"), KNNProbe(metric="euclidean", block_size=7)])
def test_the_probe_passes_scikit_learns_checks(estimator, check) -> None:
    check(estimator)


def similarities(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """Compare all pairs in float64, with the whole [m, n, d] in memory."""
    q, t = queries.astype(np.float64)[:, None], rows.astype(np.float64)
    if metric == "euclidean":
        return -np.square(q - t).sum(axis=2) / 2
    lengths = np.linalg.norm(q, axis=2) * np.linalg.norm(t, axis=1)
    return (q * t).sum(axis=2) / np.where(lengths == 0, 1, lengths)


def reference(queries: np.ndarray, rows: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    found = similarities(queries, rows, metric)
    # Copies of a row are equally similar; numpy's sums may differ in the last place all the same.
    order = np.argsort(-np.round(found, 11), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(found, order, axis=1), order


def search(queries: np.ndarray, rows: np.ndarray, k: int, metric: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    parts = list(nearest(queries, rows, k, metric=metric, block_size=size))
    return np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])


def blobs(n: int, d: int = 8, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return (rng.normal(size=(n, d)) + 2 * np.eye(n_classes, d)[y]).astype(np.float32), y


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 90),
    m=st.integers(1, 20),
    d=st.integers(1, 12),
    share=st.floats(0, 1),
    size=st.integers(1, 40),
    copies=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 2**16),
)
def test_the_search_is_exact(n, m, d, share, size, copies, dtype, metric, seed) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d)).astype(dtype)
    if copies:  # few different rows, and zeros among them
        rows = np.concatenate([rows[:3], np.zeros((1, d), dtype)])[rng.integers(0, min(n, 3) + 1, n)]
    queries = np.concatenate([rows[: m // 2], rng.normal(size=(m, d)).astype(dtype)])
    k = 1 + int(share * (n - 1))
    found, indices = search(queries, rows, k, metric, size)
    expected, order = reference(queries, rows, k, metric)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=TOLERANCE)
    np.testing.assert_array_equal(indices, order)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_float32_products_cannot_tell_apart_are_told_apart(metric: str) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=256).astype(np.float32)
    rows = np.repeat(base[None], 500, axis=0)
    changed = rng.integers(0, 256, 500)
    rows[np.arange(500), changed] = np.nextafter(base[changed], np.float32(9))  # one last bit in one entry
    rows[250:] = rows[:250]
    queries = (base + rng.normal(size=(20, 256)).astype(np.float32)).astype(np.float32)
    expected = -np.sort(-similarities(queries, rows, metric), axis=1)[:, :30]
    for size in (16, 100, 2048):
        found, indices = search(queries, rows, 30, metric, size)
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14)
        tied = np.diff(found, axis=1) == 0
        assert tied.any()
        assert (np.diff(indices, axis=1)[tied] > 0).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_blocks_change_nothing(metric: str, offset: float) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(700, 48)) + offset).astype(np.float32)
    rows[300:] = rows[rng.integers(0, 300, 400)]
    queries = (rng.normal(size=(90, 48)) + offset).astype(np.float32)
    expected = search(queries, rows, 25, metric, 1000)
    for size in (1, 13, 64, 333):
        found = search(queries, rows, 25, metric, size)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("metric", METRICS)
def test_an_encoder_that_collapsed_gives_the_first_rows(metric: str) -> None:
    rows = np.ones((3000, 4), np.float32)
    _, indices = search(rows[:50], rows, 7, metric, 64)
    np.testing.assert_array_equal(indices, np.tile(np.arange(7), (50, 1)))


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
@pytest.mark.parametrize("metric", METRICS)
def test_votes_are_those_of_the_reference(weights: str, metric: str) -> None:
    x, y = blobs(300)
    queries = blobs(80, seed=1)[0]
    probe = KNNProbe(15, weights=weights, metric=metric, temperature=0.2, block_size=33).fit(x, np.array([7, 5, 9])[y])
    found, order = reference(queries, x, 15, metric)
    w = np.full(found.shape, 1 / 15)
    if weights == "softmax":
        w = np.exp(found / 0.2) / np.exp(found / 0.2).sum(axis=1, keepdims=True)
    votes = np.einsum("mk,mkc->mc", w, np.eye(3)[np.array([1, 0, 2])[y]][order])
    np.testing.assert_allclose(probe.predict_proba(queries), votes, atol=TOLERANCE)
    np.testing.assert_array_equal(probe.predict(queries), np.array([5, 7, 9])[votes.argmax(axis=1)])
    np.testing.assert_array_equal(probe.kneighbors(queries)[1], order)


def test_uniform_euclidean_votes_are_scikit_learns() -> None:
    x, y = blobs(400, n_classes=5)
    queries = blobs(200, n_classes=5, seed=1)[0]
    ours = KNNProbe(20, metric="euclidean").fit(x, y)
    theirs = KNeighborsClassifier(20, algorithm="brute").fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(queries), theirs.predict_proba(queries), atol=TOLERANCE)
    np.testing.assert_array_equal(ours.predict(queries), theirs.predict(queries))


def test_on_unit_rows_both_metrics_weigh_alike() -> None:
    x, y = blobs(200)
    x = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    votes = [KNNProbe(10, weights="softmax", metric=metric).fit(x, y).predict_proba(x) for metric in METRICS]
    np.testing.assert_allclose(votes[0], votes[1], atol=1e-10)


def test_of_equal_votes_the_first_class_wins() -> None:
    x = np.array([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]])
    assert KNNProbe(4).fit(x, ["b", "a", "a", "b"]).predict([[1.0, 0.1]]) == ["a"]


def test_fewer_rows_than_k_all_vote() -> None:
    x, y = blobs(12)
    probe = KNNProbe(20).fit(x, y)
    assert probe.k_ == 12
    np.testing.assert_allclose(probe.predict_proba(x), np.full((12, 3), 1 / 3))


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
def test_flags_are_predicted_where_half_of_the_votes_have_them(weights: str) -> None:
    x, _ = blobs(200)
    flags = (np.random.default_rng(0).random((200, 5)) < 0.4).astype(np.uint8)
    probe = KNNProbe(6, weights=weights, block_size=50).fit(x, flags)
    found, order = reference(x, x, 6, "cosine")
    w = np.ones(found.shape) if weights == "uniform" else np.exp(found / 0.07)
    share = np.einsum("mk,mkc->mc", w, flags[order]) / w.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probe.predict_proba(x), share, atol=TOLERANCE)
    predicted = probe.predict(x)
    np.testing.assert_array_equal(predicted, share >= 0.5 - 1e-12)
    if weights == "uniform":
        theirs = KNeighborsClassifier(6, metric="cosine", algorithm="brute").fit(x.astype(float), flags)
        untied = ~np.isclose(share, 0.5)  # scikit-learn's ties go to 0
        np.testing.assert_array_equal(predicted[untied], theirs.predict(x.astype(float))[untied])
        assert predicted[~untied].all()
        assert not untied.all()


def test_memory_does_not_grow_with_the_number_of_queries() -> None:
    x, y = blobs(1000, 32, 5)
    probe = KNNProbe(20, weights="softmax", block_size=128).fit(x, y)

    def peak(n: int) -> int:
        queries = np.tile(x[:1000], (n // 1000, 1))
        tracemalloc.start()
        with threadpool_limits(1):  # threads that wait for small products take most of the time
            probe.predict(queries)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found - n * 8 * 2  # the labels, as codes and as classes

    few, many = peak(1000), peak(4000)
    assert many < 1.05 * few
    assert few < 30 * 8 * 128 * (128 + 20 + 5 + 32)


def test_tensors_are_taken_as_arrays() -> None:
    x, y = blobs(100)
    expected = KNNProbe(5).fit(x, y).predict_proba(x)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    np.testing.assert_array_equal(KNNProbe(5).fit(*tensors).predict_proba(tensors[0]), expected)
    half = tensors[0].half()
    probe = KNNProbe(5).fit(half, y)
    np.testing.assert_array_equal(probe.predict_proba(half), probe.predict_proba(half.numpy()))
    assert probe._x.dtype == np.float32


def test_the_probe_works_in_pipelines_and_searches() -> None:
    x, y = blobs(150)
    assert cross_val_score(make_pipeline(StandardScaler(), KNNProbe(5)), x, y, cv=3).mean() > 0.6
    search = GridSearchCV(KNNProbe(), {"k": [1, 5, 10], "weights": ["uniform", "softmax"]}, cv=3).fit(x, y)
    assert search.best_score_ > 0.6


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 0},
        {"k": 2.5},
        {"k": True},
        {"weights": "distance"},
        {"metric": "l1"},
        {"temperature": 0.0},
        {"block_size": 0},
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KNNProbe(**wrong).fit(*blobs(30))


def test_more_neighbours_than_rows_are_refused_where_they_are_asked_for() -> None:
    x, y = blobs(30)
    with pytest.raises(BadInput, match="31 neighbours of 30"):
        KNNProbe().fit(x, y).kneighbors(x, 31)
    with pytest.raises(BadInput):
        next(dinov2_knn(x, y, x))


def test_rows_too_large_for_float64_are_refused() -> None:
    x, y = blobs(30)
    with pytest.raises(ValueError, match="too large"):
        KNNProbe(3).fit(x, y).predict(np.full((1, 8), 1e200))


def dinov2(x: np.ndarray, y: np.ndarray, queries: np.ndarray, ks: list[int]) -> dict[int, np.ndarray]:
    """Follow protocols.md in torch and float64."""
    x, queries = (torch.nn.functional.normalize(torch.from_numpy(a).double(), dim=1) for a in (x, queries))
    top, index = (queries @ x.T).topk(max(ks), dim=1)
    weighted = torch.nn.functional.one_hot(torch.from_numpy(y)[index], 3) * (top / 0.07).softmax(dim=1)[:, :, None]
    return {k: weighted[:, :k].sum(dim=1).numpy() for k in ks}


def test_one_search_serves_dinov2s_four_ks() -> None:
    x, y = blobs(500)
    queries = blobs(60, seed=1)[0]
    expected = dinov2(x, y, queries, list(DINOV2_KS))
    found = list(dinov2_knn(x, y, queries, block_size=64))
    assert [votes.k for votes in found] == [10, 20, 100, 200]
    for votes in found:
        np.testing.assert_allclose(votes.votes, expected[votes.k], atol=TOLERANCE)


def test_some_rows_per_class_are_drawn_as_the_reference_draws_them() -> None:
    _, y = blobs(500)
    before = torch.random.get_rng_state()
    found = [draw_per_class(y, 15, attempt) for attempt in range(2)]
    assert torch.equal(before, torch.random.get_rng_state())
    for attempt in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(attempt)
            drawn = np.concatenate(
                [np.flatnonzero(y == c)[torch.randperm((y == c).sum())[:15].numpy()] for c in range(3)]
            )
        np.testing.assert_array_equal(found[attempt], drawn)


def test_a_class_with_few_rows_gives_them_all() -> None:
    y = np.array([0] * 10 + [1] * 2)
    assert sorted(draw_per_class(y, 4, 0)[4:]) == [10, 11]


@pytest.mark.parametrize("wrong", [{"ks": []}, {"ks": [0]}])
def test_numbers_below_one_are_refused(wrong: dict[str, object]) -> None:
    x, y = blobs(30)
    with pytest.raises(BadInput):
        next(dinov2_knn(x, y, x, **wrong))


def test_sums_of_classes_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(200)
    whole = sklearn_input.class_sums(x, y, 4)
    np.testing.assert_allclose(whole[:3], [x[y == c].astype(float).sum(axis=0) for c in range(3)], atol=TOLERANCE)
    assert not whole[3].any()
    blocks = sklearn_input.blocks
    monkeypatch.setattr(sklearn_input, "blocks", lambda n: blocks(n, 9))
    np.testing.assert_allclose(sklearn_input.class_sums(x, y, 4), whole, atol=TOLERANCE)


def test_flags_other_than_0_and_1_and_missing_labels_are_refused() -> None:
    x, _ = blobs(4)
    with pytest.raises(ValueError, match="flags"):
        KNNProbe(1).fit(x, np.array([[1, -1], [-1, 1], [1, 1], [-1, -1]]))
    with pytest.raises(ValueError, match="requires y"):
        KNNProbe(1).fit(x, None)
    with pytest.raises(ValueError, match="one class"):
        KNNProbe(1).fit(x, np.zeros(4))
