"""How far a logistic regression is from its optimum, proven in float64 by code that shares nothing with the solver.

The primal objective is F(W, b) = Σ_i loss_i + (λ/2) ‖W‖², λ = 1/C, with a free intercept. Its dual, for one
probability vector q_i a row with Σ_i (q_i - e_{y_i}) = 0, is Σ_i H(q_i) - ‖Σ_i (q_i - e_{y_i}) x_iᵀ‖² / (2λ), where H
is the entropy [1]_. If b is optimal for W, then the model's own probabilities are such a point, and the difference of
the two objectives is ‖∇_W F‖² / (2λ): the bound that strong convexity gives as well.

So `certify` first minimises over b, and then bounds F* from below. What remains of Σ_i (q_i - e_{y_i}) is rounding;
the residuals are computed without cancellation, so that this holds for objectives close to zero too.

References
----------
.. [1] M. Collins, A. Globerson, T. Koo, X. Carreras and P. Bartlett, "Exponentiated gradient algorithms for
   conditional random fields and max-margin Markov networks", JMLR 9, 2008, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Array = npt.NDArray[Any]

_BLOCK = 4096
"""Rows that are converted to float64 at once."""


@dataclass(frozen=True)
class Certificate:
    """What is proven of one model.

    Parameters
    ----------
    objective : float
        Of the weights with the best intercept.
    gap : float
        Objective - F* is at most this.
    intercept : ndarray, float64 [K]
        The best one.
    gradient : ndarray, float64 [K, d]
        By the weights, at the best intercept.
    """

    objective: float
    gap: float
    intercept: Array
    gradient: Array

    @property
    def lower(self) -> float:
        """A lower bound of F*."""
        return max(0.0, self.objective - self.gap)

    @property
    def relative(self) -> float:
        """The gap over the lower bound of F*."""
        return self.gap / self.lower if self.lower > 0 else np.inf


def blocks(x: Array) -> Iterator[tuple[slice, Array]]:
    """Yield slices of rows, and the rows in float64."""
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, x[rows].astype(np.float64, copy=False)


def logits_of(x: Array, coef: Array) -> Array:
    """Return logits without intercepts, float64 [n, K]; for one head K is 2, and the first column is zero."""
    z = np.empty((len(x), len(coef)))
    for rows, part in blocks(x):
        z[rows] = part @ coef.T
    return two_columns(z)


def two_columns(z: Array) -> Array:
    """Return logits [n, K] as they are, and those of one head [n, 1] beside a column of zeros."""
    return np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else z


def losses_and_residuals(z: Array, y: Array) -> tuple[Array, Array]:
    """Return losses [n] and residuals p - e_y [n, K], precise where the loss is close to zero as well."""
    rows = np.arange(len(y))
    residuals = z - z[rows, y][:, None]
    top = np.maximum(residuals.max(1), 0.0)
    residuals -= top[:, None]
    np.exp(residuals, out=residuals)
    residuals[rows, y] = 0.0
    others = residuals.sum(1)
    # exp(-top) is 1 wherever the right class leads: log1p sees the small sum alone there.
    rest = np.log1p(np.expm1(-top) + others)
    residuals *= np.exp(-rest)[:, None]
    residuals[rows, y] = -residuals.sum(1)
    return top + rest, residuals


def objective(x: Array, y: Array, coef: Array, intercept: Array, C: float) -> float:
    """Return Σ loss + ‖W‖² / (2C) in float64."""
    coef = coef.astype(np.float64)
    total = 0.5 / C * float(np.square(coef).sum())
    for rows, part in blocks(x):
        total += float(losses_and_residuals(two_columns(part @ coef.T + intercept), y[rows])[0].sum())
    return total


def best_intercept(z: Array, y: Array, intercept: Array, steps: int = 50) -> Array:
    """Minimise Σ loss over the intercepts [K] of logits [n, K] by Newton's method with step halving."""
    b: Array = intercept - intercept.mean()
    losses, residuals = losses_and_residuals(z + b, y)
    value, slope = losses.sum(), residuals.sum(0)
    for _ in range(steps):
        p = np.abs(residuals)
        p[np.arange(len(y)), y] = np.exp(-losses)
        # 1 - p without cancellation: Σ p_k (1 - p_k) on the diagonal.
        rest = 1 - p
        rest[np.arange(len(y)), y] = -residuals[np.arange(len(y)), y]
        curvature = -(p.T @ p)
        np.fill_diagonal(curvature, (p * rest).sum(0))
        # All intercepts moved together change nothing.
        curvature += np.trace(curvature) / len(b) ** 2
        step = -np.linalg.lstsq(curvature, slope, rcond=1e-14)[0]
        step -= step.mean()
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-300))
        for _ in range(30):
            losses, residuals = losses_and_residuals(z + b + step, y)
            found, new = losses.sum(), residuals.sum(0)
            if found < value or np.abs(new).sum() < np.abs(slope).sum():
                break
            step /= 2
        else:
            break
        done = np.abs(new).sum() >= 0.5 * np.abs(slope).sum() and np.abs(new).sum() < 1e-12 * np.abs(residuals).sum()
        b, value, slope = b + step, found, new
        if done or not slope.any():
            break
    return b


