"""VTAB-1k (Zhai et al. 2019): 800 training and 200 validation rows, the official test split."""

from __future__ import annotations

import math

import numpy as np

from ...arrays import Indices, Targets
from ..probes.outcome import ProbeOutcome
from ..probes.selection import end_of_grid, middle_of_best
from ..tasks import task_of
from .base import Problem, Protocol
from .logistic_search import SOLVER, LogisticSearch

ROWS = (800, 200)
"""Of train and of validation."""

CS = tuple(float(C) for C in 10.0 ** np.arange(-5, 3.5, 0.5))
"""Half decades: raw features differ in scale from encoder to encoder. VTAB prescribes no probe, and so no grid."""


def run(problem: Problem) -> ProbeOutcome:
    """Choose C on the 200 validation rows, and fit all 1,000."""
    search = LogisticSearch(problem)
    best = CS[middle_of_best(search.scores(CS))]
    search.warnings += end_of_grid("C", best, CS)
    return search.finish(best, problem.refit_on)


def last_tenth(labels: Targets, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Keep the first rows and hold out the last, as VTAB does where there is no validation split.

    Of rows that come class after class, the last would be of one class: then as many are drawn.
    """
    n = len(labels)
    order: Indices = np.arange(n, dtype=np.int64)
    if not task_of(labels).is_mixed(labels):
        order = np.random.default_rng(seed).permutation(n)
    # Rounded down: TFDS cuts train[:90%] at 90 * n // 100.
    border = min(math.floor((1 - fraction) * n), n - 1)
    return np.sort(order[:border]), np.sort(order[border:])


VTAB_1K = Protocol(
    name="vtab-1k",
    description="logistic regression on 800 training rows, C chosen on 200 validation rows, refitted on all 1,000",
    source="VTAB (Zhai et al. 2019), section 3",
    features="raw",
    validation="either",
    hold_out=last_tenth,
    rows=ROWS,
    parameters=SOLVER,
    remarks=("frozen: the published scores fine-tune the encoder",),
    run=run,
)
