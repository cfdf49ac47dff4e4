"""Seeded random problems for logistic regression: every size, spectrum, scale, penalty and imbalance that people bring.

`problem` draws one from its seed. The tests of the solver and ``benchmarks/probe_agreement.py`` share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

COUNT = 300
"""Problems that the benchmark solves: seeds 0 to 299."""

TEST_ROWS = 4000
"""Held-out rows, so that half a point is 20 rows."""

SPECTRA = ("flat", "power law", "standardised")

_MOST_WORK = 4_000_000
"""n d K of the largest problem: scikit-learn reaches tol 1e-10 within seconds."""


@dataclass(frozen=True)
class Problem:
    """Rows to train on, rows to predict, and a penalty.

    Parameters
    ----------
    x : ndarray, float32 [n, d]
    y : ndarray, int64 [n]
        Class indices from 0; every class has a row.
    x_test : ndarray, float32 [4000, d]
    y_test : ndarray, int64 [4000]
        Classes are equally frequent here, whatever they are in `y`.
    C : float
    what : str
        The properties that were drawn, for people.
    """

    x: Array
    y: Array
    x_test: Array
    y_test: Array
    C: float
    what: str


def problem(seed: int) -> Problem:
    """Return the problem of a seed.

    n/d is 0.25 to 8, K 2 to 100, d at most 256, the mean norm of the rows 1 to 1000 and C 1e-6 to 1e6, all
    log-uniform. The commonest class has up to 1000 times as many rows as the rarest. One problem in four has duplicate
    rows (half of them with another label), one in four has constant columns, half have a common mean.
    """
    rng = np.random.default_rng(seed)
    n, d, k = _shape(rng)
    spectrum = SPECTRA[seed % len(SPECTRA)]
    C, norm = 10.0 ** rng.uniform(-6, 6), 10.0 ** rng.uniform(0, 3)
    imbalance = 10.0 ** rng.choice([0.0, rng.uniform(0, 3)])
    y = _labels(rng, n, k, imbalance)
    y_test = np.arange(TEST_ROWS) % k

    scale = np.ones(d) if spectrum == "flat" else np.arange(1, d + 1) ** -rng.uniform(0.3, 1.5)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0] * np.sqrt(d)
    centres = rng.uniform(0.2, 1.5) * rng.standard_normal((k, d))
    mean = rng.choice([0.0, 1.0]) * rng.uniform(0, 3) * rng.standard_normal(d) * scale.mean()
    x, x_test = (
        ((centres[labels] + rng.standard_normal((len(labels), d))) * scale) @ axes / np.sqrt(d) + mean
        for labels in (y, y_test)
    )
    duplicates = int(rng.choice([0.0, 0.0, 0.0, 0.4]) * n)
    if duplicates:
        # The first row of each class stays, so that every class keeps one.
        copies = k + rng.choice(n - k, min(duplicates, n - k), replace=False)
        originals = rng.integers(0, n, len(copies))
        x[copies] = x[originals]
        same = rng.random(len(copies)) < 0.5
        y[copies[same]] = y[originals[same]]
    constant = int(rng.choice([0, 0, 0, max(1, d // 8)]))
    value = rng.standard_normal(constant)
    if spectrum == "standardised":
        centre, deviation = x.mean(0), x.std(0)
        x, x_test = (x - centre) / deviation, (x_test - centre) / deviation
    x[:, :constant] = x_test[:, :constant] = value
    factor = norm / np.linalg.norm(x, axis=1).mean()
    what = (
        f"{n} x {d}, K {k}, C {C:.1e}, {spectrum}, norm {norm:.3g}, 1:{imbalance:.0f}"
        + (f", {duplicates} duplicates" if duplicates else "")
        + (f", {constant} constant" if constant else "")
        + (", mean" if mean.any() else "")
    )
    order = rng.permutation(n)
    return Problem(
        (factor * x[order]).astype(np.float32), y[order], (factor * x_test).astype(np.float32), y_test, C, what
    )


def _shape(rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw n, d and K with two rows a class at least, until the problem is small enough."""
    while True:
        ratio, k = 2.0 ** rng.uniform(-2, 3), round(10.0 ** rng.uniform(np.log10(2), 2))
        d = round(2.0 ** rng.uniform(3, 8))
        n = round(ratio * d)
        if n >= max(16, 2 * k) and n * d * k <= _MOST_WORK:
            return n, d, k


def _labels(rng: np.random.Generator, n: int, k: int, imbalance: float) -> Array:
    """Draw labels; class 0 is `imbalance` times as frequent as class K - 1. The first K rows are one of each."""
    share = imbalance ** -(np.arange(k) / max(1, k - 1))
    y = rng.choice(k, n, p=share / share.sum())
    y[:k] = np.arange(k)
    return y
