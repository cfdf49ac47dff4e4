"""big_vision's few-shot probe: ridge regression on standardised rows, with a column for the bias that is penalised.

Which rows are the shots is the caller's to draw. The algebra is `ridge`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ....arrays import Features, Float64
from ..sklearn_input import check_weights
from .ridge import (
    RidgePath,
    RidgeProbe,
    Solutions,
    TargetBlocks,
    as_targets,
    checked_strengths,
    ridge_solver,
    weighted_mean,
)

FEW_SHOT_L2 = 1024.0
"""big_vision's default strength."""

_BIAS = 100.0
"""big_vision's constant column (BIAS_CONSTANT): so large that the penalty of its weight hardly matters."""

_STD_FLOOR = 1e-5
"""What big_vision adds to every standard deviation."""


def few_shot_ridge_path(x: Features, targets: Any, lambdas: Iterable[float], *, sample_weight: Any = None) -> RidgePath:
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
    y = as_targets(targets, len(x))
    mean, coefs, at_mean = _standardised(x, lambda block: y[block], lambdas, check_weights(sample_weight, len(x)))
    return RidgePath(coefs, at_mean - coefs @ mean)


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

    def _solve(self, x: Features, targets: TargetBlocks, lambdas: Iterable[float], weights: Float64) -> Solutions:
        return _standardised(x, targets, lambdas, weights)


def _standardised(x: Features, targets: TargetBlocks, lambdas: Iterable[float], weights: Float64) -> Solutions:
    mean = weighted_mean(lambda block: x[block].astype(np.float64), weights)
    std = np.sqrt(weighted_mean(lambda block: np.square(x[block] - mean), weights)) + _STD_FLOOR  # [d]

    def transform(rows: Features) -> Float64:
        z = np.full((len(rows), len(mean) + 1), _BIAS)  # [b, d + 1]
        np.subtract(rows, mean, out=z[:, :-1])
        z[:, :-1] /= std
        return z

    solve = ridge_solver(x, targets, weights, transform)
    w = np.stack([solve(strength).T for strength in checked_strengths(lambdas)])  # [L, C, d + 1]
    return mean, w[:, :, :-1] / std, _BIAS * w[:, :, -1]
