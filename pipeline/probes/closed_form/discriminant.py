"""Linear discriminant analysis: Gaussian classes with one covariance between them, estimated with shrinkage.

No projection to discriminant directions, and no solver to choose: the pooled covariance is formed in one pass over the
rows, block by block, and factorised once. Of few rows in many dimensions it is never formed: it differs from a diagonal
only in the span of the rows, and everything is computed there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ....arrays import Features, Float64, Indices
from ..sklearn_input import blocks, check_labelled, class_sums
from .centred_linear import CentredLinear

_EPS = float(np.finfo(np.float64).eps)

_SPAN = 3
"""How many times more dimensions than rows there are before working in the span of the rows pays."""


class LDAProbe(CentredLinear):
    """Linear discriminant analysis with a shrunk covariance.

    Parameters
    ----------
    shrinkage : "auto" or float
        Share s of the multiple of the identity in each class' covariance, (1 - s) S + s tr(S)/d I. From 0 to 1, or
        ``"auto"``: the share of each class, on standardised features, by the formula of Ledoit and Wolf [1]_.

    Attributes
    ----------
    classes_, coef_, intercept_
        See `CentredLinear`.
    priors_ : ndarray, float64 [C]
        Shares of the classes in training.
    means_ : ndarray, float64 [C, d]
    covariance_ : ndarray, float64 [d, d]
        Mean of the classes' shrunk covariances, weighted by the priors. Formed when it is asked for.
    n_features_in_ : int

    Notes
    -----
    The score of class c is x·S⁻¹m_c - m_c·S⁻¹m_c/2 + log prior (Hastie, Tibshirani and Friedman, The elements of
    statistical learning, section 4.3), and the result that of scikit-learn's ``LinearDiscriminantAnalysis`` with
    ``solver="lsqr"``, which decomposes the covariance by least squares where this one needs a Cholesky factor.
    Where the covariance is singular, which without shrinkage it is as soon as n - C < d, the solution of least norm is
    taken, and eigenvalues below d times float64's epsilon times the largest count as zero. (scikit-learn cuts at the
    epsilon, which lets rounding through.)

    References
    ----------
    .. [1] Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices (2004), section 3.
    """

    # The scores of all classes share a part that is large beside their differences: float32 would not leave enough.
    _in_float64 = True

    def __init__(self, shrinkage: Literal["auto"] | float = "auto") -> None:
        self.shrinkage = shrinkage

    def fit(self, X: Any, y: Any) -> LDAProbe:
        """Estimate means and covariance, and solve for the coefficients.

        Parameters
        ----------
        X : array-like or tensor [n, d]
        y : array-like or tensor [n]

        Raises
        ------
        ValueError
            If the shrinkage is out of range, rows or labels cannot be used, or there are as many classes as rows: then
            no row is off its class' mean, and there is no covariance.
        """
        fixed = _checked(self.shrinkage)
        labelled = check_labelled(self, X, y)
        x, codes, n_classes = labelled.x, labelled.codes, len(labelled.classes)
        if len(x) <= n_classes:
            raise ValueError(
                f"The number of samples must be more than the number of classes; there are {len(x)} rows of "
                f"{n_classes} classes."
            )
        counts = np.bincount(codes, minlength=n_classes)  # [C]
        self.priors_ = counts / len(x)
        self.means_ = class_sums(x, codes, n_classes) / counts[:, None]
        if fixed is None:
            kept, diagonal = _ledoit_wolf(x, codes, self.means_)
        else:
            kept, diagonal = np.full(n_classes, 1 - fixed), np.zeros(x.shape[1])
        # Sum over classes of prior_c kept_c S_c: every row, less its class' mean, times the root of its weight.
        root = np.sqrt(kept / len(x))  # [C]
        if fixed is not None:
            diagonal += fixed * _pooled_variance(x, codes, self.means_)

        def scaled(block: slice) -> Float64:
            rows: Float64 = (x[block] - self.means_[codes[block]]) * root[codes[block], None]
            return rows

        self.__dict__.pop("covariance_", None)  # of an earlier fit
        self._diagonal, self._factor = diagonal, None
        thin = _SPAN * len(x) <= x.shape[1]
        if thin and (diagonal.min() > 0 or diagonal.max() == 0):
            self._factor = scaled(slice(None))  # [n, d]
            coef = _solve_in_span(self._factor, diagonal, self.means_)  # [C, d]
        else:
            covariance = np.zeros((x.shape[1], x.shape[1]))
            for block in blocks(len(x)):
                rows = scaled(block)
                covariance += rows.T @ rows
            covariance[np.diag_indices_from(covariance)] += diagonal
            self.covariance_ = covariance
            coef = _solve(covariance, self.means_)
        at_zero = np.log(self.priors_) - np.einsum("cd,cd->c", self.means_, coef) / 2
        if n_classes == 2:
            coef, at_zero = coef[1:] - coef[:1], at_zero[1:] - at_zero[:1]
        self._set_linear(labelled, coef, np.zeros(x.shape[1]), at_zero)
        return self

    @cached_property
    def covariance_(self) -> Float64:
        """The shrunk covariance, float64 [d, d]."""
        assert self._factor is not None
        covariance: Float64 = self._factor.T @ self._factor
        covariance[np.diag_indices_from(covariance)] += self._diagonal
        return covariance

    def predict_proba(self, X: Any) -> Float64:
        """Return the probability of each class, float64 [m, C], of rows [m, d]."""
        scores = np.asarray(self.decision_function(X), dtype=np.float64)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: Float64 = odds / odds.sum(axis=1, keepdims=True)
        return probabilities


def _checked(shrinkage: Any) -> float | None:
    if isinstance(shrinkage, str) and shrinkage == "auto":
        return None
    if isinstance(shrinkage, bool | str) or shrinkage is None or not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage must be 'auto' or a number from 0 to 1, not {shrinkage!r}.")
    return float(shrinkage)


def _pooled_variance(x: Features, codes: Indices, means: Float64) -> float:
    """Return the mean over features of the variance within classes."""
    return float(sum(np.square(x[b] - means[codes[b]]).sum() for b in blocks(len(x))) / x.size)


def _ledoit_wolf(x: Features, codes: Indices, means: Float64) -> tuple[Float64, Float64]:
    """Return what each class keeps of its covariance, 1 - s [C], and what shrinkage adds to the diagonal [d].

    A class' features are standardised before s is estimated, so that it does not depend on their units; what is added
    is scaled back.
    """
    kept, diagonal = np.ones(len(means)), np.zeros(x.shape[1])
    order = np.argsort(codes, kind="stable")
    for c, members in enumerate(np.split(order, np.cumsum(np.bincount(codes, minlength=len(means)))[:-1])):
        n = len(members)
        parts = [members[block] for block in blocks(n)]
        squares = np.stack([np.square(x[part] - means[c]).sum(axis=0) for part in parts])
        variance = squares.sum(axis=0) / n  # [d]
        # Features that are constant but for rounding keep their scale; the bound is that of Chan, Golub and LeVeque
        # (1983) for the two-pass variance, which scikit-learn's StandardScaler uses too.
        constant = variance <= n * _EPS * variance + np.square(n * means[c] * _EPS)
        scale = np.where(constant, 1.0, np.sqrt(variance))
        share, target = _shrinkage(((x[part] - means[c]) / scale for part in parts), n)
        kept[c] = 1 - share
        diagonal += n / len(x) * share * target * np.square(scale)
    return kept, diagonal


def _shrinkage(parts: Iterable[Float64], n: int) -> tuple[float, float]:
    """Return the share s of the target and the mean variance, of n centred rows in parts [b, d].

    In the notation of Ledoit and Wolf (2004), lemmas 3.2 to 3.4, times d: m is the mean variance, d² the distance of
    the covariance from m I, b² the error of the covariance, and s = min(b², d²) / d².
    """
    total = fourth = 0.0  # sums of |row|² and |row|⁴
    gram: Float64 | float = 0.0
    d = 0
    for rows in parts:
        d = rows.shape[1]
        lengths = np.square(rows).sum(axis=1)
        total += float(lengths.sum())
        fourth += float(np.square(lengths).sum())
        # |XᵀX| = |XXᵀ| in the Frobenius norm: the smaller one will do, where the rows are all in one part.
        gram = rows @ rows.T if n < d and n == len(rows) else gram + rows.T @ rows
    if d == 1:
        return 0.0, 0.0
    mean = total / (n * d)
    of_covariance = float(np.square(gram).sum()) / n**2
    distance = of_covariance - d * mean**2
    error = min((fourth / n - of_covariance) / n, distance)
    return (0.0 if error == 0 else error / distance), mean


def _solve_in_span(factor: Float64, diagonal: Float64, means: Float64) -> Float64:
    """Return means [C, d] times the inverse of FᵀF + diag(D), F [n, d] with n below d; see `_solve`.

    With A = F D^-1/2 and AAᵀ = U Λ Uᵀ, the covariance is D^1/2 (I + AᵀA) D^1/2, and AᵀA has the eigenvalues Λ on
    the directions V = Aᵀ U Λ^-1/2: these parts of D^-1/2 m are divided by 1 + Λ, and the rest stays (the formula of
    Woodbury, in a form without cancellation). If D is zero, the solution of least norm divides them by Λ, and has no
    rest.
    """
    singular = not diagonal.any()
    if singular:
        _warn_of_least_norm()
    root = np.ones_like(diagonal) if singular else np.sqrt(diagonal)  # [d]
    a, z = factor / root, means / root
    values, vectors = np.linalg.eigh(a @ a.T)
    spanned = values > _EPS * a.shape[1] * max(values[-1], 0.0)
    values = values[spanned]
    directions = (vectors[:, spanned] / np.sqrt(values)).T @ a  # [r, d], orthonormal
    along = z @ directions.T  # [C, r]
    solution: Float64 = (along / (values if singular else 1 + values)) @ directions
    if not singular:
        rest = z - along @ directions
        solution += rest - (rest @ directions.T) @ directions  # twice: what rounding left in the span
    return solution / root


def _warn_of_least_norm() -> None:
    warnings.warn(
        "the covariance within classes is singular: the coefficients of least norm are taken. More rows a class, or a "
        "fixed shrinkage, make it regular",
        stacklevel=4,
    )


def _solve(covariance: Float64, means: Float64) -> Float64:
    """Return means [C, d] times the inverse of the covariance, or its pseudo-inverse where it is singular."""
    from scipy import linalg

    with warnings.catch_warnings():
        warnings.simplefilter("error", linalg.LinAlgWarning)
        try:
            return np.asarray(linalg.solve(covariance, means.T, assume_a="pos"), dtype=np.float64).T
        except (linalg.LinAlgError, linalg.LinAlgWarning):  # singular, or too close to it to tell
            values, vectors = np.linalg.eigh(covariance)
    _warn_of_least_norm()
    lost = values <= _EPS * len(values) * max(values[-1], 0.0)
    inverse = np.zeros_like(values)
    np.divide(1.0, values, out=inverse, where=~lost)
    solution: Float64 = ((means @ vectors) * inverse) @ vectors.T
    return solution
