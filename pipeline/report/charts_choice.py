"""Which trials have charts of their own: a page has room for some of them, and says which are left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...amounts import count
from ..comparing.cells import Cell
from ..comparing.matrix import Matrix
from ..trials.result import Trial
from .charts_data import MOST_DATASETS, labels_of

MOST_TRIALS = 8
"""Trials of one data set that have bars of classes, a confusion matrix and a reliability diagram."""


@dataclass(frozen=True)
class Shown:
    """A trial that is charted by itself.

    Parameters
    ----------
    label : str
        Its model, its probe and its score.
    trial : Trial
    """

    label: str
    trial: Trial


def datasets_of(matrix: Matrix) -> list[str]:
    """Return the data sets that have charts, in the order of the matrix."""
    return [*dict.fromkeys(column.dataset for column in matrix.columns)][:MOST_DATASETS]


def trials_shown(matrix: Matrix, dataset: str) -> list[Shown]:
    """Return the trials of a data set that are charted by themselves, the best ones first.

    Those on all training rows count, or else those on the most rows, one draw of each cell. Of more than `MOST_TRIALS`
    the best one of each model comes first.
    """
    cells = _largest([c for c in matrix.cells.values() if c.column.dataset == dataset and c.trials])
    cells.sort(key=lambda cell: -1.0 if cell.score is None else cell.score, reverse=True)
    if len(cells) > MOST_TRIALS:
        best = {cell.model: cell for cell in reversed(cells)}
        cells = sorted(cells, key=lambda cell: best[cell.model] is not cell)  # stable: the rest keeps its order
    cells = cells[:MOST_TRIALS]
    named = labels_of((f"{cell.model} · {_what(cell)}" for cell in cells), 100)
    return [
        Shown(f"{name}: {cell.column.metric} {_score(cell.trials[0])}", cell.trials[0])
        for name, cell in zip(named, cells, strict=True)
    ]


def left_out(matrix: Matrix) -> str:
    """Say which trials have no charts of their own; empty if all have."""
    said = []
    datasets = {column.dataset for column in matrix.columns}
    if len(datasets) > MOST_DATASETS:
        said.append(f"Data sets beyond the first {MOST_DATASETS} of {len(datasets)} have no charts here.")
    cells = {dataset: [c for c in matrix.cells.values() if c.column.dataset == dataset] for dataset in datasets}
    if any(len(_largest(found)) > MOST_TRIALS for found in cells.values()):
        said.append(f"Of each data set {MOST_TRIALS} trials are charted: the best ones, first of every model.")
    if any(len(_largest(found)) < len(found) or any(len(c.trials) > 1 for c in found) for found in cells.values()):
        said.append("Trials on fewer rows, and further draws of the same rows, are not.")
    return " ".join(said)


def best_models(cells: Iterable[Cell], most: int) -> tuple[list[Cell], str]:
    """Return the cells with the highest scores, in their own order, and a sentence on those left out."""
    found = list(cells)
    ranked = sorted(found, key=lambda cell: -1.0 if cell.score is None else cell.score, reverse=True)
    kept = {id(cell) for cell in ranked[:most]}
    left = len(found) - len(kept)
    said = f" The best {most} of {count(len(found), 'model')} are shown." if left > 0 else ""
    return [cell for cell in found if id(cell) in kept], said


def _largest(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells on all training rows; of what was only measured on fewer, those on the most."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.model, cell.column.what, cell.column.metric), []).append(cell)
    return [max(group, key=_rows) for group in groups.values()]


def _rows(cell: Cell) -> tuple[bool, int]:
    return cell.column.draw == "all", max((trial.rows.train for trial in cell.trials), default=0)


def _what(cell: Cell) -> str:
    return cell.column.what if cell.column.draw == "all" else f"{cell.column.what}, {cell.column.draw}"


def _score(trial: Trial) -> str:
    return "undefined" if trial.score is None else f"{trial.score:.4f}"
