"""The critical-difference diagram (Demsar 2006, figure 1): mean ranks, and bars under what cannot be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import BadInput, NotFound
from ...files import check_writable, replacing
from .ranks import Ranking

_LINE, _BAR = "#444444", "#0072B2"


def diagram(ranking: Ranking) -> Any:
    """Return the diagram as a chart of altair.

    Parameters
    ----------
    ranking : Ranking
        With a critical difference.
    """
    import altair as alt

    # The best is at the left; names stand below the axis, each on a line of its own, bars between them and the axis.
    places = dict(zip(ranking.models, ranking.mean_ranks, strict=True))
    ends = [(places[group[0]], places[group[-1]]) for group in ranking.groups]
    bars = [{"from": low, "to": high, "y": -0.5 - 0.45 * i} for i, (low, high) in enumerate(ends)]
    first = -1.0 - 0.45 * len(bars)
    names = [{"rank": rank, "y": first - i, "axis": 0.0, "model": m} for i, (m, rank) in enumerate(places.items())]
    lowest = first - len(names)
    x = alt.X("rank:Q", title="mean rank (1 is best)", scale=alt.Scale(domain=[1, len(names)]), axis=_axis(len(names)))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[lowest, 0]))
    rows = alt.Chart(alt.InlineData(values=names))
    lines = rows.mark_rule(color=_LINE).encode(x=x, y=y, y2="axis:Q")
    points = rows.mark_point(filled=True, size=40, color=_LINE, opacity=1).encode(x=x, y=y)
    # What stands in the right half is written to the left of its line, so that no name leaves the picture.
    half = (1 + len(names)) / 2
    left = rows.transform_filter(f"datum.rank <= {half}").mark_text(align="left", dx=8)
    right = rows.transform_filter(f"datum.rank > {half}").mark_text(align="right", dx=-8)
    layers = [lines, points, *(texts.encode(x=x, y=y, text="model:N") for texts in (left, right))]
    if bars:
        drawn = alt.Chart(alt.InlineData(values=bars)).mark_rule(color=_BAR, strokeWidth=5)
        layers.append(drawn.encode(x=alt.X("from:Q"), x2="to:Q", y=y))
    title = alt.Title(
        f"Mean ranks over {len(ranking.datasets)} data sets",
        subtitle=f"bars join models that cannot be told apart: critical difference {ranking.critical_difference:.2f} "
        "(Nemenyi, 5 %)",
    )
    return alt.layer(*layers).properties(width=640, height=40 + 22 * -lowest, title=title)


def _axis(models: int) -> Any:
    import altair as alt

    return alt.Axis(orient="top", tickMinStep=1, grid=False, values=list(range(1, models + 1)))


def write_diagram(ranking: Ranking | None, file: Path) -> None:
    """Write the diagram as a PNG file; see `Comparison.write_diagram`."""
    if ranking is None or ranking.critical_difference is None:
        raise BadInput(
            "There is no diagram of ranks.", hint="Compare three models or more, on two data sets or more.", key="png"
        )
    check_writable(file)
    try:
        import vl_convert

        chart = diagram(ranking)
    except ImportError:
        raise NotFound(
            "altair and vl-convert-python are not installed, which draw.",
            hint="Install them: pip install 'cryoprobe[report]'",
            key="altair",
        ) from None
    png = vl_convert.vegalite_to_png(chart.to_json(), scale=2)
    with replacing(file) as target:
        target.write(png)
