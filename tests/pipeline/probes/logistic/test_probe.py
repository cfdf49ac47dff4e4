"""The estimator: scikit-learn's own checks, and its use in scikit-learn's tools."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from cryoprobe.pipeline.probes.logistic import LogisticProbe


@parametrize_with_checks([LogisticProbe()])
def test_scikit_learn_s_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 12))
    y = (x[:, :3] * 2 + rng.gumbel(size=(400, 3))).argmax(1)
    return x, np.array(["cat", "dog", "owl"])[y]


def test_it_works_in_cross_validation_grid_search_and_pipelines(data: tuple[Any, Any]) -> None:
    x, y = data
    ours = cross_val_score(LogisticProbe(C=0.5), x, y, cv=4)
    theirs = cross_val_score(LogisticRegression(C=0.5, tol=1e-8), x, y, cv=4)
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    pipeline = make_pipeline(StandardScaler(), LogisticProbe())
    search = GridSearchCV(pipeline, {"logisticprobe__C": [1e-3, 1.0]}, cv=3).fit(x, y)
    assert search.best_score_ > 0.6
    assert set(search.predict(x)) == {"cat", "dog", "owl"}


@pytest.mark.parametrize("class_weight", [None, "balanced", {"cat": 3.0, "dog": 0.5, "owl": 1.0}])
def test_weights_are_those_of_scikit_learn(data: tuple[Any, Any], class_weight: Any) -> None:
    x, y = data
    # "balanced" of weighted rows is not the same thing in all versions of scikit-learn.
    weights = np.random.default_rng(0).uniform(0.1, 2, len(y)) if class_weight != "balanced" else None
    ours = LogisticProbe(class_weight=class_weight, tol=1e-10, max_iter=100).fit(x, y, sample_weight=weights)
    theirs = LogisticRegression(class_weight=class_weight, tol=1e-10, max_iter=1000).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_tensors_give_what_arrays_give(data: tuple[Any, Any], n_classes: int) -> None:
    x, y = data
    rows = np.isin(y, np.unique(y)[:n_classes])
    x, y = x[rows].astype(np.float32), y[rows]
    from_array = LogisticProbe().fit(x, y)
    from_tensor = LogisticProbe().fit(torch.from_numpy(x), y)
    np.testing.assert_array_equal(from_array.coef_, from_tensor.coef_)
    np.testing.assert_allclose(
        from_tensor.decision_function(torch.from_numpy(x)), from_array.decision_function(x), atol=1e-5
    )
    assert (from_tensor.predict(torch.from_numpy(x)) == from_array.predict(x)).all()


def test_flags_are_predicted_column_by_column(data: tuple[Any, Any]) -> None:
    x, _ = data
    flags = (x[:, :4] + np.random.default_rng(0).normal(size=(400, 4)) > 0.8).astype(int)
    model = LogisticProbe().fit(x, flags)
    assert model.predict(x).shape == flags.shape
    assert model.predict_proba(x).shape == flags.shape
    assert (model.predict(x) == flags).mean() > 0.75
    balanced = LogisticProbe(class_weight="balanced").fit(x, flags)
    assert balanced.predict(x).sum() > model.predict(x).sum()


def test_a_warm_start_needs_fewer_passes(data: tuple[Any, Any]) -> None:
    x, y = data
    model = LogisticProbe(C=1.0, warm_start=True, tol=1e-8).fit(x, y)
    cold = int(model.n_iter_[0])
    model.set_params(C=1.02).fit(x, y)
    assert int(model.n_iter_[0]) < cold


def test_it_warns_when_it_did_not_converge(data: tuple[Any, Any]) -> None:
    x, y = data
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model = LogisticProbe(max_iter=1, tol=1e-12).fit(x, y)
    assert not model.converged_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LogisticProbe().fit(x, y).converged_


def test_importing_the_package_imports_neither_torch_nor_scikit_learn() -> None:
    code = "import sys, cryoprobe.pipeline.probes.logistic as l; assert not {'torch', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
