import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cryoprobe.pipeline.probes import sklearn_input
from cryoprobe.pipeline.probes.closed_form import discriminant
from cryoprobe.pipeline.probes.closed_form.discriminant import LDAProbe

TOLERANCE = 1e-10  # relative to the largest entry


@parametrize_with_checks([LDAProbe(), LDAProbe(0.1)])
def test_the_probe_passes_scikit_learns_checks(estimator, check) -> None:
    check(estimator)


def blobs(n: int, d: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes).repeat(2), rng.integers(0, n_classes, n - 2 * n_classes)])
    return rng.normal(size=(n, d)) * rng.uniform(0.1, 5, d) + 2 * rng.normal(size=(n_classes, d))[y] + 3, y


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def agree(x: np.ndarray, y: np.ndarray, shrinkage: str | float, queries: np.ndarray) -> None:
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, y)
    ours = LDAProbe(shrinkage).fit(x, y)
    close(ours.means_, theirs.means_)
    close(ours.covariance_, theirs.covariance_)
    close(ours.coef_, theirs.coef_)
    close(ours.intercept_, theirs.intercept_)
    close(ours.decision_function(queries), theirs.decision_function(queries))
    close(ours.predict_proba(queries), theirs.predict_proba(queries), 1e-8)
    np.testing.assert_array_equal(ours.predict(queries), theirs.predict(queries))


@pytest.mark.parametrize("shrinkage", ["auto", 0.0, 0.3, 1.0])
@pytest.mark.parametrize(("n", "d", "n_classes"), [(300, 12, 4), (300, 12, 2), (50, 1, 3), (900, 90, 3)])
def test_it_is_scikit_learns(n: int, d: int, n_classes: int, shrinkage: str | float) -> None:
    x, y = blobs(n, d, n_classes)
    agree(x, y, shrinkage, blobs(80, d, n_classes, seed=1)[0])


@pytest.mark.parametrize("shrinkage", ["auto", 0.01, 1.0])
def test_it_is_scikit_learns_with_fewer_rows_than_features(shrinkage: str | float) -> None:
    x, y = blobs(40, 100, 4)
    x[:, 5] = 7.25  # and one of them constant
    agree(x, y, shrinkage, blobs(30, 100, 4, seed=1)[0])


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(12, 60),
    d=st.integers(1, 40),
    n_classes=st.integers(2, 5),
    shrinkage=st.sampled_from(["auto", 0.05, 0.9]),
    seed=st.integers(0, 2**16),
)
def test_it_is_scikit_learns_on_any_data(n: int, d: int, n_classes: int, shrinkage: str | float, seed: int) -> None:
    x, y = blobs(n, d, n_classes, seed)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, y)
    ours = LDAProbe(shrinkage).fit(x, y)
    close(ours.covariance_, theirs.covariance_)
    condition = np.linalg.cond(theirs.covariance_)
    close(ours.coef_, theirs.coef_, 1e-14 * max(condition, 1e3))


def test_a_class_with_one_row_has_no_covariance() -> None:
    x, y = blobs(60, 5, 3)
    y[np.flatnonzero(y == 2)[1:]] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's about the single row
        agree(x, y, "auto", x)


def test_without_shrinkage_a_singular_covariance_has_the_solution_of_least_norm() -> None:
    rng = np.random.default_rng(0)
    x, y = blobs(100, 6, 3)
    x = x @ rng.normal(size=(6, 30))
    ours = LDAProbe(0.0).fit(x, y)
    expected = ours.means_ @ np.linalg.pinv(ours.covariance_, rcond=1e-12)
    close(ours.coef_, expected, 1e-8)
    assert ours.score(x, y) == LinearDiscriminantAnalysis(solver="svd").fit(x, y).score(x, y)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(200, 20, 3)
    expected = LDAProbe().fit(x, y)
    monkeypatch.setattr(discriminant, "blocks", lambda n: sklearn_input.blocks(n, 11))
    found = LDAProbe().fit(x, y)
    close(found.covariance_, expected.covariance_, 1e-13)
    close(found.coef_, expected.coef_, 1e-11)


