"""What is odd about the trials: warnings, remarks, fits that did not converge, random weights, undefined scores."""

from __future__ import annotations

from .leaderboard import anchor_of
from .section import ReportData, Section, escaped

_MOST_LISTED = 6
"""Trials that are named with one remark."""


def sections(data: ReportData) -> list[Section]:
    """Return a list of what is odd, each with the cells that it is about."""
    said: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for column in data.matrix.columns:
        for model in data.matrix.models:
            cell = data.matrix.cells.get((model, column))
            for trial in () if cell is None else cell.trials:
                kinds = [("warning", line) for line in trial.warnings] + [("remark", line) for line in trial.remarks]
                if not trial.converged:
                    kinds.append(("warning", "The final fit did not converge."))
                if trial.untrained:
                    kinds.append(("warning", "The encoder has random weights (--untrained)."))
                if trial.score is None:
                    kinds.append(("warning", f"{trial.metric} is undefined on these test rows."))
                for kind in kinds:
                    link = (f"{model}, {column.text}", anchor_of(cell.trials[0].trial if cell else ""))
                    said.setdefault(kind, []).append(link)
    if not said:
        return [Section("odd", "What is odd", "Nothing: no trial has a warning or a remark, and every fit converged.")]
    lines = [
        _line(kind, text, links)
        for (kind, text), links in sorted(said.items(), key=lambda item: item[0][0] != "warning")
    ]
    intro = "What the trials warn of and remark, with the cells that it is about."
    return [Section("odd", "What is odd", intro, html=f'<ul class="odd">{"".join(lines)}</ul>')]


def _line(kind: str, text: str, links: list[tuple[str, str]]) -> str:
    distinct = [*dict.fromkeys(links)]
    shown = "; ".join(f'<a href="#{escaped(anchor)}">{escaped(name)}</a>' for name, anchor in distinct[:_MOST_LISTED])
    more = f" and {len(distinct) - _MOST_LISTED} more" if len(distinct) > _MOST_LISTED else ""
    css = ' class="alarm"' if kind == "warning" else ""
    return f'<li><b{css}>{escaped(text)}</b> <span class="soft">{shown}{more}</span></li>'
