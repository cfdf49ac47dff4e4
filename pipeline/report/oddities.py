"""What is odd about the trials: warnings, remarks, fits that did not converge, random weights, undefined scores."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .leaderboard import anchor_of
from .section import ReportData, Section, escaped

if TYPE_CHECKING:
    from ..trials.result import Trial

_NUMBER = re.compile(r"\d[\d,.]*(?<![,.])")

_MOST_LISTED = 6
"""Trials that are named with one remark."""


def sections(data: ReportData) -> list[Section]:
    """Return a list of what is odd, each with the cells that it is about."""
    found: dict[tuple[bool, str], list[tuple[str, str, str]]] = {}
    for cell in data.matrix.cells.values():
        where = f"{cell.model}, {cell.column.text}", anchor_of(cell.trials[0].trial)
        for trial in cell.trials:
            for is_warning, line in _lines_of(trial):
                found.setdefault((is_warning, _NUMBER.sub("…", line)), []).append((line, *where))
    if not found:
        return [Section("odd", "What is odd", "Nothing: no trial has a warning or a remark, and every fit converged.")]
    ordered = sorted(found.items(), key=lambda item: not item[0][0])
    items = "".join(_item(is_warning, cases) for (is_warning, _), cases in ordered)
    intro = "What the trials warn of and remark, with the scores that it is about."
    return [Section("odd", "What is odd", intro, html=f'<ul class="odd">{items}</ul>')]


def _lines_of(trial: Trial) -> list[tuple[bool, str]]:
    """Return what is odd about a trial: whether it is a warning, and the line."""
    lines = [(True, line) for line in trial.warnings] + [(False, line) for line in trial.remarks]
    if not trial.converged:
        lines.append((True, "The final fit did not converge."))
    if trial.untrained:
        lines.append((True, "The encoder has random weights (--untrained)."))
    if trial.score is None:
        lines.append((True, f"{trial.metric} is undefined on these test rows."))
    return lines


def _item(is_warning: bool, cases: list[tuple[str, str, str]]) -> str:
    """Return one item of the list: lines that differ in their numbers alone are one, with the numbers of the first."""
    same = len({line for line, _, _ in cases}) == 1
    cells = {(name, anchor): line for line, name, anchor in reversed(cases)}
    links = [
        f'<a href="#{escaped(anchor)}" title="{escaped(line)}">{escaped(name)}</a>'
        for (name, anchor), line in reversed(cells.items())
    ]
    said = f'<span class="soft">{"; ".join(links[:_MOST_LISTED])}</span>'
    if len(links) > _MOST_LISTED:
        rest = "; ".join(links[_MOST_LISTED:])
        said += f"<details><summary>and {len(links) - _MOST_LISTED} more</summary>{rest}</details>"
    css = ' class="alarm"' if is_warning else ""
    first = cases[0][0] if same else f"{cases[0][0]} (Numbers differ; these are of the first.)"
    return f"<li><span{css}>{escaped(first)}</span>{said}</li>"
