"""The charts of single trials show the trials' own numbers, whatever their classes are called."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, recall_score
from support.charted import HOSTILE, changed, data_of, fill, main_rows
from support.once import once

from cryoprobe.pipeline.metrics.calibration import expected_calibration_error, reliability
from cryoprobe.pipeline.report import (
    charts_calibration,
    charts_classes,
    charts_confusion,
    charts_knn_linear,
    charts_sizes,
    charts_validation,
)
from cryoprobe.pipeline.report.charts_choice import trials_shown
from cryoprobe.pipeline.report.charts_confusion_counts import counts_of, order_of
from cryoprobe.pipeline.report.charts_data import labels_of
from cryoprobe.pipeline.report.section import Chart, ReportData
from cryoprobe.pipeline.trials.result import Trial
from cryoprobe.stores.store import RowPredictions

MAKERS = (
    charts_validation,
    charts_sizes,
    charts_classes,
    charts_confusion,
    charts_calibration,
    charts_knn_linear,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "charted", lambda folder: fill(folder / "store", folder)) / "store"


@pytest.fixture(scope="module")
def data(store: Path) -> ReportData:
    return data_of(store)


@pytest.fixture(scope="module")
def charts(data: ReportData) -> dict[str, Chart]:
    return {chart.name: chart for maker in MAKERS for section in maker.sections(data) for chart in section.charts}


def of(data: ReportData, probe: str, dataset: str = "birds", model: str = "lab:good") -> Trial:
    return next(t for t in data.trials if (t.probe, t.dataset, t.model) == (probe, dataset, model) and t.draw is None)


def thousand(trial: Trial, classes: int = 1000, rows: int = 50_000) -> Trial:
    """Return a trial of many classes in which each is taken for its twin a hundred classes further."""
    right, wrong = rows // classes - 3, 3
    cells = [[i, i, right] for i in range(classes)] + [[i, (i + 100) % classes, wrong] for i in range(classes)]
    metrics = {k: v for k, v in trial.metrics.items() if k not in ("confusion", "per_class")}
    table = {
        "recall": [right / (right + wrong)] * classes,
        "precision": [None] * classes,
        "f1": [None] * classes,
        "support": [right + wrong] * classes,
    }
    names = [f"class {i}" for i in range(classes)]
    return changed(
        trial, classes=names, metrics={**metrics, "confusion_nonzero": cells, "per_class": table}, predictions=None
    )


# Validation curves


def test_a_validation_curve_is_the_trials_own(data: ReportData, charts: dict[str, Chart]) -> None:
    rows = main_rows(charts["validation-birds-logreg"])
    for m, model in enumerate(data.matrix.models):
        trial = of(data, "logreg", model=model)
        own = [row for row in rows if row["m"] == m]
        assert [row["x"] for row in own] == pytest.approx([point["C"] for point in trial.curve])
        assert [row["y"] for row in own] == pytest.approx([point["nll"] for point in trial.curve], rel=1e-4)
        assert [row["x"] for row in own if row["chosen"]] == [trial.chosen["C"]]
        assert [bool(row["converged"]) for row in own] == [point["converged"] for point in trial.curve]


def test_a_value_at_the_end_of_the_grid_is_warned_of_as_the_trial_does(data: ReportData) -> None:
    judged = [(t, charts_validation.curve_of("m", t)) for t in data.trials if t.curve]
    assert len({bool(curve and curve.at_end) for _, curve in judged}) == 2
    for trial, curve in judged:
        assert curve is not None
        assert curve.at_end == any("end of the grid" in warning for warning in trial.warnings)


def test_the_caption_names_the_models_at_an_end(charts: dict[str, Chart]) -> None:
    chart = charts["validation-birds-logreg"]
    assert chart.caption.startswith("⚠ The chosen C is at the end of the grid, a wider one may do better: lab:good")
    assert "⚠ 2 models at this end" in json.dumps(chart.spec, ensure_ascii=False)


def test_a_value_stands_for_the_best_of_its_points(data: ReportData) -> None:
    points = [{"C": c, "avgpool": a, "nll": n, "converged": True} for c, a, n in ((1, 0, 3), (1, 1, 2), (9, 0, 1))]
    more = {"top1": None, "mean_per_class_recall": None, "map": None, "map_11_point": None}
    trial = changed(of(data, "logreg"), chosen={"C": 9}, curve=[point | more for point in points])
    curve = charts_validation.curve_of("m", trial)
    assert curve is not None
    assert [(p.value, p.score) for p in curve.points] == [(1, 2), (9, 1)]


def test_scores_of_test_rows_are_called_so(data: ReportData, charts: dict[str, Chart]) -> None:
    chart = charts["validation-birds-protocol-dinov2-knn"]
    assert "test rows" in chart.caption
    found = {row["x"]: row["y"] for row in main_rows(chart) if row["m"] == 0}
    wanted = of(data, "dinov2-knn").top1_by_k
    assert found == pytest.approx({float(k): value for k, value in wanted.items()}, rel=1e-4)


# Sizes


def test_sizes_have_mean_and_deviation_of_their_draws(data: ReportData, charts: dict[str, Chart]) -> None:
    rows = [row for row in main_rows(charts["shots-birds-nearest-mean-top1"]) if row["m"] == 0]
    for row in rows:
        drawn = [t for t in data.trials if t.model == "lab:good" and t.draw is not None and t.draw.shots == row["x"]]
        scores = [t.metrics["top1"] for t in drawn]
        assert len(scores) == row["draws"] == 3
        assert [row["y"], row["std"]] == pytest.approx([np.mean(scores), np.std(scores, ddof=1)], rel=1e-3)
    assert [row["x"] for row in rows] == [1, 4]


def test_all_training_rows_are_a_hundred_percent(charts: dict[str, Chart]) -> None:
    rows = main_rows(charts["fraction-birds-nearest-mean-top1"])
    assert [(row["m"], row["x"]) for row in rows] == [(0, 20), (0, 100), (1, 20), (1, 100)]


# Classes


def test_bars_are_the_recalls_of_the_trial(data: ReportData, charts: dict[str, Chart]) -> None:
    shown = trials_shown(data.matrix, "birds")
    rows = main_rows(charts["classes-birds"])
    for t, one in enumerate(shown):
        values = [row["value"] for row in rows if row["t"] == t]
        assert values == sorted(values)
        assert values == pytest.approx(sorted(one.trial.metrics["per_class"]["recall"]), rel=1e-4)


def test_the_recall_of_an_older_trial_is_counted(data: ReportData) -> None:
    trial = of(data, "logreg")
    metrics = {k: v for k, v in trial.metrics.items() if k != "per_class"}
    found = charts_classes.class_scores(data.store, changed(trial, metrics=metrics), [])
    kept = data.store.predictions(trial.stored, rows=trial.rows.test, classes=6, multilabel=False)
    assert found is not None
    assert kept is not None
    wanted = recall_score(kept.arrays["true"], kept.arrays["predicted"], average=None)
    assert list(found.values) == pytest.approx(wanted.tolist())


def test_flags_have_the_average_precision_that_their_map_is_the_mean_of(data: ReportData) -> None:
    trial = of(data, "logreg", "flags")
    found = charts_classes.class_scores(data.store, trial, [])
    kept = data.store.predictions(trial.stored, rows=trial.rows.test, classes=4, multilabel=True)
    assert found is not None
    assert kept is not None
    true = np.unpackbits(kept.arrays["true"], axis=1, count=4)
    wanted = [average_precision_score(true[:, i], kept.arrays["scores"][:, i]) for i in range(4)]
    assert list(found.values) == pytest.approx(wanted)
    assert np.mean(wanted) == pytest.approx(trial.metrics["map"], rel=1e-5)


def test_a_class_without_test_rows_has_no_bar(data: ReportData, store: Path) -> None:
    trial = of(data, "logreg")
    table = trial.metrics["per_class"]
    undefined = {**table, "recall": [None, *table["recall"][1:]], "support": [0, *table["support"][1:]]}
    found = data_of(store, [changed(trial, metrics={**trial.metrics, "per_class": undefined})])
    chart = charts_classes.sections(found)[0].charts[0]
    assert len(main_rows(chart)) == 5
    assert "1 without test rows" in chart.caption


def test_of_many_classes_the_lowest_and_highest_and_a_histogram_are_shown(data: ReportData, store: Path) -> None:
    bars, histogram = charts_classes.sections(data_of(store, [thousand(of(data, "logreg"))]))[0].charts
    assert len(main_rows(bars)) == 25 + 10
    assert sum(row["n"] or 0 for row in main_rows(histogram)) == 1000


# Confusions


def test_cells_are_the_trials_counts(data: ReportData, charts: dict[str, Chart]) -> None:
    shown = trials_shown(data.matrix, "birds")
    rows = main_rows(charts["confusion-birds"])
    for t, one in enumerate(shown):
        wanted = np.array(one.trial.metrics["confusion"])
        found = np.zeros_like(wanted)
        for row in rows:
            if row["t"] == t:
                found[int(row["i"] or 0), int(row["j"] or 0)] = row["n"]
                share = wanted[int(row["i"] or 0), int(row["j"] or 0)] / wanted[int(row["i"] or 0)].sum()
                assert row["share"] == pytest.approx(share, rel=1e-4)
        assert found.tolist() == wanted.tolist()


def test_the_table_lists_the_largest_confusions(data: ReportData) -> None:
    trial = trials_shown(data.matrix, "birds")[0].trial
    wrong = np.array(trial.metrics["confusion"])
    np.fill_diagonal(wrong, 0)
    html = charts_confusion.sections(data)[0].html
    first = re.search(r'<tbody><tr>(?:<td>.*?</td>){2}<td class="num">(\d+)</td>', html, re.DOTALL)
    assert first is not None
    assert int(first[1]) == wrong.max()


def test_a_thousand_classes_stay_small_and_say_what_is_not_drawn(data: ReportData, store: Path) -> None:
    trial = thousand(of(data, "logreg"), classes=6000)
    section = charts_confusion.sections(data_of(store, [trial]))[0]
    rows = main_rows(section.charts[0])
    assert len(rows) == charts_confusion.MOST_CELLS
    assert all(row["i"] != row["j"] for row in rows)
    assert "Not drawn: the 2,000 smallest of 6,000 pairs (6,000 test rows)" in section.charts[0].caption


def test_confused_classes_are_neighbours(data: ReportData) -> None:
    counts = counts_of(thousand(of(data, "logreg"), classes=200))
    assert counts is not None
    order = order_of([counts])
    assert sorted(order.tolist()) == list(range(200))
    place = np.argsort(order)
    assert all(abs(place[i] - place[i + 100]) == 1 for i in range(100))


@pytest.mark.parametrize(
    "metrics",
    [
        {"confusion": [[1, 2], [3]]},
        {"confusion": [[1]]},
        {"confusion_nonzero": [[0, 9, 1]]},
        {"confusion_nonzero": [[0, 0, -1]]},
        {"confusion_nonzero": "x"},
        {},
    ],
)
def test_counts_that_do_not_fit_are_none(data: ReportData, metrics: dict[str, Any]) -> None:
    assert counts_of(changed(of(data, "logreg"), metrics={"top1": 0.5, **metrics})) is None


# Calibration


def test_the_bins_of_a_chart_give_the_trials_calibration_error(data: ReportData, charts: dict[str, Chart]) -> None:
    rows = main_rows(charts["calibration-birds"])
    shown = [one.trial for one in trials_shown(data.matrix, "birds")]
    kept = {t.trial: data.store.predictions(t.stored, rows=120, classes=6, multilabel=False) for t in shown}
    charted = [t for t in shown if (k := kept[t.trial]) is not None and k.measure == "probability"]
    assert {row["t"] for row in rows} == set(range(len(charted)))
    judged = [(t, trial.metrics["ece"]) for t, trial in enumerate(charted) if trial.metrics["ece"] is not None]
    assert len(judged) >= 2
    for t, ece in judged:
        own = [row for row in rows if row["t"] == t]
        found = sum(abs((row["right"] or 0) - (row["sure"] or 0)) * (row["share"] or 0) for row in own)
        assert found == pytest.approx(ece, abs=1e-4)


def test_bins_are_those_of_all_probabilities() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=300).astype(np.float32).astype(np.float64)
    probabilities[:5] = [[0.2, 0.8, 0, 0], [0.6, 0.4, 0, 0], [1, 0, 0, 0], [0.4, 0.3, 0.3, 0], [0.4, 0.2, 0.2, 0.2]]
    probabilities[:, 3] = np.nan  # a class without training rows
    true, predicted = rng.integers(0, 4, 300), np.nanargmax(probabilities, axis=1)
    every = np.arange(300)
    arrays = {"true": true, "predicted": predicted}
    arrays |= {"value": probabilities[every, predicted], "true_value": probabilities[every, true]}
    kept = RowPredictions(
        {k: v.astype(np.int32 if v.dtype == int else np.float32) for k, v in arrays.items()}, "probability"
    )
    found, wanted = charts_calibration.bins_of(kept), reliability(true, probabilities)
    assert found is not None
    assert found["count"] == wanted["count"]
    for name in ("confidence", "accuracy"):
        assert found[name] == [None if v is None else pytest.approx(v, abs=1e-5) for v in wanted[name]]  # type: ignore[literal-required]
    parts = zip(found["count"], found["confidence"], found["accuracy"], strict=True)
    ece = sum(n * abs((a or 0) - (c or 0)) for n, c, a in parts) / sum(found["count"])
    assert ece == pytest.approx(expected_calibration_error(true, probabilities), abs=1e-5)


def test_scores_are_not_taken_for_probabilities() -> None:
    arrays = {"true": np.zeros(2, np.int32), "predicted": np.zeros(2, np.int32)}
    arrays |= {"value": np.ones(2, np.float32), "true_value": np.ones(2, np.float32)}
    assert charts_calibration.bins_of(RowPredictions(arrays, "score")) is None


def test_a_trial_without_kept_predictions_is_noted(data: ReportData, store: Path) -> None:
    found = data_of(store, [changed(of(data, "logreg"), predictions=None)])
    assert charts_calibration.sections(found) == []
    assert any("no kept probabilities" in note for note in found.notes)


# Neighbours beside linear probes


def test_points_are_the_scores_of_both_probes(data: ReportData, charts: dict[str, Chart]) -> None:
    rows = main_rows(charts["knn-linear-1"])
    (knn, linear, _), pairs = next(iter(charts_knn_linear.pairs_of(data.matrix).items()))
    assert {knn, linear} <= {column.what for column in data.matrix.columns}
    name = "knn" if knn.startswith("knn") else "dinov2-knn"
    for row, pair in zip(rows, pairs, strict=True):
        scores = [of(data, probe, model=pair.model).score for probe in (name, "logreg")]
        assert [row["x"], row["y"]] == pytest.approx(scores, rel=1e-4)
    assert linear == "logreg"


# All of them


def test_every_chart_compiles_and_has_tooltips_and_a_caption(charts: dict[str, Chart]) -> None:
    converter = pytest.importorskip("vl_convert")
    assert len(charts) >= 10
    for chart in charts.values():
        assert converter.vegalite_to_vega({**chart.spec, "width": 400})["marks"]
        assert '"tooltip"' in json.dumps(chart.spec), chart.name
        assert chart.caption, chart.name
        assert "\n" not in chart.caption, chart.name


def test_hostile_names_are_drawn_as_they_are(charts: dict[str, Chart]) -> None:
    converter = pytest.importorskip("vl_convert")
    for name in ("confusion-birds", "classes-birds"):
        spec = {**charts[name].spec, "width": 600}
        svg = converter.vegalite_to_svg(spec, allowed_base_urls=[])
        assert "<img" not in svg
        assert "datum['x']" in svg.replace("&#39;", "'").replace("&apos;", "'")
        assert '{"signal": "width"}' in svg.replace("&quot;", '"')
        assert r"line\nbreak" in svg


def test_the_table_of_confusions_is_escaped(data: ReportData) -> None:
    html = charts_confusion.sections(data)[0].html
    assert "<img" not in html
    assert "&lt;/script&gt;" in html


def test_names_of_classes_are_told_apart() -> None:
    assert labels_of(["a" * 60 + "1", "a" * 60 + "2"]) == ["a" * 47 + "…", "a" * 47 + "… (2)"]
    assert len(set(labels_of([*HOSTILE, *HOSTILE]))) == 2 * len(HOSTILE)


def test_an_undefined_score_is_said_and_not_charted(data: ReportData, store: Path) -> None:
    trial = of(data, "logreg")
    found = data_of(store, [changed(trial, metrics={**trial.metrics, "top1": None})])
    assert trials_shown(found.matrix, "birds")[0].label.endswith("top1 undefined")
    for maker in MAKERS:
        maker.sections(found)


def test_a_page_of_many_trials_stays_small(data: ReportData, store: Path) -> None:
    trial = of(data, "logreg")
    cells = [(d, m, p) for d in range(10) for m in range(20) for p in ("clip", "mieb")]
    many = [
        changed(
            trial, trial=f"{i:064x}", dataset=f"data {d}", model=f"model {m}", protocol=p, probe=p, predictions=None
        )
        for i, (d, m, p) in enumerate(cells)
    ]
    found = data_of(store, many)
    sections = [section for maker in MAKERS for section in maker.sections(found)]
    assert sum(len(json.dumps(c.spec)) for s in sections for c in s.charts) + sum(len(s.html) for s in sections) < 2e6
    said = " ".join(section.intro for section in sections) + " ".join(c.caption for s in sections for c in s.charts)
    assert "Of each data set 8 trials are charted" in said
    assert "The best 8 of 20 models are shown." in said
