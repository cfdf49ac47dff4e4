"""Vega and Vega-Lite, of the extra ``[report]``: the JavaScript that a page carries, and charts as pictures."""

from __future__ import annotations

from types import ModuleType

from ...errors import CryoprobeError, NotFound
from .section import Chart

_PICTURE_CONFIG = {
    "background": "white",
    "axis": {"labelOverlap": "greedy", "labelLimit": 190, "maxExtent": 400, "titleFontWeight": 500},
    "legend": {"labelLimit": 220, "symbolLimit": 60},
    "view": {"stroke": "transparent"},
    "mark": {"color": "#0072b2"},
    "point": {"filled": True, "size": 60},
    "range": {
        "category": ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b88a00", "#56b4e9", "#5b4ea3", "#6b7178"],
        "heatmap": {"scheme": "blues"},
        "ramp": {"scheme": "blues"},
    },
}
"""The light theme of page.js, on white."""

_PICTURE_WIDTH = {False: 480, True: 960}
"""Pixels, before scaling, of a chart that takes the width of its container; by `Chart.wide`."""


def converter() -> ModuleType:
    """Return vl-convert.

    Raises
    ------
    NotFound
        If the extra is not installed.
    """
    try:
        import altair  # noqa: F401, the sections need it
        import vl_convert
    except ImportError as e:
        raise NotFound(
            f"A report needs the package {e.name}, which is not installed.",
            hint="Install it: pip install 'cryoprobe[report]'",
            key="report",
        ) from None
    return vl_convert


def bundle() -> str:
    """Return Vega-Embed with all that it needs as one script, which defines ``vegaEmbed``."""
    return str(converter().javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=_version()))


def png(chart: Chart, scale: float = 2) -> bytes:
    """Return a chart as a PNG file, on white.

    Raises
    ------
    CryoprobeError
        If the chart cannot be drawn.
    """
    spec = dict(chart.spec)
    if spec.get("width") == "container":
        spec["width"] = _PICTURE_WIDTH[chart.wide]
    spec.setdefault("title", chart.title)
    try:
        return bytes(
            converter().vegalite_to_png(
                spec, vl_version=_version(), scale=scale, config=_PICTURE_CONFIG, allowed_base_urls=[]
            )
        )
    except ValueError as e:
        raise CryoprobeError(f"The chart {chart.name} cannot be drawn: {e}", key=chart.name) from e


def _version() -> str:
    """Return the version of Vega-Lite for which altair writes, as vl-convert spells it."""
    import altair

    return ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
