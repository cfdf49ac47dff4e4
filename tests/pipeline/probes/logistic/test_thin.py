"""Fewer rows than dimensions: the solver works in the span of the rows, and the optimum is that of the features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cryoprobe.pipeline.probes.block_threads import BlockThreads
from cryoprobe.pipeline.probes.logistic import fit_path
from cryoprobe.pipeline.probes.logistic.axes import Axes, rotate_
from cryoprobe.pipeline.probes.logistic.objective import Point

D, K = 60, 4
LAMBDAS = np.array([10.0, 0.1, 0.001])


def problem(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Return features with a power-law spectrum and a mean, and labels, each class among them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D)) * np.arange(1, D + 1) ** -0.7 + rng.normal(size=D)
    return x, np.append(np.arange(K), rng.integers(0, K, n - K))


def gradient(x: Any, y: Any, weights: Any, coef: Any, intercept: Any, lam: float) -> Any:
    z = x @ coef.T + intercept
    residual = weights[:, None] * (np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None]) - np.eye(K)[y])
    return np.hstack([residual.T @ x + lam * coef, residual.sum(0)[:, None]])


@pytest.mark.parametrize("n", [K, 7, D - 1, D, D + 1])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_by_the_features_is_zero_at_the_end(n: int, weighted: bool) -> None:
    x, y = problem(n)
    weights = np.random.default_rng(1).uniform(0.5, 2, n) if weighted else np.ones(n)
    path = fit_path(x, y, LAMBDAS, sample_weight=weights, precision="float64", tol=1e-11, max_steps=60)
    assert path.converged.all()
    for i, lam in enumerate(LAMBDAS):
        found = gradient(x, y, weights, path.coef[i], path.intercept[i], lam)
        assert np.abs(found).max() <= 1e-9 * n
        assert path.gradient_max[i] == pytest.approx(np.abs(found).max() / weights.sum(), abs=1e-13)


def test_rows_that_repeat_or_are_of_no_weight_do_no_harm() -> None:
    x, y = problem(20)
    twice = fit_path(np.vstack([x, x]), np.append(y, y), LAMBDAS, precision="float64", tol=1e-11, max_steps=60)
    weights = np.append(np.full(20, 2.0), np.zeros(20))
    other = problem(20, seed=1)[0]
    padded = fit_path(
        np.vstack([x, other]), np.append(y, y), LAMBDAS, sample_weight=weights, precision="float64", tol=1e-11,
        max_steps=60,
    )  # fmt: skip
    assert twice.converged.all()
    np.testing.assert_allclose(twice.coef, padded.coef, atol=1e-7)


def test_of_a_start_only_what_the_rows_see_matters() -> None:
    x, y = problem(20)
    cold = fit_path(x, y, LAMBDAS, precision="float64", tol=1e-11, max_steps=60)
    rng = np.random.default_rng(0)
    unseen = np.linalg.qr(np.vstack([x - x.mean(0), rng.normal(size=(30, D))]).T)[0][:, 21:]  # orthogonal to all rows
    # Not so large that no weights at all would be the better start.
    beside = cold.coef + 0.03 * rng.normal(size=(len(LAMBDAS), K, unseen.shape[1])) @ unseen.T
    moved = cold.intercept - (beside - cold.coef) @ x.mean(0)  # the same logits
    warm = fit_path(x, y, LAMBDAS, precision="float64", tol=1e-8, start=(beside, moved))
    # n rows span n - 1 dimensions around their mean: the last of n axes is free, and a step brings it to zero.
    assert (warm.passes <= 2).all()
    np.testing.assert_allclose(warm.coef, cold.coef, atol=1e-5)  # a gradient of 1e-9, over the smallest penalty


@pytest.mark.parametrize("n", [2, 15, D, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_axes_are_orthonormal_and_hold_the_rows(n: int, dtype: torch.dtype) -> None:
    x = torch.from_numpy(problem(max(n, K))[0][:n]).to(dtype)
    x -= x.mean(0)
    x[-1] = x[0]
    close = 1e-5 if dtype == torch.float32 else 1e-13
    with BlockThreads(1, workers=False) as pool:
        basis, rotated, square = rotate_(x.clone(), None, dtype, dtype, pool)
        assert basis.shape == (D, min(n, D))
        torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]).double(), rtol=0, atol=close)
        torch.testing.assert_close(rotated.double() @ basis.T, x.double(), rtol=0, atol=10 * close)
        assert square == pytest.approx(float(x.square().sum()), rel=1e-5)
        axes = Axes(torch.randn(D).double(), basis, 1.0)
        point = Point(torch.randn(2, K, basis.shape[1]).double(), torch.randn(2, K).double())
        for there, back in (("to_features", "from_features"), ("gradient_of_features", "gradient")):
            again = getattr(axes, back)(getattr(axes, there)(point, pool), pool)
            torch.testing.assert_close(again.w, point.w, rtol=0, atol=100 * close)
            torch.testing.assert_close(again.b, point.b, rtol=0, atol=100 * close)
