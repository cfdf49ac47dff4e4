"""Nearest class mean: one prototype a class, and no hyper-parameter.

The cheapest probe there is, and with few shots a strong one: it asks whether the classes of an encoder are blobs.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from ....arrays import Array, Features
from ..sklearn_input import blocks, check_labelled, check_rows, class_sums, norms, squares


class NearestMeanProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predict the class whose mean is nearest.

    Parameters
    ----------
    metric : {"cosine", "euclidean"}
        ``cosine``: a class' mean is that of its rows scaled to unit norm, so that every row counts the same, and the
        score is the cosine with it. ``euclidean``: the mean of the rows, and the score is -|x - mean|²/2.

    Attributes
    ----------
    classes_ : ndarray [C]
    means_ : ndarray, float64 [C, d]
        Of unit norm where the metric is the cosine; zeros where the unit rows of a class cancel.
    n_features_in_ : int

    Notes
    -----
    The classifier of prototypical networks (Snell, Swersky and Zemel, 2017, section 2.3) on fixed features. A row of
    zeros has cosine 0 with every class. Of equally near classes the first in `classes_` is predicted.
    """

    def __init__(self, metric: Literal["cosine", "euclidean"] = "cosine") -> None:
        self.metric = metric

    def fit(self, X: Any, y: Any) -> NearestMeanProbe:
        """Average the rows of every class.

        Parameters
        ----------
        X : array-like or tensor [n, d]
        y : array-like or tensor [n]

        Raises
        ------
        ValueError
            If the metric is not known, or rows or labels cannot be used.
        """
        if self.metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric must be 'cosine' or 'euclidean', not {self.metric!r}.")
        x, codes, self.classes_ = check_labelled(self, X, y)
        n_classes = len(self.classes_)
        if self.metric == "cosine":
            sums = class_sums(x, codes, n_classes, 1 / norms(x))
            self.means_ = sums / norms(sums)[:, None]
            self._origin = np.zeros(x.shape[1])
        else:
            counts = np.bincount(codes, minlength=n_classes)
            self.means_ = class_sums(x, codes, n_classes) / counts[:, None]
            # Far from the origin the terms of |x - m|² = x² - 2xm + m² cancel, and with them float32's digits.
            self._origin = counts @ self.means_ / len(x)
        return self

    def decision_function(self, X: Any) -> Features:
        """Return scores [m, C] of rows [m, d]; for two classes the second's less the first's, [m].

        float32 for float32 rows.
        """
        x = check_rows(self, X)
        origin: Any = self._origin.astype(x.dtype)  # rounded once, and then the same for rows and means
        means = self.means_ - origin  # [C, d]
        factors: Any = means.astype(x.dtype)
        scores: Features = np.empty((len(x), len(means)), dtype=x.dtype)
        for block in blocks(len(x)):
            if self.metric == "cosine":
                scores[block] = (x[block] / norms(x[block])[:, None]).astype(x.dtype) @ factors.T
            else:
                rows = x[block] - origin
                constants = (squares(rows)[:, None] + squares(means)) / 2
                scores[block] = rows @ factors.T - constants.astype(x.dtype)
        return scores if len(means) > 2 else scores[:, 1] - scores[:, 0]

    def predict(self, X: Any) -> Array:
        """Return the labels [m] of rows [m, d]."""
        scores = self.decision_function(X)
        codes = scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(np.int64)
        labels: Array = self.classes_[codes]
        return labels
