import warnings
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import LabelledFeatures, ProbeRequest, make_estimator, run_probe, stratified_holdout
from cryoprobe.pipeline.probes.registry import NAMED
from cryoprobe.pipeline.probes.sklearn_calls import predict

RIDGE = ProbeRequest(probe="sklearn.linear_model.RidgeClassifier")
SKLEARN_LOGREG = "sklearn.linear_model.LogisticRegression"
EXACT = {"tol": 1e-9, "precision": "float64"}


def unit(x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def take(part: LabelledFeatures, rows: npt.NDArray[np.int64]) -> LabelledFeatures:
    return LabelledFeatures(part.x[rows], part.y[rows])


def three_parts(whole: LabelledFeatures) -> tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]:
    rest, test = stratified_holdout(whole.y, 0.3, seed=0)
    kept, held = stratified_holdout(whole.y[rest], 0.25, seed=0)
    return take(whole, rest[kept]), take(whole, rest[held]), take(whole, test)


@pytest.fixture(scope="module")
def digits() -> tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]:
    x, y = load_digits(return_X_y=True)
    return three_parts(LabelledFeatures(unit(x[:900]), y[:900].astype(np.int64)))


@pytest.fixture(scope="module")
def iris() -> tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]:
    x, y = load_iris(return_X_y=True)
    return three_parts(LabelledFeatures(unit(x - x.mean(axis=0)), y.astype(np.int64)))


@pytest.fixture(scope="module")
def flags() -> tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]:
    rng = np.random.default_rng(0)
    x = unit(rng.normal(size=(300, 12)))
    y = (x @ rng.normal(size=(12, 5)) + 0.3 * rng.normal(size=(300, 5)) > 0.5).astype(np.uint8)
    return three_parts(LabelledFeatures(x, y))


def merged(one: LabelledFeatures, other: LabelledFeatures) -> LabelledFeatures:
    return LabelledFeatures(np.concatenate([one.x, other.x]), np.concatenate([one.y, other.y]))


