"""How results show themselves in a notebook: small HTML tables, with all text escaped, and tables of pandas."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from html import escape
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from .errors import NotFound

if TYPE_CHECKING:
    import pandas

Cell = str | int | float | bool | None
Row = TypeVar("Row")


class Listing(Sequence[Row]):
    """Dataclasses of one kind in a sequence, which shows itself as a table with their fields in columns.

    Attributes
    ----------
    rows : tuple
    row_type : type
        What they are; set by the class that is made of this one.
    """

    rows: tuple[Row, ...]
    row_type: ClassVar[Any]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        """Return a row, or several."""
        return self.rows[index]

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The JSON form of each row."""
        return [asdict(row) for row in self.rows]  # type: ignore[call-overload]

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table of the rows.

        Raises
        ------
        NotFound
            If pandas is not installed.
        """
        return data_frame(self.documents, columns=self._columns)

    @property
    def _columns(self) -> list[str]:
        return [field.name for field in fields(self.row_type)]

    def _repr_html_(self) -> str:
        return html_table(repr(self)[1:-1], self._columns, [[*row.values()] for row in self.documents])


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
