import subprocess
import sys

import pytest

from cryoprobe.canonical import canonical_json
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import ProbeRequest, list_probes, parse_grid, parse_params
from cryoprobe.pipeline.probes.registry import DEFAULT_C


def test_importing_probes_imports_neither_scikit_learn_nor_torch() -> None:
    code = (
        "import sys, cryoprobe.pipeline.probes; print([m for m in ('sklearn', 'torch', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_value_is_json_where_it_parses_and_a_string_elsewhere() -> None:
    items = ["k=5", "weights=distance", "a=[1, 2.5]", "b=null", "c=True", 'd="5"', "e=x=y", "f=NaN", "g="]
    assert parse_params(items) == {
        "k": 5,
        "weights": "distance",
        "a": [1, 2.5],
        "b": None,
        "c": True,
        "d": "5",
        "e": "x=y",
        "f": "NaN",
        "g": "",
    }


@pytest.mark.parametrize("items", [["k"], ["=5"], [" =5"], ["k=5", "k=6"]])
def test_a_parameter_without_name_or_value_or_given_twice_is_refused(items: list[str]) -> None:
    with pytest.raises(BadInput):
        parse_params(items)


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("0.316", (0.316,)),
        ("10,1.0", (1.0, 10.0)),
        ("1, 1.0,1e0", (1.0,)),
        ("1e-3:1e3:7", (0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)),
        ("1000:0.1:2", (0.1, 1000.0)),
        ("5:5:3", (5.0,)),
    ],
)
def test_grids_are_ascending_and_unique(text: str, grid: tuple[float, ...]) -> None:
    assert parse_grid(text) == grid


@pytest.mark.parametrize(
    "text", ["", "a", "1,", "0", "-1", "nan", "inf", "1:10", "1:10:1", "0:1:3", "1:10:2.5", "1:2:3:4"]
)
def test_a_bad_grid_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(BadInput, match="Accepted: one number"):
        parse_grid(text)


def test_an_absurdly_long_grid_is_refused() -> None:
    with pytest.raises(BadInput):
        parse_grid("1:10:1000000000000")


def test_requests_that_mean_the_same_have_the_same_canonical_dict() -> None:
    same = [
        (ProbeRequest(probe="knn"), ProbeRequest(probe="knn", params={"k": 20})),
        (ProbeRequest(probe="knn", params={"k": 5}), ProbeRequest(probe="knn", params={"n_neighbors": 5})),
        (ProbeRequest(probe="logreg", params={"C": 1}), ProbeRequest(probe="logreg", C=(1.0,))),
        (ProbeRequest(probe="logreg", C=(10, 1, 1)), ProbeRequest(probe="logreg", C=(1.0, 10.0))),
        (ProbeRequest(probe="logreg"), ProbeRequest(probe="logreg", C=DEFAULT_C[::-1])),
        (ProbeRequest(probe="logreg", C=(1, 2)), ProbeRequest(probe="logreg", grid={"C": (2, 1)})),
        (ProbeRequest(probe="ridge", params={"alpha": 3}), ProbeRequest(probe="ridge", grid={"alpha": (3,)})),
    ]
    for one, other in same:
        assert canonical_json(one.canonical()) == canonical_json(other.canonical())


def test_any_parameter_can_be_tuned_also_one_that_has_a_default() -> None:
    request = ProbeRequest(probe="knn", grid={"temperature": (0.03, 0.07)})
    assert (request.tune, request.grid) == ("temperature", (0.03, 0.07))
    assert "temperature" not in request.params
    assert request.params["k"] == 20
    with pytest.raises(BadInput, match="both as a parameter and as a grid"):
        ProbeRequest(probe="knn", params={"temperature": 0.1}, grid={"temperature": (0.03, 0.07)})


def test_what_chooses_does_not_matter_where_nothing_is_chosen() -> None:
    one, other = (ProbeRequest(probe="logreg", C=(1.0,), choose_by=by) for by in ("nll", "top1"))
    assert one == other


def test_whatever_changes_the_fit_changes_the_canonical_dict() -> None:
    requests = [
        ProbeRequest(probe="logreg"),
        ProbeRequest(probe="logreg", seed=1),
        ProbeRequest(probe="logreg", C=(1.0,)),
        ProbeRequest(probe="logreg", params={"max_iter": 10}),
        ProbeRequest(probe="knn"),
        ProbeRequest(probe="knn", params={"k": 5}),
    ]
    assert len({canonical_json(request.canonical()) for request in requests}) == len(requests)


def test_a_request_survives_its_canonical_dict() -> None:
    request = ProbeRequest(probe="knn", params={"k": 5, "weights": "distance"}, seed=3)
    assert ProbeRequest.model_validate(request.canonical()) == request


def test_a_named_probe_has_a_grid_of_its_own() -> None:
    assert (ProbeRequest(probe="logreg").tune, ProbeRequest(probe="logreg").grid) == ("C", DEFAULT_C)
    assert (ProbeRequest(probe="knn").tune, ProbeRequest(probe="knn").grid) == ("k", (20,))
    assert (ProbeRequest(probe="lda").tune, ProbeRequest(probe="lda").grid) == ("", ())
    assert (ProbeRequest(probe="sklearn.svm.LinearSVC").tune, ProbeRequest(probe="sklearn.svm.LinearSVC").grid) == (
        "",
        (),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"probe": "knn", "params": {"k": 5, "n_neighbors": 5}},
        {"probe": "logreg", "params": {"C": 1.0}, "C": (1.0, 2.0)},
        {"probe": "ridge", "C": (1.0,), "grid": {"alpha": (1.0, 2.0)}},
        {"probe": "ridge", "grid": {"alpha": (1.0, 2.0), "tol": (1.0, 2.0)}},
        {"probe": "logreg", "params": {"C": -1.0}},
        {"probe": "logreg", "C": (float("inf"),)},
        {"probe": "logreg", "params": {"tol": float("inf")}},
        {"probe": "logreg", "seed": -1},
        {"probe": "logreg", "seed": 2**32},
    ],
)
def test_a_request_that_contradicts_itself_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        ProbeRequest.model_validate(fields)


def test_the_table_of_probes_tells_names_and_defaults() -> None:
    table = {row.name: row for row in list_probes()}
    assert {"logreg", "knn", "ridge", "lda", "sgd", "mlp"} <= set(table)
    assert table["knn"].parameters["k"] == 20
    assert table["logreg"].parameters["C"] == list(DEFAULT_C)
