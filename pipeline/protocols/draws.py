"""How references draw few-shot rows, call by call: on the same labels in the same order they are the same rows.

Labels that a reference does not know (flags, in CoOp) are drawn as everybody's: `draw_shots`.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ...arrays import Indices, Targets
from ...errors import BadInput
from ..probes.sampling import draw_shots
from ..tasks.multi_label import until_each_has

_MTEB_SEED = 42
"""Of every task in mteb (AbsTask.__init__)."""

_EXPERIMENTS = 10_000
"""More than anybody runs: each of multi-label data takes a shuffle for all those before it."""


def draw_as_coop(
    labels: Targets, shots: int, seed: int, then: int = 0, apart: Targets | None = None
) -> tuple[Indices, Indices]:
    """Draw as CoOp does: by legacy ``numpy.random``, first the training rows of every class, then the others.

    ``np.random.choice(rows of the class, k, replace=False)``, classes ascending (CoOp/lpclip/linear_probe.py). A class
    that has fewer rows is taken whole, which CoOp refuses.

    Parameters
    ----------
    labels, shots, seed, then, apart
        See `draw_shots`. CoOp has validation rows `apart`; without them they come from the rows of train that are left.
    """
    if labels.ndim == 2:
        return draw_shots(labels, shots, seed, then, apart)
    state = np.random.RandomState(seed)
    classes = np.unique(labels)

    def drawn(rows: Indices, count: int) -> Indices:
        return np.asarray(state.choice(rows, min(count, len(rows)), replace=False) if len(rows) else rows)

    first = np.concatenate([drawn(np.flatnonzero(labels == label), shots) for label in classes])
    if not then:
        return first, np.empty(0, dtype=np.int64)
    pool = labels if apart is None else apart
    free = np.ones(len(pool), dtype=bool)
    if apart is None:
        free[first] = False
    further = np.concatenate([drawn(np.flatnonzero((pool == label) & free), then) for label in classes])
    return first, further


def draw_as_mteb(
    labels: Targets, shots: int, seed: int, then: int = 0, apart: Targets | None = None
) -> tuple[Indices, Indices]:
    """Draw as mteb's classification tasks do; `seed` is the number of the experiment, from 0.

    One label a row: a list of all rows is shuffled by ``RandomState(42)``, anew for each experiment but going on from
    the order of the one before, and the first `shots` rows of each label are taken
    (mteb/abstasks/classification.py). Flags: one ``default_rng(42)`` shuffles the rows in order once an experiment, and
    a row is taken while one of its labels has been taken too seldom
    (mteb/abstasks/Image/AbsTaskImageMultilabelClassification.py, version 1.38).

    Parameters
    ----------
    labels, shots, seed
        See `draw_shots`.
    then, apart
        Nothing is chosen here: no further rows are drawn.
    """
    n, none = len(labels), np.empty(0, dtype=np.int64)
    if labels.ndim == 2:
        if seed >= _EXPERIMENTS:
            raise BadInput(f"mteb's experiments are numbered from 0, and {seed} is not one of them.", key="seed")
        rng = np.random.default_rng(_MTEB_SEED)
        for _ in range(seed + 1):
            order = np.arange(n)
            rng.shuffle(order)
        return order[until_each_has(labels[order], shots)], none
    step = np.arange(n)
    np.random.RandomState(_MTEB_SEED).shuffle(step)
    # Every shuffle is the same permutation, so the order of experiment e is its (e + 1)-th power.
    order, power, left = np.arange(n), step, seed + 1
    while left:
        order = order[power] if left % 2 else order
        power, left = power[power], left // 2
    counts: defaultdict[int, int] = defaultdict(int)
    taken = []
    for row, label in zip(order.tolist(), labels[order].tolist(), strict=True):
        if counts[label] < shots:
            taken.append(row)
            counts[label] += 1
    return np.array(taken, dtype=np.int64), none
