"""Axes of the whole for fits on subsets of its rows: the same optimum, and nothing computed twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes.logistic import Rotated, fit_path

LAMBDAS = np.array([100.0, 1.0, 0.01])
TIGHT: dict[str, Any] = {"precision": "float64", "tol": 1e-11, "max_steps": 60}


def problem(n: int, d: int, k: int = 5) -> tuple[Any, Any]:
    """Return features with a power-law spectrum and a mean, and labels that they do not quite determine."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.7 + rng.normal(size=d)
    y = ((x - x.mean(0)) @ rng.normal(size=(d, k)) * 2 + rng.gumbel(size=(n, k))).argmax(1)
    return x, y


@pytest.mark.parametrize(("n", "d"), [(600, 24), (40, 60)])
@pytest.mark.parametrize("weighted", [False, True])
def test_subsets_have_the_optimum_that_they_have_by_themselves(n: int, d: int, weighted: bool) -> None:
    x, y = problem(n, d)
    rotated = Rotated(x)
    for rows in (np.arange(n), np.random.default_rng(0).permutation(n)[: n // 2], np.arange(n) % 3 > 0):
        weights = np.random.default_rng(1).uniform(0.1, 3, len(x[rows])) if weighted else None
        shared = fit_path(rotated.rows(rows), y[rows], LAMBDAS, sample_weight=weights, **TIGHT)
        alone = fit_path(x[rows], y[rows], LAMBDAS, sample_weight=weights, **TIGHT)
        assert shared.converged.all()
        np.testing.assert_allclose(shared.coef, alone.coef, atol=2e-6)
        np.testing.assert_allclose(shared.objective, alone.objective, rtol=1e-10)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_large_features_whose_rotated_rows_are_coarse(precision: Any) -> None:
    x, y = problem(70_000, 64, 3)
    x = x.astype(np.float32)
    rows = np.random.default_rng(0).permutation(len(x))[:66_000]
    shared = fit_path(Rotated(x).rows(rows), y[rows], LAMBDAS, precision=precision, tol=1e-5)
    alone = fit_path(x[rows], y[rows], LAMBDAS, precision=precision, tol=1e-5)
    assert shared.converged.all()
    np.testing.assert_allclose(shared.objective, alone.objective, rtol=1e-5)


def test_rows_of_rows_and_slices() -> None:
    x, y = problem(300, 10)
    rotated = Rotated(torch.from_numpy(x))
    part = rotated.rows(slice(0, 200)).rows(np.arange(0, 200, 2))
    assert (len(rotated), len(part), part.d) == (300, 100, 10)
    np.testing.assert_array_equal(np.concatenate([block.x for block in part.blocks()]), x[:200:2])
    a = fit_path(part, y[:200:2], LAMBDAS, **TIGHT)
    b = fit_path(x[:200:2], y[:200:2], LAMBDAS, **TIGHT)
    np.testing.assert_allclose(a.coef, b.coef, atol=2e-6)


def test_a_row_given_twice_weighs_two() -> None:
    x, y = problem(200, 10)
    rotated = Rotated(x)
    twice = fit_path(rotated.rows(np.append(np.arange(200), np.arange(50))), np.append(y, y[:50]), LAMBDAS, **TIGHT)
    weighted = fit_path(rotated, y, LAMBDAS, sample_weight=1.0 + (np.arange(200) < 50), **TIGHT)
    np.testing.assert_allclose(twice.coef, weighted.coef, atol=2e-6)


def test_it_can_be_shared_by_threads_and_is_deterministic() -> None:
    x, y = problem(500, 16)
    rotated = Rotated(x)
    parts = [np.random.default_rng(seed).permutation(500)[:400] for seed in range(4)]
    alone = [fit_path(rotated.rows(rows), y[rows], LAMBDAS).coef for rows in parts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda rows: fit_path(rotated.rows(rows), y[rows], LAMBDAS).coef, parts))
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("rows", [np.array([3, 500]), np.zeros(499, dtype=bool), np.array([], dtype=int), np.eye(2)])
def test_rows_that_are_not_there_are_refused(rows: Any) -> None:
    x, _ = problem(500, 4)
    with pytest.raises(BadInput, match="rows"):
        Rotated(x).rows(rows)


def test_features_are_a_matrix() -> None:
    with pytest.raises(BadInput, match="matrix"):
        Rotated(np.zeros(3))