def test_float32_rows_are_computed_in_float64() -> None:
    x, y = blobs(300, 10, 3)
    x = x.astype(np.float32)
    agree(x.astype(np.float64), y, "auto", x.astype(np.float64))
    narrow, wide = LDAProbe().fit(x, y), LDAProbe().fit(x.astype(np.float64), y)
    np.testing.assert_array_equal(narrow.coef_, wide.coef_)
    np.testing.assert_array_equal(narrow.decision_function(x), wide.decision_function(x.astype(np.float64)))


def test_tensors_are_taken_as_arrays() -> None:
    x, y = blobs(60, 6, 3)
    expected = LDAProbe().fit(x, y).predict_proba(x)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    np.testing.assert_array_equal(LDAProbe().fit(*tensors).predict_proba(tensors[0]), expected)


def test_the_probe_works_in_pipelines_and_searches() -> None:
    x, y = blobs(150, 8, 3)
    assert cross_val_score(make_pipeline(StandardScaler(), LDAProbe()), x, y, cv=3).mean() > 0.6
    assert GridSearchCV(LDAProbe(), {"shrinkage": ["auto", 0.1]}, cv=3).fit(x, y).best_score_ > 0.6


@pytest.mark.parametrize("shrinkage", [-0.1, 1.1, "ledoit", None, True, float("nan")])
def test_shrinkage_out_of_range_is_refused(shrinkage: object) -> None:
    with pytest.raises(ValueError, match="shrinkage"):
        LDAProbe(shrinkage).fit(*blobs(30, 3, 2))


@pytest.mark.parametrize("shrinkage", ["auto", 0.01, 1.0])
@pytest.mark.parametrize(("n", "n_classes"), [(9, 2), (30, 4), (60, 10)])
def test_it_is_scikit_learns_in_the_span_of_a_few_rows(n: int, n_classes: int, shrinkage: str | float) -> None:
    x, y = blobs(n, 400, n_classes)
    x[:, 5] = 7.25  # one of them constant
    agree(x, y, shrinkage, blobs(30, 400, n_classes, seed=1)[0])


def test_in_the_span_of_a_few_rows_a_covariance_without_shrinkage_has_the_solution_of_least_norm() -> None:
    x, y = blobs(20, 200, 3)
    ours = LDAProbe(0.0).fit(x, y)
    close(ours.coef_, ours.means_ @ np.linalg.pinv(ours.covariance_, rcond=1e-12, hermitian=True), 1e-8)


def test_twenty_rows_in_sixteen_thousand_dimensions_are_solved_without_their_covariance() -> None:
    x, y = blobs(20, 16384, 2)
    probe = LDAProbe().fit(x, y)
    assert "covariance_" not in vars(probe)  # 2 GiB
    means = (probe.means_[1] - probe.means_[0])[None]
    close(probe._factor.T @ (probe._factor @ probe.coef_.T) + probe._diagonal[:, None] * probe.coef_.T, means.T, 1e-9)
    assert probe.score(x, y) == 1.0


def test_a_second_fit_forgets_the_covariance_of_the_first() -> None:
    thin, wide = blobs(20, 200, 2), blobs(100, 10, 2)
    probe = LDAProbe().fit(*thin)
    assert probe.covariance_.shape == (200, 200)
    assert probe.fit(*wide).covariance_.shape == (10, 10)
    close(probe.fit(*thin).covariance_, LDAProbe().fit(*thin).covariance_)


@pytest.mark.parametrize("n_classes", [2, 10])
def test_lda_oneshot(n_classes: int) -> None:
    """With one row a class there is no variance within classes: refused, as by scikit-learn."""
    x, y = np.random.default_rng(0).normal(size=(n_classes, 32)), np.arange(n_classes)
    for estimator in (LDAProbe(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")):
        with pytest.raises(ValueError, match="number of samples must be more than the number of classes"):
            estimator.fit(x, y)


def test_a_singular_covariance_is_told() -> None:
    """Two rows in two classes and one in the rest: Ledoit and Wolf's formula shrinks nothing."""
    x, y = np.random.default_rng(0).normal(size=(9, 200)), np.array([0, 1, 1, 2, 3, 4, 4, 5, 6])
    with pytest.warns(UserWarning, match="covariance within classes is singular"):
        ours = LDAProbe().fit(x, y)
    close(ours.coef_, ours.means_ @ np.linalg.pinv(ours.covariance_, rcond=1e-12, hermitian=True), 1e-8)
