"""DINOv2's evaluations by nearest neighbours and by logistic regression (Oquab et al. 2023).

Those by linear heads are in `dino_linear`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ...arrays import Float64, Indices, Mask
from ..probes.checks import check_parts
from ..probes.outcome import Choice, ProbeOutcome, outcome
from ..probes.run import fit
from ..probes.sampling import draw_shots
from ..probes.selection import end_of_grid
from ..tasks import Prediction, Task
from ..tasks.outputs import without_votes_last
from .base import METRIC, Problem, Protocol, Transform
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
