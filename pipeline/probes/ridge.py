"""Ridge regression on ±1 targets as a probe, in closed form: one eigendecomposition serves every strength.

Let Z [n, D] be the rows after centring or standardising, and Y [n, C] the targets. The weights for strength λ are

    (ZᵀZ + λI)⁻¹ ZᵀY  =  Zᵀ (ZZᵀ + λI)⁻¹ Y,

and whichever of the two matrices is the smaller is decomposed into QΛQᵀ once; each λ then costs two products. All of
it is in float64, whatever the rows: forming ZᵀZ squares the condition number, which float32 cannot afford.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ...errors import BadInput
from .centred_linear import CentredLinear
from .labelled_rows import Float64, Indices, Rows, blocks, check_labelled, check_weights

FEW_SHOT_L2 = 1024.0
"""big_vision's default strength."""

_BIAS = 100.0
"""big_vision's constant column (BIAS_CONSTANT): so large that the penalty of its weight hardly matters."""

_STD_FLOOR = 1e-5
"""What big_vision adds to every standard deviation."""


class RidgePath(NamedTuple):
    """Linear scores ``x @ coefs[i].T + intercepts[i]`` for every strength.

    Parameters
    ----------
    coefs : ndarray, float64 [L, C, d]
    intercepts : ndarray, float64 [L, C]
    """

    coefs: Float64
    intercepts: Float64


def ridge_path(x: Rows, targets: Any, lambdas: Iterable[float], *, sample_weight: Any = None) -> RidgePath:
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
    y, weights = _targets(targets, len(x)), check_weights(sample_weight, len(x))
    mean, centre = _mean(x, weights), _mean(y, weights)  # [d], [C]
    solve = _solver(x, y - centre, weights, lambda rows: rows - mean)
    coefs = np.stack([solve(strength).T for strength in _checked(lambdas)])
    return RidgePath(coefs, centre - coefs @ mean)


def few_shot_ridge_path(x: Rows, targets: Any, lambdas: Iterable[float], *, sample_weight: Any = None) -> RidgePath:
    """Solve big_vision's few-shot regression for every λ.

    Rows are standardised by their mean and (standard deviation + 1e-5) and a constant column of 100 is appended, whose
    weight is penalised like the others.

    Parameters
    ----------
    x, targets, lambdas, sample_weight
        See `ridge_path`; targets are ±1 in the reference.

    Returns
    -------
    RidgePath
        In terms of the rows as given.

    Raises
    ------
    BadInput, ValueError
        See `ridge_path`.

    Notes
    -----
    Formulas from big_vision/evaluators/fewshot_lsr.py, which computes in float32.
    """
    mean, scaled, at_mean = _few_shot(x, _targets(targets, len(x)), lambdas, check_weights(sample_weight, len(x)))
    return RidgePath(scaled, at_mean - scaled @ mean)


class RidgeProbe(CentredLinear):
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
        _check_alpha(self.alpha)
        labelled = check_labelled(self, X, y, multilabel=True)
        weights = check_weights(sample_weight, len(labelled.x))
        targets = signed_targets(labelled.codes, len(labelled.classes))
        path = ridge_path(labelled.x, targets, (self.alpha,), sample_weight=weights)
        mean = _mean(labelled.x, weights)
        self._set_linear(labelled, path.coefs[0], mean, _mean(targets, weights))
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _more_tags(self) -> dict[str, bool]:  # scikit-learn 1.5
        return {"multilabel": True}


class FewShotRidgeProbe(RidgeProbe):
    """big_vision's few-shot probe: ridge regression on standardised rows with a constant column of 100.

    Parameters
    ----------
    alpha : float
        λ; 1024 in big_vision's configurations.

    Attributes
    ----------
    classes_, coef_, intercept_
        In terms of the rows as given; see `CentredLinear`.
    n_features_in_ : int

    Notes
    -----
    See `few_shot_ridge_path`. Takes flags [n, C] as labels, which the reference does not.
    """

    def __init__(self, alpha: float = FEW_SHOT_L2) -> None:
        super().__init__(alpha)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> FewShotRidgeProbe:
        """Solve for the weights; see `RidgeProbe.fit`."""
        _check_alpha(self.alpha)
        labelled = check_labelled(self, X, y, multilabel=True)
        weights = check_weights(sample_weight, len(labelled.x))
        targets = signed_targets(labelled.codes, len(labelled.classes))
        mean, scaled, at_mean = _few_shot(labelled.x, targets, (self.alpha,), weights)
        self._set_linear(labelled, scaled[0], mean, at_mean[0])
        return self


