"""Published protocols: each against what it prescribes, written out a second time with scikit-learn or numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.probing import problem, problem_with_flags

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import Draw, LabelledFeatures
from cryoprobe.pipeline.probes.selection import middle_of_best
from cryoprobe.pipeline.protocols import PROTOCOLS, Problem, list_protocols, protocol_named
from cryoprobe.pipeline.protocols.clip import LAMBDAS, headline
from cryoprobe.pipeline.protocols.clip_benchmark import WEIGHT_DECAYS
from cryoprobe.pipeline.protocols.dinov2 import CS
from cryoprobe.pipeline.protocols.search import bisect, coarse_to_fine
from cryoprobe.pipeline.specs import Preprocessing
from cryoprobe.pipeline.tasks import MULTI_LABEL, SINGLE_LABEL

ISSUED = (
    "clip",
    "clip-readme",
    "clip-benchmark",
    "dinov2-knn",
    "dinov2-logreg",
    "dinov2-linear",
    "dinov2-linear-testselect",
    "dinov3-linear",
    "bigvision-fewshot",
    "coop-fewshot",
    "mieb",
    "vtab-1k",
)
HEADS = ("dinov2-linear", "dinov2-linear-testselect", "dinov3-linear")
SOFTMAX = ("clip-benchmark", *HEADS)
SHORT = {name: {"iterations": 60} for name in HEADS}


def run(name: str, posed: Problem | None = None, **given: Any) -> Any:
    protocol = protocol_named(name)
    parameters = protocol.completed({**SHORT.get(name, {}), **given})
    few = Draw(shots=protocol.shots[0]) if protocol.shots else Draw()
    return protocol.run(problem(parameters, draw=few) if posed is None else posed)


def test_the_protocols_are_those_that_are_promised() -> None:
    assert sorted(PROTOCOLS) == sorted(ISSUED)
    assert [row.name for row in list_protocols()] == list(PROTOCOLS)
    with pytest.raises(BadInput, match="did you mean clip"):
        protocol_named("clipp")


def test_the_grids_are_the_published_ones() -> None:
    assert (len(LAMBDAS), LAMBDAS[0], LAMBDAS[-1]) == (97, 1e-6, 1e6)
    assert LAMBDAS[48] == 1.0
    np.testing.assert_allclose(LAMBDAS[1:] / LAMBDAS[:-1], 10 ** (1 / 8))
    assert (len(CS), CS[0], CS[-1]) == (45, 1e-6, 1e5)
    assert (len(WEIGHT_DECAYS), WEIGHT_DECAYS[0], WEIGHT_DECAYS[-1]) == (97, 1e-6, 1e2)
    assert PROTOCOLS["bigvision-fewshot"].shots == (1, 5, 10, 25)
    assert PROTOCOLS["coop-fewshot"].seeds == tuple(range(1, 11))
    assert (PROTOCOLS["mieb"].shots, len(PROTOCOLS["mieb"].seeds)) == ((16,), 5)


@pytest.mark.parametrize("name", ISSUED)
def test_permuting_the_test_labels_changes_no_choice_and_no_weight(name: str) -> None:
    protocol = protocol_named(name)
    parameters = protocol.completed(SHORT.get(name, {}))
    draw = Draw(shots=protocol.shots[0]) if protocol.shots else Draw()
    honest, blind = (protocol.run(problem(parameters, draw=draw, shuffle_test=shuffle)) for shuffle in (False, True))
    strip = [[{k: v for k, v in point.items() if k != "seconds"} for point in done.curve] for done in (honest, blind)]
    if name == "dinov2-linear-testselect":  # its name says so
        assert strip[0] != strip[1]
        return
    assert honest.chosen == blind.chosen
    assert strip[0] == strip[1]
    for attribute in ("coef_", "intercept_", "_x"):
        if hasattr(honest.estimator, attribute):
            np.testing.assert_array_equal(getattr(honest.estimator, attribute), getattr(blind.estimator, attribute))
    assert honest.metrics["top1"] > blind.metrics["top1"] + 0.1


@pytest.mark.parametrize("name", ISSUED)
def test_every_protocol_learns_and_records_what_it_did(name: str) -> None:
    done = run(name)
    assert done.metrics["top1"] > (0.35 if PROTOCOLS[name].shots[:1] == (1,) else 0.6)  # of six classes
    assert done.solver["rows"] > 0
    assert done.solver["name"]
    assert done.intervals["top1"][0] <= done.metrics["top1"] <= done.intervals["top1"][1]


@pytest.mark.parametrize(
    "name", ["clip", "clip-readme", "dinov2-logreg", "dinov2-knn", "coop-fewshot", "mieb", "vtab-1k"]
)
def test_multi_label_data_are_ranked(name: str) -> None:
    protocol = protocol_named(name)
    few = Draw(shots=16) if protocol.shots else Draw()
    done = protocol.run(problem_with_flags(protocol.completed({}), draw=few))
    assert done.metrics["map"] > 0.5
    assert done.metrics["map_11_point"] > 0.5


@pytest.mark.parametrize("name", SOFTMAX)
def test_a_softmax_protocol_refuses_flags(name: str) -> None:
    protocol = protocol_named(name)
    with pytest.raises(BadInput, match="flags"):
        protocol.run(problem_with_flags(protocol.completed({}), draw=Draw()))


def test_clip_evaluates_at_most_fifteen_penalties_and_refits_on_train_and_validation() -> None:
    posed = problem(protocol_named("clip").completed({"tol": 1e-8}))
    done = run("clip", posed)
    seven = {1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6}
    tried = {round(float(np.log10(1 / point["C"])) * 8) for point in done.curve}
    assert {round(8 * np.log10(v)) for v in seven} <= tried
    assert len(done.curve) <= 15
    best = max(point["top1"] for point in done.curve)
    assert done.chosen["C"] in {point["C"] for point in done.curve if point["top1"] == best}
    assert done.solver["rows"] == len(posed.train) + len(posed.chosen_on)
    assert done.solver["gradient_norm"] is not None
    both = posed.train.joined(posed.chosen_on)
    reference = LogisticRegression(C=done.chosen["C"], solver="newton-cg", tol=1e-9, max_iter=1000)
    reference.fit(both.matrix.astype(np.float64), both.y)
    assert done.metrics["top1"] == pytest.approx(reference.score(posed.test.matrix, posed.test.y), abs=0.01)


def test_clip_reports_the_score_of_its_table() -> None:
    for name in ("Flowers102", "OxfordIIITPet", "FGVCAircraft", "Caltech101"):
        assert headline(f"torchvision:{name}") == "mean_per_class_recall"
    assert headline("folder:/data/Flowers-102/") == "mean_per_class_recall"
    assert headline("csv:hateful_memes.csv") == "roc_auc"
    assert headline("folder:/data/Kinetics-700") == "mean_top1_top5"
    for name in ("torchvision:CIFAR100", "folder:/home/peter/carpets/food", "csv:/srv/pets/birds.csv"):
        assert headline(name) is None


def test_the_score_is_that_of_the_name_that_is_asked_for_or_the_one_that_is_given() -> None:
    clip, readme = protocol_named("clip"), protocol_named("clip-readme")
    given = clip.completed({})
    assert clip.score(given, "folder:/d/pets", 37, SINGLE_LABEL) == "mean_per_class_recall"
    assert clip.score(given, "folder:/d/petsv1", 37, SINGLE_LABEL) == "top1"
    assert clip.score(given, None, 37, SINGLE_LABEL) == "top1"
    assert clip.score(given, "csv:voc2007.csv", 20, MULTI_LABEL) == "map_11_point"
    assert clip.score(clip.completed({"metric": "top1"}), "folder:/d/pets", 37, SINGLE_LABEL) == "top1"
    # The README's code counts right answers, whatever the data set.
    assert readme.score(readme.completed({}), "folder:/d/pets", 37, SINGLE_LABEL) == "top1"


def test_a_metric_that_does_not_fit_the_labels_is_refused() -> None:
    clip = protocol_named("clip")
    with pytest.raises(BadInput, match="no metric 'accuracy'"):
        clip.completed({"metric": "accuracy"})
    with pytest.raises(BadInput, match="does not exist for single-label"):
        clip.score(clip.completed({"metric": "map"}), None, 10, SINGLE_LABEL)
    with pytest.raises(BadInput, match="does not exist for multi-label"):
        clip.score(clip.completed({"metric": "top1"}), None, 10, MULTI_LABEL)
    with pytest.raises(BadInput, match="top-5, which says nothing of 5 classes"):
        clip.score(clip.completed({"metric": "mean_top1_top5"}), None, 5, SINGLE_LABEL)
    with pytest.raises(BadInput, match="no parameter 'metric'"):
        protocol_named("vtab-1k").completed({"metric": "top1"})


@pytest.mark.parametrize("metric", ["mean_per_class_recall", "roc_auc", "mean_top1_top5"])
def test_the_score_that_is_asked_for_chooses(metric: str) -> None:
    posed = problem(protocol_named("clip").completed({}), metric=metric)
    done = run("clip", posed)
    assert done.chosen_by == metric
    best = max(point[metric] for point in done.curve)
    assert done.chosen["C"] in [point["C"] for point in done.curve if point[metric] == best]


@pytest.mark.parametrize("name", ["dinov2-logreg", *HEADS])
def test_dinov2_s_metric_type_chooses_and_is_reported(name: str) -> None:
    protocol = protocol_named(name)
    assert protocol.score(protocol.completed({}), "folder:/d/pets", 37, SINGLE_LABEL) == "top1"
    given = protocol.completed({**SHORT.get(name, {}), "metric": "mean_per_class_accuracy"})
    metric = protocol.score(given, None, 6, SINGLE_LABEL)
    assert metric == "mean_per_class_recall"
    assert protocol.deviations(protocol.completed({"metric": "mean_per_class_accuracy"})) == []
    done = protocol.run(problem(given, metric=metric))
    assert done.chosen_by == ("test " if "testselect" in name else "") + metric
    (chosen, value) = next(iter(done.chosen.items()))
    best = max(point[metric] for point in done.curve)
    assert value in [point[chosen] for point in done.curve if point[metric] == best]


def test_clip_readme_is_one_fit() -> None:
    posed = problem(protocol_named("clip-readme").completed({"tol": 1e-8}), val=False)
    done = run("clip-readme", posed)
    reference = LogisticRegression(C=0.316, tol=1e-8, max_iter=5000).fit(
        posed.train.matrix.astype(float), posed.train.y
    )
    np.testing.assert_allclose(done.estimator.coef_, reference.coef_, atol=2e-3 * np.abs(reference.coef_).max())
    assert (done.curve, done.chosen_by) == ([], None)


def test_clip_benchmark_has_no_weight_decay_without_a_validation_split() -> None:
    posed = problem(protocol_named("clip-benchmark").completed({}), val=False)
    done = run("clip-benchmark", posed)
    assert done.chosen == {"weight_decay": 0.0}
    assert done.solver["rows"] == len(posed.train)


def test_clip_benchmark_refits_on_both_parts_unless_it_is_few_shot() -> None:
    parameters = protocol_named("clip-benchmark").completed({"epochs": 2})
    many, few = (problem(parameters, draw=draw) for draw in (Draw(), Draw(shots=5)))
    assert run("clip-benchmark", many).solver["rows"] == len(many.train) + len(many.chosen_on)
    assert run("clip-benchmark", few).solver["rows"] == len(few.train)


def test_dinov2_knn_votes_as_its_reference_does() -> None:
    posed = problem(protocol_named("dinov2-knn").completed({}), val=False)
    done = run("dinov2-knn", posed)
    x, q = posed.train.matrix.astype(np.float64), posed.test.matrix.astype(np.float64)
    similarity = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :200]
    weights = np.exp(np.take_along_axis(similarity, order, 1) / 0.07)
    weights /= weights.sum(1, keepdims=True)
    for k in (10, 20, 100, 200):
        votes = np.zeros((len(q), posed.n_classes))
        for c in range(posed.n_classes):
            votes[:, c] = (weights[:, :k] * (posed.train.y[order[:, :k]] == c)).sum(1)
        assert done.more["top1_by_k"][str(k)] == np.mean(votes.argmax(1) == posed.test.y)
    assert done.metrics["top1"] == done.more["top1_by_k"]["20"]
    assert done.metrics["top1"] == np.mean(done.estimator.predict(posed.test.matrix) == posed.test.y)


def test_big_vision_solves_the_ridge_regression_of_its_code() -> None:
    posed = problem(protocol_named("bigvision-fewshot").completed({}), draw=Draw(shots=5), val=False)
    done = run("bigvision-fewshot", posed)
    x, t = posed.train.matrix.astype(np.float64), posed.test.matrix.astype(np.float64)
    mean, std = x.mean(0), x.std(0) + 1e-5
    x, t = ((np.hstack([(rows - mean) / std, np.full((len(rows), 1), 100.0)])) for rows in (x, t))
    targets = 2.0 * np.eye(posed.n_classes)[posed.train.y] - 1.0
    w = np.linalg.solve(x.T @ x + 1024 * np.eye(x.shape[1]), x.T @ targets)
    assert done.metrics["top1"] == np.mean((t @ w).argmax(1) == posed.test.y)


def test_mieb_is_scikit_learn_with_a_hundred_iterations() -> None:
    posed = problem(protocol_named("mieb").completed({}), draw=Draw(shots=16), val=False)
    done = run("mieb", posed)
    reference = LogisticRegression(C=1.0, max_iter=100).fit(posed.train.matrix, posed.train.y)
    assert done.metrics["top1"] == reference.score(posed.test.matrix, posed.test.y)


def test_coop_searches_seven_values_and_bisects_eight_times() -> None:
    posed = problem(protocol_named("coop-fewshot").completed({}), draw=Draw(shots=4))
    done = run("coop-fewshot", posed)
    assert {1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6} <= {point["C"] for point in done.curve}
    assert len(done.curve) <= 7 + 2 + 7
    assert done.solver["rows"] == len(posed.train)


def test_dinov2_linear_trains_thirteen_heads_scaled_to_the_batch() -> None:
    done = run("dinov2-linear")
    rates = [point["learning_rate"] for point in done.curve]
    assert len(rates) == 13
    assert (rates[0], rates[-1]) == (pytest.approx(4e-5), pytest.approx(0.4))
    assert done.chosen_by == "top1"
    assert run("dinov2-linear-testselect").chosen_by == "test top1"


def test_vtab_fits_its_training_and_validation_rows_together() -> None:
    posed = problem(protocol_named("vtab-1k").completed({}))
    done = run("vtab-1k", posed)
    assert done.solver["rows"] == len(posed.train) + len(posed.chosen_on)
    assert len(done.curve) == 17


def test_dinov2_logreg_refits_on_the_rows_that_chose_too() -> None:
    posed = problem(protocol_named("dinov2-logreg").completed({}))
    for given in (posed, replace(posed, val_from_train=False)):  # the reference joins a --finetune-dataset as well
        assert run("dinov2-logreg", given).solver["rows"] == len(posed.train) + len(posed.chosen_on)


def test_validation_rows_without_a_label_are_refused() -> None:
    posed = problem_with_flags(protocol_named("clip").completed({}), draw=Draw(), metric="map_11_point")
    nothing = LabelledFeatures(posed.chosen_on.x, np.zeros_like(posed.chosen_on.y))
    with pytest.raises(BadInput, match="no map_11_point to choose by"):
        run("clip", replace(posed, val=nothing))


def test_a_parameter_that_is_changed_is_told_and_an_unknown_one_is_refused() -> None:
    protocol = protocol_named("dinov2-linear")
    assert protocol.deviations(protocol.completed({"iterations": 100})) == [
        "not as published: iterations = 100 instead of 12500"
    ]
    assert protocol.deviations(protocol.completed({})) == []
    with pytest.raises(BadInput, match="no parameter 'depth'"):
        protocol.completed({"depth": 3})
    for wrong in ("many", 10.5, 0, -1, True):
        with pytest.raises(BadInput, match="positive whole number"):
            protocol.completed({"iterations": wrong})
    with pytest.raises(BadInput, match="positive number"):
        protocol_named("dinov2-knn").completed({"temperature": 0})
    assert protocol_named("clip-readme").completed({"C": 1})["C"] == 1.0


PREPARED = Preprocessing(
    library="timm",
    image_size=(224, 224),
    resize_mode="center",
    crop_fraction=0.875,
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    color_mode="RGB",
)
OTHERWISE: list[tuple[str, dict[str, Any], str | None]] = [
    ("dinov2-knn", {}, None),
    ("dinov2-linear", {"resize_mode": "shortest", "library": "open_clip"}, None),
    ("bigvision-fewshot", {"interpolation": "bilinear"}, None),
    ("dinov2-logreg", {"crop_fraction": 1.0}, None),
    ("dinov2-knn", {"image_size": (518, 518), "crop_fraction": 1.0}, "resize 518, crop 518, bicubic"),
    ("dinov2-knn", {"crop_fraction": 1.0}, "resize 224, crop 224, bicubic"),
    ("dinov2-knn", {"interpolation": "bilinear"}, "resize 256, crop 224, bilinear"),
    ("dinov2-knn", {"resize_mode": "squash"}, "resize 256, crop 224, bicubic (squash)"),
    ("dinov2-logreg", {}, "resize 256, crop 224, bicubic"),
    ("bigvision-fewshot", {"image_size": (224, 256)}, "crop 224 x 256"),
]


@pytest.mark.parametrize(("name", "changed", "said"), OTHERWISE)
def test_images_that_were_not_prepared_as_published_are_remarked(
    name: str, changed: dict[str, Any], said: str | None
) -> None:
    transform = protocol_named(name).transform
    assert transform is not None
    remark = transform.remark(PREPARED.model_copy(update=changed).model_dump(mode="json"))
    if said is None:
        assert remark is None
    else:
        assert remark is not None
        assert said in remark
        assert remark.startswith(f"not as published: images with resize {transform.resize}, crop 224")


def test_a_set_that_does_not_say_how_its_images_were_prepared_is_remarked() -> None:
    transform = protocol_named("dinov2-linear").transform
    assert transform is not None
    for stored in (None, {}, {"image_size": [224]}, {**PREPARED.model_dump(), "crop_fraction": 0}):
        assert "does not say" in str(transform.remark(stored))


def test_a_search_finds_the_peak_of_a_smooth_curve_in_fifteen_looks() -> None:
    for peak in range(97):
        asked: list[int] = []

        def score(places: Any, peak: int = peak, asked: list[int] = asked) -> list[float]:
            asked.extend(places)
            return [-abs(place - peak) for place in places]

        assert coarse_to_fine(score, 97, range(0, 97, 16)) == peak
        assert len(asked) == len(set(asked)) <= 15


def test_among_equals_a_search_takes_the_first() -> None:
    assert coarse_to_fine(lambda places: [0.0] * len(places), 97, range(0, 97, 16)) == 0


def test_a_bisection_goes_to_the_better_end_and_stays_low_among_equals() -> None:
    assert bisect(lambda ends: [-abs(end - 0.7) for end in ends], 0.0, 1.0, 8) == pytest.approx(0.7, abs=0.01)
    assert bisect(lambda ends: [0.0 for _ in ends], -1.0, 1.0, 8) == -1.0


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([0.5, 0.9, 0.7], 1),
        ([0.9] * 7, 3),
        ([0.9, 0.9, 0.1, 0.1, 0.1], 1),  # of two in the middle the one further from the ends
        ([0.1, 0.1, 0.1, 0.9, 0.9], 3),
        ([0.9, 0.1, 0.9, 0.9, 0.9], 3),  # the longest run
    ],
)
def test_of_equal_scores_the_middle_of_their_run_is_chosen(values: list[float], chosen: int) -> None:
    assert middle_of_best(values) == chosen


@pytest.mark.parametrize("plateau", [range(97), range(21), range(76, 97), range(40, 60)])
def test_a_search_that_goes_inward_does_not_run_to_an_end_of_equal_scores(plateau: range) -> None:
    found = coarse_to_fine(lambda places: [float(p in plateau) for p in places], 97, range(0, 97, 16), inward=True)
    assert found in plateau
    assert found not in (0, 96)


@pytest.mark.parametrize("name", ["clip", "vtab-1k", "dinov2-logreg"])
def test_a_chosen_value_at_the_end_of_its_grid_is_told(name: str) -> None:
    """Rows that coincide are predicted alike whatever the penalty: all values tie, and only a reference's rule runs."""
    protocol = protocol_named(name)
    given = problem(protocol.parameters)
    same = [replace(part, x=np.ones_like(part.matrix)) for part in (given.train, given.val, given.test) if part]
    outcome = protocol.run(replace(given, train=same[0], val=same[1], test=same[2]))
    told = [line for line in outcome.warnings if "at the end of the grid" in line]
    assert bool(told) == (name == "dinov2-logreg")
