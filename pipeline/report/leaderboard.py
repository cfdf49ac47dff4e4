"""The leaderboard: models by columns, with intervals, deviations and what cannot be told from the best."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .section import ReportData, Section, escaped

if TYPE_CHECKING:
    from ..comparing.matrix import Cell, Column, Matrix

_KEY = (
    '<p class="key"><span class="best">0.9000</span> the best of its column · <span class="tied">0.8950 ≈</span> not '
    "significantly worse than the best (paired tests on the same test samples, Holm's correction over the pairs of the "
    "column); if no model of a column is worse, none is marked · † not compared with the others of its column: the "
    "notes say why · below a score: its 95 % interval, and ± the standard deviation over draws of training rows, with "
    "their number · - was not run. A score leads to its trials.</p>"
)

_TOOLS = (
    '<div class="tools" data-table="board"><label>Models<input type="search" placeholder="all of these words" '
    'aria-label="Filter models"></label><label>Columns<input type="search" placeholder="a data set, a protocol …" '
    'aria-label="Filter columns"></label><output></output></div>'
)


def sections(data: ReportData) -> list[Section]:
    """Return the leaderboard."""
    matrix = data.matrix
    ranked = bool(matrix.mean_ranks)
    heads = [_head("model", "text", "ascending", text=None, css="model")]
    if ranked:
        heads.append(_head("mean rank", "number", "ascending", text=None, css="num"))
    heads += [_column_head(column) for column in matrix.columns]
    order = sorted(matrix.models, key=lambda model: matrix.mean_ranks.get(model, float("inf")))
    body = "".join(_row(data, model, ranked) for model in order)
    table = (
        f'<div class="scroll"><table class="board" id="board"><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
    rank = " Mean rank is over the columns that all models have; 1 is the best." if ranked else ""
    intro = f"Click a heading to sort.{rank}"
    return [Section("leaderboard", "Leaderboard", intro, html=_TOOLS + table + _KEY)]


def anchor_of(trial: str) -> str:
    """Return the anchor of a trial's provenance."""
    return f"trial-{trial}"


def _head(what: str, kind: str, first: str, *, text: str | None, css: str) -> str:
    told = "" if text is None else f' data-text="{escaped(text)}"'
    return (
        f'<th scope="col" class="{css}" data-kind="{kind}" data-first="{first}"{told}>'
        f'<button type="button">{what if what.startswith("<") else f"<span>{escaped(what)}</span>"}</button></th>'
    )


def _column_head(column: Column) -> str:
    parts = [column.what, *([] if column.draw == "all" else [column.draw]), column.metric]
    lines = "".join(f'<span class="soft">{escaped(part)}</span>' for part in parts)
    what = f"<span>{escaped(short(column.dataset))}</span>{lines}"
    return _head(what, "number", "descending", text=" ".join([column.dataset, *parts]), css="num")


def short(dataset: str) -> str:
    """Return the name of a data set without the folders that lead to it.

    Examples
    --------
    >>> short("folder:/data/birds"), short("sklearn:digits")
    ('folder:…/birds', 'sklearn:digits')
    """
    kind, colon, place = dataset.partition(":")
    above, slash, name = place.rstrip("/").rpartition("/")
    return f"{kind}{colon}…/{name}" if slash and name and above else dataset


def _row(data: ReportData, model: str, ranked: bool) -> str:
    matrix = data.matrix
    cells = [f'<th scope="row" class="model" data-value="{escaped(model)}">{_breakable(model)}</th>']
    if ranked:
        rank = matrix.mean_ranks.get(model)
        cells.append(
            '<td class="num">-</td>' if rank is None else f'<td class="num" data-value="{rank}">{rank:.2f}</td>'
        )
    cells += [_cell(matrix, matrix.cells.get((model, column))) for column in matrix.columns]
    return f'<tr data-text="{escaped(model)}">{"".join(cells)}</tr>'


def _breakable(name: str) -> str:
    """Return a name for HTML that may be broken after the signs that divide it.

    Examples
    --------
    >>> _breakable("timm:vit_tiny")
    'timm:<wbr>vit_<wbr>tiny'
    """
    return "<wbr>".join(escaped(part) for part in re.split(r"(?<=[/_:,@.-])", name))


def _cell(matrix: Matrix, cell: Cell | None) -> str:
    if cell is None:
        return '<td class="num">-</td>'
    link = f'href="#{anchor_of(cell.trials[0].trial)}"'
    if cell.score is None:
        return f'<td class="num"><a {link}>undefined</a></td>'
    small = "" if cell.low is None or cell.high is None else f"<small>{cell.low:.3f} to {cell.high:.3f}</small>"
    if cell.std is not None:
        small += f"<small>± {cell.std:.4f} ({len(cell.trials)})</small>"
    css, sign = "", " †" if cell.apart else ""
    if matrix.is_marked(cell):
        css, sign = ("best", "") if cell.best else ("tied", " ≈")
    return f'<td class="num {css}" data-value="{cell.score}"><a {link}>{cell.score:.4f}{sign}</a>{small}</td>'
