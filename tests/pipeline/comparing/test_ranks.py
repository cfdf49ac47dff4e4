"""Ranks over data sets, against the worked example of Demsar (2006) and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cryoprobe.pipeline.comparing.ranks import critical_difference, friedman_p, ranking, ranks

# Demsar (2006), table 6: AUC of C4.5 without and with m, cf, and both tuned, on 14 data sets of UCI.
TABLE = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_mean_ranks_and_friedman_are_those_of_the_paper() -> None:
    assert ranks(TABLE).mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=0.001)
    chi2 = 12 * 14 / 20 * ((ranks(TABLE).mean(axis=0) ** 2).sum() - 25)
    assert chi2 == pytest.approx(9.28, abs=0.01)
    assert stats.f.sf(13 * chi2 / (14 * 3 - chi2), 3, 39) == pytest.approx(0.0198, abs=0.0005)
    # The paper leaves ties as they are. We correct for them, by the usual factor.
    ties = [np.unique(row, return_counts=True)[1] for row in TABLE]
    chi2 /= 1 - sum((t**3 - t).sum() for t in ties) / (14 * (4**3 - 4))
    assert friedman_p(TABLE) == pytest.approx(stats.f.sf(13 * chi2 / (14 * 3 - chi2), 3, 39))


@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_differences_are_those_of_the_papers_table(k: int, q: float) -> None:
    assert critical_difference(k, 14) == pytest.approx(q * (k * (k + 1) / (6 * 14)) ** 0.5, abs=0.002)


def test_groups_are_the_longest_runs_within_the_critical_difference() -> None:
    names = ["plain", "m", "cf", "both"]
    found = ranking(names, [f"d{i}" for i in range(14)], TABLE)
    assert found.models == ("both", "m", "cf", "plain")
    assert found.groups == (("both", "m", "cf", "plain"),)  # 3.143 - 1.964 < 1.25, as the paper says
    more = ranking(names, [f"d{i}" for i in range(28)], np.vstack([TABLE, TABLE]))
    assert more.critical_difference == pytest.approx(1.25 / 2**0.5, abs=0.01)
    assert more.groups == (("both", "m"), ("cf", "plain"))  # 2.893 - 2.000 is more than 0.886


def test_the_same_order_on_every_data_set_is_as_unlikely_as_it_is() -> None:
    scores = np.tile([0.9, 0.8, 0.7], (4, 1))
    assert friedman_p(scores) == pytest.approx(6.0**-3)
    assert friedman_p(np.full((4, 3), 0.5)) == 1


def test_two_models_are_compared_by_signed_ranks() -> None:
    found = ranking(["a", "b"], [f"d{i}" for i in range(8)], np.tile([0.7, 0.8], (8, 1)) + np.arange(8)[:, None] / 100)
    assert (found.test, found.models, found.critical_difference) == ("Wilcoxon signed rank", ("b", "a"), None)
    assert found.p == pytest.approx(2 / 2**8)
