"""What charts are made of: compact data, names that are safe to show, colours of models, and the finished chart.

Numbers are inlined as CSV text, which takes a third of JSON; names stand once, and rows refer to them by number.
Vega-Lite never evaluates data; names are made printable, cut and told apart here, so that a chart has one bar a class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...printable import one_line

if TYPE_CHECKING:
    import altair as alt

MOST_MODELS = 8
"""Models in one chart: as many as the palette has colours."""

MOST_DATASETS = 24
"""Data sets that have charts of their own."""

_LEGEND_COLUMNS_BELOW = 22


def csv_data(columns: Sequence[str], rows: Iterable[Sequence[float | int | None]]) -> alt.InlineData:
    r"""Return numbers as inlined data, five significant digits; None is an empty field, which Vega reads as null.

    Examples
    --------
    >>> csv_data(["x", "y"], [(1, 0.123456), (2, None)]).values
    'x,y\n1,0.12346\n2,'
    """
    import altair as alt

    lines = [",".join(columns), *(",".join(map(_number, row)) for row in rows)]
    parse = alt.CsvDataFormat(type="csv", parse=dict.fromkeys(columns, "number"))
    return alt.InlineData(values="\n".join(lines), format=parse)


def _number(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def looked_up(key: str, field: str, table: str) -> alt.LookupTransform:
    """Return the transform that gives a row the text that belongs to the number in its field `key`.

    Parameters
    ----------
    key : str
    field : str
        The new field.
    table : str
        Of those that `spec_of` is given.
    """
    import altair as alt

    found = {"data": {"name": table}, "key": "at", "fields": ["text"]}
    return alt.LookupTransform.from_dict({"lookup": key, "from": found, "as": [field]}, validate=False)


def where(expression: str) -> alt.FilterTransform:
    """Return the transform that keeps the rows for which a Vega expression of ours is true."""
    import altair as alt

    return alt.FilterTransform(filter=expression)


def calculated(field: str, expression: str) -> alt.CalculateTransform:
    """Return the transform that computes a field by a Vega expression of ours."""
    import altair as alt

    return alt.CalculateTransform.from_dict({"calculate": expression, "as": field}, validate=False)


def labels_of(names: Iterable[str], longest: int = 48) -> list[str]:
    r"""Return names for charts: printable, on one line, not too long, and each of them once.

    Examples
    --------
    >>> labels_of(["a\nb", "crane", "crane"])
    ['a\\nb', 'crane', 'crane (2)']
    """
    found: dict[str, None] = {}
    for name in names:
        shown = one_line(name)
        shown = shown if len(shown) <= longest else shown[: longest - 1] + "…"
        label, again = shown, 1
        while label in found:
            again += 1
            label = f"{shown} ({again})"
        found[label] = None
    return list(found)


def model_colour(models: Sequence[str], of_page: Sequence[str]) -> alt.Color:
    """Return colours of models, with a legend below the chart that fits a phone.

    A model has the same colour in all charts of a page, if it has no more of them than there are colours.

    Parameters
    ----------
    models : sequence of str
        Labels of those in the chart.
    of_page : sequence of str
        Of all models of the page.
    """
    import altair as alt

    domain = [*of_page] if len(of_page) <= MOST_MODELS and {*models} <= {*of_page} else [*models]
    columns = 2 if max(map(len, models), default=0) < _LEGEND_COLUMNS_BELOW else 1
    legend = alt.Legend(orient="bottom", columns=columns, labelLimit=320, values=[*models], symbolOpacity=1)
    return alt.Color("model:N", title="model (click to single out)", scale=alt.Scale(domain=domain), legend=legend)


def picked_by_menu(name: str, labels: Sequence[str], what: str) -> alt.Parameter:
    """Return a menu of numbered things; a filter compares ``datum.t`` with the parameter of this name."""
    import altair as alt

    menu = alt.binding_select(options=list(range(len(labels))), labels=list(labels), name=f"{what} ")
    return alt.param(name=name, value=0, bind=menu)


def spec_of(chart: Any, tables: Mapping[str, Sequence[str]], *, height: int | None = None) -> dict[str, Any]:
    """Return a chart as Vega-Lite, as wide as its place on the page.

    Parameters
    ----------
    chart : altair chart
    tables : mapping
        Of each table that rows refer to, its texts for 0, 1, 2 …
    height : int, optional
        Pixels.
    """
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec.pop("config", None)  # the page has the theme
    spec["width"] = "container"
    if height is not None:
        spec["height"] = height
    # Put in here and not through altair, which would compare every row with its schema.
    named = {name: [{"at": i, "text": text} for i, text in enumerate(texts)] for name, texts in tables.items()}
    spec["datasets"] = {**spec.get("datasets", {}), **named}
    return spec


def chart_name(*parts: str) -> str:
    """Return the name of a chart: letters, digits and ``-``.

    Examples
    --------
    >>> chart_name("confusion", "sklearn:digits")
    'confusion-sklearn-digits'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-").lower()[:80]


class Names:
    """Names of charts, each given once.

    Examples
    --------
    >>> names = Names()
    >>> names.new("a", "x/y"), names.new("a", "x:y")
    ('a-x-y', 'a-x-y-2')
    """

    def __init__(self) -> None:
        self._given: set[str] = set()

    def new(self, *parts: str) -> str:
        """Return a name that was not given before."""
        name, again = chart_name(*parts), 1
        while name in self._given:
            again += 1
            name = f"{chart_name(*parts)}-{again}"
        self._given.add(name)
        return name
