"""Tables for papers and programs: CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

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
    r"""Return a table of GitHub's Markdown.

    Examples
    --------
    >>> print(markdown_table(["probe", "top1"], [["a|b", "0.5"]]))
    | probe | top1 |
    | --- | --- |
    | a\|b | 0.5 |
    """
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def latex_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a tabular with the rules of the package booktabs.

    Examples
    --------
    >>> print(latex_table(["probe", "top1"], [["few_shot", "0.5 ± 0.1"]]))
    \begin{tabular}{ll}
    \toprule
    probe & top1 \\
    \midrule
    few\_shot & 0.5 $\pm$ 0.1 \\
    \bottomrule
    \end{tabular}
    """
    head, *body = [" & ".join(map(_escaped, row)) + r" \\" for row in (columns, *rows)]
    start = [f"\\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*start, *body, r"\bottomrule", r"\end{tabular}"])


def _escaped(text: str) -> str:
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], text)
