"""Validation curves: the score that chose by the values of the grid, the chosen one marked, and the grid's ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...amounts import count
from ..comparing.cells import Cell
from ..comparing.matrix import Matrix
from ..trials.result import Trial
from .charts_choice import best_models, datasets_of
from .charts_data import MOST_MODELS, Names, csv_data, labels_of, looked_up, model_colour, spec_of
from .charts_scales import is_wide, value_axis, value_scale
from .section import Chart, ReportData, Section

if TYPE_CHECKING:
    import altair as alt

_PARAMETERS = {
    "C": "C, inverse strength of the penalty",
    "alpha": "alpha, strength of the penalty",
    "weight_decay": "weight decay",
    "learning_rate": "learning rate",
    "k": "k, number of neighbours",
}
_SCORES = ("nll", "top1", "mean_per_class_recall", "map", "map_11_point")
_LOWER_IS_BETTER = ("nll",)
_NEAR = 1e-3
"""Relative distance at which a chosen value is that of a point of the curve."""


@dataclass(frozen=True)
class Point:
    """A value that was tried.

    Parameters
    ----------
    value : float
    score : float
    converged : bool
    chosen : bool
    """

    value: float
    score: float
    converged: bool
    chosen: bool


@dataclass(frozen=True)
class Curve:
    """How a trial's values did.

    Parameters
    ----------
    model : str
    parameter : str
        What was chosen.
    score : str
        What chose.
    test : bool
        Whether it is of test rows.
    points : tuple of Point
        Ascending by value, one a value.
    chosen : float
    """

    model: str
    parameter: str
    score: str
    test: bool
    points: tuple[Point, ...]
    chosen: float

    @property
    def at_end(self) -> bool:
        """Whether the chosen value is at an end of the grid, or beyond it."""
        return not self.points[0].value < self.chosen < self.points[-1].value


def curve_of(model: str, trial: Trial) -> Curve | None:
    """Return the validation curve of a trial; None if it has fewer than two values with a score.

    If other things were chosen together with the first parameter, such as a learning rate and the blocks that are read,
    each value stands for the best of the points that have it.
    """
    parameter = next(iter(trial.chosen), "")
    by_k = trial.top1_by_k or trial.map_by_k
    if by_k and not trial.curve:
        score = "top1" if trial.top1_by_k else "map"
        found = {float(k): (value, True) for k, value in by_k.items() if value is not None}
    else:
        score = _score_of(trial)
        found = _best_by_value(trial.curve, parameter, score)
    if len(found) < 2 or parameter not in trial.chosen:
        return None
    chosen = float(trial.chosen[parameter])
    points = tuple(
        Point(value, float(scored), converged, abs(value - chosen) <= _NEAR * max(abs(value), abs(chosen)))
        for value, (scored, converged) in sorted(found.items())
    )
    test = bool(by_k and not trial.curve) or (trial.chosen_by or "").startswith("test ")
    return Curve(model, parameter, score, test, points, chosen)


def sections(data: ReportData) -> list[Section]:
    """Return the section of the validation curves; none if nothing was chosen."""
    names, charts, left, all_models = Names(), [], 0, labels_of(data.matrix.models)
    for dataset in datasets_of(data.matrix):
        for what, cells in _by_what(data.matrix, dataset).items():
            shown, said = best_models(cells, MOST_MODELS)
            curves = [c for cell in shown if (c := curve_of(cell.model, cell.trials[0])) is not None]
            kinds = dict.fromkeys((c.parameter, c.score, c.test) for c in curves)
            for kind in kinds:
                same = [c for c in curves if (c.parameter, c.score, c.test) == kind]
                of = f"{dataset}, {what}"
                charts.append(_chart(names.new("validation", dataset, what), of, same, all_models, said))
        left += sum(c.column.draw != "all" for c in data.matrix.cells.values() if c.column.dataset == dataset)
    if not charts:
        return []
    intro = (
        "What chose the hyper-parameter: the score on validation rows at each value of the grid. A diamond is the "
        "chosen value, a hollow point a fit that did not converge, dashed lines are the ends of the grid."
    )
    if left:
        intro += " Curves of trials on drawn rows are left out if the same was measured on all rows."
    return [Section("validation", "Validation curves", intro, tuple(charts))]


def _by_what(matrix: Matrix, dataset: str) -> dict[str, list[Cell]]:
    """Return the cells of a data set by what was measured: those on all rows, or else those of the largest draw."""
    found: dict[str, dict[str, list[Cell]]] = {}
    for column in matrix.columns:
        if column.dataset == dataset:
            drawn = found.setdefault(column.what, {})
            drawn.setdefault(column.draw, []).extend(c for c in matrix.in_column(column) if c.trials)
    return {
        what: draws["all"] if "all" in draws else max(draws.values(), key=lambda cells: cells[0].trials[0].rows.train)
        for what, draws in found.items()
    }


def _score_of(trial: Trial) -> str:
    """Return the score of the curve that chose; if points lack it, the first that all of them have."""
    wanted = (trial.chosen_by or "").removeprefix("test ")
    return next((s for s in (wanted, *_SCORES) if s and all(_is_number(p.get(s)) for p in trial.curve)), wanted)


def _best_by_value(curve: Sequence[Mapping[str, Any]], parameter: str, score: str) -> dict[float, tuple[float, bool]]:
    better = min if score in _LOWER_IS_BETTER else max
    groups: dict[float, list[tuple[float, bool]]] = {}
    for point in curve:
        if _is_number(point.get(parameter)) and _is_number(point.get(score)):
            entry = float(point[score]), point.get("converged") is not False
            groups.setdefault(float(point[parameter]), []).append(entry)
    return {value: better(found, key=lambda entry: entry[0]) for value, found in groups.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _chart(name: str, of: str, curves: Sequence[Curve], all_models: Sequence[str], said: str) -> Chart:
    import altair as alt

    first, models = curves[0], labels_of(c.model for c in curves)
    rows = [
        (i, p.value, p.score, int(p.converged), int(p.chosen), int(p.chosen and c.at_end))
        for i, c in enumerate(curves)
        for p in c.points
    ]
    data = csv_data(("m", "x", "y", "converged", "chosen", "end"), rows)
    ends = csv_data(("x", "right"), sorted({(c.points[i].value, -i) for c in curves for i in (0, -1)}))
    values = [value for _, value, *_ in rows]
    picked = alt.selection_point(name="picked", fields=["model"], bind="legend")
    scale = value_scale(values)
    base = (
        alt.Chart(data)
        .encode(
            x=alt.X("x:Q", scale=scale, axis=value_axis(values, _axis_title(first.parameter, values))),
            y=alt.Y("y:Q", scale=alt.Scale(zero=False, padding=12), title=_score_title(first)),
            color=model_colour(models, all_models),
            opacity=alt.condition(picked, alt.value(1), alt.value(0.12)),
            tooltip=_tooltip(first),
        )
        .properties(transform=[looked_up("m", "model", "models")])
    )
    rules = (
        alt.Chart(ends).mark_rule(strokeDash=[3, 3], opacity=0.7).encode(x=alt.X("x:Q"), tooltip=_end_tooltip(first))
    )
    hollow = base.transform_filter("!datum.converged").mark_point(filled=False, size=50, strokeWidth=1.5)
    chosen = base.transform_filter("datum.chosen").mark_point(filled=True, size=150, shape="diamond", opacity=1)
    layers = [rules, base.mark_line(strokeWidth=1.5), base.transform_filter("datum.converged").mark_point(size=22)]
    layers += [hollow, chosen, *_warnings(curves, scale)]
    spec = spec_of(alt.layer(*layers).add_params(picked), {"models": models}, height=240)
    return Chart(name, spec, f"{of}: {first.score} by {first.parameter}", _caption(curves) + said)


def _caption(curves: Sequence[Curve]) -> str:
    if curves[0].test:
        read = "Measured on the test rows."
        if not any(len(c.points) and c.at_end for c in curves):
            return f"{read} The diamond is the value that the result is of."
    else:
        read = "The flatter the curve at the diamond, the less the choice matters."
    ends = [one for c, one in zip(curves, labels_of(c.model for c in curves), strict=True) if c.at_end]
    if not ends:
        return read
    of = ", ".join(ends[:3]) + (f" and {len(ends) - 3} more" if len(ends) > 3 else "")
    return f"⚠ The chosen {curves[0].parameter} is at the end of the grid, a wider one may do better: {of}. {read}"


def _warnings(curves: Sequence[Curve], scale: alt.Scale) -> list[Any]:
    """Return a text at each end of the grid at which a value was chosen."""
    import altair as alt

    lows = [c for c in curves if c.chosen <= c.points[0].value]
    highs = [c for c in curves if c.chosen >= c.points[-1].value]
    found = []
    sides: list[tuple[list[Curve], int, Literal["left", "right"], int]]
    sides = [(lows, 0, "left", 4), (highs, -1, "right", -4)]
    for ended, at, align, dx in sides:
        if ended:
            many = f"{count(len(ended), 'model')} at this end" if len(curves) > 1 else "chosen at the end"
            where = csv_data(("x",), [(ended[0].points[at].value,)])
            mark = alt.Chart(where).mark_text(align=align, baseline="top", dx=dx, fontWeight="bold")
            found.append(mark.encode(x=alt.X("x:Q", scale=scale), y=alt.value(0), text=alt.value(f"⚠ {many}")))
    return found


def _axis_title(parameter: str, values: Sequence[float]) -> str:
    name = _PARAMETERS.get(parameter, labels_of([parameter])[0])
    return f"{name} (log scale)" if is_wide(values) else name


def _score_title(curve: Curve) -> str:
    rows = "test" if curve.test else "validation"
    unit = "nats" if curve.score == "nll" else "share"
    return f"{rows} {curve.score} ({unit}{', lower is better' if curve.score in _LOWER_IS_BETTER else ''})"


def _tooltip(curve: Curve) -> list[Any]:
    import altair as alt

    return [
        alt.Tooltip("model:N"),
        alt.Tooltip("x:Q", title=labels_of([curve.parameter])[0], format=".5~g"),
        alt.Tooltip("y:Q", title=curve.score, format=".4f"),
        alt.Tooltip("converged:Q", title="converged (1 = yes)"),
        alt.Tooltip("chosen:Q", title="chosen (1 = yes)"),
        alt.Tooltip("end:Q", title="chosen at the end of the grid"),
    ]


def _end_tooltip(curve: Curve) -> list[Any]:
    import altair as alt

    return [alt.Tooltip("x:Q", title=f"end of the grid, {labels_of([curve.parameter])[0]}", format=".5~g")]
