"""How results show themselves in a notebook: small HTML tables, with all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

Cell = str | int | float | bool | None


def html_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a title and a table.

    Examples
    --------
    >>> html_table("a < b", ["score"], [[0.5], [None]])
    '<p>a &lt; b</p><table><tr><th>score</th></tr><tr><td>0.5000</td></tr><tr><td>-</td></tr></table>'
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_shown(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"{f'<p>{escape(title)}</p>' if title else ''}<table><tr>{head}</tr>{body}</table>"


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return escape(str(cell)[:120])
    return f"{cell:.4f}" if isinstance(cell, float) else f"{cell:,}"
