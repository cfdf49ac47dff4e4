"""Confusion matrices: all cells of few classes, the largest wrong ones of many, and a table of the top confusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...amounts import count
from ...arrays import Int64
from .charts_choice import Shown, datasets_of, left_out, trials_shown
from .charts_confusion_counts import MOST_CLUSTERED, counts_of, order_of
from .charts_data import Names, calculated, csv_data, labels_of, looked_up, picked_by_menu, spec_of, where
from .section import Chart, ReportData, Section, escaped, table

if TYPE_CHECKING:
    import altair as alt
    from scipy.sparse import csr_array

FEW = 30
"""Up to so many classes have their names on the axes, and the cells of right rows are shown too."""

MOST_CELLS = 4_000
"""Wrong cells of one trial that are drawn, the largest first."""

_FITS = (
    "find === '' || indexof(lower(datum.true), lower(find)) >= 0 || indexof(lower(datum.predicted), lower(find)) >= 0"
)
"""Whether a cell is of a class whose name has the text that is looked for: a Vega expression over data and a field."""

_MOST_CELLS_OF_ALL = 60_000
_LISTED = 20
_GREY = "#888888"
"""Of the samples in legends of size and shade, on a light and on a dark page."""


@dataclass(frozen=True)
class Confused:
    """The cells of a confusion matrix that are shown.

    Parameters
    ----------
    true, predicted, counts : ndarray, int64 [m]
        Places of classes, and rows; the largest count first.
    support : ndarray, int64 [K]
        Test rows of each class.
    cells, rows : int
        How many wrong cells there are, and wrong rows in them.
    """

    true: Int64
    predicted: Int64
    counts: Int64
    support: Int64
    cells: int
    rows: int

    @property
    def left(self) -> tuple[int, int]:
        """How many wrong cells, and rows in them, are not shown."""
        wrong = self.true != self.predicted
        return self.cells - int(wrong.sum()), self.rows - int(self.counts[wrong].sum())


def confused(counts: csr_array, most: int, *, right: bool) -> Confused:
    """Return the largest wrong cells of a confusion matrix.

    Parameters
    ----------
    counts : csr_array, int64 [K, K]
    most : int
        So many wrong cells.
    right : bool
        Whether to add the cells of right rows.
    """
    cells = counts.tocoo()
    true, predicted, n = (np.asarray(a, np.int64) for a in (cells.row, cells.col, cells.data))
    filled = n > 0
    true, predicted, n = true[filled], predicted[filled], n[filled]
    wrong = np.flatnonzero(true != predicted)
    order = wrong[np.lexsort((predicted[wrong], true[wrong], -n[wrong]))][:most]
    if right:
        order = np.concatenate([order, np.flatnonzero(true == predicted)])
    support = np.asarray(counts.sum(axis=1), np.int64)
    return Confused(true[order], predicted[order], n[order], support, len(wrong), int(n[wrong].sum()))


def sections(data: ReportData) -> list[Section]:
    """Return the section of the confusion matrices; none if no trial has one."""
    found: list[tuple[str, list[tuple[Shown, csr_array]]]] = []
    without = 0
    for dataset in datasets_of(data.matrix):
        shown = [(one, counts_of(one.trial)) for one in trials_shown(data.matrix, dataset)]
        having = [(one, counts) for one, counts in shown if counts is not None]
        without += len(shown) - len(having)
        groups: dict[tuple[str, ...], list[tuple[Shown, csr_array]]] = {}
        for one, counts in having:
            groups.setdefault(tuple(one.trial.classes), []).append((one, counts))
        found += [(dataset, group) for group in groups.values()]
    if without:
        data.notes.append(f"Confusion matrices: {without} trials have none, as those of several labels an image.")
    if not found:
        return []
    many = sum(len(group) for _, group in found)
    most = min(MOST_CELLS, max(200, _MOST_CELLS_OF_ALL // many))
    names, charts, html = Names(), [], []
    for dataset, group in found:
        classes = len(group[0][0].trial.classes)
        cells = [(one, confused(counts, most, right=classes <= FEW)) for one, counts in group]
        make = _few if classes <= FEW else _many
        order = np.arange(classes) if classes <= FEW else order_of([counts for _, counts in group])
        charts.append(make(names.new("confusion", dataset), dataset, cells, order))
        html += [_listed(dataset, one, shown, opened=i == 0) for i, (one, shown) in enumerate(cells)]
    intro = f"Which classes are taken for which. Pairs are listed below the charts. {left_out(data.matrix)}".strip()
    return [Section("confusion", "Confusions", intro, tuple(charts), "".join(html))]


_EVERY: dict[str, Any] = {"labelLimit": 160, "labelOverlap": False, "grid": False}
"""Axes that name every class."""


def _few(name: str, dataset: str, cells: Sequence[tuple[Shown, Confused]], order: Int64) -> Chart:
    import altair as alt

    classes = labels_of(cells[0][0].trial.classes)
    rows = _rows(cells, np.arange(len(classes)))
    data = csv_data(("t", "i", "j", "n", "share"), rows)
    axis = alt.Axis(**_EVERY, labelAngle=0 if max(map(len, classes)) < 3 else -45)
    x = alt.X("predicted:N", sort=classes, scale=alt.Scale(domain=classes, paddingInner=0.06), title="predicted class")
    y = alt.Y("true:N", sort=classes, scale=alt.Scale(domain=classes, paddingInner=0.06), title="true class")
    kinds = alt.Scale(domain=["right", "wrong"])
    shade = alt.Scale(type="sqrt", domain=[0, 1], range=[0.08, 0.9])
    base = alt.Chart(data).encode(x=x.axis(axis), y=y.axis(alt.Axis(**_EVERY)), tooltip=_tooltip())
    boxes = base.mark_rect().encode(
        color=alt.Color("kind:N", title="rows", scale=kinds, legend=alt.Legend(orient="bottom")),
        opacity=alt.Opacity(
            "share:Q",
            title="share of the true class",
            scale=shade,
            legend=_shades(),
        ),
    )
    layers = [boxes]
    if len(classes) <= 12:
        layers.append(base.mark_text(fontSize=10).encode(text=alt.Text("n:Q")))
    menu = picked_by_menu("shown", [one.label for one, _ in cells], "trial")
    chart = alt.layer(*layers).properties(transform=_transforms()).add_params(menu)
    height = min(620, max(240, 26 * len(classes) + 60))
    caption = (
        "A wrong cell of strong colour is a class that is taken for another; "
        "rows add up to the test rows of the true class."
    )
    return Chart(
        name,
        spec_of(chart, {"classes": classes}, height=height),
        f"{dataset}: confusion matrix",
        caption + _left(cells),
    )


def _many(name: str, dataset: str, cells: Sequence[tuple[Shown, Confused]], order: Int64) -> Chart:
    import altair as alt

    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rows = _rows(cells, place)
    classes = labels_of(cells[0][0].trial.classes[i] for i in order.tolist())
    data = csv_data(("t", "i", "j", "n", "share"), rows)
    # One more than the classes at each end: marks at the border are not cut.
    span = alt.Scale(domain=[-1, len(classes)], nice=False)
    axis = alt.Axis(labels=False, ticks=False, grid=False)
    clustered = "similar ones side by side" if len(classes) <= MOST_CLUSTERED else "as in the data set"
    x = alt.X("j:Q", scale=span, title=f"predicted class ({len(classes):,}, {clustered})", axis=axis)
    y = alt.Y(
        "i:Q",
        scale=alt.Scale(domain=[-1, len(classes)], nice=False, reverse=True),
        title="true class (same order)",
        axis=axis,
    )
    zoom = alt.selection_interval(name="zoom", bind="scales", zoom="wheel![event.shiftKey]")
    find = alt.param(name="find", value="", bind=alt.BindInput(input="search", placeholder="class name", name="find "))
    share = alt.Opacity(
        "share:Q",
        title="share of the true class",
        scale=alt.Scale(type="sqrt", domain=[0, 1], range=[0.3, 1]),
        legend=_shades(),
    )
    largest = max((int(shown.counts.max()) for _, shown in cells if shown.counts.size), default=1)
    amounts = alt.Legend(
        orient="bottom", values=sorted({1, largest}), format=",d", symbolFillColor=_GREY, symbolOpacity=1
    )
    marks = (
        alt.Chart(data)
        .mark_square(clip=True)
        .encode(
            x=x,
            y=y,
            size=alt.Size(
                "n:Q",
                title="test rows",
                scale=alt.Scale(type="sqrt", range=[8, 110]),
                legend=amounts,
            ),
            color=alt.Color("kind:N", scale=alt.Scale(domain=["right", "wrong"]), legend=None),
            opacity=alt.when(_FITS).then(share).otherwise(alt.value(0.03)),
            tooltip=_tooltip(),
        )
    )
    ends = csv_data(("i", "j", "i2", "j2"), [(0, 0, len(classes) - 1, len(classes) - 1)])
    diagonal = alt.Chart(ends).mark_rule(opacity=0.4, clip=True).encode(x=x, y=y, x2=alt.X2("j2:Q"), y2=alt.Y2("i2:Q"))
    menu = picked_by_menu("shown", [one.label for one, _ in cells], "trial")
    marks = marks.properties(transform=_transforms()).add_params(menu, find, zoom)
    spec = spec_of(alt.layer(diagonal, marks), {"classes": classes}, height=460)
    spec["usermeta"] = {"embedOptions": {"renderer": "canvas"}}  # thousands of marks are slow as shapes
    caption = (
        "A square is a pair of classes that are confused; the line stands for right rows. Shift and wheel zoom, drag "
        "moves, a double click goes back."
    )
    return Chart(name, spec, f"{dataset}: confusions of {len(classes):,} classes", caption + _left(cells), wide=True)


def _rows(cells: Sequence[tuple[Shown, Confused]], place: Int64) -> list[tuple[int | float, ...]]:
    return [
        (t, int(place[i]), int(place[j]), int(n), float(n / shown.support[i]))
        for t, (_, shown) in enumerate(cells)
        for i, j, n in zip(shown.true.tolist(), shown.predicted.tolist(), shown.counts.tolist(), strict=True)
    ]


def _transforms() -> list[Any]:
    return [
        where("datum.t === shown"),
        looked_up("i", "true", "classes"),
        looked_up("j", "predicted", "classes"),
        calculated("kind", "datum.i === datum.j ? 'right' : 'wrong'"),
    ]


def _left(cells: Sequence[tuple[Shown, Confused]]) -> str:
    """Say how many wrong cells are not drawn, of the trial that has most of them."""
    left, rows, of = max((*shown.left, shown.cells) for _, shown in cells)
    if not left:
        return ""
    return f" Not drawn: the {left:,} smallest of {of:,} pairs ({count(rows, 'test row')}), of the trial with most."


def _shades() -> alt.Legend:
    import altair as alt

    return alt.Legend(orient="bottom", format="~%", values=[0.01, 0.1, 1], symbolFillColor=_GREY)


def _tooltip() -> list[Any]:
    import altair as alt

    return [
        alt.Tooltip("true:N", title="true class"),
        alt.Tooltip("predicted:N", title="predicted"),
        alt.Tooltip("n:Q", title="test rows", format=","),
        alt.Tooltip("share:Q", title="of the true class", format=".2%"),
    ]


def _listed(dataset: str, one: Shown, shown: Confused, *, opened: bool) -> str:
    """Return the largest confusions as a table that can be opened."""
    wrong = np.flatnonzero(shown.true != shown.predicted)[:_LISTED].tolist()
    names = one.trial.classes
    rows: list[list[str | float | int | None]] = [
        [
            names[shown.true[i]],
            names[shown.predicted[i]],
            int(shown.counts[i]),
            f"{shown.counts[i] / shown.support[shown.true[i]]:.2%}",
        ]
        for i in wrong
    ]
    head = f"{escaped(dataset)}: {escaped(one.label)}"
    said = f"the {len(rows)} largest of {shown.cells:,} pairs" if shown.cells > len(rows) else "all pairs"
    inner = (
        table(["true class", "predicted", "test rows", "of the true class"], rows, caption=said)
        if rows
        else "No row is wrong."
    )
    return f"<details{' open' if opened else ''}><summary>{head}</summary>{inner}</details>"