def signed_targets(codes: Indices, n_classes: int) -> Float64:
    """Return +1 for a row's class and -1 for the others, float64 [n, C]; of two classes one column, the second's."""
    if codes.ndim == 2:
        positive = codes == 1
    elif n_classes == 2:
        positive = codes[:, None] == 1
    else:
        positive = codes[:, None] == np.arange(n_classes)
    return np.where(positive, 1.0, -1.0)


def _few_shot(x: Rows, y: Float64, lambdas: Iterable[float], weights: Float64) -> tuple[Float64, Float64, Float64]:
    """Return the mean [d], weights of rows less it [L, C, d], and scores at it [L, C]."""
    mean = _mean(x, weights)
    variance = sum(weights[b] @ np.square(x[b] - mean) for b in blocks(len(x))) / weights.sum()
    std = np.sqrt(variance) + _STD_FLOOR  # [d]

    def standardised(rows: Rows) -> Float64:
        return np.pad((rows - mean) / std, ((0, 0), (0, 1)), constant_values=_BIAS)

    solve = _solver(x, y, weights, standardised)
    w = np.stack([solve(strength).T for strength in _checked(lambdas)])  # [L, C, d + 1]
    return mean, w[:, :, :-1] / std, _BIAS * w[:, :, -1]


def _solver(x: Rows, y: Float64, weights: Float64, transform: Callable[[Rows], Float64]) -> Callable[[float], Float64]:
    """Return a function from λ to weights [D, C] of the rows that `transform` makes, float64 [b, D]."""
    root = np.sqrt(weights)[:, None]  # weighted least squares are plain ones on rows times sqrt(w)
    n, D = len(x), transform(x[:1]).shape[1]
    if n >= D:
        gram, cross = np.zeros((D, D)), np.zeros((D, y.shape[1]))
        for block in blocks(n):
            z = transform(x[block]) * root[block]
            gram += z.T @ z
            cross += z.T @ (y[block] * root[block])
        eigenvalues, Q = np.linalg.eigh(gram)
        left, right = Q, Q.T @ cross
    else:
        z = transform(x) * root
        eigenvalues, Q = np.linalg.eigh(z @ z.T)
        left, right = z.T @ Q, Q.T @ (y * root)
    eigenvalues = np.maximum(eigenvalues, 0)  # rounding makes some of them negative
    lost = eigenvalues <= max(n, D) * np.finfo(np.float64).eps * eigenvalues[-1]

    def solve(strength: float) -> Float64:
        inverse = np.zeros_like(eigenvalues)
        np.divide(1.0, eigenvalues + strength, out=inverse, where=~lost if strength == 0 else eigenvalues >= 0)
        solution: Float64 = left @ (inverse[:, None] * right)
        return solution

    return solve


def _mean(values: Rows, weights: Float64) -> Float64:
    """Return the weighted mean of the rows, float64 [d]."""
    # A product with float64 weights widens its operand whole: block by block, the copy stays small.
    total = np.sum([weights[b] @ values[b].astype(np.float64) for b in blocks(len(values))], axis=0)
    mean: Float64 = total / weights.sum()
    return mean


def _targets(targets: Any, n: int) -> Float64:
    y = np.asarray(targets, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or len(y) != n:
        raise ValueError(f"Targets have shape {y.shape}, not one row for each of {n} rows.")
    return y


def _checked(lambdas: Iterable[float]) -> list[float]:
    strengths = [float(strength) for strength in lambdas]
    if not strengths or not all(0 <= strength < np.inf for strength in strengths):
        raise BadInput("strengths of ridge must be numbers of at least 0", hint="Give at least one.", found=strengths)
    return strengths


def _check_alpha(alpha: float) -> None:
    # ValueError, as scikit-learn's estimators have it.
    if not 0 <= alpha < np.inf:
        raise ValueError(f"alpha must be a number of at least 0, not {alpha!r}.")
