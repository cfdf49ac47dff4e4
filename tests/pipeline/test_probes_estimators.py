import warnings
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import ProbeRequest, make_estimator, needs_validation

HERE = __name__


def scaled_logreg() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression())


def build(probe: str, seed: int = 0, **params: Any) -> Any:
    return make_estimator(ProbeRequest(probe=probe, params=params, seed=seed))


@pytest.fixture
def pipeline_path(monkeypatch: pytest.MonkeyPatch) -> str:
    import sys

    monkeypatch.setitem(sys.modules, "my_probes", sys.modules[HERE])
    return "my_probes.scaled_logreg"


def test_logreg_is_l2_lbfgs_with_the_seed_and_the_overrides() -> None:
    request = ProbeRequest(probe="logreg", seed=7)
    estimator = make_estimator(request, C=10.0)
    assert isinstance(estimator, LogisticRegression)
    params = estimator.get_params()
    assert (params["solver"], params["max_iter"], params["C"], params["random_state"]) == ("lbfgs", 1000, 10.0, 7)


def test_building_and_fitting_the_named_probes_raises_no_warning_of_changed_api() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for probe in ("logreg", "knn"):
            build(probe, **({"k": 1} if probe == "knn" else {})).fit([[0.0], [1.0], [2.0]], [0, 1, 2])


def test_k_is_n_neighbors() -> None:
    estimator = build("knn", k=3)
    assert isinstance(estimator, KNeighborsClassifier)
    assert estimator.n_neighbors == 3
    assert build("knn").n_neighbors == 20


def test_any_classifier_is_named_by_its_dotted_path() -> None:
    estimator = build("sklearn.linear_model.RidgeClassifier", alpha=0.5, seed=3)
    assert isinstance(estimator, RidgeClassifier)
    assert (estimator.alpha, estimator.random_state) == (0.5, 3)


def test_a_random_state_that_the_user_gave_stands() -> None:
    assert build("sklearn.linear_model.RidgeClassifier", random_state=5, seed=3).random_state == 5


def test_nested_names_reach_into_a_pipeline_and_so_does_the_seed(pipeline_path: str) -> None:
    estimator = build(pipeline_path, logisticregression__C=3.0, seed=4)
    assert estimator[-1].C == 3.0
    assert estimator[-1].random_state == 4


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        ("logrg", "did you mean logreg"),
        ("nonsense", "logreg, logistic, knn, ridge, "),
        ("sklearn.linear_model.ridgeclassifier", "did you mean RidgeClassifier"),
        ("sklearn.no_such_module.Thing", "cannot be imported"),
        ("no_such_package.Thing", "installed in this environment"),
        ("sklearn.__version__", "not a class"),
        (".Thing", "there is no probe"),
        ("sklearn.preprocessing.StandardScaler", "has no predict"),
        ("sklearn.linear_model.Ridge", "does not classify"),
        ("sklearn.cluster.KMeans", "does not classify"),
        ("sklearn.multiclass.OneVsRestClassifier", "could not be built"),
    ],
)
def test_a_name_that_is_no_classifier_is_refused_with_help(probe: str, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        build(probe)


def test_a_wrong_parameter_is_refused_with_close_matches_and_the_valid_ones(pipeline_path: str) -> None:
    with pytest.raises(BadInput, match="did you mean max_iter"):
        build("logreg", maxiter=3)
    with pytest.raises(BadInput, match=r"Its parameters: .*n_neighbors"):
        build("knn", depth=3)
    with pytest.raises(BadInput, match="logisticregression__C"):
        build(pipeline_path, logisticregression__c=3.0)


def test_only_several_values_of_c_need_validation_rows() -> None:
    assert needs_validation(ProbeRequest(probe="logreg"))
    assert not needs_validation(ProbeRequest(probe="logreg", C=(1.0,)))
    assert not needs_validation(ProbeRequest(probe="knn"))
    assert needs_validation(ProbeRequest(probe="sklearn.svm.LinearSVC", C=(1.0, 2.0)))


def test_a_grid_for_an_estimator_without_c_is_refused() -> None:
    with pytest.raises(BadInput, match="no parameter 'C'"):
        needs_validation(ProbeRequest(probe="knn", C=(1.0, 2.0)))
