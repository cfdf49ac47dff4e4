"""Bars of classes: the recall of each class of a trial, or the average precision of each flag, sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import Int64
from ...stores.store import Store
from ..metrics.per_class import per_class_table
from ..metrics.ranking import average_precision
from ..trials.result import Trial
from .charts_choice import Shown, datasets_of, left_out, trials_shown
from .charts_confusion_counts import counts_of
from .charts_data import Names, calculated, csv_data, labels_of, looked_up, picked_by_menu, spec_of, where
from .charts_kept import flags_of, kept_of
from .section import Chart, ReportData, Section

MANY = 60
"""From so many classes on, the worst and the best are shown, and a histogram of all."""

_WORST, _BEST = 25, 10
_BINS = 20


@dataclass(frozen=True)
class ClassScores:
    """A score for each class of a trial.

    Parameters
    ----------
    measure : {"recall", "average precision"}
    values : tuple of float or None
        None where it is not defined: the class has no test rows.
    support : tuple of int
        Test rows of each class.
    """

    measure: str
    values: tuple[float | None, ...]
    support: tuple[int, ...]

    @property
    def order(self) -> list[int]:
        """The classes that have a score, the worst first; of equal ones the larger class first."""
        defined = [i for i, value in enumerate(self.values) if value is not None]
        return sorted(defined, key=lambda i: (self.values[i], -self.support[i], i))


def class_scores(store: Store, trial: Trial, notes: list[str]) -> ClassScores | None:
    """Return the scores of the classes of a trial; None if it has none.

    Recall is the trial's own; of older trials it is counted from the confusion matrix. The average precision of a flag
    is computed from the scores that are kept with the trial, as its ``map`` was.
    """
    if "map" in trial.metrics:
        return _of_flags(store, trial, notes)
    table = trial.metrics.get("per_class")
    if not isinstance(table, dict) or not {"recall", "support"} <= table.keys():
        counts = counts_of(trial)
        if counts is None:
            return None
        dense: Int64 = np.asarray(counts.toarray(), np.int64)
        table = dict(per_class_table(dense))
    return ClassScores("recall", tuple(table["recall"]), tuple(map(int, table["support"])))


def _of_flags(store: Store, trial: Trial, notes: list[str]) -> ClassScores | None:
    kept = kept_of(store, trial, notes)
    if kept is None or "scores" not in kept.arrays:
        return None
    true, scores = flags_of(kept.arrays["true"], len(trial.classes)), kept.arrays["scores"]  # [n, C] each
    support = true.sum(axis=0, dtype=np.int64).tolist()
    values = [average_precision(true[:, i], scores[:, i]) if support[i] else None for i in range(true.shape[1])]
    return ClassScores("average precision", tuple(values), tuple(support))


def sections(data: ReportData) -> list[Section]:
    """Return the section of the classes; none if no trial has scores of its classes."""
    names, charts, without = Names(), [], 0
    for dataset in datasets_of(data.matrix):
        found: list[tuple[Shown, ClassScores]] = []
        for one in trials_shown(data.matrix, dataset):
            scores = class_scores(data.store, one.trial, data.notes)
            if scores is None or not scores.order:
                without += 1
            else:
                found.append((one, scores))
        for measure in dict.fromkeys(scores.measure for _, scores in found):
            charts += _charts(names, dataset, [(one, s) for one, s in found if s.measure == measure])
    if without:
        data.notes.append(f"Bars of classes: {without} trials have no scores of single classes.")
    if not charts:
        return []
    intro = " ".join(filter(None, ["The score of every class, the worst first.", left_out(data.matrix)]))
    return [Section("classes", "Classes", intro, tuple(charts))]


def _charts(names: Names, dataset: str, found: Sequence[tuple[Shown, ClassScores]]) -> list[Chart]:
    classes = max(len(one.trial.classes) for one, _ in found)
    many = classes >= MANY
    charts = [_bars(names.new("classes", dataset), dataset, found, many=many)]
    if many:
        charts.append(_histogram(names.new("classes", dataset, "histogram"), dataset, found))
    return charts


def _bars(name: str, dataset: str, found: Sequence[tuple[Shown, ClassScores]], *, many: bool) -> Chart:
    import altair as alt

    used: dict[str, int] = {}
    rows = []
    for t, (one, scores) in enumerate(found):
        order = scores.order
        chosen = order if not many else [*order[:_WORST], *order[max(_WORST, len(order) - _BEST) :]]
        for rank, i in enumerate(chosen):
            at = used.setdefault(one.trial.classes[i], len(used))
            rows.append((t, rank, at, scores.values[i], scores.support[i], int(many and rank >= _WORST)))
    measure = found[0][1].measure
    data = csv_data(("t", "rank", "c", "value", "rows", "best"), rows)
    y = alt.Y("class:N", sort=alt.EncodingSortField("rank"), title="class", axis=alt.Axis(labelLimit=150, grid=False))
    x = alt.X("value:Q", title=f"{measure} (share of 1)", scale=alt.Scale(domain=[0, 1]))
    bars = alt.Chart(data).mark_bar(height={"band": 0.72}).encode(y=y, x=x, tooltip=_tooltip(measure))
    if many:
        kinds = alt.Scale(domain=["highest", "lowest"])
        bars = bars.encode(color=alt.Color("kind:N", title="classes", scale=kinds, legend=alt.Legend(orient="top")))
    transforms = [
        where("datum.t === shown"),
        looked_up("c", "class", "classes"),
        calculated("kind", "datum.best ? 'highest' : 'lowest'"),
    ]
    menu = picked_by_menu("shown", [one.label for one, _ in found], "trial")
    bars = bars.properties(transform=transforms).add_params(menu)
    tallest = max(rank for _, rank, *_ in rows) + 1
    spec = spec_of(bars, {"classes": labels_of(used)}, height=max(60, 17 * tallest))
    total, undefined = _counted(found)
    what = f"the {_WORST} lowest and {_BEST} highest of {total:,} classes" if many else f"{total:,} classes"
    return Chart(name, spec, f"{dataset}: {measure} of {what}", _caption(measure, undefined), wide=False)


def _histogram(name: str, dataset: str, found: Sequence[tuple[Shown, ClassScores]]) -> Chart:
    import altair as alt

    rows: list[tuple[int | float, ...]] = []
    for t, (_, scores) in enumerate(found):
        values = [value for value in scores.values if value is not None]
        counted, edges = np.histogram(values, bins=_BINS, range=(0.0, 1.0))
        rows += [(t, float(edges[i]), float(edges[i + 1]), int(n)) for i, n in enumerate(counted) if n]
    measure = found[0][1].measure
    x = alt.X(
        "low:Q",
        title=f"{measure} (share of 1)",
        scale=alt.Scale(domain=[0, 1]),
        bin="binned",
        axis=alt.Axis(tickCount=5),
    )
    bars = alt.Chart(csv_data(("t", "low", "high", "n"), rows)).mark_bar()
    bars = bars.encode(
        x=x,
        x2=alt.X2("high:Q"),
        y=alt.Y("n:Q", title="classes (count)"),
        tooltip=[
            alt.Tooltip("low:Q", title=f"{measure} from", format=".2f"),
            alt.Tooltip("high:Q", title="to", format=".2f"),
            alt.Tooltip("n:Q", title="classes"),
        ],
    )
    menu = picked_by_menu("shown", [one.label for one, _ in found], "trial")
    spec = spec_of(bars.transform_filter("datum.t === shown").add_params(menu), {}, height=240)
    return Chart(name, spec, f"{dataset}: {measure} of all classes", "A long left tail is a few classes that fail.")


def _counted(found: Sequence[tuple[Shown, ClassScores]]) -> tuple[int, int]:
    return len(found[0][1].values), sum(value is None for value in found[0][1].values)


def _caption(measure: str, undefined: int) -> str:
    read = "Short bars at the top are the classes to look at first."
    if measure == "average precision":
        read = "Short bars at the top are the flags that the scores rank worst."
    return read if not undefined else f"{read} {undefined} without test rows are left out."


def _tooltip(measure: str) -> list[Any]:
    import altair as alt

    return [
        alt.Tooltip("class:N"),
        alt.Tooltip("value:Q", title=measure, format=".4f"),
        alt.Tooltip("rows:Q", title="test rows", format=","),
        alt.Tooltip("rank:Q", title="place from below", format="d"),
    ]
