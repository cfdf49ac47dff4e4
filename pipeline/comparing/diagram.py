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

    # Names of the better half stand left of the picture, those of the worse half right of it, so that no line of one
    # crosses the name of another: the outermost is the highest.
    count = len(ranking.models)
    half = (count + 1) // 2
    ends = [(group[0], group[-1]) for group in ranking.groups]
    places = dict(zip(ranking.models, ranking.mean_ranks, strict=True))
    bars = [{"from": places[one], "to": places[other], "y": -0.5 - 0.45 * i} for i, (one, other) in enumerate(ends)]
    first = -1.0 - 0.45 * len(bars)
    names = [
        {
            "model": model,
            "rank": rank,
            "axis": 0.0,
            "y": first - (i if i < half else count - 1 - i),
            "side": 1 if i < half else count,
        }
        for i, (model, rank) in enumerate(places.items())
    ]
    lowest = first - half
    axis = alt.Axis(orient="top", grid=False, format="d", values=list(range(1, count + 1)))
    x = alt.X("rank:Q", title="mean rank (1 is best)", scale=alt.Scale(domain=[1, count], nice=False), axis=axis)
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[lowest, 0]))
    rows = alt.Chart(alt.InlineData(values=names))
    down = rows.mark_rule(color=_LINE).encode(x=x, y=y, y2="axis:Q")
    aside = rows.mark_rule(color=_LINE).encode(x=x, x2="side:Q", y=y)
    left = rows.transform_filter("datum.side == 1").mark_text(align="right", dx=-6)
    right = rows.transform_filter("datum.side != 1").mark_text(align="left", dx=6)
    layers = [down, aside, *(texts.encode(x=alt.X("side:Q"), y=y, text="model:N") for texts in (left, right))]
    if bars:
        drawn = alt.Chart(alt.InlineData(values=bars)).mark_rule(color=_BAR, strokeWidth=5)
        layers.append(drawn.encode(x=alt.X("from:Q"), x2="to:Q", y=y))
    title = alt.Title(
        f"Mean ranks over {len(ranking.datasets)} data sets",
        subtitle=f"bars join models that cannot be told apart: critical difference {ranking.critical_difference:.2f} "
        "(Nemenyi, 5 %)",
    )
    return alt.layer(*layers).properties(width=480, height=22 * -lowest, title=title).configure_view(stroke=None)


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
