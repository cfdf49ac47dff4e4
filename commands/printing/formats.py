"""Tables for papers and programs: CSV, Markdown, LaTeX and Parquet. Text of a store is escaped, and cannot mark up."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import BadInput, NotFound
from ...files import replacing
from ...notebook import Cell

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "…": r"\dots{}",
}
_LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


def csv_table(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Return rows with a head, by RFC 4180 but for its line ends; a column that some rows lack is empty there.

    Examples
    --------
    >>> print(csv_table([{"model": "a,b", "top1": 0.5}, {"model": "c", "map": None}]))
    model,top1,map
    "a,b",0.5,
    c,,
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().removesuffix("\n")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a table of GitHub's Markdown; a cell that is `Strong` is bold.

    Examples
    --------
    >>> print(markdown_table(["probe", "top1"], [["a|b", Strong("0.5")]]))
    | probe | top1 |
    | --- | --- |
    | a\|b | **0.5** |
    """
    head, *body = [[_marked_down(cell) for cell in row] for row in (columns, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(columns), *body))


def latex_table(columns: Sequence[str], rows: Sequence[Sequence[str]], groups: Sequence[tuple[str, int]] = ()) -> str:
    r"""Return a tabular with the rules of the package booktabs; a cell that is `Strong` is bold.

    Parameters
    ----------
    columns : sequence of str
    rows : sequence of sequence of str
    groups : sequence of (str, int)
        Heads above the columns, and how many each is above; ``""`` for none.

    Examples
    --------
    >>> print(latex_table(["probe", "top1"], [["few_shot", Strong("0.5 ± 0.1")]]))
    \begin{tabular}{ll}
    \toprule
    probe & top1 \\
    \midrule
    few\_shot & \textbf{0.5 $\pm$ 0.1} \\
    \bottomrule
    \end{tabular}
    """
    head, *body = [" & ".join(map(_in_latex, row)) + r" \\" for row in (columns, *rows)]
    start = [f"\\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule", *_group_heads(groups), head, r"\midrule"]
    return "\n".join([*start, *body, r"\bottomrule", r"\end{tabular}"])


def _group_heads(groups: Sequence[tuple[str, int]]) -> list[str]:
    """Return a line of heads above several columns each, and the rules below them."""
    if not groups:
        return []
    heads, rules, at = [], [], 1
    for name, width in groups:
        heads += [f"\\multicolumn{{{width}}}{{c}}{{{_escaped(name)}}}"] if name else [""] * width
        rules += [f"\\cmidrule(lr){{{at}-{at + width - 1}}}"] if name else []
        at += width
    return [" & ".join(heads) + r" \\", " ".join(rules)]


class Strong(str):
    """Text that a table shows in bold."""

    __slots__ = ()


def write_parquet(rows: Sequence[Mapping[str, Cell]], file: Path) -> None:
    """Write rows as a Parquet file; a column that some rows lack is null there.

    Raises
    ------
    NotFound
        If pyarrow is not installed.
    BadInput, ReadOnly, Unavailable
        If the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise NotFound(
            "pyarrow is not installed, which writes Parquet.",
            hint="Install it: pip install 'cryoprobe[parquet]'",
            key="pyarrow",
        ) from None
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pyarrow.table({name: [row.get(name) for row in rows] for name in names})
    with replacing(file) as target:
        parquet.write_table(table, target)


def file_for_parquet(file: Path | None) -> Path:
    """Return the file that was given.

    Raises
    ------
    BadInput
        If none was.
    """
    if file is None:
        raise BadInput(
            "Parquet is written to a file.", hint="Give one: --format parquet --output FILE.parquet", key="output"
        )
    return file


_MARKS = re.compile(r"[\\`*\[\]<>|&~]|(?<!\w)_|_(?!\w)")
"""What Markdown, or HTML within it, would obey."""


def _marked_down(text: str) -> str:
    escaped = _MARKS.sub(lambda found: f"\\{found[0]}", text)
    return f"**{escaped}**" if isinstance(text, Strong) else escaped


def _in_latex(text: str) -> str:
    return f"\\textbf{{{_escaped(text)}}}" if isinstance(text, Strong) else _escaped(text)


def _escaped(text: str) -> str:
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], text)
