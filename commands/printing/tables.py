"""How a table is fitted to the width of a terminal: which columns stay, how wide they are, and how names are shortened.

A row takes one line. Ids, numbers, dates and heads are always whole; names give way first, and then whole columns do.
Pure: nothing here prints.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

_GAP = "  "
_SHORTEST_NAME = 18
"""To how little a name is shortened before a column is left out: a path's last part, an architecture and its tag."""

_LONGEST_WHOLE = 24
"""A text of up to so many cells is not shortened where it starts with a digit, or its column is none of names."""

_FLOOR = 8
"""To how little a name is shortened where nothing else is left to give way."""

_PROSE = {"what it is", "parameters"}
"""Columns that are read and not looked up: they alone are broken into lines, between words."""

_WHOLE = {"example"}
"""Columns to be copied: never shortened."""

_SPARE = ("seconds", "dim", "tap")
"""What is left out first of a table that does not say it."""


@dataclass(frozen=True)
class Fitted:
    """A table as it is printed.

    Parameters
    ----------
    head : str
    lines : list of str
        One a row, but for prose.
    left_out : list of str
        Heads of the columns for which there was no room.
    """

    head: str
    lines: list[str]
    left_out: list[str]


def full(columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> list[str]:
    """Return a table with everything in it, one line a row however long, the head first."""
    rows = [columns, *cells]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return [
        _GAP.join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)).rstrip()
        for row in rows
    ]


def fit(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    width: int,
    spare: Sequence[str],
) -> Fitted:
    """Return a table that is no wider than a terminal.

    Parameters
    ----------
    columns : sequence of str
        Heads.
    cells : sequence of sequence of str
        Rows, of text without line feeds.
    numeric : sequence of bool
        Of each column, whether it has numbers, which stand at the right.
    width : int
        Of the terminal, in cells.
    spare : sequence of str
        Heads of columns that may be left out, the least important first; see `default_spare`.

    Returns
    -------
    Fitted
    """
    sides = [
        _Column(head, [row[i] for row in cells], number)
        for i, (head, number) in enumerate(zip(columns, numeric, strict=True))
    ]
    kept = _kept(sides, width, spare)
    _share(kept, width)
    shown = [side.shown() for side in kept]
    lines = [line for row in zip(*shown, strict=True) for line in _row(row, kept)]
    head = _GAP.join(_padded(side.head, side) for side in kept).rstrip()
    return Fitted(head, lines, [side.head for side in sides if side not in kept])


def shortened(head: str, values: Sequence[str], width: int) -> list[str]:
    """Return the values of a column, those that are too long with an ``…`` in them.

    Of a data set its kind and the end of its path stay, of remarks the start, of other names both ends; but different
    values stay different, where another cut achieves that.
    """
    first = _CUTS.get(head, _middle)
    best: list[str] = []
    for cut in (first, *(c for c in (_middle, _end, _start) if c is not first)):
        found = [value if cell_len(value) <= width else cut(value, width) for value in values]
        if not best or len(set(found)) > len(set(best)):
            best = found
        if len(set(best)) == len(set(values)):
            break
    return best


class _Column:
    """A column, how wide it is, and between which bounds that can be."""

    def __init__(self, head: str, values: Sequence[str], numeric: bool) -> None:
        self.head, self.values, self.numeric = head, values, numeric
        self.prose = head in _PROSE
        self.empty = all(value in ("", "-") for value in values)
        needed = [cell_len(value) for value in values]
        self.most = max([cell_len(head), *needed])
        self.least = self.most
        if not (numeric or head in _WHOLE):
            bound = _SHORTEST_NAME if head in _CUTS else _LONGEST_WHOLE
            longest = max((_at_least(v, n, bound) for v, n in zip(values, needed, strict=True)), default=0)
            self.least = max(cell_len(head), longest)
        self.width = self.least

    def shown(self) -> list[list[str]]:
        """Return the lines of each value: one, but for prose."""
        if self.prose:
            return [textwrap.wrap(value, self.width, break_on_hyphens=False) or [""] for value in self.values]
        return [[value] for value in shortened(self.head, self.values, self.width)]


