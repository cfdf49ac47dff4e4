"""The page: sections put into one HTML file, which asks for nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

from ...errors import BadInput
from .section import Chart, Section, escaped

_DIGITS = 5
"""Significant digits of numbers in charts."""


@dataclass(frozen=True)
class Page:
    """What goes into a page.

    Parameters
    ----------
    title, lead, footer : str
        Plain text.
    sections : tuple of Section
    notes : tuple of str
        What is left out or cut.
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    footer: str = ""

    @property
    def charts(self) -> tuple[Chart, ...]:
        """All charts, in order."""
        return tuple(chart for section in self.sections for chart in section.charts)


def html_of(page: Page, library: str) -> str:
    """Return the page as HTML.

    Scripts are allowed by their hashes alone, so a script or a handler that gets into the text of the page does not
    run; and nothing can be loaded, whatever asks for it.

    Parameters
    ----------
    page : Page
    library : str
        JavaScript that defines ``vegaEmbed``.

    Raises
    ------
    BadInput
        If two charts, or two sections, have one name.
    """
    _check_unique("charts", [chart.name for chart in page.charts])
    _check_unique("sections", [section.id for section in page.sections])
    script = _file("page.js")
    libraries = [library] if page.charts else []
    if any("</script" in text.lower() or "<!--" in text for text in (script, *libraries)):
        raise BadInput("The JavaScript of the charts cannot be put into a page.", hint="Update vl-convert-python.")
    notes = "".join(f"<li>{escaped(note)}</li>" for note in dict.fromkeys(page.notes))
    return Template(_file("page.html")).substitute(
        policy=_policy([script, *libraries]),
        title=escaped(page.title),
        style=_file("page.css"),
        lead=escaped(page.lead),
        contents="".join(f'<li><a href="#{escaped(s.id)}">{escaped(s.title)}</a></li>' for s in page.sections),
        sections="\n".join(_section(section) for section in page.sections),
        notes=f'<h2 id="notes">Notes</h2><ul class="odd">{notes}</ul>' if notes else "",
        footer=escaped(page.footer),
        charts="\n".join(_data(chart) for chart in page.charts),
        script=script,
        library="".join(f"<script>{text}</script>" for text in libraries),
    )


def _section(section: Section) -> str:
    intro = f'<p class="intro">{escaped(section.intro)}</p>' if section.intro else ""
    figures = "".join(_figure(chart) for chart in section.charts)
    charts = f'<div class="charts">{figures}</div>' if figures else ""
    return (
        f'<section id="{escaped(section.id)}"><h2>{escaped(section.title)}</h2>{intro}{charts}{section.html}</section>'
    )


def _figure(chart: Chart) -> str:
    name = escaped(chart.name)
    return (
        f'<figure{" class=wide" if chart.wide else ""} id="chart-{name}"><figcaption><b>{escaped(chart.title)}</b>'
        f'<span>{escaped(chart.caption)}</span></figcaption><div class="plot" data-chart="{name}"></div></figure>'
    )


def _data(chart: Chart) -> str:
    return f'<script type="application/json" id="spec-{escaped(chart.name)}">{json_in_html(chart.spec)}</script>'


def json_in_html(value: Any) -> str:
    r"""Return JSON that can stand in a script element: no ``<`` ends it; numbers have five significant digits.

    Examples
    --------
    >>> json_in_html({"a": "</script>", "b": [0.123456789, float("nan")]})
    '{"a":"\\u003c/script>","b":[0.12346,null]}'
    """
    text = json.dumps(_rounded(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in text)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _policy(scripts: Sequence[str]) -> str:
    """Return a content security policy that lets these scripts run, and nothing be requested."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    # Styles: vega-tooltip and Vega set theirs at run time. Images: those that the page has inside it.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _check_unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"Two {what} of the report have one name: {', '.join(twice)}.", key=twice[0])


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
