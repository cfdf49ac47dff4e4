import warnings
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import ProbeRequest, make_estimator, needs_validation
from cryoprobe.pipeline.probes.build import at_value

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


def test_logreg_is_our_own_solver_with_the_overrides() -> None:
    estimator = make_estimator(ProbeRequest(probe="logreg", params={"max_iter": 7}), C=10.0)
    assert type(estimator).__name__ == "LogisticProbe"
    params = estimator.get_params()
    assert (params["max_iter"], params["C"], params["tol"]) == (7, 10.0, 1e-4)


def test_the_seed_becomes_the_random_state() -> None:
    assert build("sklearn.linear_model.LogisticRegression", seed=7).random_state == 7


def test_building_and_fitting_the_named_probes_raises_no_warning_of_changed_api() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for probe in ("logreg", "knn"):
            build(probe).fit([[0.0], [1.0], [2.0]], [0, 1, 2])


def test_a_whole_number_of_a_grid_stays_one() -> None:
    request = ProbeRequest(probe="knn", params={"n_neighbors": 3})
    assert (request.tune, request.grid) == ("k", (3.0,))
    k = at_value(request, request.grid[0]).k
    assert (k, type(k)) == (3, int)
    assert at_value(ProbeRequest(probe="knn"), 20.0).k == 20


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
        ("nonsense", "logreg, knn, ridge, "),
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
        build("sklearn.linear_model.LogisticRegression", maxiter=3)
    with pytest.raises(BadInput, match=r"Its parameters: .*weights"):
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
