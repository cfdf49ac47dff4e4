"""Logistic regression as a scikit-learn estimator, on NumPy arrays or torch tensors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeGuard, cast

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from ....arrays import Array, Float64, Floating, Int64
from ..sklearn_input import Labelled, TakesFlags, as_numpy, check_labelled, check_labels, check_rows
from .path import Path, Precision, fit_path
from .rotated import Rotated
from .rows import Stored, StreamRows, stream

if TYPE_CHECKING:
    import torch

    FitRows: TypeAlias = Floating | torch.Tensor | Rotated | Stored


class LogisticProbe(TakesFlags, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression with an L2 penalty and a free intercept.

    Two classes make one logistic head, more make a softmax, and flags (multi-label targets) one logistic head a column.
    The objective is that of scikit-learn's LogisticRegression: Σ_i w_i loss_i + ‖W‖² / (2 C).

    Parameters
    ----------
    C : float
        Inverse of the penalty.
    tol : float
        See `fit_path`.
    max_iter : int
        Newton steps.
    class_weight : dict, "balanced" or None
        As in scikit-learn. Of flags, only "balanced", for each column by itself.
    precision : {"auto", "float32", "float64"}
        Of the gradient; see `fit_path`.
    warm_start : bool
        Begin with the weights of the last fit, if they have the right shape.
    n_threads : int, optional
        On a CPU; torch's own number by default.
    memory : int, optional
        Bytes that a fit may take; see `fit_path`. Rows that come block by block (an object with a shape and `blocks`,
        such as `StoredRows`) are never all in memory.

    Attributes
    ----------
    classes_ : ndarray [K]
        Of flags, the column numbers.
    coef_ : ndarray, float64 [K, d], or [1, d] for two classes
    intercept_ : ndarray, float64 [K] or [1]
    n_iter_ : ndarray, int64 [1]
        Passes over the features.
    objective_, gradient_norm_ : float
    gap_, proven_gap_ : float
        How far `objective_` is above the smallest one, relative to that, at most; see `Path`.
    converged_ : bool
        Where it is False, `fit` warns too.
    n_features_in_ : int
    """

    coef_: Float64
    intercept_: Float64
    classes_: Array
    converged_: bool
    feature_names_in_: Array

    reads_blocks = True
    """`fit` takes rows that come block by block."""

    shares_rows = True
    """`fit` takes `ShardedRows`: every rank ends with the same fit."""

    def __init__(
        self,
        C: float = 1.0,
        *,
        tol: float = 1e-4,
        max_iter: int = 50,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        precision: Precision = "auto",
        warm_start: bool = False,
        n_threads: int | None = None,
        memory: int | None = None,
    ) -> None:
        self.C = C
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.precision = precision
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.memory = memory

    def fit(self, X: FitRows, y: Any, sample_weight: Any = None) -> LogisticProbe:
        """Fit to features X [n, d] and labels y [n], or flags y [n, K].

        Raises
        ------
        ValueError
            If the data or a parameter is not what it should be.
        """
        self._fit_all([self], X, y, sample_weight)
        return self

    def fit_many(self, X: FitRows, y: Any, Cs: Sequence[float], sample_weight: Any = None) -> list[LogisticProbe]:
        """Fit a copy of this probe for each C, in one go: the features are rotated once, and each leads to the next.

        Raises
        ------
        ValueError
            As `fit`.
        """
        probes: list[LogisticProbe] = [clone(self).set_params(C=C) for C in Cs]
        self._fit_all(probes, X, y, sample_weight)
        return probes

    def _fit_all(self, probes: Sequence[LogisticProbe], X: FitRows, y: Any, sample_weight: Any) -> None:
        for C in (probe.C for probe in probes):
            if not (np.isreal(C) and 0 < C < np.inf):
                raise ValueError(f"C must be positive and finite, not {C!r}")
        if not isinstance(self.tol, int | float) or not 0 < self.tol < np.inf:
            raise ValueError(f"tol must be a positive number, not {self.tol!r}")
        labelled = self._checked(X, y)
        x, codes, self.classes_ = labelled
        self._flags = labelled.are_flags
        if sample_weight is None:
            weights = None
        elif isinstance(x, StreamRows | Rotated):
            weights = np.asarray(as_numpy(sample_weight), dtype=np.float64)
        else:
            weights = _check_sample_weight(as_numpy(sample_weight), x, dtype=np.float64)
        if self._flags and not (codes != codes[:1]).any():
            raise ValueError("LogisticProbe needs a flag that is set in some rows and not in others")
        weights = self._weights(codes, weights)
        heads = len(self.classes_) if self._flags or len(self.classes_) > 2 else 1
        start = None
        if self.warm_start and getattr(self, "coef_", np.empty(0)).shape == (heads, self._width(x)):
            n = len(probes)
            start = (np.repeat(self.coef_[None], n, axis=0), np.repeat(self.intercept_[None], n, axis=0))
        path = fit_path(
            x,
            codes,
            [1.0 / probe.C for probe in probes],
            sample_weight=weights,
            precision=self.precision,
            tol=self.tol,
            max_steps=self.max_iter,
            threads=self.n_threads,
            memory=self.memory,
            start=start,
        )
        for i, probe in enumerate(probes):
            probe._take(path, i, self)
            if not probe.converged_:
                warnings.warn(
                    f"LogisticProbe (C = {probe.C:g}) did not converge in {self.max_iter} steps: its objective may be "
                    f"{_percent(probe.gap_)} above the optimum, where tol = {self.tol:g} asks for {_percent(self.tol)}",
                    ConvergenceWarning,
                    stacklevel=3,
                )

    def _take(self, path: Path, i: int, like: LogisticProbe) -> None:
        """Become the optimum of the path's i-th penalty, on data as `like` saw them."""
        self._flags, self.classes_, self.n_features_in_ = like._flags, like.classes_, path.coef.shape[2]
        if hasattr(like, "feature_names_in_"):
            self.feature_names_in_ = like.feature_names_in_
        self.coef_, self.intercept_ = path.coef[i], path.intercept[i]
        self.objective_, self.gradient_norm_ = float(path.objective[i]), float(path.gradient_norm[i])
        self.gap_, self.proven_gap_ = float(path.gap[i]), float(path.proven_gap[i])
        self.n_iter_, self.converged_ = path.passes[i : i + 1], bool(path.converged[i])

    def decision_function(self, X: FitRows) -> Float64:
        """Return logits: [n] for two classes, [n, K] else."""
        check_is_fitted(self)
        if _is_tensor(X):
            z = _tensor_logits(X, self.coef_, self.intercept_)
        else:
            x = check_rows(self, X)
            z = x @ self.coef_.T.astype(x.dtype) + self.intercept_
        margins: Float64 = z[:, 0] if z.shape[1] == 1 and not self._flags else z
        return margins

    def predict_proba(self, X: FitRows) -> Float64:
        """Return probabilities [n, K]; of flags, each column's by itself."""
        z = self.decision_function(X).astype(np.float64)
        if z.ndim == 1:
            z = np.stack([np.zeros_like(z), z], axis=1)
        elif self._flags:
            flagged: Float64 = np.exp(-np.logaddexp(0, -z))
            return flagged
        z -= z.max(1, keepdims=True)
        p: Float64 = np.exp(z)
        p /= p.sum(1, keepdims=True)
        return p

    def predict_log_proba(self, X: FitRows) -> Float64:
        """Return the logarithms of `predict_proba`."""
        logs: Float64 = np.log(self.predict_proba(X))
        return logs

    def predict(self, X: FitRows) -> Array:
        """Return labels [n], or flags [n, K]."""
        z = self.decision_function(X)
        if self._flags:
            return (z > 0).astype(np.int64)
        codes = (z > 0).astype(np.int64) if z.ndim == 1 else z.argmax(1)
        labels: Array = self.classes_[codes]
        return labels

    def _checked(self, X: FitRows, y: Any) -> Labelled:
        """Check rows and labels; rows of a tensor, or that come in blocks, stay what they are."""
        if isinstance(X, Rotated) or hasattr(X, "blocks"):
            rows: Any = X if isinstance(X, Rotated) else stream(cast(Stored, X))
            self.n_features_in_ = rows.d
            return check_labels(self, rows, y, flags=True)
        if not _is_tensor(X):
            return check_labelled(self, X, y, flags=True)
        import torch

        if X.ndim != 2 or len(X) != len(y) or not bool(torch.isfinite(X).all()):
            raise ValueError(f"X must be finite, [n, d], with a row for each of {len(y)} labels, not {tuple(X.shape)}")
        return check_labels(self, X, y, flags=True)

    def _width(self, x: Any) -> int:
        return int(x.d if isinstance(x, StreamRows | Rotated) else x.shape[1])

    def _weights(self, codes: Int64, weights: Float64 | None) -> Float64 | None:
        if self.class_weight is None:
            return weights
        if self._flags:
            if self.class_weight != "balanced":
                raise ValueError('class_weight of flags must be "balanced" or None')
            positive = np.clip(np.average(codes, axis=0, weights=weights), 1e-12, 1 - 1e-12)
            balanced: Float64 = np.where(codes == 1, 0.5 / positive, 0.5 / (1 - positive))
            return balanced if weights is None else balanced * weights[:, None]
        each: Float64
        if self.class_weight == "balanced":
            # Every class gets the same share of the rows' own weights.
            share = np.bincount(codes, weights=weights, minlength=len(self.classes_))
            each = (share.sum() / (len(share) * np.maximum(share, 1e-300)))[codes]
        else:
            each = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[codes])[codes]
        return each if weights is None else each * weights


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if np.isfinite(share) else "any number of times"


def _is_tensor(array: Any) -> TypeGuard[torch.Tensor]:
    return type(array).__module__.partition(".")[0] == "torch"


def _tensor_logits(x: torch.Tensor, coef: Float64, intercept: Float64) -> Float64:
    import torch

    dtype = x.dtype if x.dtype == torch.float64 else torch.float32
    w, b = (torch.from_numpy(part).to(x.device, dtype) for part in (coef, intercept))
    if x.ndim != 2 or x.shape[1] != w.shape[1]:
        raise ValueError(f"X has shape {tuple(x.shape)}, but LogisticProbe was fitted on {w.shape[1]} features")
    z: Float64 = torch.addmm(b, x.detach().to(dtype), w.T).cpu().numpy()
    return z
