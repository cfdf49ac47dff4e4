"""What the estimators that are trained by gradient steps have in common: everything but the training.

Only training needs torch. A fitted probe holds numpy arrays and predicts with numpy, so it can be pickled, and loaded
where there is no accelerator.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin

from ....arrays import Array, Features, Float64, Labels
from ..sklearn_input import check_labelled, check_rows

_CHUNK_ROWS = 8192
"""Of one product when predicting, so that hidden activations of many rows do not fill the memory."""


class GradientProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A scikit-learn classifier of single-label rows, but for two methods.

    A subclass trains in `_train`, from class indices, and gives logits in `_logits`. It has parameters `random_state`
    and `device`.

    Attributes
    ----------
    classes_ : ndarray [K]
    n_features_in_ : int
    """

    random_state: int | np.random.RandomState | None
    classes_: Array

    @abstractmethod
    def _train(self, x: Features, codes: Labels, n_classes: int, seed: int) -> None:
        """Set the fitted attributes from rows x [n, d] and class indices [n]."""

    @abstractmethod
    def _logits(self, x: Features) -> Features:
        """Return logits [n, K] of rows x [n, d]."""

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Fit on rows [n, d] and labels [n], of any kind.

        Raises
        ------
        ValueError
            If there is a single class, the weights diverge, or X is not finite.
        BadInput
            If a parameter is out of range.
        """
        x, codes, self.classes_ = check_labelled(self, X, y)
        self._train(x, codes, len(self.classes_), self._seed())
        return self

    def _seed(self) -> int:
        return _seed_of(self.random_state)

    def decision_function(self, X: npt.ArrayLike) -> Features:
        """Return logits [n, K] of rows [n, d]; for two classes the margin of the second, [n]."""
        logits = self._all_logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: npt.ArrayLike) -> Float64:
        """Return class probabilities [n, K] of rows [n, d], the softmax of the logits."""
        logits = self._all_logits(X).astype(np.float64)
        p: Float64 = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return p

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the likeliest label [n] of rows [n, d]."""
        best = self._all_logits(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _all_logits(self, X: npt.ArrayLike) -> Features:
        x = check_rows(self, X)
        return np.concatenate([self._logits(x[i : i + _CHUNK_ROWS]) for i in range(0, len(x), _CHUNK_ROWS)])

    def _refuse_divergence(self, finite: bool) -> None:
        if not finite:
            raise ValueError(
                f"the weights of {type(self).__name__} diverged; a lower learning_rate, or a weight_decay "
                "below 1 / learning_rate, or features of smaller scale, would keep them finite"
            )


def _seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed for generators of one's own; None is fresh entropy, and numpy's global state is never read."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    return int(random_state)
