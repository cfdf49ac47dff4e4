"""How results show themselves in a notebook: small HTML tables, with all text escaped, and tables of pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from .errors import NotFound

if TYPE_CHECKING:
    import pandas

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


def data_frame(rows: Sequence[Any], columns: Sequence[str] | None = None) -> pandas.DataFrame:
    """Return a table of pandas, which is an extra.

    Raises
    ------
    NotFound
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise NotFound(
            "pandas is not installed.", hint="Install it: pip install 'cryoprobe[pandas]'", key="pandas"
        ) from None
    return pandas.DataFrame(rows, columns=None if columns is None else list(columns))


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return escape(str(cell)[:120])
    return f"{cell:.4f}" if isinstance(cell, float) else f"{cell:,}"
