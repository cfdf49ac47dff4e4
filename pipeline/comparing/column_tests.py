"""Which cells of a column are significantly worse than its best.

The best is the best *by chance* too: with many equal models the highest score is far from the lowest. So all pairs of
the column are corrected for together (Holm), not only those with the best; then a column of equal models has a cell
that is called worse with a probability of at most 5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

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


@dataclass(frozen=True, eq=False)
class Tested:
    """What came of testing cells on the rows.

    Parameters
    ----------
    tests : CellTests or None
        None if fewer than two can be tested so.
    notes : tuple of str
    shared : bool
        Whether predictions are kept, and share test samples.
    same_rows : bool
        Whether the cells have the same test samples, as far as it is known.
    doubted : frozenset of int
        Cells whose stated score is not what their kept predictions give.
    """

    tests: CellTests | None
    notes: tuple[str, ...]
    shared: bool = False
    same_rows: bool = True
    doubted: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Judged:
    """The cells of a column, marked.

    Parameters
    ----------
    cells : list of Cell
    notes : tuple of str
        What is to be said: what could not be tested on the rows, or not at all.
    same_rows : bool
        Whether their scores can be ranked: those that are compared are of the same test samples.
    """

    cells: list[Cell]
    notes: tuple[str, ...]
    same_rows: bool


def marked(reader: PredictionReader, cells: Sequence[Cell]) -> Judged:
    """Mark the best of a column, and what is not significantly worse; those that stand apart are left as they are.

    Parameters
    ----------
    reader : PredictionReader
    cells : sequence of Cell
        Of one column.
    """
    at = [i for i, cell in enumerate(cells) if cell.score is not None and not cell.apart]
    if not at:
        return Judged(list(cells), (), False)
    compared = [cells[i] for i in at]
    p, tested = _p_values(compared, reader)
    notes = tuple(f"{cells[0].column.text}: {note}" for note in tested.notes)
    if tested.doubted:
        doubted = {at[k] for k in tested.doubted}
        rest = marked(reader, [replace(cell, apart=cell.apart or i in doubted) for i, cell in enumerate(cells)])
        return Judged(rest.cells, tuple(dict.fromkeys([*notes, *rest.notes])), rest.same_rows)
    single = np.array([cell.single for cell in compared])
    tells = np.triu(~(single[:, None] | single), 1)  # pairs of which something is known
    corrected = np.ones(p.shape)
    corrected[tells] = holm(p[tells])
    corrected = np.minimum(corrected, corrected.T)
    scores = _scores(compared, tested)
    top = int(scores.argmax())
    known = int(np.where(single, -np.inf, scores).argmax())  # nothing is worse than a top that is a single draw
    found = list(cells)
    for k, i in enumerate(at):
        best = bool(scores[k] == scores[top])
        found[i] = replace(cells[i], best=best, tied=best or bool(corrected[k, [top, known]].min() > LEVEL))
    return Judged(found, notes, tested.same_rows)


def _scores(cells: Sequence[Cell], tested: Tested) -> Float64:
    """Return the scores that say which cell is best: on the common rows, if test sets differ and all are there."""
    if not tested.same_rows and tested.tests is not None and len(tested.tests.cells) == len(cells):
        return tested.tests.scores
    return np.array([cell.score for cell in cells], np.float64)


def _p_values(cells: Sequence[Cell], reader: PredictionReader) -> tuple[Float64, Tested]:
    """Return the p value of every pair, and how the most of them were tested.

    Cells that have the usual draws are tested on all of these; any other beside them on the draws that it shares, or by
    intervals.
    """
    if len(cells) < 2:
        return np.ones((len(cells), len(cells))), Tested(None, ())
    half = np.array([_half(cell) for cell in cells])
    scores = np.array([cell.score for cell in cells], np.float64)
    p = np.nan_to_num(interval_p(scores, half), nan=1.0)  # of no interval: cannot be told apart
    together, seeds = shared_draws(cells)
    tested = tests_of(reader, cells, together, seeds)
    notes, by_rows, same = list(tested.notes), set[int](), tested.same_rows
    if (found := tested.tests) is not None and (len(seeds) != 1 or not any(cells[i].varies for i in found.cells)):
        p[np.ix_(found.cells, found.cells)] = found.tests.p
        by_rows |= {*found.cells}
    for i in (i for i in range(len(cells)) if i not in together and len(seeds) > 1):
        own = tuple(seed for seed in seeds if seed in {trial.seed for trial in cells[i].trials})
        if (
            len(own) > 1
            and (more := tests_of(reader, cells, [*together, i], own).tests) is not None
            and i in more.cells
        ):
            at = more.cells.index(i)
            p[i, more.cells] = p[more.cells, i] = more.tests.p[at]
            by_rows.add(i)
            notes.append(f"{cells[i].model} is tested in the draws that it has, seeds {', '.join(map(str, own))}")
    if left := [cell.model for i, cell in enumerate(cells) if i not in by_rows]:
        who = "all models" if len(left) == len(cells) else ", ".join(left)
        notes.append(f"compared by intervals, which finds less: {who}")
    if single := [i for i, cell in enumerate(cells) if cell.single]:
        who = "each model has" if len(single) == len(cells) else f"{', '.join(cells[i].model for i in single)}:"
        notes.append(
            f"{who} a single draw, of which no difference is called significant: other draws may differ more "
            "(probe --seeds 5)"
        )
    sizes = {trial.rows.test for cell in cells for trial in cell.trials}
    if len(sizes) > 1:
        notes.append(f"the test sets have {min(sizes):,} to {max(sizes):,} rows")
    if not (same := same and len(sizes) == 1):
        notes.append("not in the mean ranks, since scores are of different test samples")
    return p, replace(tested, notes=tuple(notes), same_rows=same)


def _half(cell: Cell) -> float:
    return float("nan") if cell.low is None or cell.high is None else (cell.high - cell.low) / 2


def tests_of(reader: PredictionReader, cells: Sequence[Cell], together: Sequence[int], seeds: Sequence[int]) -> Tested:
    """Test every pair of some cells on the test rows and in the draws that they share.

    Parameters
    ----------
    reader : PredictionReader
    cells : sequence of Cell
        With the same metric.
    together : sequence of int
        Which of them.
    seeds : sequence of int
        Draws that all of these have; see `shared_draws`.
    """
    metric = cells[0].column.metric
    if metric not in TESTED:
        return Tested(None, (f"no paired test of {metric}",), shared=True)
    if len(together) < 2:
        return Tested(None, ("no draws in common",), shared=True)
    notes = []
    if any(len(cells[i].trials) > len(seeds) for i in together) and seeds:
        notes.append(f"tested in the draws that all have, seeds {', '.join(map(str, seeds))}")
    aligned, said, same_rows = align(reader, [trial for i in together for trial in _of_seeds(cells[i], seeds)])
    reader.forget()
    notes += said
    if aligned is None:
        return Tested(None, tuple(notes), same_rows=same_rows)
    if (found := shares(aligned, metric)) is None:
        notes.append(f"what is kept of some trials does not tell their {metric}")
        return Tested(None, tuple(notes), shared=True, same_rows=same_rows)
    scores, of = found
    there = {trial.trial: i for i, trial in enumerate(aligned.trials)}
    doubted = set()
    for i in together:
        for trial in _of_seeds(cells[i], seeds):
            if (at := there.get(trial.trial)) is not None and _is_doubted(trial, aligned, float(scores[at]), metric):
                doubted.add(i)
                notes.append(
                    f"{cells[i].model}, trial {trial.trial[:12]}, states {trial.metrics[metric]:.4f}, but its kept "
                    f"predictions give {scores[at]:.4f}: its score is in doubt"
                )
    whole = [i for i in together if all(trial.trial in there for trial in _of_seeds(cells[i], seeds))]
    if len(whole) < 2:
        return Tested(None, tuple(notes), same_rows=same_rows, doubted=frozenset(doubted))
    index = np.array([[there[trial.trial] for trial in _of_seeds(cells[i], seeds)] for i in whole])
    tests = pair_tests(scores[index], of[index], metric)
    by_rows = CellTests(tuple(whole), tests, tuple(seeds), aligned, index, scores[index].mean(axis=1))
    return Tested(by_rows, tuple(notes), True, same_rows, frozenset(doubted))


def _is_doubted(trial: Trial, aligned: Aligned, found: float, metric: str) -> bool:
    """Return whether a trial states another score than its predictions give, where all of its rows are there."""
    stated = trial.metrics.get(metric)
    whole = len(aligned.rows) == trial.rows.test
    # What is kept has 32 bits: a tie in a ranking may then fall otherwise.
    return whole and stated is not None and abs(stated - found) > (1e-3 if metric == "map" else 1e-6)


def shared_draws(cells: Sequence[Cell]) -> tuple[list[int], tuple[int, ...]]:
    """Return the cells that have the usual draws, and the seeds of these; of single trials that need not be equal.

    Usual are the draws that most cells have, of several the most draws; if only one cell has them, the most draws that
    any two share.
    """
    if all(len(cell.trials) == 1 for cell in cells):
        return list(range(len(cells))), ()
    each = [frozenset(trial.seed for trial in cell.trials) for cell in cells]

    def having(seeds: frozenset[int]) -> list[int]:
        return [i for i, own in enumerate(each) if own >= seeds]

    usual = max(each, key=lambda seeds: (len(seeds) > 1, each.count(seeds), len(seeds)))
    if len(having(usual)) < 2:
        usual = max((a & b for a, b in combinations(each, 2)), key=lambda seeds: (len(seeds), len(having(seeds))))
    return (having(usual), tuple(sorted(usual))) if usual else ([], ())


def _of_seeds(cell: Cell, seeds: Sequence[int]) -> list[Trial]:
    """Return the trials of some draws, in their order; a cell's only trial if none are named."""
    if not seeds:
        return list(cell.trials)
    return [next(trial for trial in cell.trials if trial.seed == seed) for seed in seeds]