def certify(x: Array, y: Array, coef: Array, intercept: Array, C: float) -> Certificate:
    """Bound the distance of a model's objective from the optimum.

    Parameters
    ----------
    x : ndarray [n, d]
    y : ndarray, int [n]
        Class indices from 0.
    coef : ndarray [K, d], or [1, d] for two classes
    intercept : ndarray [K] or [1]
    C : float

    Returns
    -------
    Certificate
    """
    coef = coef.astype(np.float64)
    start = np.append(0.0, intercept) if len(coef) == 1 else np.asarray(intercept, dtype=np.float64)
    z = logits_of(x, coef)
    b = best_intercept(z, y, start)
    losses, residuals = losses_and_residuals(z + b, y)
    gradient = coef / C
    for rows, part in blocks(x):
        gradient += (residuals[rows] if len(coef) > 1 else residuals[rows, 1:]).T @ part
    # What is left of the sum of residuals, times how far the best intercept can reasonably be: rounding.
    slack = float(np.abs(residuals.sum(0)).sum()) * max(1.0, float(np.abs(b).max()))
    return Certificate(
        objective=float(losses.sum()) + 0.5 / C * float(np.square(coef).sum()),
        gap=0.5 * C * float(np.square(gradient).sum()) + slack,
        intercept=b if len(coef) > 1 else b[1:] - b[:1],
        gradient=gradient,
    )


def descend(
    x: Array, y: Array, coef: Array, intercept: Array, C: float, *, steps: int = 3000, wanted: float = 1e-7
) -> tuple[Array, Certificate]:
    """Lower the objective in float64 until the certificate is good, or nothing is gained.

    SciPy's L-BFGS with 50 pairs, on the objective over its value at the start: SciPy's own tolerances are absolute
    below one, and stop it far from an optimum that is close to zero.

    Returns
    -------
    coef : ndarray, float64 [K, d]
    certificate : Certificate
    """
    heads = coef.shape[0]

    def value_and_slope(flat: Array, scale: float) -> tuple[float, Array]:
        w = flat.reshape(heads, -1)
        total = 0.5 / C * float(np.square(w[:, :-1]).sum())
        slope = np.zeros_like(w)
        slope[:, :-1] = w[:, :-1] / C
        for rows, part in blocks(x):
            losses, residuals = losses_and_residuals(two_columns(part @ w[:, :-1].T + w[:, -1]), y[rows])
            residuals = residuals[:, -heads:]
            total += float(losses.sum())
            slope[:, :-1] += residuals.T @ part
            slope[:, -1] += residuals.sum(0)
        return total / scale, slope.ravel() / scale

    start = certify(x, y, coef, intercept, C)
    found = np.hstack([coef.astype(np.float64), start.intercept[:, None]]).ravel()
    best = coef.astype(np.float64), start
    while best[1].relative > wanted and steps > 0:
        options = {"maxiter": min(steps, 500), "maxfun": 1000, "maxcor": 50, "maxls": 50, "ftol": 0.0, "gtol": 0.0}
        run = minimize(value_and_slope, found, args=(best[1].objective,), jac=True, method="L-BFGS-B", options=options)
        found, steps = run.x, steps - max(1, run.nit)
        w = found.reshape(heads, -1)
        next_one = certify(x, y, w[:, :-1], w[:, -1], C)
        if next_one.relative >= best[1].relative:
            break
        best = w[:, :-1], next_one
        if run.nit < 500:
            break
    return best
