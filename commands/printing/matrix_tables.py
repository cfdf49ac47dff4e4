"""What people see of a matrix: a table for each probe, models by data sets; and one table for papers and programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ...errors import BadInput, NotFound
from ...pipeline.comparing.matrix import Cell, Column, Matrix
from ...pipeline.trials.sweep import spread
from .console import cell_text, note, out, table, terminal
from .formats import Strong, csv_table, file_for_parquet, latex_table, markdown_table, write_parquet

FORMATS = ("table", "md", "latex", "csv", "json", "parquet")
_MARK = "*"
_APART = "!"
_RANK = "mean rank"


def matrix(found: Matrix, *, form: str = "table", file: Path | None = None) -> None:
    """Print a matrix, as `cryoprobe results --pivot` and the end of `cryoprobe run` do.

    Parameters
    ----------
    found : Matrix
    form : str
        One of `FORMATS`.
    file : Path, optional
        Where ``parquet`` is written.

    Raises
    ------
    BadInput
        If there is no such form, or no file for ``parquet``.
    NotFound
        If there is no trial, and the form is ``md``, ``latex`` or ``parquet``.
    """
    if form not in FORMATS:
        raise BadInput(f"There is no format {form!r}.", hint=f"Give one of {', '.join(FORMATS)}.", key="format")
    if not found.models and form in ("md", "latex", "parquet"):
        raise NotFound("There is no trial to tabulate.", hint="Train probes first: cryoprobe probe …", key="pivot")
    if form == "table":
        _tables(found)
    elif form == "json":
        out(json.dumps(found.document))
    elif form == "csv":
        out(csv_table(found.wide_rows()))
    elif form == "parquet":
        write_parquet(found.wide_rows(), file_for_parquet(file))
    else:
        _paper(found, form)
    for line in found.notes:
        note(f"note: {line}")


def check_options(form: str, *, sort: str, pivot: bool, file: Path | None) -> None:
    """Refuse options of `cryoprobe results` that would have no effect.

    Raises
    ------
    BadInput
        If a matrix is to be sorted, or a form that is printed is to go to a file.
    """
    if pivot and sort:
        raise BadInput("--sort does not sort a matrix.", hint="Leave out --sort, or --pivot.", key="sort")
    if file is not None and form != "parquet":
        raise BadInput(
            f"--output is for --format parquet; {form} is printed.", hint=f"Redirect it: … > {file}", key="output"
        )


def _tables(found: Matrix) -> None:
    """Print a table for each probe: a row for each model, a column for each data set."""
    names = short_names([column.dataset for column in found.columns])
    blocks: dict[tuple[str, str, str], list[Column]] = {}
    for column in found.columns:
        blocks.setdefault((column.what, column.draw, column.metric), []).append(column)
    for (what, draw, metric), columns in blocks.items():
        of = "" if draw == "all" else f", {draw}"
        out(f"{what}{of}: {metric}")
        _block(found, columns, [names[column.dataset] for column in columns], alone=len(blocks) == 1)
        out("")
    if len(blocks) > 1 and found.mean_ranks:
        ranked = sorted(found.mean_ranks.items(), key=lambda item: item[1])
        table(["model", _RANK], [[model, f"{rank:.2f}"] for model, rank in ranked])
    if any(found.is_marked(cell) for cell in found.cells.values()):
        out(f"{_MARK} the best of its column, and what is not significantly worse (5 %, corrected for all pairs)")
    else:
        out("No model is significantly better than another in its column (5 %, corrected for all pairs).")
    if any(cell.apart for cell in found.cells.values()):
        out(f"{_APART} not compared with the others of its column: the notes say why")


def _block(found: Matrix, columns: Sequence[Column], heads: Sequence[str], *, alone: bool) -> None:
    ranked = alone and bool(found.mean_ranks)
    models = [model for model in found.models if any((model, column) in found.cells for column in columns)]
    rows = [_row(found, model, columns, intervals=True) for model in models]
    screen = terminal()
    if screen is not None:
        whole = [["model", *heads], *rows]
        width = sum(max(len(row[i]) for row in whole) + 2 for i in range(len(whole[0]))) + (len(_RANK) + 2) * ranked
        if width > screen.width:  # then without intervals; and if that is not enough, the table leaves columns out
            rows = [_row(found, model, columns, intervals=False) for model in models]
    if ranked:
        rows = [[*row, _rank(found, model)] for row, model in zip(rows, models, strict=True)]
    more = "a wider terminal or --format csv has all"
    table(["model", *heads, *([_RANK] if ranked else [])], rows, spare=list(reversed(heads)), more=more)


def _row(found: Matrix, model: str, columns: Sequence[Column], *, intervals: bool) -> list[str]:
    cells = [found.cells.get((model, column)) for column in columns]
    return [model, *(_shown(cell, found, intervals=intervals) for cell in cells)]


def _shown(cell: Cell | None, found: Matrix, *, intervals: bool) -> str:
    if cell is None or cell.score is None:
        return "-"
    mark = _MARK if found.is_marked(cell) else _APART if cell.apart else " "
    text = spread({"mean": cell.score, "std": cell.std}) + mark
    if not intervals or cell.low is None or cell.high is None:
        return text.rstrip() if not intervals else text
    return f"{text} {cell.low:.4f} to {cell.high:.4f}"


def _rank(found: Matrix, model: str) -> str:
    return f"{found.mean_ranks[model]:.2f}" if model in found.mean_ranks else "-"


def _paper(found: Matrix, form: str) -> None:
    """Print one table in Markdown or LaTeX: mean ± standard deviation, the best in bold."""
    names = short_names([column.dataset for column in found.columns])
    together = list(dict.fromkeys(map(_probe, found.columns)))
    columns = sorted(found.columns, key=lambda column: together.index(_probe(column)))
    probes = [_probe(column) for column in columns]
    groups: list[tuple[str, int]] = [("", 1)]
    for probe in probes:
        at = groups[-1]
        groups = [*groups[:-1], (probe, at[1] + 1)] if at[0] == probe else [*groups, (probe, 1)]
    several = len({*probes}) > 1
    heads = [
        f"{names[c.dataset]}: {probe}" if several and form == "md" else names[c.dataset]
        for c, probe in zip(columns, probes, strict=True)
    ]
    rows = [
        [cell_text("", model), *(_paper_cell(found.cells.get((model, c)), found) for c in columns)]
        + ([_rank(found, model)] if found.mean_ranks else [])
        for model in found.models
    ]
    heads = ["model", *(cell_text("", head) for head in heads), *([_RANK] if found.mean_ranks else [])]
    if form == "md":
        out(markdown_table(heads, rows))
        return
    tail = [("", 1)] if found.mean_ranks else []
    out(latex_table(heads, rows, [*((cell_text("", name), n) for name, n in groups), *tail]))


def _probe(column: Column) -> str:
    return ", ".join([column.what, *([column.draw] if column.draw != "all" else []), column.metric])


def _paper_cell(cell: Cell | None, found: Matrix) -> str:
    if cell is None or cell.score is None:
        return "-"
    text = spread({"mean": cell.score, "std": cell.std}) + (_APART if cell.apart else "")
    return Strong(text) if found.is_marked(cell) else text


def short_names(datasets: Sequence[str]) -> dict[str, str]:
    """Return data sets by the last part of their path, where no other has the same.

    Examples
    --------
    >>> short_names(["folder:/data/birds", "csv:/a/x.csv", "csv:/b/x.csv"])
    {'folder:/data/birds': 'birds', 'csv:/a/x.csv': 'csv:/a/x.csv', 'csv:/b/x.csv': 'csv:/b/x.csv'}
    """
    every = list(dict.fromkeys(datasets))
    last = [name.rstrip("/").rpartition("/")[2] or name for name in every]
    return {name: short if last.count(short) == 1 else name for name, short in zip(every, last, strict=True)}