def _at_least(value: str, needed: int, bound: int) -> int:
    whole = _LONGEST_WHOLE if value[:1].isdigit() else bound  # numbers, dates and ids
    return needed if needed <= whole else bound


def default_spare(columns: Sequence[str]) -> list[str]:
    """Return all heads but the first, from the right; a few that seldom matter come first, and prose last."""
    first = [head for head in _SPARE if head in columns[1:]]
    prose = [head for head in columns[1:] if head in _PROSE]
    return [*first, *(head for head in reversed(columns[1:]) if head not in (*first, *prose)), *reversed(prose)]


def _kept(sides: Sequence[_Column], width: int, spare: Sequence[str]) -> list[_Column]:
    """Choose columns, the most important first, as long as there is room for each at its least."""
    kept = [side for side in sides if side.head not in spare]
    named = {side.head: side for side in sides}
    # A column in which nothing stands goes before one in which something does, however much room that would need.
    rest = sorted((named[head] for head in reversed(spare) if head in named), key=lambda side: side.empty)
    full = False
    for side in rest:
        fits = sum(s.least + len(_GAP) for s in kept) + side.least <= width
        full |= not fits
        if fits and not (full and side.empty):
            kept.append(side)
    return [side for side in sides if side in kept]


def _share(kept: Sequence[_Column], width: int) -> None:
    """Give the room that is left to what is shortened, the narrowest first; take what is missing from the widest."""
    room = width - sum(side.width for side in kept) - len(_GAP) * (len(kept) - 1)
    while room > 0 and (short := [side for side in kept if side.width < side.most]):
        min(short, key=lambda side: side.width).width += 1
        room -= 1
    while room < 0:
        floors = {side: max(_FLOOR, cell_len(side.head)) for side in kept if side.head in _CUTS or side.prose}
        long = [side for side, floor in floors.items() if side.width > floor]
        if not long:
            break
        max(long, key=lambda side: side.width).width -= 1
        room += 1


def _row(values: Sequence[Sequence[str]], kept: Sequence[_Column]) -> list[str]:
    return [
        _GAP.join(
            _padded(lines[i] if i < len(lines) else "", side) for lines, side in zip(values, kept, strict=True)
        ).rstrip()
        for i in range(max(map(len, values)))
    ]


def _padded(text: str, side: _Column) -> str:
    blanks = " " * (side.width - cell_len(text))
    return blanks + text if side.numeric else text + blanks


def _head(text: str, width: int) -> str:
    """Return as much of the start as fits; a character can take two cells."""
    while cell_len(text) > width:
        text = text[: min(len(text) - 1, width)]
    return text


def _tail(text: str, width: int) -> str:
    return _head(text[::-1], width)[::-1]


def _middle(text: str, width: int) -> str:
    return f"{_head(text, width // 2)}…{_tail(text, width - 1 - width // 2)}"


def _end(text: str, width: int) -> str:
    return f"{_head(text, width - 1)}…"


def _start(text: str, width: int) -> str:
    return f"…{_tail(text, width - 1)}"


def _path(text: str, width: int) -> str:
    """Keep the kind and the last folders (``folder:…/birds``); or where it is narrow, those alone."""
    kind, colon, _ = text.partition(":")
    for lead in (f"{kind}{colon}" if colon else "", ""):
        room = width - cell_len(lead) - 1
        tail = _tail(text, room) if room > 0 else ""
        folders = tail[tail.find("/") :] if "/" in tail else ""
        if folders and 2 * cell_len(folders) >= room:
            return f"{lead}…{folders}"
    return _start(text, width)


_CUTS: dict[str, Callable[[str, int], str]] = {
    "dataset": _path,
    "model": _middle,
    "class": _middle,
    "by": _middle,
    "field": _start,
    "probe": _start,
    "chosen": _end,
    "remarks": _end,
    "why": _end,
}
"""Columns of names, and where each is cut."""
