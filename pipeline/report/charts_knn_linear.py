"""Nearest neighbours beside a linear probe: a point for each model and data set, and the diagonal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...amounts import count
from ..comparing.cells import Cell
from ..comparing.matrix import Matrix
from .charts_data import MOST_MODELS, csv_data, labels_of, looked_up, spec_of
from .section import Chart, ReportData, Section

_LINEAR = ("logreg", "ridge", "sgd", "lda", "few-shot-ridge")
_LINEAR_PROTOCOLS = ("linear", "logreg", "clip", "mieb", "vtab", "fewshot")
_MOST_SHAPES = 8


@dataclass(frozen=True)
class Pair:
    """The scores of a model on a data set.

    Parameters
    ----------
    model, dataset : str
    knn, linear : float
        In the same metric.
    """

    model: str
    dataset: str
    knn: float
    linear: float


def kind_of(cell: Cell) -> str | None:
    """Return ``knn`` or ``linear``; None for another probe, or for trials on drawn rows."""
    if not cell.trials or cell.column.draw != "all":
        return None
    trial = cell.trials[0]
    if trial.protocol == "plain":
        return "knn" if trial.probe == "knn" else "linear" if trial.probe in _LINEAR else None
    if "knn" in trial.protocol:
        return "knn"
    return "linear" if any(word in trial.protocol for word in _LINEAR_PROTOCOLS) else None


def pairs_of(matrix: Matrix) -> dict[tuple[str, str, str], list[Pair]]:
    """Return the pairs by what was measured (nearest neighbours, linear, metric), most pairs first."""
    scores: dict[tuple[str, str], dict[str, dict[tuple[str, str], float]]] = {}
    for (model, column), cell in matrix.cells.items():
        kind = kind_of(cell)
        if kind is not None and cell.score is not None:
            what = scores.setdefault((kind, column.metric), {}).setdefault(column.what, {})
            what[model, column.dataset] = cell.score
    found = {
        (a, b, metric): _paired(knn, linear)
        for (kind, metric), ours in scores.items()
        if kind == "knn"
        for a, knn in ours.items()
        for b, linear in scores.get(("linear", metric), {}).items()
    }
    return dict(sorted(((k, v) for k, v in found.items() if v), key=lambda entry: -len(entry[1])))


def sections(data: ReportData) -> list[Section]:
    """Return the section; none if no model has both on one data set."""
    pairs = pairs_of(data.matrix)
    if not pairs:
        return []
    charts, seen = [], set()
    for (knn, linear, metric), found in pairs.items():
        if metric not in seen:  # the pair of probes with the most points, of each metric
            seen.add(metric)
            charts.append(_chart(f"knn-linear-{len(seen)}", (knn, linear, metric), found))
    intro = (
        "A model above the diagonal has features that a linear probe separates better than their distances do. Points "
        "on different data sets compare only by how far they are from the diagonal."
    )
    if left := len(pairs) - len(charts):
        intro += f" Of {count(len(pairs), 'pair')} of probes, {left} with fewer or as many points are left out."
    return [Section("knn-linear", "Nearest neighbours beside linear probes", intro, tuple(charts))]


def _paired(knn: Mapping[tuple[str, str], float], linear: Mapping[tuple[str, str], float]) -> list[Pair]:
    return [Pair(*place, score, linear[place]) for place, score in knn.items() if place in linear]


def _chart(name: str, what: tuple[str, str, str], pairs: Sequence[Pair]) -> Chart:
    import altair as alt

    knn, linear, metric = what
    by_model, by_data = (labels_of(dict.fromkeys(getattr(p, of) for p in pairs)) for of in ("model", "dataset"))
    places = [
        {one: i for i, one in enumerate(dict.fromkeys(getattr(p, of) for p in pairs))} for of in ("model", "dataset")
    ]
    rows = [(places[0][p.model], places[1][p.dataset], p.knn, p.linear, p.linear - p.knn) for p in pairs]
    low, high = (
        edge(min(p.knn, p.linear) if edge is min else max(p.knn, p.linear) for p in pairs) for edge in (min, max)
    )
    room = max(0.01, 0.05 * (high - low))
    scale = alt.Scale(domain=[max(0.0, low - room), high + room], nice=False)
    picked = alt.selection_point(name="picked", fields=["model"], bind="legend")
    few_models, few_data = len(by_model) <= MOST_MODELS, len(by_data) <= _MOST_SHAPES
    points = alt.Chart(csv_data(("m", "d", "x", "y", "gain"), rows)).mark_point(filled=True, size=80)
    points = points.encode(
        x=alt.X("x:Q", scale=scale, title=f"{metric} of {labels_of([knn])[0]} (share)"),
        y=alt.Y("y:Q", scale=scale, title=f"{metric} of {labels_of([linear])[0]} (share)"),
        tooltip=_tooltip(),
    )
    legend = alt.Legend(orient="bottom", columns=1, labelLimit=320)
    shapes = alt.Legend(orient="bottom", columns=1, labelLimit=320, title="data set", symbolFillColor="#888888")
    named = "the tooltip names each point"
    if few_models:
        colour = alt.Color("model:N", scale=alt.Scale(domain=by_model), legend=legend)
        points = points.encode(color=colour, opacity=alt.condition(picked, alt.value(0.9), alt.value(0.1)))
        points = points.add_params(picked)
        named = "colours are models"
    if few_data and len(by_data) > 1:
        points = points.encode(shape=alt.Shape("dataset:N", scale=alt.Scale(domain=by_data), legend=shapes))
        named += ", shapes data sets" if few_models else ", shapes are data sets"
    points = points.properties(transform=[looked_up("m", "model", "models"), looked_up("d", "dataset", "datasets")])
    ends = csv_data(("x", "y"), [(low - room, low - room), (high + room, high + room)])
    diagonal = alt.Chart(ends).mark_line(strokeDash=[4, 4], strokeWidth=1, color="grey", clip=True)
    diagonal = diagonal.encode(x=alt.X("x:Q", scale=scale), y=alt.Y("y:Q", scale=scale))
    spec = spec_of(alt.layer(diagonal, points), {"models": by_model, "datasets": by_data}, height=320)
    caption = f"Above the dashed line the linear probe is better, below it nearest neighbours; {named}."
    return Chart(name, spec, f"{linear} beside {knn}: {metric}", caption)


def _tooltip() -> list[Any]:
    import altair as alt

    return [
        alt.Tooltip("model:N"),
        alt.Tooltip("dataset:N", title="data set"),
        alt.Tooltip("x:Q", title="nearest neighbours", format=".4f"),
        alt.Tooltip("y:Q", title="linear", format=".4f"),
        alt.Tooltip("gain:Q", title="linear minus neighbours", format="+.4f"),
    ]
