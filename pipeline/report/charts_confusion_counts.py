"""The confusion matrix of a trial, sparse, and an order of classes in which confused ones are neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Int64
from ..trials.result import Trial

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MOST_CLUSTERED = 3_000
"""Classes beyond which they keep the data set's order: clustering compares all pairs."""


def counts_of(trial: Trial) -> csr_array | None:
    """Return the counts of true (rows) and predicted classes (columns), int64 [K, K].

    None for a trial that has none, such as one of flags, or whose counts do not fit its classes: a store can come from
    a stranger.
    """
    classes = len(trial.classes)
    try:
        if "confusion" in trial.metrics:
            dense = np.array(trial.metrics["confusion"], dtype=np.int64)
            if dense.shape != (classes, classes):
                return None
            true, predicted = np.nonzero(dense)
            counts = dense[true, predicted]
        elif "confusion_nonzero" in trial.metrics:
            cells = np.array(trial.metrics["confusion_nonzero"], dtype=np.int64).reshape(-1, 3)
            true, predicted, counts = cells[:, 0], cells[:, 1], cells[:, 2]
        else:
            return None
    except (TypeError, ValueError, OverflowError):
        return None
    places = np.concatenate([true, predicted])
    if places.size and (places.min() < 0 or places.max() >= classes or counts.min() < 0):
        return None
    return _sparse(counts, true, predicted, classes)


def _sparse(counts: Int64, true: Int64, predicted: Int64, classes: int) -> Any:
    from scipy.sparse import coo_array

    return coo_array((counts, (true, predicted)), shape=(classes, classes)).tocsr()


def order_of(counts: Sequence[csr_array]) -> Int64:
    """Return the classes in an order in which those that are confused stand near each other, int64 [K].

    Average linkage of 1 - s, in which s of two classes is the mean of the two shares of rows that are taken for the
    other one, over all matrices, relative to the largest.

    Parameters
    ----------
    counts : sequence of csr_array, int64 [K, K]
        Of trials with the same classes; at least one.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> order_of([csr_array([[9, 0, 1], [0, 9, 0], [1, 0, 9]])]).tolist() in ([0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1])
    True
    """
    classes = counts[0].shape[0]
    if classes < 3 or classes > MOST_CLUSTERED:
        return np.arange(classes)
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    alike = np.zeros((classes, classes))
    for one in counts:
        dense = one.toarray().astype(np.float64)
        alike += dense / np.maximum(dense.sum(axis=1, keepdims=True), 1)
    alike += alike.T
    np.fill_diagonal(alike, 0)
    if not alike.any():
        return np.arange(classes)
    distances = 1 - alike / alike.max()
    np.fill_diagonal(distances, 0)
    leaves: Int64 = leaves_list(linkage(squareform(distances, checks=False), "average")).astype(np.int64)
    return leaves
