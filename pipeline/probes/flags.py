"""`FlagsProbe`: multi-label data for any classifier, the same wherever a flag stands that is constant in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.metaestimators import available_if

from ...arrays import Float64, Int64

Number = TypeVar("Number", np.int64, np.float64)


def _offers(method: str) -> Callable[[Any], bool]:
    return lambda probe: hasattr(probe.estimator, method)


CERTAIN = 1000.0
"""A logit whose sigmoid is exactly 1 in float64: of a flag that every row of the training data had."""


class FlagsProbe(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """One 0/1 flag a class, by an estimator of one label a row, or by one that takes flags itself.

    A flag that all or no training rows have is not fitted: it is predicted as it was. The others are fitted as if it
    were not there, so its place among the columns changes nothing.

    Parameters
    ----------
    estimator : estimator
        Fits and predicts. Fitted anew on each flag; or, with `together`, on all flags that vary.
    together : bool
        Whether `estimator` takes flags [n, C] itself, as trees and nearest neighbours do.

    Attributes
    ----------
    classes_ : ndarray, int64 [C]
        Column numbers.
    varies_ : ndarray, int64 [V]
        Columns that are not constant in training.
    constant_ : ndarray, int64 [C]
        What constant flags are; of others without meaning.
    estimators_ : list
        One fitted estimator for each of `varies_`, or a single one where they were fitted together.
    together_ : bool
        Whether there is a single one.

    Notes
    -----
    A flag is predicted where the margin is above 0, else where the probability is above one half, else where the
    estimator predicts it. scikit-learn's ``OneVsRestClassifier`` takes the threshold, and which methods there are, from
    its first column's estimator; if that column is constant, this is wrong for all others.
    """

    def __init__(self, estimator: Any, *, together: bool = False) -> None:
        self.estimator = estimator
        self.together = together

    def fit(self, X: Any, y: Any) -> FlagsProbe:
        """Fit to features X [n, d] and flags y [n, C].

        Raises
        ------
        ValueError
            If `y` are not flags, or none of them varies.
        """
        flags = np.asarray(y)
        if flags.ndim != 2 or not np.isin(flags, (0, 1)).all():
            raise ValueError(f"y must be flags of 0 and 1 [n, C], not of shape {flags.shape}")
        flags = flags.astype(np.int64)
        self.classes_ = np.arange(flags.shape[1])
        self.constant_ = flags[0]
        self.varies_ = np.flatnonzero((flags != flags[:1]).any(axis=0))
        if not len(self.varies_):
            raise ValueError("no flag is set in some rows and not in others")
        self.together_ = self.together and len(self.varies_) > 1
        if self.together_:
            self.estimators_ = [clone(self.estimator).fit(X, flags[:, self.varies_])]
        else:
            self.estimators_ = [clone(self.estimator).fit(X, flags[:, column]) for column in self.varies_]
        return self

    def predict(self, X: Any) -> Int64:
        """Return flags [n, C] of rows [n, d]."""
        if self.together_:
            together: Int64 = np.asarray(self.estimators_[0].predict(X)).astype(np.int64)
            return self._with_constants(together)
        return self._with_constants(np.stack([_has(each, X) for each in self.estimators_], axis=1))

    @available_if(_offers("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Float64:
        """Return the margin of each flag, float64 [n, C]; of a constant one, one that is certain."""
        if self.together_:
            margins = np.asarray(self.estimators_[0].decision_function(X), dtype=np.float64)
        else:
            each_one = [np.ravel(each.decision_function(X)) for each in self.estimators_]
            margins = np.stack(each_one, axis=1, dtype=np.float64)
        found = self._with_constants(margins)
        if hasattr(self.estimators_[0], "predict_proba"):
            # Margins are logits: 0 would rank a flag that no row has above flags that are unlikely.
            constant = np.setdiff1d(self.classes_, self.varies_)
            found[:, constant] = CERTAIN * (2.0 * self.constant_[constant] - 1.0)
        return found

    @available_if(_offers("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Float64:
        """Return the probability of each flag, float64 [n, C]."""
        if self.together_:
            found = self.estimators_[0].predict_proba(X)
            if isinstance(found, list):  # [n, 2] a flag, the second column that it is set
                found = np.stack([each[:, 1] for each in found], axis=1)
            return self._with_constants(np.asarray(found, dtype=np.float64))
        each_one = [each.predict_proba(X)[:, 1] for each in self.estimators_]
        return self._with_constants(np.stack(each_one, axis=1, dtype=np.float64))

    def _with_constants(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Return columns [n, V] of the flags that vary among those that do not, [n, C]."""
        every: npt.NDArray[Number] = np.repeat(self.constant_[None].astype(values.dtype), len(values), axis=0)
        every[:, self.varies_] = values
        return every


def _has(estimator: Any, X: Any) -> Int64:
    """Return whether rows have the flag that an estimator was fitted on, int64 [n]."""
    if hasattr(estimator, "decision_function"):
        margins: Float64 = np.ravel(estimator.decision_function(X))
        return (margins > 0).astype(np.int64)
    if hasattr(estimator, "predict_proba"):
        probabilities: Float64 = estimator.predict_proba(X)[:, 1]
        return (probabilities > 0.5).astype(np.int64)
    found: Int64 = np.asarray(estimator.predict(X)).astype(np.int64)
    return found
