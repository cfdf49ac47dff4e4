"""The path solver against scikit-learn, closed properties of the optimum, and itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes.block_threads import BlockThreads
from cryoprobe.pipeline.probes.logistic import fit_path, path_schedule
from cryoprobe.pipeline.probes.logistic.axes import rotate_
from cryoprobe.pipeline.probes.logistic.levels import extrapolations, interpolation, levels, outwards
from cryoprobe.pipeline.probes.logistic.newton import Search
from cryoprobe.pipeline.probes.logistic.objective import Models, Point

LAMBDAS = np.array([100.0, 1.0, 0.01])
Array = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    """Keep scikit-learn's reference fits from waiting for a busy second core."""
    with threadpool_limits(1, "blas"):
        yield


def problem(n: int = 600, d: int = 24, k: int = 5, seed: int = 0) -> tuple[Array, Array]:
    """Return features with a power-law spectrum and a mean, and labels that they do not quite determine."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    x = (rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.7) @ axes + rng.normal(size=d)
    y = ((x - x.mean(0)) @ rng.normal(size=(d, k)) * 2 + rng.gumbel(size=(n, k))).argmax(1)
    return x, y


def objective(x: Array, y: Array, coef: Array, intercept: Array, lam: float, weights: Array | None = None) -> float:
    z = x @ coef.T + intercept
    if z.shape[1] == 1:
        z = np.hstack([np.zeros_like(z), z])
    losses = np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]
    return float((losses if weights is None else weights * losses).sum() + lam / 2 * (coef**2).sum())


def reference(x: Array, y: Array, lam: float, weights: Array | None = None) -> LogisticRegression:
    return LogisticRegression(C=1 / lam, tol=1e-10, max_iter=20000).fit(x, y, sample_weight=weights)


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("weighted", [False, True])
def test_float64_agrees_with_scikit_learn_at_its_tightest(k: int, weighted: bool) -> None:
    x, y = problem(k=k)
    weights = np.random.default_rng(1).uniform(0, 3, len(y)) if weighted else None
    path = fit_path(x, y, LAMBDAS, sample_weight=weights, precision="float64", tol=1e-11, max_steps=60)
    assert path.converged.all()
    for i, lam in enumerate(LAMBDAS):
        model = reference(x, y, lam, weights)
        np.testing.assert_allclose(path.coef[i], model.coef_, rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(path.intercept[i], model.intercept_, rtol=1e-3, atol=2e-5)
        theirs = objective(x, y, model.coef_, model.intercept_, lam, weights)
        ours = objective(x, y, path.coef[i], path.intercept[i], lam, weights)
        assert ours == pytest.approx(theirs, rel=1e-9)
        assert path.objective[i] == pytest.approx(ours, rel=1e-12)


def test_float32_ends_no_higher_than_scikit_learn_by_default() -> None:
    x, y = problem(n=2000, d=32, k=6)
    x = x.astype(np.float32)
    path = fit_path(x, y, LAMBDAS)
    assert path.converged.all()
    for i, lam in enumerate(LAMBDAS):
        model = LogisticRegression(C=1 / lam, max_iter=1000).fit(x, y)
        ours = objective(x, y, path.coef[i], path.intercept[i], lam)
        assert ours <= objective(x, y, model.coef_, model.intercept_, lam)


def test_the_reported_gradient_is_that_of_the_objective() -> None:
    x, y = problem(k=3)
    path = fit_path(x, y, [1.0], precision="float64", tol=1e-3)
    z = x @ path.coef[0].T + path.intercept[0]
    residual = np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None]) - np.eye(3)[y]
    gradient = np.hstack([residual.T @ x + path.coef[0], residual.sum(0)[:, None]])
    assert path.gradient_max[0] == pytest.approx(np.abs(gradient).max() / len(y), rel=1e-6)


def test_multi_label_targets_are_one_binary_problem_a_column() -> None:
    x, _ = problem()
    rng = np.random.default_rng(3)
    flags = ((x - x.mean(0)) @ rng.normal(size=(x.shape[1], 4)) + rng.logistic(size=(len(x), 4)) > 0.5).astype(int)
    path = fit_path(x, flags, LAMBDAS, precision="float64", tol=1e-11, max_steps=60)
    for i, lam in enumerate(LAMBDAS):
        model = OneVsRestClassifier(LogisticRegression(C=1 / lam, tol=1e-10, max_iter=20000)).fit(x, flags)
        coef = np.vstack([part.coef_ for part in model.estimators_])
        np.testing.assert_allclose(path.coef[i], coef, rtol=1e-4, atol=2e-5)


def test_weights_of_two_are_rows_given_twice() -> None:
    x, y = problem(n=200)
    twice = np.arange(200) % 3 == 0
    a = fit_path(x, y, [1.0], sample_weight=1.0 + twice, precision="float64", tol=1e-11, max_steps=60)
    b = fit_path(np.vstack([x, x[twice]]), np.append(y, y[twice]), [1.0], precision="float64", tol=1e-11, max_steps=60)
    np.testing.assert_allclose(a.coef, b.coef, atol=1e-6)
    assert a.objective == pytest.approx(b.objective)


def test_a_long_path_is_the_same_as_each_penalty_by_itself() -> None:
    x, y = problem(k=3)
    lambdas = np.geomspace(1e-3, 1e3, 41)[::-1]
    path = fit_path(x, y, lambdas, precision="float64", tol=1e-10, max_steps=60)
    assert path.converged.all()
    for i in (0, 7, 20, 40):
        alone = fit_path(x, y, [lambdas[i]], precision="float64", tol=1e-10, max_steps=60)
        np.testing.assert_allclose(path.coef[i], alone.coef[0], atol=1e-4)
        assert path.objective[i] == pytest.approx(alone.objective[0], rel=1e-9)


def test_it_is_deterministic_and_leaves_torch_as_it_was() -> None:
    x, y = problem(n=30000, d=40, k=4)
    before = torch.get_num_threads()
    runs = [fit_path(x.astype(np.float32), y, LAMBDAS, threads=3) for _ in range(2)]
    assert torch.get_num_threads() == before
    np.testing.assert_array_equal(runs[0].coef, runs[1].coef)


def test_a_warm_start_at_the_optimum_takes_no_step() -> None:
    x, y = problem()
    cold = fit_path(x, y, LAMBDAS, precision="float64", tol=1e-8, max_steps=60)
    warm = fit_path(x, y, LAMBDAS, precision="float64", tol=1e-7, start=(cold.coef, cold.intercept))
    assert (warm.passes == 1).all()
    np.testing.assert_allclose(warm.coef, cold.coef, atol=1e-9)  # rotated there and back


def test_it_says_when_it_did_not_converge() -> None:
    x, y = problem()
    path = fit_path(x, y, LAMBDAS, max_steps=1, tol=1e-9, precision="float64")
    assert not path.converged.any()
    assert (path.gradient_norm > 0).all()


def test_scale_and_offset_of_the_features_do_not_matter_to_convergence() -> None:
    x, y = problem()
    for scale in (1e-3, 1e3):
        lambdas = LAMBDAS * scale**2
        path = fit_path(x * scale + 5 * scale, y, lambdas, precision="float64", tol=1e-9, max_steps=60)
        assert path.converged.all()
        plain = fit_path(x, y, LAMBDAS, precision="float64", tol=1e-9, max_steps=60)
        np.testing.assert_allclose(path.objective, plain.objective, rtol=1e-8)


@pytest.mark.parametrize("lambdas", [[], [0.0], [-1.0], [np.nan], [[1.0]]])
def test_penalties_are_positive_numbers(lambdas: Any) -> None:
    x, y = problem(n=50)
    with pytest.raises(BadInput, match="penalties"):
        fit_path(x, y, lambdas)


def test_every_penalty_is_in_one_level_and_interpolation_is_exact_for_cubics() -> None:
    lambdas = np.geomspace(1e-6, 1e6, 97)
    parts = levels(lambdas)
    assert sorted(np.concatenate(parts)) == list(range(97))
    assert len(parts[0]) <= 14
    known, wanted = np.geomspace(0.1, 10, 9), np.geomspace(0.2, 5, 6)
    values = interpolation(known, wanted) @ np.log(known) ** 3
    np.testing.assert_allclose(values, np.log(wanted) ** 3, atol=1e-11)


def test_beyond_the_last_known_penalty_a_line_goes_on() -> None:
    known = np.array([1.0, 0.5, 0.25])
    values = interpolation(known, np.array([0.125, 2.0])) @ np.log(known)
    np.testing.assert_allclose(values, np.log([0.125, 2.0]), atol=1e-12)
    assert interpolation(np.array([1.0, 0.9]), np.array([1e-3])).tolist() == [[0.0, 1.0]]  # too far for two so close


def test_a_path_is_led_by_polynomials_through_the_last_penalties() -> None:
    known = np.array([10.0, 3.0, 1.0, 1.0, 0.3])  # one of them twice
    for degree, weights in enumerate(extrapolations(known, np.array([0.1]))[:3]):
        value = weights @ np.log(known) ** min(degree, 1)
        assert value == pytest.approx(np.log(0.1) ** min(degree, 1))
        assert not weights[: len(known) - 1 - degree].any()
    smooth = np.geomspace(10, 0.1, 6)
    cubic = extrapolations(smooth, np.array([0.04]))[3] @ (np.log(smooth) ** 3 - np.log(smooth))
    assert cubic == pytest.approx(np.log(0.04) ** 3 - np.log(0.04))


@pytest.mark.parametrize("mixed", [False, True])
def test_axes_of_independent_features_stay_as_they_are(mixed: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((900, 300)) * np.arange(1, 301) ** -1.0
    if mixed:
        x = x @ np.linalg.qr(rng.standard_normal((300, 300)))[0]
    rows = torch.from_numpy(x)
    basis, turned, _ = rotate_(rows.clone(), None, torch.float64, torch.float64, BlockThreads(1))
    assert torch.equal(basis, torch.eye(300, dtype=torch.float64)) is not mixed
    np.testing.assert_allclose(turned, rows @ basis, atol=1e-12)


def test_what_is_left_is_fitted_from_the_largest_penalty_down_a_factor_of_e_at_a_time() -> None:
    lambdas = np.array([1e-3, 1.0, 0.5, 0.3, 0.9])
    groups = [group.tolist() for group in outwards(lambdas, np.array([0, 2, 3, 4]))]
    assert groups == [[4, 2], [3], [0]]


def test_penalties_that_are_set_aside_are_reached_from_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem(n=1000)
    lambdas = np.geomspace(1e-4, 1e2, 40)
    plain = fit_path(x, y, lambdas, precision="float64", tol=1e-9)
    monkeypatch.setattr(path_schedule, "_SOON", 2)
    lines: list[str] = []
    path = fit_path(x, y, lambdas, precision="float64", tol=1e-9, report=lines.append)
    assert sum(line.startswith("step 0") for line in lines) > len(levels(lambdas)) + 2
    assert path.converged.all()
    np.testing.assert_allclose(path.objective, plain.objective, rtol=1e-9)


def test_a_tight_tolerance_is_reached_although_curvature_is_measured_in_a_shorter_type() -> None:
    # Rounding in that type used to bring in weights that all classes share, which nothing took out again.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 720)) * np.arange(1, 721) ** -1.0
    y = (x[:, :6] + rng.normal(size=(3000, 6)) * 0.5).argmax(1)
    assert x.size > 1 << 21
    path = fit_path(x, y, [1000.0, 10.0, 1.0], precision="float64", tol=1e-11, max_steps=40)
    assert path.converged.all(), path.gradient_max
    np.testing.assert_allclose(path.coef.mean(1), 0, atol=1e-14)


@pytest.mark.parametrize(("m", "n_columns"), [(7, 1), (40, 6), (5, 5)])
def test_each_model_takes_the_weights_of_its_column_where_its_objective_is_lowest(m: int, n_columns: int) -> None:
    rng = np.random.default_rng(m)
    columns = rng.permutation(np.arange(m) % n_columns)
    penalties, losses = 10.0 ** rng.uniform(-2, 2, m), rng.uniform(1, 2, m)
    w = rng.normal(size=(m, 1, 3)) * 10.0 ** rng.uniform(-2, 1, m)[:, None, None]
    squares = np.square(w).sum((1, 2))
    models = Models(torch.from_numpy(penalties), torch.from_numpy(columns))
    search = Search(models, Point(torch.from_numpy(w.copy()), torch.zeros(m, 1, dtype=torch.float64)))
    search.objective = torch.from_numpy(losses + penalties * squares / 2)
    alive = np.flatnonzero(rng.uniform(size=m) < 0.8)
    search._learn_from_each_other(torch.from_numpy(alive))
    for i in range(m):
        lowest, at = min((losses[j] + penalties[i] * squares[j] / 2, j) for j in range(m) if columns[j] == columns[i])
        own = losses[i] + penalties[i] * squares[i] / 2
        taken = at if i in alive and lowest < 0.999 * own else i
        np.testing.assert_array_equal(search.point.w[i], w[taken])
        np.testing.assert_allclose(search.objective[i], losses[taken] + penalties[i] * squares[taken] / 2)
