"""Rows that are read anew on every pass: the same solution, in less memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes.logistic import fit_path
from cryoprobe.pipeline.probes.logistic.rows import StreamRows

N, D, K = 20_000, 48, 5
LAMBDAS = [100.0, 1.0, 0.01]


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(N, D)) * np.arange(1, D + 1) ** -0.5).astype(np.float32)
    y = (x @ rng.normal(size=(D, K)) * 2 + rng.gumbel(size=(N, K))).argmax(1)
    return x, y


def streamed(x: Any, size: int, n: int = N) -> StreamRows:
    def read() -> Iterator[Any]:
        for start in range(0, len(x), size):
            yield x[start : start + size].copy()

    return StreamRows(read, n, D, torch.device("cpu"))


@pytest.mark.parametrize("memory", [None, 300 << 20])
@pytest.mark.parametrize("size", [999, 7000])
def test_a_stream_has_the_solution_of_the_matrix(data: tuple[Any, Any], size: int, memory: int | None) -> None:
    x, y = data
    whole = fit_path(x, y, LAMBDAS, tol=1e-6)
    path = fit_path(streamed(x, size), y, LAMBDAS, tol=1e-6, memory=memory)
    assert path.converged.all()
    np.testing.assert_allclose(path.objective, whole.objective, rtol=1e-5)
    np.testing.assert_allclose(path.coef, whole.coef, atol=0.02)


def test_a_small_sample_for_curvature_leads_to_the_same_optimum(data: tuple[Any, Any]) -> None:
    from cryoprobe.pipeline.probes.logistic import problem as module

    x, y = data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_sample_size", lambda *_: 6000)
        part = fit_path(streamed(x, 5000), y, LAMBDAS, tol=1e-7, precision="float64", max_steps=60)
    whole = fit_path(x, y, LAMBDAS, tol=1e-7, precision="float64", max_steps=60)
    assert part.converged.all()
    np.testing.assert_allclose(part.objective, whole.objective, rtol=1e-7)


@pytest.mark.parametrize("n", [N - 1, N + 1])
def test_a_stream_of_another_length_is_refused(data: tuple[Any, Any], n: int) -> None:
    x, y = data
    with pytest.raises(BadInput, match="stream"):
        fit_path(streamed(x, 5000, n), np.resize(y, n), LAMBDAS)


def test_too_little_memory_is_refused_with_what_it_takes(data: tuple[Any, Any]) -> None:
    x, y = data
    with pytest.raises(BadInput, match="at least"):
        fit_path(x, y, LAMBDAS, memory=1 << 20)
