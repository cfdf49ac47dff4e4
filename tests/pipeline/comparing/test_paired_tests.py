"""Paired tests, intervals and corrections, against other code and against what is planted."""

from __future__ import annotations

import compare_power
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, recall_score

from cryoprobe.pipeline.comparing.holm import holm
from cryoprobe.pipeline.comparing.paired_tests import interval_p, mcnemar_mid_p, pair_tests
from cryoprobe.pipeline.comparing.row_shares import precision_influences, row_weights
from cryoprobe.pipeline.metrics.paired_bootstrap import paired_map_interval, paired_recall_interval


class TestMcNemar:
    @pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (1, 8), (5, 5), (3, 17), (60, 41), (400, 431)])
    def test_the_mid_p_value_is_the_exact_one_less_half_of_what_was_seen_on_both_sides(self, b: int, c: int) -> None:
        found = mcnemar_mid_p(np.array([b]), np.array([c]))[0]
        if b + c == 0:
            assert found == 1
            return
        exact = stats.binomtest(b, b + c, 0.5).pvalue
        seen = stats.binom.pmf(min(b, c), b + c, 0.5)
        assert found == pytest.approx(1.0 if b == c else exact - seen, abs=1e-12)

    def test_all_pairs_are_those_of_each_two(self) -> None:
        right = np.random.default_rng(0).random((5, 300)) < [[0.9], [0.85], [0.8], [0.8], [0.1]]
        shares = right[:, None, :] / 300
        found = pair_tests(shares.sum(axis=2), shares, "top1")
        for i in range(5):
            for j in range(5):
                b, c = int((right[i] & ~right[j]).sum()), int((right[j] & ~right[i]).sum())
                assert found.p[i, j] == pytest.approx(mcnemar_mid_p(np.array([b]), np.array([c]))[0], rel=1e-9)
                assert found.difference[i, j] == pytest.approx((b - c) / 300)


class TestOtherScores:
    def test_shares_of_the_mean_recall_add_up_to_that_of_scikit_learn(self) -> None:
        rng = np.random.default_rng(1)
        true, predicted = rng.choice(4, 200, p=[0.6, 0.2, 0.15, 0.05]), rng.integers(0, 4, 200)
        weights = row_weights(true, "mean_per_class_recall")
        assert (weights * (true == predicted)).sum() == pytest.approx(recall_score(true, predicted, average="macro"))

    def test_of_equal_classes_sign_flips_are_mcnemars_test(self) -> None:
        rng = np.random.default_rng(2)
        true = np.arange(2000) % 10
        right = rng.random((2, 2000)) < [[0.85], [0.82]]
        shares = (right * row_weights(true, "mean_per_class_recall"))[:, None, :]
        flips = pair_tests(shares.sum(axis=2), shares, "mean_per_class_recall").p[0, 1]
        plain = right[:, None, :] / 2000
        assert flips == pytest.approx(pair_tests(plain.sum(axis=2), plain, "top1").p[0, 1], abs=0.01)

    def test_few_differing_rows_are_flipped_by_chance(self) -> None:
        right = np.ones((2, 50), bool)
        right[1, :6] = False
        shares = (right / 50)[:, None, :]
        found = pair_tests(shares.sum(axis=2), shares, "mean_per_class_recall").p[0, 1]
        assert found == pytest.approx(2 / 2**6, abs=0.004)

    def test_influences_are_the_derivative_of_average_precision(self) -> None:
        rng = np.random.default_rng(3)
        true, scores = (rng.random(60) < 0.3).astype(np.uint8), rng.integers(0, 15, 60) / 10  # with many ties
        found = precision_influences(true, scores)
        step = 1e-6
        for k in range(60):
            ends = [
                average_precision_score(true, scores, sample_weight=np.ones(60) + d * np.eye(60)[k])
                for d in (step, -step)
            ]
            assert found[k] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)
        assert found.sum() == pytest.approx(0, abs=1e-12)

    def test_the_error_of_a_difference_of_maps_is_that_of_the_bootstrap(self) -> None:
        rng = np.random.default_rng(4)
        flags = (rng.random((600, 1)) < 0.2).astype(np.uint8)
        scores = [flags + rng.normal(size=flags.shape) * s for s in (0.7, 0.8)]
        each = np.stack([precision_influences(flags[:, 0], of[:, 0]) for of in scores])
        means = np.array([[average_precision_score(flags, of)] for of in scores])
        found = pair_tests(means, each[:, None, :], "map")
        interval = paired_map_interval(flags, (scores[0], scores[1]))
        assert found.error[0, 1] == pytest.approx((interval.high - interval.low) / 3.92, rel=0.1)
        assert interval.low < means[0, 0] - means[1, 0] < interval.high


