"""Whether models differ on the same test rows: one p value for every pair, two-sided.

All tests are made of the Gram matrix of the rows' shares in the scores (see `row_shares`), so that all pairs of many
models cost one product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...arrays import Array, Float64
from .row_shares import EXACT

_FEW = 25
"""Up to so many rows on which two models differ, signs are flipped by chance instead of by the normal limit."""

_FLIPS = 20_000


@dataclass(frozen=True, eq=False)
class PairTests:
    """The tests of all pairs of m models.

    Parameters
    ----------
    difference : ndarray, float64 [m, m]
        Score of the row's model less that of the column's.
    error : ndarray, float64 [m, m]
        Standard error of it, over test rows and, if there are several, draws.
    freedom : ndarray, float64 [m, m]
        Degrees of freedom of that error; infinite for a single draw.
    p : ndarray, float64 [m, m]
    name : str
        Of the test.
    """

    difference: Float64
    error: Float64
    freedom: Float64
    p: Float64
    name: str


def pair_tests(scores: Float64, shares: Float64, metric: str) -> PairTests:
    """Test every pair of models.

    *One draw.* ``top1``: McNemar's test, exact [1]. ``mean_per_class_recall``: were two models equally
    often right, the sign of each row's difference in shares d_i would be a fair coin; sum d_i / sqrt(sum d_i^2) is
    normal for many differing rows, and for at most 25 the signs are drawn 20,000 times. ``map``: the difference over
    its standard error by the infinitesimal jackknife is normal for many rows [2].

    *Several draws*, which both models share: rows and draws are crossed. The variance of the mean difference is
    estimated by sum d_i^2, of the rows' shares averaged over draws, plus s^2 / D of the D draws' differences; this sum
    counts the interaction of rows and draws twice, and so is rather too large than too small [3]. The quotient has
    Student's distribution with the degrees of freedom of Welch and Satterthwaite.

    Parameters
    ----------
    scores : ndarray, float64 [m, D]
        Of m models in D draws.
    shares : ndarray, float64 [m, D, n]
        Of n test rows; see `row_shares.shares`.
    metric : str

    References
    ----------
    .. [1] Q. McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
       Psychometrika 12 (1947); exact by the binomial distribution.
    .. [2] B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982), chapter 6.
    .. [3] A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007), on crossed random effects.
    """
    draws, n = shares.shape[1:]
    mean, of_rows = scores.mean(axis=1), shares.mean(axis=1)
    difference = mean[:, None] - mean[None, :]
    gram = of_rows @ of_rows.T
    rows = np.maximum(np.diag(gram)[:, None] + np.diag(gram)[None, :] - 2 * gram, 0.0)
    rows[rows <= 1e-12 * max(float(gram.max()), 1e-300)] = 0.0  # rounding of what is the same on every row
    if draws > 1:
        return _crossed(scores, difference, rows, n)
    error, infinite = np.sqrt(rows), np.full(rows.shape, np.inf)
    if metric == EXACT:
        right = (of_rows > 0).astype(np.float64)
        both = right @ right.T
        only = np.rint(np.diag(both)[:, None] - both).astype(np.int64)  # right where the other is wrong
        return PairTests(difference, error, infinite, mcnemar_p(only, only.T), "McNemar, exact")
    p = _normal_p(difference, error)
    if metric == "map":
        return PairTests(difference, error, infinite, p, "infinitesimal jackknife")
    rng = np.random.default_rng(0)
    for i, j in zip(*np.triu_indices(len(p), 1), strict=True):
        d = of_rows[i] - of_rows[j]
        if 0 < (d := d[d != 0]).size <= _FEW:
            p[i, j] = p[j, i] = _flipped_p(d, rng)
    return PairTests(difference, error, infinite, p, "sign flips")


def mcnemar_p(only_a: Array, only_b: Array) -> Float64:
    """Return the two-sided exact p values of McNemar's test.

    Of b + c rows that one of two models has right, b is binomial with probability 1/2 if both are as good. With k the
    smaller of b and c, the value is 2 P(X <= k), at most 1.

    The mid-p value, 2 P(X < k) + P(X = k), has some 1.5 points more power at 2,000 rows. It is not taken, since it can
    call more than 5 % of equal models different at 5 %; the exact one cannot.

    Parameters
    ----------
    only_a, only_b : ndarray of int
        b and c.

    Examples
    --------
    >>> mcnemar_p(np.array([1]), np.array([8])).round(5)
    array([0.03906])
    """
    from scipy.stats import binom

    k, of = np.minimum(only_a, only_b), only_a + only_b
    return np.asarray(np.where(of > 0, np.minimum(2 * binom.cdf(k, of, 0.5), 1.0), 1.0), np.float64)


def interval_p(scores: Float64, half: Float64) -> Float64:
    """Return p values from the 95 % intervals of scores alone, where nothing is known of the rows.

    The intervals count as those of independent normal variables. Test rows are usually shared, which makes scores rise
    and fall together: so this finds less than a paired test does.

    Parameters
    ----------
    scores, half : ndarray, float64 [m]
        Scores, and half the widths of their intervals.
    """
    error = half / 1.959963984540054
    return _normal_p(scores[:, None] - scores[None, :], np.hypot(error[:, None], error[None, :]))


def _crossed(scores: Float64, difference: Float64, rows: Float64, n: int) -> PairTests:
    from scipy.stats import t

    draws = scores.shape[1]
    each = scores[:, None, :] - scores[None, :, :]  # [m, m, D]
    between = each.var(axis=2, ddof=1) / draws
    total = rows + between
    below = rows**2 / max(n - 1, 1) + between**2 / (draws - 1)
    freedom = np.divide(total**2, below, out=np.full(total.shape, np.inf), where=below > 0)
    error = np.sqrt(total)
    quotient = np.divide(np.abs(difference), error, out=np.zeros_like(error), where=error > 0)
    p = np.where(error > 0, 2 * t.sf(quotient, freedom), 1.0)
    return PairTests(difference, error, freedom, p, "t over rows and draws")


def _normal_p(difference: Float64, error: Float64) -> Float64:
    from scipy.stats import norm

    quotient = np.divide(np.abs(difference), error, out=np.zeros_like(error), where=error > 0)
    return np.asarray(2 * norm.sf(quotient), np.float64)


def _flipped_p(d: Float64, rng: np.random.Generator) -> float:
    signs = rng.integers(0, 2, (_FLIPS, d.size)) * 2.0 - 1
    extreme = np.abs(signs @ d) >= abs(d.sum()) - 1e-12
    return float((1 + extreme.sum()) / (_FLIPS + 1))
