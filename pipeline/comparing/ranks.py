"""Ranks of models over columns: 1 is the best; equal scores share the mean of their ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...arrays import Float64


def ranks(scores: Sequence[Sequence[float]] | Float64) -> Float64:
    """Return the ranks of scores within each row.

    Parameters
    ----------
    scores : array_like, float [n, m]
        A row for each data set, a column for each of m models. Higher is better.

    Returns
    -------
    ndarray, float64 [n, m]
        1 for the highest score; models of equal score share the mean of their ranks.

    Examples
    --------
    >>> ranks([[0.9, 0.8, 0.8], [0.1, 0.2, 0.3]])
    array([[1. , 2.5, 2.5],
           [3. , 2. , 1. ]])
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(-np.asarray(scores, np.float64), axis=1), np.float64)