def test_logreg_is_the_scikit_learn_optimum_refitted_on_train_and_validation(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = digits
    request = ProbeRequest(probe="logreg", params=EXACT, C=(0.1, 10.0, 100.0))
    outcome = run_probe(request, train, val, test, 10)
    both = merged(train, val)
    chosen = outcome.chosen["C"]
    reference = LogisticRegression(C=chosen, solver="newton-cg", tol=1e-10, max_iter=1000)
    reference.fit(both.x.astype(np.float64), both.y)
    np.testing.assert_allclose(outcome.estimator.coef_, reference.coef_, atol=1e-5 * np.abs(reference.coef_).max())
    assert outcome.metrics["top1"] == pytest.approx(reference.score(test.x, test.y), abs=1e-12)
    assert outcome.metrics["top1"] > 0.9
    assert outcome.metrics["top5"] > 0.98
    assert outcome.converged


def test_the_curve_has_every_value_and_the_likeliest_of_it_is_chosen(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = digits
    request = ProbeRequest(probe="logreg", params=EXACT, C=(0.1, 1.0, 10.0, 100.0, 1000.0))
    outcome = run_probe(request, train, val, test, 10)
    assert [point["C"] for point in outcome.curve] == [0.1, 1.0, 10.0, 100.0, 1000.0]
    assert outcome.chosen_by == "nll"
    assert outcome.chosen["C"] == min(outcome.curve, key=lambda point: point["nll"])["C"]
    for point in outcome.curve:
        alone = LogisticRegression(C=point["C"], solver="newton-cg", tol=1e-9, max_iter=1000)
        alone.fit(train.x.astype(np.float64), train.y)
        assert point["top1"] == alone.score(val.x, val.y)
        assert point["nll"] == pytest.approx(log_loss(val.y, alone.predict_proba(val.x)), rel=1e-5)
        assert point["iterations"] > 1
        assert point["gradient_norm"] < 1e-4
        assert point["objective"] > 0
    assert outcome.fit_seconds >= sum(point["seconds"] for point in outcome.curve)


def test_c_can_be_chosen_by_top1_and_is_where_there_are_no_probabilities(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = digits
    for request in (
        ProbeRequest(probe="logreg", C=(0.1, 10.0, 1000.0), choose_by="top1"),
        ProbeRequest(probe="sklearn.svm.LinearSVC", C=(0.01, 1.0)),
    ):
        outcome = run_probe(request, train, val, test, 10)
        assert outcome.chosen_by == "top1"
        best = max(point["top1"] for point in outcome.curve)
        assert outcome.chosen["C"] == min(point["C"] for point in outcome.curve if point["top1"] == best)


def test_rows_of_a_class_that_train_lacks_do_not_decide(
    iris: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = iris
    two = LabelledFeatures(train.x[train.y < 2], train.y[train.y < 2])
    outcome = run_probe(ProbeRequest(probe="logreg", params=EXACT, C=(0.1, 10.0)), two, val, test, 3)
    alone = LogisticRegression(C=0.1, tol=1e-9, max_iter=1000).fit(two.x.astype(np.float64), two.y)
    known = val.y < 2
    expected = log_loss(val.y[known], alone.predict_proba(val.x[known]))
    assert outcome.curve[0]["nll"] == pytest.approx(expected, rel=1e-6)


def test_a_thousand_classes_are_learned_although_their_gradients_are_small() -> None:
    # The gradient of the mean loss starts below scikit-learn's default tolerance here.
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(300, 400))
    y = np.tile(np.arange(300), 4)
    x = unit(centres[y] + 0.5 * rng.normal(size=(1200, 400)))
    train, test = LabelledFeatures(x[:900], y[:900]), LabelledFeatures(x[900:], y[900:])
    outcome = run_probe(ProbeRequest(probe="logreg", C=(100.0,)), train, None, test, 300)
    assert outcome.estimator.n_iter_.max() > 5
    assert outcome.metrics["top1"] > 0.95


def test_one_value_of_c_is_fitted_on_train_alone_and_says_that_validation_rows_lie_idle(
    iris: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = iris
    request = ProbeRequest(probe="logreg", C=(10.0,))
    without, given = (run_probe(request, train, part, test, 3) for part in (None, val))
    assert without.chosen == given.chosen == {"C": 10.0}
    assert without.curve == given.curve == []
    np.testing.assert_array_equal(without.estimator.coef_, given.estimator.coef_)
    assert any("not used" in text for text in given.warnings)
    assert not any("not used" in text for text in without.warnings)


def test_test_labels_change_neither_the_choice_nor_the_coefficients(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = digits
    request = ProbeRequest(probe="logreg", C=(0.1, 1.0, 100.0))
    shuffled = replace(test, y=np.random.default_rng(0).permutation(test.y))
    honest, blind = (run_probe(request, train, val, part, 10) for part in (test, shuffled))
    assert honest.chosen == blind.chosen
    strip = [[(p["C"], p["nll"], p["top1"], p["iterations"]) for p in outcome.curve] for outcome in (honest, blind)]
    assert strip[0] == strip[1]
    np.testing.assert_array_equal(honest.estimator.coef_, blind.estimator.coef_)
    assert blind.metrics["top1"] < 0.3 < honest.metrics["top1"]


def test_the_same_request_gives_the_same_result(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    request = ProbeRequest(probe="sklearn.ensemble.RandomForestClassifier", params={"n_estimators": 10}, seed=5)
    train, _, test = digits
    first, second = (run_probe(request, train, None, test, 10) for _ in range(2))
    assert first.metrics == second.metrics
    other = run_probe(request.model_copy(update={"seed": 6}), train, None, test, 10)
    assert other.metrics != first.metrics


def test_knn_on_unit_vectors_is_knn_by_cosine(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, _, test = digits
    outcome = run_probe(ProbeRequest(probe="knn", params={"k": 5}), train, None, test, 10)
    cosine = KNeighborsClassifier(5, metric="cosine").fit(train.x, train.y)
    assert outcome.metrics["top1"] == pytest.approx(cosine.score(test.x, test.y), abs=0.01)
    assert outcome.chosen == {"k": 5}
    assert outcome.chosen_by is None
    assert outcome.curve == []


@pytest.mark.parametrize(
    "request_",
    [
        RIDGE,
        ProbeRequest(probe="sklearn.svm.LinearSVC", C=(0.1, 10.0)),
        ProbeRequest(probe="sklearn.svm.SVC", params={"decision_function_shape": "ovo"}),
        ProbeRequest(probe="sklearn.naive_bayes.GaussianNB"),
        ProbeRequest(probe="sklearn.linear_model.Perceptron"),
    ],
)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_any_classifier_is_scored_with_any_number_of_classes(
    request_: ProbeRequest, classes: int, digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]
) -> None:
    train, val, test = (take(part, np.flatnonzero(part.y < classes)) for part in digits)
    outcome = run_probe(request_, train, val, test, classes)
    assert outcome.metrics["top1"] > 0.7
    assert outcome.metrics["top1"] == pytest.approx(outcome.estimator.score(test.x, test.y), abs=1e-12)


def test_scores_stand_in_the_columns_of_the_classes_that_were_in_train(
    iris: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, _, test = iris
    apart = {
        name: LabelledFeatures(part.x, part.y * 3 + 1) for name, part in (("train", train), ("test", test))
    }  # 1, 4, 7
    outcome = run_probe(RIDGE, apart["train"], None, apart["test"], 9)
    scores = predict(outcome.estimator, test, 9).scores
    assert scores is not None
    assert scores.shape == (len(test.x), 9)
    np.testing.assert_array_equal(np.isfinite(scores).all(axis=0), [c in (1, 4, 7) for c in range(9)])
    np.testing.assert_array_equal(scores.argmax(axis=1), outcome.estimator.predict(test.x))
    assert any("6 of 9 classes have no train row" in text for text in outcome.warnings)


def test_the_margin_of_two_classes_becomes_two_columns(
    iris: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, _, test = (take(part, np.flatnonzero(part.y > 0)) for part in iris)
    outcome = run_probe(RIDGE, train, None, test, 3)
    scores = predict(outcome.estimator, test, 3).scores
    assert scores is not None
    np.testing.assert_array_equal(scores[:, 2], -scores[:, 1])
    np.testing.assert_array_equal(scores.argmax(axis=1), outcome.estimator.predict(test.x))
    assert np.isneginf(scores[:, 0]).all()


def test_test_rows_of_a_class_that_train_lacks_count_as_wrong_and_are_told(
    iris: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, _, test = iris
    outcome = run_probe(RIDGE, take(train, np.flatnonzero(train.y < 2)), None, test, 3)
    assert outcome.metrics["top1"] <= np.mean(test.y < 2)
    assert any("1 of test's classes" in text for text in outcome.warnings)


def test_a_fit_that_stops_early_is_recorded_and_nothing_is_printed(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures], capfd: pytest.CaptureFixture[str]
) -> None:
    train, val, test = digits
    request = ProbeRequest(probe="logreg", params={"max_iter": 1}, C=(1.0, 100.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = run_probe(request, train, val, test, 10)
    assert not outcome.converged
    assert [point["converged"] for point in outcome.curve] == [False, False]
    assert any(text.startswith("ConvergenceWarning") for text in outcome.warnings)
    assert any("validation fits that did not converge" in text for text in outcome.warnings)
    assert capfd.readouterr() == ("", "")


def test_a_choice_at_the_end_of_the_grid_is_told(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = digits
    outcome = run_probe(ProbeRequest(probe="logreg", C=(1e-4, 10.0)), train, val, test, 10)
    assert outcome.chosen == {"C": 10.0}
    assert any("end of the grid" in text for text in outcome.warnings)


def test_constant_features_are_told(iris: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]) -> None:
    train, _, test = (LabelledFeatures(np.pad(part.x, ((0, 0), (0, 2))), part.y) for part in iris)
    assert "2 of 6 features are constant over train" in run_probe(RIDGE, train, None, test, 3).warnings


def test_multilabel_logreg_is_one_binary_problem_a_class(
    flags: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = flags
    outcome = run_probe(ProbeRequest(probe="logreg", params=EXACT, C=(0.1, 10.0)), train, val, test, 5)
    both = merged(train, val)
    reference = OneVsRestClassifier(LogisticRegression(C=outcome.chosen["C"], tol=1e-7, max_iter=1000))
    reference.fit(both.x.astype(np.float64), both.y)
    expected = average_precision_score(test.y, reference.decision_function(test.x), average="macro")
    assert outcome.metrics["map"] == pytest.approx(expected, abs=1e-6)
    assert [point["map"] is not None and point["top1"] is None for point in outcome.curve] == [True, True]
    assert outcome.curve[0]["iterations"] is not None


@pytest.mark.parametrize(
    "probe",
    [
        "knn",
        "sklearn.linear_model.RidgeClassifier",
        "sklearn.ensemble.RandomForestClassifier",
        "sklearn.svm.LinearSVC",
        "sklearn.naive_bayes.GaussianNB",
    ],
)
def test_multilabel_works_with_and_without_native_support(
    probe: str, flags: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]
) -> None:
    train, _, test = flags
    outcome = run_probe(ProbeRequest(probe=probe), train, None, test, 5)
    assert outcome.metrics["map"] > 0.6
    assert 0 < outcome.metrics["micro_f1"] <= 1


@pytest.mark.parametrize("probe", ["logreg", "knn", "sklearn.linear_model.RidgeClassifier"])
def test_a_flag_that_train_never_sets_has_no_say(
    probe: str, flags: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]
) -> None:
    train, _, test = flags
    lacking = LabelledFeatures(train.x, train.y * np.array([1, 1, 0, 1, 1], dtype=np.uint8))
    params: dict[str, float] = {"C": 1.0} if probe == "logreg" else {}
    outcome = run_probe(ProbeRequest(probe=probe, params=params), lacking, None, test, 5)
    assert not outcome.estimator.predict(test.x)[:, 2].any()
    told = [text for text in outcome.warnings if "no train row" in text]
    assert len(told) == 2
    assert len(outcome.warnings) == 2


def broken(part: LabelledFeatures, value: float) -> LabelledFeatures:
    x = part.x.copy()
    x[3, 0] = value
    return LabelledFeatures(x, part.y)


def test_what_cannot_be_fitted_or_scored_is_refused(
    iris: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, _, test = iris
    nothing = LabelledFeatures(train.x[:0], train.y[:0])
    cases: list[tuple[str, LabelledFeatures, LabelledFeatures | None, LabelledFeatures]] = [
        ("train part has no rows", nothing, None, test),
        ("test part has no rows", train, None, nothing),
        ("validation part has no rows", train, nothing, test),
        ("train part has 1 rows with NaN", broken(train, np.nan), None, test),
        ("test part has 1 rows with NaN or inf", train, None, broken(test, np.inf)),
        ("train has a single class", take(train, np.flatnonzero(train.y == 1)), None, test),
        ("no class in common", take(train, np.flatnonzero(train.y < 2)), None, take(test, np.flatnonzero(test.y == 2))),
        ("labels from 0 to 3", train, None, LabelledFeatures(test.x, np.where(test.y == 2, 3, test.y))),
        ("labels from -1", LabelledFeatures(train.x, train.y - 1), None, test),
        ("dtype float64", LabelledFeatures(train.x, train.y.astype(np.float64)), None, test),  # type: ignore[arg-type]
        ("does not match train", train, None, LabelledFeatures(test.x[:, :2], test.y)),
        ("as many labels", LabelledFeatures(train.x, train.y[:-1]), None, test),
    ]
    for text, fit_on, choose_on, score_on in cases:
        with pytest.raises(BadInput, match=text):
            run_probe(RIDGE, fit_on, choose_on, score_on, 3)
    with pytest.raises(BadInput, match="no validation rows"):
        run_probe(ProbeRequest(probe="logreg"), train, None, test, 3)
    with pytest.raises(BadInput, match="flags a row"):
        run_probe(RIDGE, LabelledFeatures(train.x, np.eye(3, dtype=np.uint8)[train.y]), None, test, 4)


def test_what_the_estimator_refuses_is_told_in_its_words(
    iris: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, _, test = iris
    with pytest.raises(BadInput, match="weights must be"):
        run_probe(ProbeRequest(probe="knn", params={"weights": "heavy"}), train, None, test, 3)
    with pytest.raises(BadInput, match="tol"):
        run_probe(ProbeRequest(probe="logreg", params={"tol": "tight"}, C=(1.0,)), train, None, test, 3)


def test_progress_is_told_once_a_fit(iris: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]) -> None:
    lines: list[str] = []
    train, val, test = iris
    run_probe(ProbeRequest(probe="logreg", C=(1.0, 10.0)), train, val, test, 3, progress=lines.append)
    assert len(lines) == 3


def test_logreg_finds_what_scikit_learn_finds_for_the_whole_grid_together(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = digits
    grid = (0.1, 1.0, 10.0, 100.0)
    ours = run_probe(ProbeRequest(probe="logreg", C=grid), train, val, test, 10)
    converged = {"tol": 1e-7, "max_iter": 5000}
    theirs = run_probe(ProbeRequest(probe=SKLEARN_LOGREG, params=converged, C=grid), train, val, test, 10)
    assert ours.chosen == theirs.chosen
    assert ours.converged
    for mine, other in zip(ours.curve, theirs.curve, strict=True):
        assert mine["nll"] == pytest.approx(other["nll"], rel=2e-3)
        assert mine["top1"] == pytest.approx(other["top1"], abs=0.005)
    assert ours.metrics["top1"] == pytest.approx(theirs.metrics["top1"], abs=0.005)


def test_logreg_takes_flags(flags: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]) -> None:
    train, val, test = flags
    ours, theirs = (
        run_probe(ProbeRequest(probe=p, C=(0.1, 10.0)), train, val, test, 5) for p in ("logreg", SKLEARN_LOGREG)
    )
    assert ours.chosen == theirs.chosen
    assert ours.metrics["map"] == pytest.approx(theirs.metrics["map"], abs=2e-3)


@pytest.mark.parametrize("probe", ["ridge", "sgd", "knn"])
def test_a_grid_fitted_together_is_that_of_single_fits(
    probe: str, digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]
) -> None:
    train, val, test = digits
    name, values = {"ridge": ("alpha", (0.1, 10.0)), "sgd": ("learning_rate", (0.1, 3.0)), "knn": ("k", (1, 5))}[probe]
    request = ProbeRequest(probe=probe, grid={name: values})
    together = run_probe(request, train, val, test, 10)
    assert list(together.chosen) == [name]
    for value, point in zip(values, together.curve, strict=True):
        alone = make_estimator(request, **{name: value}).fit(train.x, train.y)
        assert point[name] == value
        assert point["top1"] == pytest.approx(alone.score(val.x, val.y), abs=0.005)


def test_without_a_refit_the_training_rows_alone_are_fitted(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, val, test = digits
    request = ProbeRequest(probe="logreg", C=(0.1, 10.0))
    outcome = run_probe(request, train, val, test, 10, refit=False)
    alone = run_probe(ProbeRequest(probe="logreg", C=(outcome.chosen["C"],)), train, None, test, 10)
    assert outcome.solver["rows"] == len(train)
    coef = alone.estimator.coef_
    np.testing.assert_allclose(outcome.estimator.coef_, coef, atol=1e-4 * np.abs(coef).max())


def test_metrics_have_calibration_a_table_of_classes_and_intervals(
    digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures],
) -> None:
    train, _, test = digits
    outcome = run_probe(ProbeRequest(probe="logreg", C=(10.0,)), train, None, test, 10)
    assert {"top1", "top5", "nll", "ece", "roc_auc", "per_class", "confusion"} <= set(outcome.metrics)
    for name in ("top1", "top5", "mean_per_class_recall", "macro_f1", "nll"):
        low, high = outcome.intervals[name]
        assert low <= outcome.metrics[name] <= high
        assert high - low < 0.25


@pytest.mark.parametrize("name", [name for name, probe in NAMED.items() if len(probe.grid) < 2])
def test_every_named_probe_learns_the_digits(
    name: str, digits: tuple[LabelledFeatures, LabelledFeatures, LabelledFeatures]
) -> None:
    train, _, test = digits
    assert run_probe(ProbeRequest(probe=name), train, None, test, 10).metrics["top1"] > 0.85
