"""DINOv2's evaluations: nearest neighbours, logistic regression, and linear heads by SGD (Oquab et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from ...arrays import Float64, Indices, Mask
from ..probes.checks import check_parts
from ..probes.outcome import Choice, ProbeOutcome, outcome
from ..probes.run import fit
from ..probes.sampling import draw_shots
from ..probes.selection import Criterion, CurvePoint, best_of, end_of_grid, score_validation
from ..tasks import Prediction, Task
from ..tasks.outputs import without_votes_last
from .base import METRIC, Problem, Protocol, Transform
from .linear_heads import fit_heads
from .logistic_search import SOLVER, LogisticSearch

HEADLINE_K = 20
METRICS: Mapping[str, str] = MappingProxyType(
    {
        "mean_accuracy": "top1",
        "mean_per_class_accuracy": "mean_per_class_recall",
        "top1": "top1",
        "mean_per_class_recall": "mean_per_class_recall",
    }
)
"""The reference's ``--metric-type``, under its names and ours; it also chooses C or the head."""

FLAG_METRICS: Mapping[str, str] = MappingProxyType({"map": "map", "map_11_point": "map_11_point"})
CS = tuple(float(C) for C in 10 ** np.linspace(-6, 5, 45))
"""dinov2/eval/log_regression.py, C_POWER_RANGE."""


