"""k nearest neighbours as a probe: how neighbours vote, for one k or for several from one search.

The search itself is in `nearest`, and DINOv2's evaluation in `dinov2_knn`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ....arrays import Array, Features, Float64, Indices, Mask
from ....errors import BadInput
from ..sharded_rows import ShardedRows
from ..sklearn_input import TakesFlags, check_labelled, check_labels, check_rows
from .nearest import Metric, nearest, nearest_of_ranks


class Votes(NamedTuple):
    """Votes of k neighbours on m rows.

    Parameters
    ----------
    shares : ndarray, float64 [m, C]
        Of the votes, of each class.
    tied : ndarray, bool [m]
        Whether the k-th nearest training row and the next one are equally near: which of them votes is then decided by
        their order in the training set.
    """

    shares: Float64
    tied: Mask


class KNNProbe(TakesFlags, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Exact k nearest neighbours.

    Parameters
    ----------
    k : int
        Number of neighbours. Where there are fewer training rows, all of them vote (`k_`).
    weights : {"uniform", "softmax"}
        A vote each, or softmax(similarity / temperature) over the k neighbours, as in DINOv2's evaluation [1]_.
    temperature : float
        Of the softmax; 0.07 in [1]_.
    metric : {"cosine", "euclidean"}
        Similarity s(q, t): their cosine, or -|q - t|²/2, which on unit rows is the cosine less 1 and so gives the same
        softmax. The cosine of a row of zeros with any other is 0.
    block_size : int
        Queries, and training rows, that are compared at once. Memory beyond input and output is a few times
        block_size² + block_size (k + n_classes + d) numbers, whatever the number of queries.

    Attributes
    ----------
    classes_ : ndarray [C]
    k_ : int
        Neighbours that vote.
    n_features_in_ : int

    Notes
    -----
    Of equally similar training rows, in float64, the one that comes first in the training set is nearer. Of classes
    with equal votes the first in `classes_` is predicted. With flags [n, C] as labels, the (weighted) share of the
    neighbours that have the flag is the probability, and a flag is predicted from 0.5.

    References
    ----------
    .. [1] Oquab et al., DINOv2 (2023), section 7.1; Wu et al., Unsupervised feature learning via non-parametric
       instance discrimination (2018), section 3.4.
    """

    shares_rows = True
    """`fit` takes `ShardedRows`."""

    def __init__(
        self,
        k: int = 20,
        *,
        weights: Literal["uniform", "softmax"] = "uniform",
        temperature: float = 0.07,
        metric: Metric = "cosine",
        block_size: int = 2048,
    ) -> None:
        self.k = k
        self.weights = weights
        self.temperature = temperature
        self.metric = metric
        self.block_size = block_size

    def fit(self, X: Any, y: Any) -> KNNProbe:
        """Keep the rows.

        Parameters
        ----------
        X : array-like or tensor [n, d], or ShardedRows
            Of rows that ranks share, each keeps its own, and all must then ask about the same rows.
        y : array-like or tensor, [n] labels or [n, C] flags

        Raises
        ------
        ValueError
            If a parameter is out of range, or rows or labels cannot be used.
        """
        for name in ("k", "block_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
        if self.weights not in ("uniform", "softmax"):
            raise ValueError(f"weights must be 'uniform' or 'softmax', not {self.weights!r}.")
        if self.metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric must be 'cosine' or 'euclidean', not {self.metric!r}.")
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature must be positive, not {self.temperature!r}.")
        if isinstance(X, ShardedRows):
            self._x, codes, self.classes_ = check_labels(self, X, y, flags=True)
            self.n_features_in_ = X.shape[1]
        else:
            self._x, codes, self.classes_ = check_labelled(self, X, y, flags=True)
        self._codes = codes.copy()  # flags may be the caller's own array
        self.k_ = int(min(self.k, len(self._x)))
        return self

    def kneighbors(self, X: Any, k: int | None = None) -> tuple[Float64, Indices]:
        """Return the k nearest training rows of each query, the nearest first.

        Parameters
        ----------
        X : array-like or tensor [m, d]
        k : int, optional
            ``k_`` where not given.

        Returns
        -------
        similarities : ndarray, float64 [m, k]
        indices : ndarray, int64 [m, k]
        """
        x = check_rows(self, X)
        k = self._checked(self.k_ if k is None else k)
        similarities, indices = np.empty((len(x), k)), np.empty((len(x), k), dtype=np.int64)
        for block, found, which in self._search(x, k):
            similarities[block], indices[block] = found, which
        return similarities, indices

    def predict_proba(self, X: Any) -> Float64:
        """Return the share of the votes of each class, float64 [m, C]."""
        check_is_fitted(self)
        return self.votes_at(X, (self.k_,))[0].shares

    def votes_at(self, X: Any, ks: Sequence[int]) -> list[Votes]:
        """Return the votes of several numbers of neighbours from one search.

        Parameters
        ----------
        X : array-like or tensor [m, d]
        ks : sequence of int
            Softmax weights are taken over the largest of them and not renormalised, as in DINOv2's evaluation: the
            votes of a smaller one add up to less than 1.

        Returns
        -------
        list of Votes
            One for each of `ks`, in their order.
        """
        x = check_rows(self, X)
        for k in ks:
            self._checked(k)
        widest, n = max(ks), len(self._x)
        votes = [Votes(np.empty((len(x), len(self.classes_))), np.zeros(len(x), dtype=bool)) for _ in ks]
        # One neighbour more than votes: whether it is as near as the last one that does.
        for block, similarities, indices in self._search(x, min(widest + 1, n)):
            for one, k in zip(votes, ks, strict=True):
                one.shares[block] = self._votes(similarities[:, :widest], indices[:, :widest], k)
                if k < n:
                    one.tied[block] = similarities[:, k - 1] == similarities[:, k]
        return votes

    def decided(self, shares: Float64) -> Array:
        """Return the labels [m] or flags [m, C] that shares of the votes [m, C] amount to."""
        if self._codes.ndim == 2:
            # Half of the weights of a softmax may add up to a little less than a half.
            return (shares >= 0.5 - 1e-12).astype(np.int64)
        labels: Array = self.classes_[shares.argmax(axis=1)]
        return labels

    def predict(self, X: Any) -> Array:
        """Return the labels [m] or flags [m, C] of rows [m, d]."""
        x = check_rows(self, X)
        found = np.empty((len(x), *self._codes.shape[1:]), dtype=self.classes_.dtype)
        for block, similarities, indices in self._search(x, self.k_):
            votes = self._votes(similarities, indices, self.k_)
            found[block] = self.decided(votes)
        return found

    def _checked(self, k: int) -> int:
        if not 1 <= k <= len(self._x):
            raise BadInput(f"{k} neighbours of {len(self._x)} training rows", hint="Give a smaller k.", found=k)
        return k

    def _votes(self, similarities: Float64, indices: Indices, k: int) -> Float64:
        """Votes [b, C] of the first k of the neighbours [b, max k]."""
        indices = indices[:, :k]
        weights = np.ones(indices.shape)
        if self.weights == "softmax":
            weights = np.exp((similarities - similarities[:, :1]) / self.temperature)
            weights = (weights / weights.sum(axis=1, keepdims=True))[:, :k]
        n, n_classes = len(indices), len(self.classes_)
        if self._codes.ndim == 2:
            votes = np.zeros((n, n_classes))
            for weight, neighbour in zip(weights.T, indices.T, strict=True):  # [b, k, C] would not be bounded memory
                votes += weight[:, None] * self._codes[neighbour]
        else:
            cells = self._codes[indices] + n_classes * np.arange(n)[:, None]
            votes = np.bincount(cells.ravel(), weights.ravel(), n * n_classes).reshape(n, n_classes).astype(np.float64)
        # Whole votes are added up before they are divided: tenths would not tie where they should.
        return votes / k if self.weights == "uniform" else votes

    def _search(self, queries: Features, k: int) -> Iterator[tuple[slice, Float64, Indices]]:
        if isinstance(self._x, ShardedRows):
            return nearest_of_ranks(queries, self._x, k, metric=self.metric, block_size=self.block_size)
        return nearest(queries, self._x, k, metric=self.metric, block_size=self.block_size)
