"""Ridge regression on ±1 targets as a probe, in closed form: one eigendecomposition serves every strength.

Let Z [n, D] be the rows after centring or standardising, and Y [n, C] the targets. The weights for strength λ are

    (ZᵀZ + λI)⁻¹ ZᵀY  =  Zᵀ (ZZᵀ + λI)⁻¹ Y,

and whichever of the two matrices is the smaller is decomposed into QΛQᵀ once; each λ then costs two products. All of
it is in float64, whatever the rows: forming ZᵀZ squares the condition number, which float32 cannot afford.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import clone

from ....arrays import Array, Features, Float64
from ....errors import BadInput
from ..sklearn_input import Labelled, TakesFlags, blocks, check_labelled, check_weights
from .centred_linear import CentredLinear

TargetBlocks = Callable[[slice], Float64]
"""Targets [b, C] of a block of rows: of a million rows and a thousand classes at once they would be 8 GB."""

Solutions = tuple[Float64, Float64, Float64]
"""An origin [d] for the rows; for every strength coefficients [L, C, d], and scores at the origin [L, C]."""


class RidgePath(NamedTuple):
    """Linear scores ``x @ coefs[i].T + intercepts[i]`` for every strength.

    Parameters
    ----------
    coefs : ndarray, float64 [L, C, d]
    intercepts : ndarray, float64 [L, C]
    """

    coefs: Float64
    intercepts: Float64


def ridge_path(x: Features, targets: Any, lambdas: Iterable[float], *, sample_weight: Any = None) -> RidgePath:
    """Minimise Σ wᵢ |yᵢ - W xᵢ - b|² + λ|W|² for every λ; the intercept b is not penalised.

    Parameters
    ----------
    x : ndarray, float32 or float64 [n, d]
    targets : array-like [n] or [n, C]
    lambdas : iterable of float
        At least 0. At 0 the solution of least norm, in which directions are given up whose eigenvalue is below
        max(n, d) times float64's epsilon times the largest.
    sample_weight : array-like [n], optional

    Returns
    -------
    RidgePath

    Raises
    ------
    BadInput
        If a strength is negative or not finite.
    ValueError
        If targets or weights do not fit the rows.

    Notes
    -----
    Centring by the weighted means leaves the same problem without b (Hastie, Tibshirani and Friedman, The elements of
    statistical learning, section 3.4.1).
    """
    y = as_targets(targets, len(x))
    mean, coefs, at_mean = _centred(x, lambda block: y[block], lambdas, check_weights(sample_weight, len(x)))
    return RidgePath(coefs, at_mean - coefs @ mean)


class RidgeProbe(TakesFlags, CentredLinear):
    """Ridge regression on targets of ±1, one a class; the class with the largest score is predicted.

    Parameters
    ----------
    alpha : float
        λ, as in scikit-learn's RidgeClassifier.

    Attributes
    ----------
    classes_, coef_, intercept_
        See `CentredLinear`.
    n_features_in_ : int

    Notes
    -----
    Takes flags [n, C] as labels; a flag is predicted where its score is above 0.
    """

    n_features_in_: int
    feature_names_in_: Array

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RidgeProbe:
        """Solve for the weights.

        Parameters
        ----------
        X : array-like or tensor [n, d]
        y : array-like or tensor, [n] labels or [n, C] flags
        sample_weight : array-like [n], optional

        Raises
        ------
        ValueError
            If rows, labels or weights cannot be used, or alpha is negative.
        """
        self._fit_all([self], X, y, sample_weight)
        return self

    def fit_many(self, X: Any, y: Any, alphas: Iterable[float], sample_weight: Any = None) -> list[Self]:
        """Fit a copy of this probe for each alpha, all from one decomposition.

        Raises
        ------
        ValueError
            As `fit`.
        """
        probes = [clone(self).set_params(alpha=alpha) for alpha in alphas]
        self._fit_all(probes, X, y, sample_weight)
        return probes

    def _fit_all(self, probes: Sequence[RidgeProbe], X: Any, y: Any, sample_weight: Any) -> None:
        for probe in probes:
            check_alpha(probe.alpha)
        labelled = check_labelled(self, X, y, flags=True)
        weights = check_weights(sample_weight, len(labelled.x))
        strengths = [probe.alpha for probe in probes]
        mean, coefs, at_mean = self._solve(labelled.x, signed_targets(labelled), strengths, weights)
        for probe, coef, score in zip(probes, coefs, at_mean, strict=True):
            probe.n_features_in_ = self.n_features_in_
            if hasattr(self, "feature_names_in_"):
                probe.feature_names_in_ = self.feature_names_in_
            probe._set_linear(labelled, coef, mean, score)

    def _solve(self, x: Features, targets: TargetBlocks, lambdas: Iterable[float], weights: Float64) -> Solutions:
        return _centred(x, targets, lambdas, weights)


def signed_targets(labelled: Labelled) -> TargetBlocks:
    """Return +1 for a row's class and -1 for the others, [b, C]; of two classes one column, the second's."""
    codes, n_classes = labelled.codes, len(labelled.classes)
    flagged = np.array([1]) if n_classes == 2 or labelled.are_flags else np.arange(n_classes)
    return lambda block: np.where(codes[block].reshape(-1, codes[0].size) == flagged, 1.0, -1.0)


def ridge_solver(
    x: Features, targets: TargetBlocks, weights: Float64, transform: Callable[[Features], Float64]
) -> Callable[[float], Float64]:
    """Return a function from λ to weights [D, C] of the rows that `transform` makes, float64 [b, D]."""
    root = np.sqrt(weights)[:, None]  # weighted least squares are plain ones on rows times sqrt(w)
    n, D = len(x), transform(x[:1]).shape[1]
    if n >= D:
        gram, cross = np.zeros((D, D)), np.zeros((D, targets(slice(1)).shape[1]))
        for block in blocks(n):
            z = transform(x[block]) * root[block]
            gram += z.T @ z
            cross += z.T @ (targets(block) * root[block])
        eigenvalues, Q = np.linalg.eigh(gram)
        left, right = Q, Q.T @ cross
    else:
        z = transform(x) * root
        eigenvalues, Q = np.linalg.eigh(z @ z.T)
        left, right = z.T @ Q, Q.T @ (targets(slice(n)) * root)
    eigenvalues = np.maximum(eigenvalues, 0)  # rounding makes some of them negative
    lost = eigenvalues <= max(n, D) * np.finfo(np.float64).eps * eigenvalues[-1]

    def solve(strength: float) -> Float64:
        inverse = np.zeros_like(eigenvalues)
        np.divide(1.0, eigenvalues + strength, out=inverse, where=~lost if strength == 0 else eigenvalues >= 0)
        solution: Float64 = left @ (inverse[:, None] * right)
        return solution

    return solve


def weighted_mean(values: TargetBlocks, weights: Float64) -> Float64:
    """Return the weighted mean of n rows, which `values` gives in blocks; float64 [d]."""
    total = np.sum([weights[b] @ values(b) for b in blocks(len(weights))], axis=0)
    mean: Float64 = total / weights.sum()
    return mean


def _centred(x: Features, targets: TargetBlocks, lambdas: Iterable[float], weights: Float64) -> Solutions:
    mean = weighted_mean(lambda block: x[block].astype(np.float64), weights)  # [d]
    centre = weighted_mean(targets, weights)  # [C]
    solve = ridge_solver(x, lambda block: targets(block) - centre, weights, lambda rows: rows - mean)
    coefs = np.stack([solve(strength).T for strength in checked_strengths(lambdas)])
    return mean, coefs, np.broadcast_to(centre, coefs.shape[:2])


def as_targets(targets: Any, n: int) -> Float64:
    """Return targets as float64 [n, C]."""
    y = np.asarray(targets, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != n:
        raise ValueError(f"Targets have shape {y.shape}, not one row for each of {n} rows.")
    return y


def checked_strengths(lambdas: Iterable[float]) -> list[float]:
    """Return the strengths; BadInput if there is none, or one is negative or not finite."""
    strengths = [float(strength) for strength in lambdas]
    if not strengths or not all(0 <= strength < np.inf for strength in strengths):
        raise BadInput("strengths of ridge must be numbers of at least 0", hint="Give at least one.", found=strengths)
    return strengths


def check_alpha(alpha: float) -> None:
    """Raise ValueError, as scikit-learn's estimators do, if a strength is negative or not finite."""
    if not 0 <= alpha < np.inf:
        raise ValueError(f"alpha must be a number of at least 0, not {alpha!r}.")