def random_holdout(labels: Any, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Hold out a share of the rows at random, whatever their classes; ascending indices of both parts.

    The first ``n // 10`` of ``torch.randperm(n)`` from seed 0, as in dinov2/eval/log_regression.py.
    """
    import torch

    n = len(labels)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
    held = min(max(1, math.floor(fraction * n)), n - 1)
    return np.sort(order[held:]), np.sort(order[:held])


def _draw(labels: Any, shots: int, seed: int, then: int = 0, apart: Any = None) -> tuple[Indices, Indices]:
    """Draw as the reference does, by torch's generator; flags as everybody does."""
    from ..probes.knn.dinov2_knn import draw_per_class

    if labels.ndim == 2:
        return draw_shots(labels, shots, seed, then, apart)
    return draw_per_class(labels, shots, seed), np.empty(0, dtype=np.int64)


def run_knn(problem: Problem) -> ProbeOutcome:
    """Score every k from one search; k = 20 stands for the result, and nothing is chosen."""
    from ..probes.knn.dinov2_knn import DINOV2_KS, dinov2_knn
    from ..probes.knn.neighbours import KNNProbe

    warnings = check_parts(problem.train, None, problem.test, problem.n_classes, ordered=True)
    train, test = problem.train, problem.test
    shots, temperature = problem.draw.shots, float(problem.parameters["temperature"])
    # As in the reference: with n rows of each class, k is at most n, and n itself is one of them.
    ks = DINOV2_KS if shots is None else [k for k in (*DINOV2_KS, shots) if k <= shots]
    if max(ks) > len(train):
        warnings.append(f"there are {len(train)} training rows: larger k were cut to that")
    ks = sorted({min(k, len(train)) for k in ks})
    headline = min(HEADLINE_K, ks[-1])
    by_k: dict[str, float | None] = {}
    prediction = None
    for k, classes, votes, tied in dinov2_knn(train.matrix, train.y, test.matrix, ks=ks, temperature=temperature):
        found = _prediction(test.task, classes, votes, tied, problem.n_classes)
        by_k[str(k)] = test.task.score_of(test.y, found)
        prediction = found if k == headline else prediction
    # The weights of the first k neighbours differ from a softmax over those k by a factor, which moves no decision.
    final = fit(KNNProbe(headline, weights="softmax", temperature=temperature), train)
    return outcome(
        final,
        train,
        test,
        problem.n_classes,
        Choice({"k": float(headline)}),
        warnings=warnings,
        more={f"{test.task.score}_by_k": by_k},
        prediction=prediction,
    )


def _prediction(task: Task, classes: Indices, votes: Float64, tied: Mask, n_classes: int) -> Prediction:
    """Turn votes [m, C] for `classes` into labels and scores of all classes; of equal votes the first class wins."""
    if not task.exclusive:
        return Prediction((votes >= 0.5 - 1e-12).astype(np.uint8), votes, tied=tied)
    share = np.full((len(votes), n_classes), np.nan)
    share[:, classes] = votes / votes.sum(axis=1, keepdims=True)
    return Prediction(classes[votes.argmax(axis=1)], without_votes_last(share), share, tied)


def run_logreg(problem: Problem) -> ProbeOutcome:
    """Fit the 45 values of C together, choose on validation rows, and fit all training and validation rows."""
    search = LogisticSearch(problem)
    scores = search.scores(CS)
    best = CS[int(np.argmax(scores))]  # the first of equals: the strongest penalty, as the reference
    search.warnings += end_of_grid("C", best, CS)
    return search.finish(best, problem.refit_on)


def run_linear(problem: Problem) -> ProbeOutcome:
    """Train all heads on the same batches, and take the one that is best on validation rows."""
    return _heads(problem, on_test=False)


def run_linear_testselect(problem: Problem) -> ProbeOutcome:
    """Train all heads on the same batches, and take the one that is best on the test rows, as the paper does."""
    return _heads(problem, on_test=True)


def _heads(problem: Problem, *, on_test: bool) -> ProbeOutcome:
    from ..probes.gradient.heads import DINOV2_LEARNING_RATES, for_batch_size

    warnings = check_parts(problem.train, None if on_test else problem.val, problem.test, problem.n_classes)
    batch_size = int(problem.parameters["batch_size"])
    rates = for_batch_size(DINOV2_LEARNING_RATES, batch_size)
    fits = fit_heads(
        problem.train,
        problem.n_classes,
        learning_rates=rates,
        iterations=int(problem.parameters["iterations"]),
        batch_size=batch_size,
        seed=problem.seed,
    )
    judge = problem.test if on_test else problem.chosen_on
    curve = [
        CurvePoint.of("learning_rate", rate, fitted, score_validation(fitted.estimator, judge, problem.n_classes))
        for rate, fitted in zip(rates, fits, strict=True)
    ]
    best, by = best_of(curve, cast(Criterion, problem.metric), ties="first")  # as the reference
    warnings += end_of_grid("learning_rate", rates[best], rates)
    return outcome(
        replace(fits[best], seconds=0.0),  # which the curve has already
        problem.train,
        problem.test,
        problem.n_classes,
        Choice({"learning_rate": rates[best]}, f"test {by}" if on_test else by, curve),
        warnings=warnings,
    )


DINOV2_KNN = Protocol(
    name="dinov2-knn",
    description="nearest neighbours weighted by softmax(similarity / 0.07); k = 10, 20, 100, 200 from one search",
    source="DINOv2, dinov2/eval/knn.py",
    features="unit",
    draw=_draw,
    parameters=MappingProxyType({"temperature": 0.07}),
    transform=Transform(256, 224, "bicubic"),
    run=run_knn,
)

DINOV2_LOGREG = Protocol(
    name="dinov2-logreg",
    description="logistic regression, 45 values of C chosen on a random tenth of train, refitted on all of train",
    source="DINOv2, dinov2/eval/log_regression.py",
    features="raw",
    validation="held",
    hold_out=random_holdout,
    parameters=MappingProxyType({METRIC: "mean_accuracy", **SOLVER}),
    metrics=MappingProxyType({**METRICS, **FLAG_METRICS}),
    transform=Transform(224, 224, "bicubic"),
    run=run_logreg,
)

_LINEAR: dict[str, Any] = {
    "source": "DINOv2, dinov2/eval/linear.py",
    "features": "raw",
    "parameters": MappingProxyType({METRIC: "mean_accuracy", "iterations": 12_500, "batch_size": 1024}),
    "metrics": METRICS,
    "transform": Transform(256, 224, "bicubic"),
    "random": True,
}

DINOV2_LINEAR = Protocol(
    name="dinov2-linear",
    description="13 linear heads by SGD on the same batches; the one that is best on validation rows",
    validation="either",
    remarks=("un-augmented",),
    run=run_linear,
    **_LINEAR,
)

DINOV2_LINEAR_TESTSELECT = Protocol(
    name="dinov2-linear-testselect",
    description="13 linear heads by SGD on the same batches; the one that is best on the TEST rows, as published",
    remarks=("un-augmented", "testselect: the head was chosen on test labels"),
    run=run_linear_testselect,
    **_LINEAR,
)
