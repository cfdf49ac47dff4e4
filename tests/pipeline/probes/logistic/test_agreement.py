"""The table of agreement with independent references, on a small set; that it can fail; and its certificate."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import probe_agreement as agreement
import pytest
from agreement_problems import Frame, Outcome
from certificate import certify, descend, objective
from sklearn.linear_model import LogisticRegression
from support.logistic_problems import TEST_ROWS, problem
from threadpoolctl import threadpool_limits


def test_every_probe_agrees_with_its_reference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--rows", "450", "--dim", "40", "--classes", "5", "--seeds", "0", "2", "--json"]
    monkeypatch.setattr("sys.argv", ["probe_agreement.py", *options])
    with threadpool_limits(1, "blas"):
        assert agreement.main() == 0
    table, last = capsys.readouterr().out.strip().rsplit("\n", 1)
    report = json.loads(last)
    assert report["passed"]
    assert {line["probe"].split()[0] for line in report["lines"]} == {"logistic", "ridge", "few-shot", "knn", "heads"}
    assert report["random"]["problems"] == 2
    assert table.count("PASS") == len(report["lines"]) + 2


def test_what_is_beyond_its_tolerance_or_not_a_number_fails() -> None:
    assert agreement.Line("ridge", "coefficients", 1e-8, 1e-8).passed
    assert not agreement.Line("ridge", "coefficients", 2e-8, 1e-8).passed
    assert not agreement.Line("ridge", "coefficients", float("nan"), 1e-8).passed


def test_a_random_problem_fails_by_each_of_its_conditions() -> None:
    good = Outcome(
        seed=0, what="", converged=True, gap=5e-5, excess=4e-5, reference_gap=1e-9, accuracy=0.904,
        reference_accuracy=0.9, ties=0.0, seconds=0.1,
    )  # fmt: skip
    assert good.failures == []
    worse: dict[str, dict[str, float]] = {
        "not converged": {"converged": False},
        "states a gap above 0.0001": {"gap": 2e-4},
        "objective beyond the stated gap": {"excess": 6e-5},
        "accuracy": {"accuracy": 0.906},
        "too many ties": {"ties": 0.2},
        "reference not certified": {"reference_gap": float("inf")},
    }
    for failure, change in worse.items():
        assert replace(good, **change).failures == [failure]
    assert "objective beyond the stated gap" in replace(good, excess=float("nan")).failures


@pytest.mark.parametrize("k", [2, 4])
def test_the_certificate_bounds_the_optimum_from_any_weights(k: int) -> None:
    rng = np.random.default_rng(0)
    x, y, C = rng.normal(size=(300, 12)) + 1, np.arange(300) % k, 3.0
    x[np.arange(300), y] += 1
    model = LogisticRegression(C=C, tol=1e-12, max_iter=10_000).fit(x, y)
    lowest = objective(x, y, model.coef_, model.intercept_, C)
    at_optimum = certify(x, y, model.coef_, model.intercept_, C)
    assert at_optimum.objective == pytest.approx(lowest, rel=1e-12)
    assert at_optimum.relative < 1e-10
    for distance in (1e-4, 1e-2, 1.0):
        coef = model.coef_ + distance * rng.normal(size=model.coef_.shape)
        away = certify(x, y, coef, model.intercept_ + distance, C)
        assert away.lower <= lowest <= away.objective
    _, found = descend(x, y, np.zeros_like(model.coef_), np.zeros_like(model.intercept_), C)
    assert found.relative < 1e-7
    assert found.objective == pytest.approx(lowest, rel=1e-7)


def test_the_certificate_holds_where_the_optimum_is_close_to_zero() -> None:
    x = np.array([[-1000.0], [-990.0], [1000.0], [1010.0]])
    y, C = np.array([0, 0, 1, 1]), 1e6
    _, found = descend(x, y, np.zeros((1, 1)), np.zeros(1), C)
    assert 0 < found.objective < 1e-8
    assert found.relative < 1e-6


def test_random_problems_are_their_seed_s_and_have_every_class() -> None:
    for seed in range(12):
        first, again = problem(seed), problem(seed)
        np.testing.assert_array_equal(first.x, again.x)
        assert first.x_test.shape == (TEST_ROWS, first.x.shape[1])
        np.testing.assert_array_equal(np.unique(first.y), np.arange(first.y_test.max() + 1))
        assert first.what == again.what


def test_from_any_weights_the_reference_is_proven_by_its_own_certificate() -> None:
    given = problem(4)
    heads = 1 if given.y.max() == 1 else int(given.y.max()) + 1
    frame = Frame(given)
    with threadpool_limits(1, "blas"):
        coef, best = frame.descend_from(np.ones((heads, given.x.shape[1])), np.ones(heads))
    found = objective(given.x, given.y, coef, best.intercept, given.C)
    assert found == pytest.approx(best.objective, rel=1e-9)
    assert best.relative < 1e-6
