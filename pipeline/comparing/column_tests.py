"""Which cells of a column are significantly worse than its best.

The best is the best *by chance* too: with many equal models the highest score is far from the lowest. So all pairs of
the column are corrected for together (Holm), not only those with the best; then a column of equal models has a cell
that is called worse with a probability of at most 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...arrays import Float64, Indices
from ..trials.result import Trial
from .aligned import Aligned, PredictionReader, align
from .cells import Cell
from .holm import holm
from .paired_tests import PairTests, interval_p, pair_tests
from .row_shares import TESTED, shares

LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class CellTests:
    """Paired tests of several cells.

    Parameters
    ----------
    cells : tuple of int
        Which of the cells they are of.
    tests : PairTests
    seeds : tuple of int
        The draws that all of them have.
    aligned : Aligned
        What their trials said of the rows that all have.
    index : ndarray, int64 [m, D]
        Which trial of `aligned` is of which cell and draw.
    scores : ndarray, float64 [m]
        On these rows, means over these draws.
    """

    cells: tuple[int, ...]
    tests: PairTests
    seeds: tuple[int, ...]
    aligned: Aligned
    index: Indices
    scores: Float64


def marked(reader: PredictionReader, cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """Mark the best of a column, and what is not significantly worse.

    Parameters
    ----------
    reader : PredictionReader
    cells : sequence of Cell
        Of one column.

    Returns
    -------
    list of Cell
        `cells`, marked.
    list of str
        What is to be said: what could not be tested on the rows.
    """
    at = [i for i, cell in enumerate(cells) if cell.score is not None]
    if not at:
        return list(cells), []
    scores = np.array([cells[i].score for i in at], np.float64)
    p, notes = _p_values([cells[i] for i in at], scores, reader)
    upper = np.triu_indices(len(at), 1)
    corrected = np.ones(p.shape)
    corrected[upper] = holm(p[upper])
    corrected = np.minimum(corrected, corrected.T)
    top = int(scores.argmax())
    found = list(cells)
    for k, i in enumerate(at):
        best = bool(scores[k] == scores[top])
        found[i] = replace(cells[i], best=best, tied=best or bool(corrected[k, top] > LEVEL))
    return found, notes


def _p_values(cells: Sequence[Cell], scores: Float64, reader: PredictionReader) -> tuple[Float64, list[str]]:
    """Return the p value of every pair, and how those were found that are not from the rows."""
    if len(cells) < 2:
        return np.ones((len(cells), len(cells))), []
    column = cells[0].column
    half = np.array([_half(cell) for cell in cells])
    p = np.nan_to_num(interval_p(scores, half), nan=1.0)  # of no interval: cannot be told apart
    found, notes = tests_of(reader, cells)
    by_rows = () if found is None else found.cells
    if found is not None:
        p[np.ix_(by_rows, by_rows)] = found.tests.p
    if left := [cells[i].model for i in range(len(cells)) if i not in by_rows]:
        who = "all models" if len(left) == len(cells) else ", ".join(left)
        notes.append(f"compared by intervals, which finds less: {who}")
    return p, [f"{column.text}: {note}" for note in notes]


def _half(cell: Cell) -> float:
    return float("nan") if cell.low is None or cell.high is None else (cell.high - cell.low) / 2


def tests_of(reader: PredictionReader, cells: Sequence[Cell]) -> tuple[CellTests | None, list[str]]:
    """Test every pair of cells on the test rows and in the draws that they share.

    Parameters
    ----------
    reader : PredictionReader
    cells : sequence of Cell
        With the same metric.

    Returns
    -------
    CellTests or None
        None if fewer than two can be tested so.
    list of str
        What is to be said.
    """
    metric = cells[0].column.metric
    if metric not in TESTED:
        return None, [f"no paired test of {metric}"]
    together, seeds, notes = _draws(cells)
    trials = [trial for i in together for trial in _of_seeds(cells[i], seeds)]
    if len(together) < 2:
        return None, notes
    aligned, said = align(reader, trials)
    reader.forget()
    notes += said
    found = None if aligned is None else shares(aligned, metric)
    if aligned is None or found is None:
        return None, notes
    there = {trial.trial: i for i, trial in enumerate(aligned.trials)}
    whole = [i for i in together if all(trial.trial in there for trial in _of_seeds(cells[i], seeds))]
    if len(whole) < 2:
        return None, notes
    index = np.array([[there[trial.trial] for trial in _of_seeds(cells[i], seeds)] for i in whole])
    scores, of = found
    tests = pair_tests(scores[index], of[index], metric)
    return CellTests(tuple(whole), tests, seeds, aligned, index, scores[index].mean(axis=1)), notes


def _draws(cells: Sequence[Cell]) -> tuple[list[int], tuple[int, ...], list[str]]:
    """Return the cells that share draws, and the seeds of these; of single trials that need not be equal."""
    if all(len(cell.trials) == 1 for cell in cells):
        return list(range(len(cells))), (), []
    each = [{trial.seed for trial in cell.trials} for cell in cells]
    counts: dict[frozenset[int], int] = {}
    for seeds in map(frozenset, each):
        counts[seeds] = counts.get(seeds, 0) + 1
    usual = max(counts, key=lambda seeds: (counts[seeds], len(seeds)))
    together = [i for i, seeds in enumerate(each) if seeds & usual]
    shared = sorted(usual.intersection(*(each[i] for i in together)))
    if not shared:
        together = [i for i, seeds in enumerate(each) if seeds >= usual]
        shared = sorted(usual)
    notes = []
    if any(len(each[i]) > len(shared) for i in together):
        notes.append(f"tested in the draws that all have, seeds {', '.join(map(str, shared))}")
    return together, tuple(shared), notes


def _of_seeds(cell: Cell, seeds: Sequence[int]) -> list[Trial]:
    """Return the trials of some draws, in their order; a cell's only trial if none are named."""
    if not seeds:
        return list(cell.trials)
    return [next(trial for trial in cell.trials if trial.seed == seed) for seed in seeds]
