"""VTAB-1k (Zhai et al. 2019): 800 training and 200 validation rows, the official test split."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ..probes.fit import ProbeOutcome
from ..probes.named import DEFAULT_C
from ..probes.part import Part
from ..probes.selection import Indices
from .base import Problem, Protocol
from .logistic_search import LogisticSearch

TRAIN_ROWS, VAL_ROWS = 800, 200


def run(problem: Problem) -> ProbeOutcome:
    """Choose C on the 200 validation rows, and fit all 1,000."""
    train, mixed = _first(problem.train, TRAIN_ROWS, problem.seed)
    val, _ = _first(problem.chosen_on, VAL_ROWS, problem.seed)
    search = LogisticSearch(replace(problem, train=train, val=val), "map" if train.multilabel else "top1")
    if not mixed:
        search.told.append(
            f"the training rows are sorted by class: {TRAIN_ROWS} were drawn instead of the first {TRAIN_ROWS}"
        )
    if len(train) < TRAIN_ROWS or len(val) < VAL_ROWS:
        search.told.append(f"{len(train)} training and {len(val)} validation rows, not {TRAIN_ROWS} and {VAL_ROWS}")
    scores = search.scores(DEFAULT_C)
    return search.finish(DEFAULT_C[int(np.argmax(scores))], train.joined(val))


def _first(part: Part, count: int, seed: int) -> tuple[Part, bool]:
    """Return the first rows, in the data set's order; of rows sorted by class as many drawn ones, and False."""
    rows: Indices = np.arange(min(count, len(part)), dtype=np.int64)
    if part.multilabel or (np.diff(part.y[rows]) < 0).any() or len(np.unique(part.y)) == 1:
        return part.take(rows), True
    drawn: Indices = np.sort(np.random.default_rng(seed).permutation(len(part))[:count])
    return part.take(drawn), False


def last_tenth(labels: object, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Keep the first rows and hold out the last, as VTAB does where there is no validation split."""
    n = len(labels)  # type: ignore[arg-type]
    border = n - max(1, round(fraction * n))
    return np.arange(border, dtype=np.int64), np.arange(border, n, dtype=np.int64)


VTAB_1K = Protocol(
    name="vtab-1k",
    description="logistic regression on 800 training rows, C chosen on 200 validation rows, refitted on all 1,000",
    source="VTAB (Zhai et al. 2019), section 3",
    features="raw",
    validation="either",
    hold_out=last_tenth,
    parameters=MappingProxyType({"tol": 5e-5, "max_iter": 50}),
    remarks=("frozen: the published scores fine-tune the encoder",),
    run=run,
)
