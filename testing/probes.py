"""What every probe must hold: scikit-learn's way to fit and predict, and the same result on the same rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import get_tags

from ..arrays import Float32, Labels
from ..errors import BadInput

_D = 12


class Rows(NamedTuple):
    """Rows x, float32 [n, d] of unit norm, and labels y, int64 [n]."""

    x: Float32
    y: Labels


def separable(n: int, n_classes: int = 4, seed: int = 0) -> Rows:
    """Return rows around one direction a class, which a linear probe separates almost without error."""
    y = np.arange(n, dtype=np.int64) % n_classes
    x = 2.0 * np.eye(n_classes, _D)[y] + np.random.default_rng(seed).normal(0, 0.25, (n, _D))
    return Rows((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y)


class ProbeSuite:
    """What is asked of a probe. Give the fixture `probe`.

    Fixtures
    --------
    probe : estimator
        Not fitted yet, and with a fixed ``random_state`` if it has one. Each use of the fixture makes a new one.

    Attributes
    ----------
    least_top1 : float
        Share of rows that must be right, of four classes that a linear probe separates.

    Examples
    --------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> class TestRidge(ProbeSuite):
    ...     @pytest.fixture
    ...     def probe(self):
    ...         return RidgeClassifier()
    """

    least_top1 = 0.9

    def test_it_learns_classes_that_are_separable(self, probe: Any) -> None:
        train, test = separable(160), separable(80, seed=1)
        assert probe.fit(train.x, train.y) is probe
        assert (probe.predict(test.x) == test.y).mean() >= self.least_top1

    def test_it_predicts_one_known_label_a_row(self, probe: Any) -> None:
        train = separable(160)
        probe.fit(train.x, train.y)
        assert probe.classes_.tolist() == [0, 1, 2, 3]
        for n in (1, 7):
            labels = np.asarray(probe.predict(train.x[:n]))
            assert labels.shape == (n,)
            assert set(labels.tolist()) <= {0, 1, 2, 3}

    def test_two_classes_are_enough(self, probe: Any) -> None:
        train, test = separable(80, 2), separable(40, 2, seed=1)
        assert (probe.fit(train.x, train.y).predict(test.x) == test.y).mean() >= self.least_top1

    def test_labels_may_have_gaps(self, probe: Any) -> None:
        train, test = separable(160), separable(40, seed=1)
        named = np.array([3, 5, 8, 90])
        probe.fit(train.x, named[train.y])
        assert probe.classes_.tolist() == named.tolist()
        assert (probe.predict(test.x) == named[test.y]).mean() >= self.least_top1

    def test_probabilities_are_those_of_every_class(self, probe: Any) -> None:
        train, test = separable(160), separable(40, seed=1)
        probe.fit(train.x, train.y)
        if not hasattr(probe, "predict_proba"):
            pytest.skip("the probe has no probabilities")
        found = np.asarray(probe.predict_proba(test.x))
        assert found.shape == (40, 4)
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=0, atol=1e-5)
        assert (found.argmax(axis=1) == test.y).mean() >= self.least_top1

    def test_scores_are_those_of_every_class(self, probe: Any) -> None:
        train, test = separable(160), separable(40, seed=1)
        probe.fit(train.x, train.y)
        if not hasattr(probe, "decision_function"):
            pytest.skip("the probe has no scores")
        found = np.asarray(probe.decision_function(test.x))
        assert np.isfinite(found).all()
        if found.shape == (40, 4):  # some have a column for each pair of classes
            assert (found.argmax(axis=1) == test.y).mean() >= self.least_top1

    def test_the_same_rows_give_the_same_probe(self, probe: Any) -> None:
        train, test = separable(160), separable(40, seed=1)
        one, other = (clone(probe).fit(train.x, train.y) for _ in range(2))
        for verb in ("predict", "predict_proba", "decision_function"):
            if hasattr(one, verb):
                np.testing.assert_array_equal(getattr(one, verb)(test.x), getattr(other, verb)(test.x))

    def test_a_second_fit_forgets_the_first(self, probe: Any) -> None:
        train, test = separable(160), separable(40, seed=1)
        fresh = clone(probe).fit(train.x, train.y).predict(test.x)
        probe.fit(train.x[::2, ::-1], 3 - train.y[::2])
        np.testing.assert_array_equal(probe.fit(train.x, train.y).predict(test.x), fresh)

    def test_a_clone_has_the_parameters_and_fitting_changes_none(self, probe: Any) -> None:
        before = repr(probe.get_params())
        train = separable(160)
        assert repr(clone(probe).get_params()) == before
        probe.fit(train.x, train.y)
        assert repr(probe.get_params()) == before
        assert not hasattr(clone(probe), "classes_")

    def test_rows_and_labels_are_left_as_they_were(self, probe: Any) -> None:
        train, untouched = separable(160), separable(160)
        probe.fit(train.x, train.y).predict(train.x)
        np.testing.assert_array_equal(train.x, untouched.x)
        np.testing.assert_array_equal(train.y, untouched.y)

    @pytest.mark.parametrize("view", ["reversed", "by columns", "every other"])
    def test_a_view_of_rows_is_as_good_as_a_copy(self, probe: Any, view: str) -> None:
        train, test = separable(320), separable(40, seed=1)
        picked = slice(None, None, {"reversed": -1, "by columns": 1, "every other": 2}[view])
        x = np.asfortranarray(train.x) if view == "by columns" else train.x[picked]
        copied = clone(probe).fit(np.ascontiguousarray(x), train.y[picked].copy()).predict(test.x)
        np.testing.assert_array_equal(probe.fit(x, train.y[picked]).predict(test.x[::-1]), copied[::-1])

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_rows_that_are_not_finite_are_refused(self, probe: Any, value: float) -> None:
        if np.isnan(value) and get_tags(probe).input_tags.allow_nan:
            pytest.skip("the probe takes NaN for a missing value")
        train = separable(160)
        damaged = train.x.copy()
        damaged[3, 2] = value
        with pytest.raises((ValueError, BadInput)):
            clone(probe).fit(damaged, train.y)
        probe.fit(train.x, train.y)
        with pytest.raises((ValueError, BadInput)):
            probe.predict(damaged)

    def test_rows_of_another_width_are_refused(self, probe: Any) -> None:
        train = separable(160)
        probe.fit(train.x, train.y)
        with pytest.raises((ValueError, BadInput)):
            probe.predict(train.x[:, :-1])

    def test_it_cannot_predict_before_it_is_fitted(self, probe: Any) -> None:
        with pytest.raises((ValueError, AttributeError, BadInput)):
            probe.predict(separable(8).x)
