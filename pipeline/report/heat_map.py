"""The heat map: how far each model is below the best of each column."""

from __future__ import annotations

from typing import Any

from ...printable import one_line
from .charts_data import labels_of
from .leaderboard import short
from .section import Chart, ReportData, Section

_MOST_TEXTS = 400
"""Cells whose scores are written into the map; of more the pointer shows them."""


_LONGEST = 5_000
"""Characters of a name: those that differ at their end only are told apart."""


def sections(data: ReportData) -> list[Section]:
    """Return the heat map; nothing for a single model or column, or without a score."""
    matrix, rows = data.matrix, _rows(data)
    if len(matrix.models) < 2 or len(matrix.columns) < 2 or not rows:
        return []
    import altair as alt

    labels = names_of_models(data)
    order = [labels[m] for m in sorted(matrix.models, key=lambda m: matrix.mean_ranks.get(m, float("inf")))]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("column:N", sort=[*dict.fromkeys(row["column"] for row in rows)], title="data set, protocol, draw")
        .axis(labelAngle=-40, labelLimit=320, labelOverlap=False)
        .scale(paddingInner=0.06),
        y=alt.Y("model:N", sort=order, title="model").axis(labelLimit=220, labelOverlap=False).scale(paddingInner=0.06),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("column:N"),
            alt.Tooltip("score:Q", format=".4f"),
            alt.Tooltip("metric:N"),
            alt.Tooltip("below:Q", title="points below the best", format=".2f"),
        ],
    )
    below = alt.Color("below:Q", title="points below the best").scale(
        scheme="viridis", reverse=True, domain=[0, max(row["below"] for row in rows) or 1]
    )
    cells = base.mark_rect().encode(color=below.legend(orient="top", gradientLength=180, titleLimit=240))
    chart: Any = cells
    if len(rows) <= _MOST_TEXTS:
        half = max(row["below"] for row in rows) / 2
        chart = cells + base.mark_text(fontSize=10).encode(
            text=alt.Text("score:Q", format=".3f"),
            color=alt.condition(alt.datum["below"] > half, alt.value("white"), alt.value("black")),
        )
    spec = chart.properties(width=alt.Step(46), height=alt.Step(24)).to_dict()
    caption = "Colour: percentage points below the best of the column; yellow is the best. Columns can't be compared."
    shown = Chart("heat-map", spec, "Distance to the best of each column", caption, wide=True)
    return [Section("heat-map", "Models and columns", charts=(shown,))]


def _rows(data: ReportData) -> list[dict[str, Any]]:
    rows = []
    names, labels = names_of_columns(data), names_of_models(data)
    for column in data.matrix.columns:
        cells = [c for m in data.matrix.models if (c := data.matrix.cells.get((m, column))) and c.score is not None]
        best = max((c.score for c in cells if c.score is not None), default=0.0)
        rows += [
            {
                "model": labels[c.model],
                "column": names[column],
                "metric": column.metric,
                "score": c.score,
                "below": round(100 * (best - (c.score or 0)), 3),
            }
            for c in cells
        ]
    return rows


def names_of_models(data: ReportData) -> dict[str, str]:
    """Return what each model is called in charts: printable and whole."""
    return dict(zip(data.matrix.models, labels_of(data.matrix.models, _LONGEST), strict=True))


def names_of_columns(data: ReportData) -> dict[Any, str]:
    """Return a name for each column of the matrix, none twice."""
    names: dict[Any, str] = {}
    for column in data.matrix.columns:
        drawn = [] if column.draw == "all" else [column.draw]
        parts = [short(column.dataset), column.what.removeprefix("protocol "), *drawn]
        name = one_line(", ".join(parts))
        if name in names.values():
            name = f"{name}, {column.metric}"
        names[column] = name if name not in names.values() else f"{name} ({len(names) + 1})"
    return names
