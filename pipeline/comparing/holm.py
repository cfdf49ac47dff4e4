"""Holm's correction of many tests."""

from __future__ import annotations

import numpy as np

from ...arrays import Float64


def holm(p: Float64) -> Float64:
    """Return p values that are corrected for being many.

    Testing every hypothesis at a level by these, some true hypothesis is rejected with at most that probability,
    however the tests depend on each other (Holm 1979): of m values in ascending order, the i-th is
    max over j ≤ i of min(1, (m - j + 1) p_j).

    Parameters
    ----------
    p : ndarray, float64 [m]

    Returns
    -------
    ndarray, float64 [m]
        In the order of `p`.

    References
    ----------
    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(2)
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected
