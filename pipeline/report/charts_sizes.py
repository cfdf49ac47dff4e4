"""Few-shot and label-efficiency curves: mean and standard deviation over draws, by the size of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..comparing.cells import Cell
from ..comparing.matrix import Matrix
from .charts_choice import best_models, datasets_of
from .charts_data import MOST_MODELS, Names, csv_data, labels_of, looked_up, model_colour, spec_of
from .charts_scales import value_axis, value_scale
from .section import Chart, ReportData, Section

_KINDS: tuple[Literal["shots", "fraction"], ...] = ("shots", "fraction")


@dataclass(frozen=True)
class SizePoint:
    """The score of a model at one size of the training set.

    Parameters
    ----------
    model : str
    size : float
        Rows of each class, or the percentage of the training rows.
    mean : float
    std : float or None
        Over draws; None of a single draw.
    draws : int
    rows : int
        Training rows.
    """

    model: str
    size: float
    mean: float
    std: float | None
    draws: int
    rows: int


def points_of(cells: Sequence[Cell], kind: Literal["shots", "fraction"]) -> list[SizePoint]:
    """Return the points of a curve, by model and ascending size; what has no score is left out.

    All training rows are 100 % of them; how many that are of a class is not one number.
    """
    found = []
    for cell in cells:
        size = _size(cell, kind)
        if size is not None and cell.score is not None:
            rows = cell.trials[0].rows.train
            found.append(SizePoint(cell.model, size, cell.score, cell.std, len(cell.trials), rows))
    order = {model: i for i, model in enumerate(dict.fromkeys(cell.model for cell in cells))}
    return sorted(found, key=lambda point: (order[point.model], point.size))


def sections(data: ReportData) -> list[Section]:
    """Return the section of the curves over sizes; none if nothing was measured at two sizes."""
    names, charts, all_models = Names(), [], labels_of(data.matrix.models)
    for dataset in datasets_of(data.matrix):
        for (what, metric), cells in _by_what(data.matrix, dataset).items():
            for kind in _KINDS:
                if len({point.size for point in points_of(cells, kind)}) > 1:
                    name, of = names.new(kind, dataset, what, metric), f"{dataset}, {what}"
                    charts.append(_chart(name, of, (metric, kind), cells, all_models))
    if not charts:
        return []
    intro = (
        "How the test score grows with the labelled rows. A line is the mean over draws of the training rows, its band "
        "one standard deviation to each side; a model without a band has a single draw."
    )
    return [Section("sizes", "Few shots and label efficiency", intro, tuple(charts))]


def _by_what(matrix: Matrix, dataset: str) -> dict[tuple[str, str], list[Cell]]:
    found: dict[tuple[str, str], list[Cell]] = {}
    for column in matrix.columns:
        if column.dataset == dataset:
            cells = found.setdefault((column.what, column.metric), [])
            cells.extend(cell for cell in matrix.in_column(column) if cell.trials)
    return found


def _size(cell: Cell, kind: Literal["shots", "fraction"]) -> float | None:
    draw = cell.trials[0].draw
    if kind == "shots":
        return None if draw is None or draw.shots is None else float(draw.shots)
    if draw is None:
        return 100.0
    return None if draw.fraction is None else 100 * float(draw.fraction)


def _chart(
    name: str, of: str, what: tuple[str, Literal["shots", "fraction"]], cells: Sequence[Cell], all_models: Sequence[str]
) -> Chart:
    import altair as alt

    metric, kind = what
    points = points_of(cells, kind)
    largest = max(point.size for point in points)
    last, said = best_models([cell for cell in cells if _size(cell, kind) == largest], MOST_MODELS)
    kept = [cell.model for cell in last]
    shown = [point for point in points if point.model in kept]
    models = labels_of(kept)
    columns = ("m", "x", "y", "std", "low", "high", "draws", "rows")
    rows = [
        (kept.index(p.model), p.size, p.mean, p.std, p.mean - (p.std or 0), p.mean + (p.std or 0), p.draws, p.rows)
        for p in shown
    ]
    sizes = [p.size for p in shown]
    picked = alt.selection_point(name="picked", fields=["model"], bind="legend")
    size = "training rows of each class" if kind == "shots" else "share of the training rows, %"
    base = (
        alt.Chart(csv_data(columns, rows))
        .encode(
            x=alt.X("x:Q", scale=_log(sizes), axis=value_axis(sizes, f"{size} (log scale)")),
            color=model_colour(models, all_models),
        )
        .properties(transform=[looked_up("m", "model", "models")])
    )
    faded = alt.condition(picked, alt.value(1), alt.value(0.12))
    y = alt.Y("y:Q", title=f"{metric} on test rows (share)", scale=alt.Scale(zero=False, padding=8))
    band = base.mark_area().encode(
        y=alt.Y("low:Q", title=f"{metric} on test rows (share)"),
        y2=alt.Y2("high:Q"),
        opacity=alt.condition(picked, alt.value(0.18), alt.value(0.02)),
    )
    line = base.mark_line(strokeWidth=1.5).encode(y=y, opacity=faded)
    dots = base.mark_point(size=40, filled=True).encode(y=y, opacity=faded, tooltip=_tooltip(metric, kind))
    spec = spec_of(alt.layer(band, line, dots).add_params(picked), {"models": models}, height=240)
    measured = "few shots" if kind == "shots" else "label efficiency"
    caption = "Steep lines still gain from labels; where bands overlap, draws differ as much as models." + said
    return Chart(name, spec, f"{of}: {measured}", caption)


def _log(sizes: Sequence[float]) -> Any:
    import altair as alt

    return alt.Scale(type="log", nice=False, padding=14) if min(sizes) > 0 else value_scale(sizes)


def _tooltip(metric: str, kind: Literal["shots", "fraction"]) -> list[Any]:
    import altair as alt

    return [
        alt.Tooltip("model:N"),
        alt.Tooltip("x:Q", title="rows of each class" if kind == "shots" else "% of the training rows", format="~g"),
        alt.Tooltip("y:Q", title=f"{metric}, mean", format=".4f"),
        alt.Tooltip("std:Q", title="standard deviation", format=".4f"),
        alt.Tooltip("draws:Q", title="draws"),
        alt.Tooltip("rows:Q", title="training rows", format=","),
    ]
