"""DINOv2's and DINOv3's linear evaluations: many heads by SGD, on the same batches (dinov2/eval/linear.py).

A head reads the class tokens of the last blocks, and with `avgpool` the mean patch token of the last block behind them.
All of these lie side by side in the tap ``cls@4+patch_mean``, so that every head reads a range of its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, cast

from ..probes.checks import check_parts
from ..probes.outcome import Choice, ProbeOutcome, outcome
from ..probes.selection import Criterion, CurvePoint, best_of, end_of_grid, score_validation
from ..specs import Tap
from ..tap_names import last_blocks
from .base import METRIC, Problem, Protocol, Transform
from .dinov2 import METRICS
from .linear_heads import fit_heads

DINOV2_BLOCKS, DINOV3_BLOCKS = (1, 4), (1,)
"""n_last_blocks_list of dinov2/eval/linear.py and of dinov3/eval/linear.py."""

DINOV2_POOLS, DINOV3_POOLS = (False, True), (True,)
"""avgpool, in the order in which they make their heads."""


@dataclass(frozen=True)
class HeadInput:
    """What a head reads.

    Parameters
    ----------
    columns : slice
    chosen : dict of str to int
        What a result calls it, as the reference does: ``n_last_blocks``, whose class tokens it reads, and ``avgpool``,
        1 if the mean patch token of the last block stands behind them. Empty if it reads whatever there is.
    """

    columns: slice = field(default_factory=lambda: slice(None))
    chosen: dict[str, int] = field(default_factory=dict)


def head_inputs(taps: Sequence[tuple[Tap, int]], blocks: Sequence[int], pools: Sequence[bool]) -> list[HeadInput]:
    """Return what heads read of features, in the order of the reference.

    Parameters
    ----------
    taps : sequence of (str, int)
        Taps that lie side by side, with the width of each.
    blocks : sequence of int
        Numbers of last blocks that are wanted.
    pools : sequence of bool
        Which `avgpool` are wanted.

    Returns
    -------
    list of HeadInput
        All columns for one, if the features are not class tokens of several blocks, alone or with the mean patch token
        behind them: the trials on the taps ``cls`` and ``cls+patch_mean`` have one head a rate, and had always.

    Examples
    --------
    >>> every = head_inputs([("cls@4", 8), ("patch_mean", 2)], (1, 4), (False, True))
    >>> [(list(one.chosen.values()), one.columns.start, one.columns.stop) for one in every]
    [([1, 0], 6, 8), ([1, 1], 6, 10), ([4, 0], 0, 8), ([4, 1], 0, 10)]
    >>> head_inputs([("pooled", 2)], (1, 4), (False, True))
    [HeadInput(columns=slice(None, None, None), chosen={})]
    """
    names = [tap for tap, _ in taps]
    kind, there = (last_blocks(names[0]) if names else None) or ("", 1)
    if kind != "cls" or names[1:] not in ([], ["patch_mean"]):
        return [HeadInput()]
    tokens = taps[0][1]
    ends = {False: tokens, True: sum(width for _, width in taps)}
    found = [
        HeadInput(slice(tokens - n * tokens // there, ends[pool]), {"n_last_blocks": n, "avgpool": int(pool)})
        for n in blocks
        for pool in pools
        if n <= there and (len(taps) == 2 or not pool)
    ]
    return found or [HeadInput()]


def run_dinov2(problem: Problem) -> ProbeOutcome:
    """Train all heads on the same batches, and take the one that is best on validation rows."""
    return _heads(problem, DINOV2_BLOCKS, DINOV2_POOLS, on_test=False)


def run_dinov2_testselect(problem: Problem) -> ProbeOutcome:
    """Train all heads on the same batches, and take the one that is best on the test rows, as the paper does."""
    return _heads(problem, DINOV2_BLOCKS, DINOV2_POOLS, on_test=True)


def run_dinov3(problem: Problem) -> ProbeOutcome:
    """Train all heads on the same batches, and take the one that is best on validation rows."""
    return _heads(problem, DINOV3_BLOCKS, DINOV3_POOLS, on_test=False)


def _heads(problem: Problem, blocks: Sequence[int], pools: Sequence[bool], *, on_test: bool) -> ProbeOutcome:
    from ..probes.gradient.heads import DINOV2_LEARNING_RATES, for_batch_size
    from ..probes.gradient.sgd import widened

    train, n_classes = problem.train, problem.n_classes
    warnings = check_parts(train, None if on_test else problem.val, problem.test, n_classes)
    batch_size = int(problem.parameters["batch_size"])
    rates = for_batch_size(DINOV2_LEARNING_RATES, batch_size)
    inputs = head_inputs(problem.taps, blocks, pools)
    fits = fit_heads(
        train,
        n_classes,
        inputs=[one.columns for one in inputs],
        learning_rates=rates,
        iterations=int(problem.parameters["iterations"]),
        batch_size=batch_size,
        seed=problem.seed,
    )
    problem.progress(f"{len(fits)} heads trained on {len(train)} rows")
    judge = problem.test if on_test else problem.chosen_on
    heads = [(one, rate) for one in inputs for rate in rates]
    curve = []
    for (one, rate), fitted in zip(heads, fits, strict=True):
        scores = score_validation(fitted.estimator, judge.columns(one.columns), n_classes)
        curve.append(CurvePoint.of("learning_rate", rate, fitted, scores, **one.chosen))
    best, by = best_of(curve, cast(Criterion, problem.metric), ties="first")  # as the reference
    one, rate = heads[best]
    # What is kept of the head takes rows as the store has them. Its seconds are in the curve already.
    whole = widened(fits[best].estimator, one.columns, train.matrix.shape[1])
    return outcome(
        replace(fits[best], seconds=0.0, estimator=whole),
        train,
        problem.test,
        n_classes,
        Choice({"learning_rate": rate, **one.chosen}, f"test {by}" if on_test else by, curve),
        warnings=[*warnings, *end_of_grid("learning_rate", rate, rates)],
    )


_LINEAR: dict[str, Any] = {
    "features": "raw",
    "parameters": MappingProxyType({METRIC: "mean_accuracy", "iterations": 12_500, "batch_size": 1024}),
    "metrics": METRICS,
    "transform": Transform(256, 224, "bicubic"),
    "random": True,
}

DINOV2_LINEAR = Protocol(
    name="dinov2-linear",
    description="52 linear heads by SGD on the same batches; the one that is best on validation rows",
    source="DINOv2, dinov2/eval/linear.py",
    validation="either",
    taps=("cls@4+patch_mean",),
    remarks=("un-augmented",),
    run=run_dinov2,
    **_LINEAR,
)

DINOV2_LINEAR_TESTSELECT = Protocol(
    name="dinov2-linear-testselect",
    description="52 linear heads by SGD on the same batches; the one that is best on the TEST rows, as published",
    source="DINOv2, dinov2/eval/linear.py",
    taps=("cls@4+patch_mean",),
    remarks=("un-augmented", "testselect: the head was chosen on test labels"),
    run=run_dinov2_testselect,
    **_LINEAR,
)

DINOV3_LINEAR = Protocol(
    name="dinov3-linear",
    description="13 linear heads by SGD on class token and mean patch token; the one that is best on validation rows",
    source="DINOv3, dinov3/eval/linear.py",
    validation="either",
    taps=("cls+patch_mean", "cls@4+patch_mean"),
    remarks=("un-augmented",),
    run=run_dinov3,
    **_LINEAR,
)