class TestBootstrap:
    def test_the_interval_of_a_difference_is_that_of_scipy(self) -> None:
        rng = np.random.default_rng(5)
        right = rng.random(400) < 0.8, rng.random(400) < 0.75
        found = paired_recall_interval(np.zeros(400, np.int64), right, per_class=False)
        theirs = stats.bootstrap(
            (right[0].astype(float) - right[1],), np.mean, method="percentile", n_resamples=4000, rng=6
        ).confidence_interval
        assert [found.low, found.high] == pytest.approx([theirs.low, theirs.high], abs=0.006)

    def test_the_mean_recall_is_over_the_classes_of_a_draw(self) -> None:
        true = np.repeat([0, 1], [990, 10])
        right = np.ones(1000, bool), np.append(np.ones(990, bool), np.arange(10) < 5)
        found = paired_recall_interval(true, right, per_class=True)
        assert found.low == pytest.approx(0.1, abs=0.06)
        assert found.high == pytest.approx(0.4, abs=0.06)
        assert found.p < 0.05


class TestCorrections:
    def test_holm_against_its_definition(self) -> None:
        p = np.random.default_rng(7).random(12) ** 3
        order = np.argsort(p)
        for i, at in enumerate(order):
            assert holm(p)[at] == pytest.approx(max(min(1, (12 - j) * p[order[j]]) for j in range(i + 1)))

    def test_intervals_tell_apart_what_does_not_overlap_by_far(self) -> None:
        p = interval_p(np.array([0.9, 0.8, 0.79]), np.array([0.02, 0.02, 0.02]))
        assert p[0, 1] < 1e-5
        assert p[1, 2] == pytest.approx(2 * stats.norm.sf(0.01 / (0.02 / 1.96 * 2**0.5)), rel=1e-3)

    def test_draws_that_do_not_vary_leave_the_error_of_the_rows(self) -> None:
        right = np.random.default_rng(8).random((2, 500)) < [[0.9], [0.85]]
        shares = np.repeat(right[:, None, :] / 500, 4, axis=1)
        many, one = (pair_tests(s.sum(axis=2), s, "top1") for s in (shares, shares[:, :1]))
        assert many.error == pytest.approx(one.error)
        assert many.freedom[0, 1] == pytest.approx(499)

    def test_draws_that_vary_widen_the_error(self) -> None:
        rng = np.random.default_rng(9)
        right = rng.random((2, 3, 500)) < np.array([[0.9, 0.8, 0.7], [0.7, 0.8, 0.9]])[:, :, None]
        shares = right / 500
        found = pair_tests(shares.sum(axis=2), shares, "top1")
        of_draws = stats.ttest_rel(*shares.sum(axis=2))
        assert found.error[0, 1] > abs(found.difference[0, 1] / of_draws.statistic)
        assert found.p[0, 1] > of_draws.pvalue


class TestPlanted:
    """The figures of benchmarks/compare_power.py, with fewer draws and a fixed seed."""

    def test_two_points_of_two_thousand_rows_are_found(self) -> None:
        assert compare_power.power(200, 0.08)["rate"] >= 0.8

    @pytest.mark.parametrize("what", [name for name in compare_power.NULLS if not name.startswith("map")])
    def test_equal_models_are_seldom_told_apart(self, what: str) -> None:
        found = compare_power.false_positives(compare_power.NULLS[what], 400)
        assert found["low"] <= 0.05
        assert found["rate"] <= 0.07

    def test_of_twenty_equal_models_seldom_any_is_called_worse(self) -> None:
        found = compare_power.family(200)
        assert found["all pairs (as it is done)"]["rate"] <= 0.05
        assert found["pairs with the best"]["rate"] > 0.1  # which is why all pairs are corrected for
