"""Ranks of models over data sets, whether they differ at all, and by how much two must differ (Demsar 2006).

J. Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, Journal of Machine Learning Research 7
(2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import JsonValue

from ...arrays import Float64

_LEVEL = 0.05


@dataclass(frozen=True)
class Ranking:
    """Models ranked over data sets.

    Parameters
    ----------
    models : tuple of str
        The best first.
    mean_ranks : tuple of float
        In the order of `models`.
    datasets : tuple of str
    test : str
        ``Friedman``, or of two models ``Wilcoxon signed rank``.
    p : float or None
        That the models differ by chance alone; None if there are too few data sets to say.
    critical_difference : float or None
        Mean ranks of two models that differ by less cannot be told apart (Nemenyi); None of two models.
    groups : tuple of tuple of str
        Models that cannot be told apart, as many together as possible; a model alone is left out.
    """

    models: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    datasets: tuple[str, ...]
    test: str
    p: float | None
    critical_difference: float | None
    groups: tuple[tuple[str, ...], ...]

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        return {k: v if not isinstance(v, tuple) else [*v] for k, v in asdict(self).items()}


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


def ranking(models: Sequence[str], datasets: Sequence[str], scores: Float64) -> Ranking:
    """Rank models over data sets.

    Of three and more models: Friedman's test in the form of Iman and Davenport, and the critical difference of Nemenyi.
    Of two: Wilcoxon's signed rank test of the scores' differences.

    Parameters
    ----------
    models, datasets : sequence of str
        m >= 2, and n >= 1.
    scores : ndarray, float64 [n, m]
    """
    means = ranks(scores).mean(axis=0)
    order = np.argsort(means, kind="stable")
    ordered, sorted_means = tuple(models[i] for i in order), tuple(float(means[i]) for i in order)
    if len(models) == 2:
        p = _wilcoxon_p(scores[:, 0] - scores[:, 1])
        return Ranking(ordered, sorted_means, tuple(datasets), "Wilcoxon signed rank", p, None, ())
    p = friedman_p(scores) if len(datasets) > 1 else None
    difference = critical_difference(len(models), len(datasets)) if len(datasets) > 1 else None
    groups = () if difference is None else _groups(ordered, sorted_means, difference)
    return Ranking(ordered, sorted_means, tuple(datasets), "Friedman", p, difference, groups)


def critical_difference(models: int, datasets: int) -> float:
    """Return by how much the mean ranks of two models must differ to be told apart at 5 % (Nemenyi).

    q sqrt(k (k + 1) / (6 N)) of k models and N data sets, with the studentised range of k normal variables, divided by
    the root of 2, for q (Demsar 2006, section 3.2.2). It corrects for all pairs.

    Examples
    --------
    >>> round(critical_difference(4, 14), 2)  # the example of that section
    1.25
    """
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - _LEVEL, models, np.inf)) / math.sqrt(2)
    return q * math.sqrt(models * (models + 1) / (6 * datasets))


def friedman_p(scores: Float64) -> float:
    """Return the p value of Friedman's test in the form of Iman and Davenport (Demsar 2006, section 3.2.2).

    Parameters
    ----------
    scores : ndarray, float64 [n, m]
        A row for each of n >= 2 data sets, a column for each of m >= 3 models.
    """
    from scipy.stats import f, friedmanchisquare

    n, m = scores.shape
    if (scores == scores[:, :1]).all():
        return 1.0
    chi2 = float(friedmanchisquare(*scores.T).statistic)
    below = n * (m - 1) - chi2
    if below <= 1e-9:  # the same order on every data set: the statistic is infinite
        return float(math.factorial(m) ** (1 - n))
    return float(f.sf((n - 1) * chi2 / below, m - 1, (m - 1) * (n - 1)))


def _wilcoxon_p(difference: Float64) -> float | None:
    from scipy.stats import wilcoxon

    if np.count_nonzero(difference) < 2:
        return None
    return float(wilcoxon(difference).pvalue)


def _groups(models: Sequence[str], means: Sequence[float], difference: float) -> tuple[tuple[str, ...], ...]:
    """Return the longest runs of models, by mean rank, whose ends differ by less than the critical difference."""
    found: list[tuple[int, int]] = []
    for start in range(len(models)):
        end = max(i for i in range(start, len(models)) if means[i] - means[start] < difference)
        if end > start and (not found or end > found[-1][1]):
            found.append((start, end))
    return tuple(tuple(models[start : end + 1]) for start, end in found)
