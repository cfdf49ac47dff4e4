"""Fits at the edges: no spread, no weights to speak of, hardly a penalty, few rows in every form that rows come in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes.logistic import LogisticProbe, Rotated, fit_path
from cryoprobe.pipeline.probes.logistic.levels import levels
from cryoprobe.pipeline.probes.logistic.rows import stream

Array = npt.NDArray[Any]


class Blocks:
    """Rows that come block by block and may not be written to."""

    def __init__(self, x: Array, size: int = 17) -> None:
        self.x, self.size, self.shape = x.copy(), size, (len(x), x.shape[1])
        self.x.flags.writeable = False

    def blocks(self) -> Iterator[Array]:
        """Yield every row once."""
        for start in range(0, len(self.x), self.size):
            yield self.x[start : start + self.size]


def blobs(n: int, d: int, k: int, spread: float = 2.0) -> tuple[Array, Array]:
    """Return rows of Gaussian classes and their labels."""
    rng = np.random.default_rng([n, d, k])
    y = np.arange(n) % k
    return (rng.normal(size=(k, d))[y] + spread * rng.normal(size=(n, d))).astype(np.float32), y


FORMS = {
    "matrix": lambda x: x,
    "rotated": Rotated,
    "some of rotated": lambda x: Rotated(np.vstack([x, -x])).rows(np.arange(len(x))),
    "stream": lambda x: stream(Blocks(x)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ["identical", "zero", "tiny C", "tiny weights", "two rows"])
def test_a_fit_whose_optimum_is_no_weights_has_converged(case: str, dtype: Any) -> None:
    x, y = blobs(60, 7, 3)
    C, weights = 1.0, None
    if case == "identical":
        x[:] = x[0]
    elif case == "zero":
        x[:] = 0
    elif case == "tiny C":
        C = 1e-30
    elif case == "tiny weights":
        weights = np.full(60, 1e-30)
    else:
        x, y = np.ones((2, 1)), np.arange(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = LogisticProbe(C=C).fit(x.astype(dtype), y, sample_weight=weights)
    assert probe.converged_
    assert np.abs(x @ probe.coef_.T).max() < 1e-6
    np.testing.assert_allclose(probe.predict_proba(x.astype(dtype)), 1 / len(np.unique(y)), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [2, 3])
def test_hardly_a_penalty_ends_as_low_as_a_small_one(dtype: Any, k: int) -> None:
    x, y = blobs(60, 7, k)
    path = fit_path(x.astype(dtype), y, [1e-8, 1e-30])
    assert path.converged[0]
    # No bound can prove the second one: a gradient of rounding errors over so small a penalty is infinite.
    assert path.gap[1] == np.inf or path.gap[1] <= 1e-4
    assert path.objective[1] <= path.objective[0] * (1 + 1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_few_rows_end_at_a_proven_optimum_in_whatever_form_they_come(form: str) -> None:
    x, y = blobs(120, 40, 3)
    cs = np.array([1e-3, 1.0, 1e3, 1e6])
    path = fit_path(FORMS[form](x), y, 1 / cs)
    best = fit_path(x.astype(np.float64), y, 1 / cs, tol=1e-8, max_steps=300)
    assert path.converged.all()
    assert (path.proven_gap <= 1e-4).all()
    above = path.objective / best.objective - 1
    assert (above <= path.gap + 1e-6).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_rows_of_which_memory_holds_a_part_are_proven_too(dtype: Any) -> None:
    x, y = blobs(3000, 60, 20, 3.0)
    cs = np.array([1.0, 1e4])
    lines: list[str] = []
    path = fit_path(x.astype(dtype), y, 1 / cs, memory=int(256.6 * 2**20), report=lines.append)
    held = int(lines[0].split()[0])
    assert 120 <= held < 2500
    plain = fit_path(x.astype(dtype), y, 1 / cs)
    assert path.converged.all()
    np.testing.assert_allclose(path.objective, plain.objective, rtol=1e-4)


class _Enough(Exception):
    pass


def test_memory_counts_all_the_penalties_that_are_fitted_together() -> None:
    x, y = blobs(20_000, 64, 50)
    memory = 330 * 2**20
    lines: list[str] = []

    def first(line: str) -> None:
        lines.append(line)
        raise _Enough

    with pytest.raises(_Enough):
        fit_path(x.astype(np.float32), y, np.logspace(6, -6, 97), memory=memory, report=first)
    held = int(lines[0].split()[0])
    together = max(map(len, levels(np.logspace(6, -6, 97))))
    assert together == 48
    assert held >= 128
    assert held * together * 50 * 8 <= memory - 8 * (32 << 20)  # beside blocks on their way


def test_rows_that_may_not_be_written_to_are_read_without_a_warning() -> None:
    x, y = blobs(60, 6, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LogisticProbe().fit(Blocks(x), y).converged_


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [60, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(form: str, n: int, value: float) -> None:
    x, y = blobs(n, 6, 3)
    x[3, 2] = value
    with pytest.raises(BadInput, match="finite"):
        fit_path(FORMS[form](x), y, [1.0])


def test_features_whose_squares_are_not_finite_are_refused() -> None:
    x, y = blobs(60, 6, 3)
    with pytest.raises(BadInput, match="scale"):
        fit_path(x * np.float32(1e25), y, [1.0])


def test_balanced_flags_count_a_row_by_its_weight() -> None:
    x, y = blobs(90, 5, 3)
    flags = np.eye(3, dtype=int)[y]
    twice = np.arange(90) % 4 == 0
    weighted = LogisticProbe(class_weight="balanced", tol=1e-9).fit(x, flags, sample_weight=1.0 + twice)
    repeated = LogisticProbe(class_weight="balanced", tol=1e-9).fit(
        np.vstack([x, x[twice]]), np.vstack([flags, flags[twice]])
    )
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-4)
