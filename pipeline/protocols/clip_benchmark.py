"""LAION's CLIP_benchmark: a linear layer by AdamW, its weight decay found coarse to fine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from ..probes.checks import check_parts
from ..probes.labelled_features import LabelledFeatures
from ..probes.outcome import Choice, ProbeOutcome, outcome
from ..probes.selection import CurvePoint, end_of_grid, score_validation
from ..probes.sklearn_calls import Fitted
from .base import Problem, Protocol
from .linear_heads import fit_heads
from .search import FIRST, coarse_to_fine

WEIGHT_DECAYS = np.logspace(-6, 2, 97)


def run(problem: Problem) -> ProbeOutcome:
    """Search the weight decay on validation rows, where there are some; without, there is no weight decay."""
    warnings = check_parts(problem.train, problem.val, problem.test, problem.n_classes)
    if problem.val is None:
        (final,) = _train(problem, problem.train, [0.0])
        return outcome(
            final, problem.train, problem.test, problem.n_classes, Choice({"weight_decay": 0.0}), warnings=warnings
        )
    val, curve = problem.val, list[CurvePoint]()

    def scores(places: Sequence[int]) -> list[float]:
        decays = WEIGHT_DECAYS[list(places)].tolist()
        points = [
            CurvePoint.of("weight_decay", decay, fitted, score_validation(fitted.estimator, val, problem.n_classes))
            for decay, fitted in zip(decays, _train(problem, problem.train, decays), strict=True)
        ]
        curve.extend(points)
        return [cast(float, point.scores.top1) for point in points]  # heads are of single labels, which always have it

    chosen = float(WEIGHT_DECAYS[coarse_to_fine(scores, len(WEIGHT_DECAYS), FIRST)])
    warnings += end_of_grid("weight_decay", chosen, WEIGHT_DECAYS.tolist())
    fitted_on = problem.refit_on
    (final,) = _train(problem, fitted_on, [chosen])
    curve.sort(key=lambda point: point.value)
    return outcome(
        final,
        fitted_on,
        problem.test,
        problem.n_classes,
        Choice({"weight_decay": chosen}, "top1", curve),
        warnings=warnings,
    )


def _train(problem: Problem, part: LabelledFeatures, decays: Sequence[float]) -> list[Fitted]:
    """Train heads with several weight decays on the same batches."""
    given: dict[str, Any] = {name: problem.parameters[name] for name in ("epochs", "batch_size")}
    start = time.perf_counter()
    fits = fit_heads(
        part,
        problem.n_classes,
        learning_rates=[problem.parameters["learning_rate"]],
        weight_decays=decays,
        optimizer="adamw",
        init_std=None,
        seed=problem.seed,
        **given,
    )
    problem.progress(f"{len(decays)} heads trained on {len(part)} rows in {time.perf_counter() - start:.1f} s")
    return fits


CLIP_BENCHMARK = Protocol(
    name="clip-benchmark",
    description="a linear layer by AdamW, 10 epochs; weight decay by coarse-to-fine search where there is a val split",
    source="LAION's CLIP_benchmark, linear_probe.py",
    features="unit",
    tap="post_projection",
    validation="official",
    val_shots=None,
    parameters=MappingProxyType({"learning_rate": 0.1, "epochs": 10, "batch_size": 64}),
    random=True,
    run=run,
)
