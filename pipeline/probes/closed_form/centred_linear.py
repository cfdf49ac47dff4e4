"""Scores and predictions of probes that are linear: what is left once coefficients have been found.

Rows are centred before they are multiplied, so that float32 rows far from the origin lose no digits to cancellation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from ....arrays import Array, Features, Float64
from ..sklearn_input import Labelled, blocks, check_rows


class CentredLinear(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Base of linear probes; a subclass fits and calls `_set_linear`.

    Attributes
    ----------
    classes_ : ndarray [C]
    coef_ : ndarray, float64 [C, d]; [1, d] for two classes
    intercept_ : ndarray, float64 [C]; [1] for two classes
        Scores are ``X @ coef_.T + intercept_``.
    """

    _in_float64 = False

    coef_: Float64
    intercept_: Float64
    classes_: Array

    def decision_function(self, X: Any) -> Features:
        """Return scores [m, C] of rows [m, d], or [m] for two classes: above 0 is the second.

        float32 for float32 rows, unless the probe says otherwise.
        """
        x = check_rows(self, X)
        dtype: Any = np.float64 if self._in_float64 else x.dtype
        # The origin as it is subtracted, and the scores there: rounding it to float32 must not move them.
        centre: Any = self._centre.astype(dtype)
        at_centre: Any = (self._at_centre + self.coef_ @ (centre - self._centre)).astype(dtype)
        coef: Any = self.coef_.astype(dtype)
        scores: Features = np.empty((len(x), len(coef)), dtype=dtype)
        for block in blocks(len(x)):
            scores[block] = (x[block] - centre) @ coef.T + at_centre
        return scores if self._flags or len(self.classes_) > 2 else scores[:, 0]

    def predict(self, X: Any) -> Array:
        """Return the labels [m], or flags [m, C], of rows [m, d]; of equal scores the first class."""
        scores = self.decision_function(X)
        if self._flags:
            return (scores > 0).astype(np.int64)
        codes = scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(np.int64)
        labels: Array = self.classes_[codes]
        return labels

    def _set_linear(self, labelled: Labelled, coef: Float64, centre: Float64, at_centre: Float64) -> None:
        """Take coefficients [C, d], an origin [d] and the scores [C] there."""
        self.classes_ = labelled.classes
        self._flags = labelled.are_flags
        self._centre, self._at_centre = centre, at_centre
        self.coef_ = coef
        self.intercept_ = at_centre - coef @ centre
