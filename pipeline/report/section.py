"""What a page of results is made of: sections with charts, and what their makers are given.

A module of sections has one function ``sections(data: ReportData) -> list[Section]``; pipeline/report/sections.py lists
these modules. `Section.html` goes into the page as it is: its maker escapes every text that comes from a store with
`escaped`. Charts are Vega-Lite with inlined data; titles, captions and introductions are plain text, and the page
escapes them.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ...printable import one_line, plain
from ..joined_taps import BETWEEN

if TYPE_CHECKING:
    from ...stores.feature_set import FeatureSet
    from ...stores.store import Store
    from ..comparing.matrix import Matrix
    from ..trials.result import Trial
    from ..trials.tables import Trials


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite chart.

    Parameters
    ----------
    name : str
        Unique on the page: letters, digits and ``-``; the name of its file for ``--png``.
    spec : dict
        The chart, as altair's ``to_dict()`` returns it, with its data inlined. Without colours of text, axes and
        background: the page has a light and a dark theme.
    title : str
    caption : str
        One line under it.
    wide : bool
        Whether it takes the page's whole width; two others stand side by side if there is room.
    """

    name: str
    spec: dict[str, Any]
    title: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Parameters
    ----------
    id : str
        Anchor, unique on the page.
    title, intro : str
        Plain text. An empty introduction is left out.
    charts : tuple of Chart
    html : str
        A fragment after the charts; its maker has escaped what comes from a store.
    """

    id: str
    title: str
    intro: str = ""
    charts: tuple[Chart, ...] = ()
    html: str = ""


@dataclass(frozen=True)
class ImageSource:
    """Where the images are, for sections that show some.

    Parameters
    ----------
    data_root : Path or None
        Folder of torchvision's data sets.
    """

    data_root: Path | None = None


@dataclass(frozen=True)
class ReportData:
    """What the makers of sections are given.

    Parameters
    ----------
    store : Store
    trials : Trials
        Those that the page is about.
    matrix : Matrix
        The same, as models x columns.
    images : ImageSource or None
        None if the page is to have no images.
    notes : list of str
        Lines on what is left out or cut; makers add theirs, and the page ends with them.
    sets : mapping of str to FeatureSet
        The sets of these trials by id; those that the store does not have, or that are damaged, are missing.
    """

    store: Store
    trials: Trials
    matrix: Matrix
    images: ImageSource | None = None
    notes: list[str] = field(default_factory=list)
    sets: Mapping[str, FeatureSet] = field(default_factory=dict)


class Digits(str):
    """A number that is written out already: `table` aligns it as one."""


def ids_of_sets(trials: Iterable[Trial]) -> list[str]:
    """Return the ids of the sets that trials read, each once: of each trial those of train, validation and test."""
    parts = (of for trial in trials for of in (trial.train, trial.val, trial.test) if isinstance(of, str))
    return list(dict.fromkeys(one for of in parts for one in of.split(BETWEEN)))


_LONGEST = 300
"""Characters of an error that a note tells."""


def left_out(what: str, error: Exception) -> str:
    """Return the note on a part of the page that could not be made.

    Examples
    --------
    >>> left_out("The section 'cost'", ValueError("no rows"))
    "The section 'cost' is left out: ValueError: no rows."
    """
    said = one_line(str(error)).strip().rstrip(".")
    said = said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"
    return f"{what} is left out: {type(error).__name__}: {said}."


Maker: TypeAlias = Callable[[ReportData], list[Section]]


def escaped(value: object) -> str:
    """Return text for HTML, in elements and quoted attributes; control characters are made visible first.

    Examples
    --------
    >>> escaped('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(plain(str(value)), quote=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str | float | int | None]], *, caption: str = "") -> str:
    """Return a table as HTML; every text is escaped, numbers are aligned at the right.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequences
        Cells: text, or numbers (floats with four decimals), or None for a dash.
    caption : str
        A line above it.

    Examples
    --------
    >>> table(["model", "top1"], [["<a>", 0.5]])  # doctest: +ELLIPSIS
    '<div class="scroll"><table>...<td>&lt;a&gt;</td><td class="num">0.5000</td>...'
    """
    numbers = [
        all(row[i] is None or isinstance(row[i], int | float | Digits) for row in rows) for i in range(len(header))
    ]
    heads = "".join(
        f'<th scope="col"{_NUMBER if number else ""}>{escaped(name)}</th>'
        for name, number in zip(header, numbers, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(_cell(cell, number) for cell, number in zip(row, numbers, strict=True)) + "</tr>"
        for row in rows
    )
    said = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{said}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


_NUMBER = ' class="num"'


def _cell(value: str | float | int | None, number: bool) -> str:
    if value is None:
        text = "-"
    elif isinstance(value, float):
        text = f"{value:.4f}"
    elif isinstance(value, int):
        text = f"{value:,}"
    else:
        text = escaped(value)
    return f"<td{_NUMBER if number else ''}>{text}</td>"
