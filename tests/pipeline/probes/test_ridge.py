import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes.closed_form.few_shot_ridge import FewShotRidgeProbe, few_shot_ridge_path
from cryoprobe.pipeline.probes.closed_form.ridge import RidgeProbe, ridge_path

LAMBDAS = 10.0 ** np.arange(-4, 7)
SHAPES = {"n > d": (120, 15), "n < d": (30, 80), "n = d": (40, 40)}
FLOAT32 = 2e-5  # of scores of the order of 1


@parametrize_with_checks([RidgeProbe(), FewShotRidgeProbe()])
def test_the_probes_pass_scikit_learns_checks(estimator, check) -> None:
    check(estimator)


def blobs(n: int, d: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return rng.normal(size=(n, d)) * rng.uniform(0.2, 3, d) + rng.normal(size=(n_classes, d))[y] + 5, y


def signs(y: np.ndarray) -> np.ndarray:
    return np.where(y[:, None] == np.unique(y), 1.0, -1.0)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def direct(x: np.ndarray, y: np.ndarray, strength: float, w: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Solve the normal equations with an explicit intercept that is not penalised."""
    w = np.ones(len(x)) if w is None else w
    z = np.column_stack([x, np.ones(len(x))])
    penalty = strength * np.diag(np.append(np.ones(x.shape[1]), 0.0))
    solution = np.linalg.solve(z.T @ (w[:, None] * z) + penalty, z.T @ (w[:, None] * y))
    return solution[:-1].T, solution[-1]


def straight_few_shot(x: np.ndarray, y: np.ndarray, strength: float, queries: np.ndarray) -> np.ndarray:
    """Follow protocols.md word by word; no dual form, no eigenvectors."""
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-5
    z = np.column_stack([(x - mean) / std, np.full(len(x), 100.0)])
    w = np.linalg.solve(z.T @ z + strength * np.eye(z.shape[1]), z.T @ y)
    return np.column_stack([(queries - mean) / std, np.full(len(queries), 100.0)]) @ w


@pytest.mark.parametrize(("n", "d"), SHAPES.values(), ids=SHAPES)
def test_every_strength_of_a_path_solves_the_normal_equations(n: int, d: int) -> None:
    x, y = blobs(n, d, 4)
    path = ridge_path(x, signs(y), LAMBDAS)
    for strength, coef, intercept in zip(LAMBDAS, *path, strict=True):
        # The reference squares the condition number too: it loses digits where the strength is small.
        tolerance = 1e-10 if strength >= 0.1 else 1e-7
        expected = direct(x, signs(y), strength)
        close(coef, expected[0], tolerance)
        close(intercept, expected[1], tolerance)


@pytest.mark.parametrize(("n", "d"), SHAPES.values(), ids=SHAPES)
def test_rank_deficient_rows_are_solved(n: int, d: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 6)) @ rng.normal(size=(6, d))
    y = signs(np.arange(n) % 3)
    for strength, coef, _ in zip(LAMBDAS, *ridge_path(x, y, LAMBDAS), strict=True):
        close(coef, direct(x, y, strength)[0], 1e-9 if strength >= 0.1 else 1e-6)


@pytest.mark.parametrize(("n", "d"), [(60, 10), (20, 50)])
def test_strength_zero_is_the_solution_of_least_norm(n: int, d: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, 6)) @ rng.normal(size=(6, d))
    y = signs(np.arange(n) % 3)
    expected = np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(axis=0), rcond=1e-10)[0].T
    close(ridge_path(x, y, [0.0]).coefs[0], expected, 1e-9)


@pytest.mark.parametrize(("n", "d"), SHAPES.values(), ids=SHAPES)
def test_sample_weights_are_repetitions_and_agree_with_the_normal_equations(n: int, d: int) -> None:
    x, y = blobs(n, d, 3)
    times = np.random.default_rng(0).integers(0, 4, n)
    repeated = np.repeat(x, times, axis=0), np.repeat(signs(y), times, axis=0)
    for path in (ridge_path, few_shot_ridge_path):
        weighted, plain = path(x, signs(y), [1.0, 100.0], sample_weight=times), path(*repeated, [1.0, 100.0])
        close(weighted.coefs, plain.coefs, 1e-9)
        close(weighted.intercepts, plain.intercepts, 1e-9)
    expected = direct(x, signs(y), 2.5, times.astype(float))
    close(ridge_path(x, signs(y), [2.5], sample_weight=times).coefs[0], expected[0], 1e-9)


@pytest.mark.parametrize(("n", "d"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_ridge_probe_is_scikit_learns_ridge_classifier(n: int, d: int, n_classes: int) -> None:
    x, y = blobs(n, d, n_classes)
    queries = blobs(50, d, n_classes, seed=1)[0]
    for alpha in (0.1, 1.0, 1000.0):
        ours, theirs = RidgeProbe(alpha).fit(x, y), RidgeClassifier(alpha, solver="svd").fit(x, y)
        close(ours.coef_, theirs.coef_, 1e-9)
        close(ours.intercept_, theirs.intercept_, 1e-9)
        close(ours.decision_function(queries), theirs.decision_function(queries), 1e-9)
        np.testing.assert_array_equal(ours.predict(queries), theirs.predict(queries))


@pytest.mark.parametrize(("n", "d"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_few_shot_probe_is_the_protocol_written_out(n: int, d: int, n_classes: int) -> None:
    x, y = blobs(n, d, n_classes)
    x[:, 2] = 0.3  # a feature that does not vary is divided by 1e-5
    queries = blobs(50, d, n_classes, seed=1)[0]
    queries[:, 2] = 0.3
    for strength in (1.0, 32.0, 1024.0, 2.0**20):
        expected = straight_few_shot(x, signs(y), strength, queries)
        scores = FewShotRidgeProbe(strength).fit(x, y).decision_function(queries)
        close(scores, expected[:, 1] if n_classes == 2 else expected, 1e-9)
        coefs, intercepts = few_shot_ridge_path(x, signs(y), [strength])
        close(queries @ coefs[0].T + intercepts[0], expected, 1e-9)
    assert FewShotRidgeProbe().alpha == 1024.0


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(4, 40),
    d=st.integers(1, 40),
    exponent=st.integers(-2, 5),
    seed=st.integers(0, 2**16),
    few=st.booleans(),
)
def test_the_gradient_vanishes_at_the_solution(n: int, d: int, exponent: int, seed: int, few: bool) -> None:
    rng = np.random.default_rng(seed)
    x, y, strength = rng.normal(size=(n, d)) + 2, rng.normal(size=(n, 2)), 10.0**exponent
    if few:
        coefs, intercepts = few_shot_ridge_path(x, y, [strength])
        mean, std = x.mean(axis=0), x.std(axis=0) + 1e-5
        w = np.column_stack([coefs[0] * std, (intercepts[0] + coefs[0] @ mean) / 100]).T
        z = np.column_stack([(x - mean) / std, np.full(n, 100.0)])
    else:
        w = ridge_path(x, y, [strength]).coefs[0].T
        z, y = x - x.mean(axis=0), y - y.mean(axis=0)
    gradient = z.T @ (z @ w - y) + strength * w
    # Backward stability of the decomposition: relative to the terms that cancel.
    assert np.abs(gradient).max() <= 1e-10 * (np.linalg.norm(z, 2) ** 2 * np.abs(w).max() + np.abs(z.T @ y).max() + 1)


@pytest.mark.parametrize("probe", [RidgeProbe(10.0), FewShotRidgeProbe()])
@pytest.mark.parametrize(("n", "d"), [(120, 15), (30, 80)])
def test_flags_are_one_regression_a_class(probe: RidgeProbe, n: int, d: int) -> None:
    x, _ = blobs(n, d, 2)
    flags = (np.random.default_rng(0).random((n, 6)) < 0.3).astype(np.uint8)
    flags[:, 4] = 0
    probe.fit(x, flags)
    scores = probe.decision_function(x)
    path = ridge_path if type(probe) is RidgeProbe else few_shot_ridge_path
    coefs, intercepts = path(x, 2.0 * flags - 1, [probe.alpha])
    close(scores, x @ coefs[0].T + intercepts[0], 1e-9)
    np.testing.assert_array_equal(probe.predict(x), scores > 0)
    assert probe.predict(x).shape == flags.shape
    assert not probe.predict(x)[:, 4].any()


@pytest.mark.parametrize("probe", [RidgeProbe(), FewShotRidgeProbe()])
@pytest.mark.parametrize(("n", "d"), [(200, 20), (40, 100)])
def test_float32_rows_far_from_the_origin_score_as_their_float64_copies(probe: RidgeProbe, n: int, d: int) -> None:
    x, y = blobs(n, d, 4)
    x = (x + 1000).astype(np.float32)
    narrow = probe.fit(x, y).decision_function(x)
    coef = probe.coef_
    wide = probe.fit(x.astype(np.float64), y).decision_function(x.astype(np.float64))
    assert narrow.dtype == np.float32
    assert wide.dtype == np.float64
    close(coef, probe.coef_, 1e-12)
    assert np.abs(narrow - wide).max() < FLOAT32


@pytest.mark.parametrize("probe", [RidgeProbe(), FewShotRidgeProbe()])
def test_tensors_are_taken_as_arrays(probe: RidgeProbe) -> None:
    x, y = blobs(60, 8, 3)
    x = x.astype(np.float32)
    expected = probe.fit(x, y).decision_function(x)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    np.testing.assert_array_equal(probe.fit(*tensors).decision_function(tensors[0]), expected)
    half = tensors[0].bfloat16()
    np.testing.assert_array_equal(
        probe.fit(half, y).decision_function(half), probe.fit(half.float(), y).decision_function(half.float())
    )


def test_a_thousand_blocks_are_summed_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(1000, 6, 3)
    whole = ridge_path(x, signs(y), [1.0]).coefs
    from cryoprobe.pipeline.probes import sklearn_input
    from cryoprobe.pipeline.probes.closed_form import ridge

    monkeypatch.setattr(ridge, "blocks", lambda n: sklearn_input.blocks(n, 7))
    close(ridge_path(x, signs(y), [1.0]).coefs, whole, 1e-12)


def test_probes_work_in_pipelines_and_searches() -> None:
    x, y = blobs(150, 10, 3)
    assert cross_val_score(make_pipeline(StandardScaler(), RidgeProbe()), x, y, cv=3).mean() > 0.6
    search = GridSearchCV(FewShotRidgeProbe(), {"alpha": [1.0, 1024.0]}, cv=3).fit(x, y)
    assert search.best_score_ > 0.6


def test_targets_may_be_any_numbers() -> None:
    x, _ = blobs(50, 5, 2)
    y = np.random.default_rng(0).normal(size=50)
    close(ridge_path(x, y, [3.0]).coefs[0, 0], Ridge(3.0, solver="svd").fit(x, y).coef_, 1e-9)


@pytest.mark.parametrize("strengths", [[-1.0], [np.inf], [np.nan], []])
def test_strengths_that_mean_nothing_are_refused(strengths: list[float]) -> None:
    x, y = blobs(20, 3, 2)
    with pytest.raises(BadInput):
        ridge_path(x, signs(y), strengths)
    for strength in strengths:
        with pytest.raises(ValueError, match="alpha"):
            RidgeProbe(strength).fit(x, y)


def test_targets_and_weights_that_do_not_fit_are_refused() -> None:
    x, y = blobs(20, 3, 2)
    with pytest.raises(ValueError, match="Targets"):
        ridge_path(x, signs(y)[:-1], [1.0])
    for weights in (np.ones(19), -np.ones(20), np.full(20, np.nan), np.zeros(20)):
        with pytest.raises(ValueError, match="weight"):
            RidgeProbe().fit(x, y, sample_weight=weights)
