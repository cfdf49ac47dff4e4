"""Few-shot protocols: big_vision's ridge regression, CoOp's logistic regression, and MIEB's classification tasks."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from ..metrics.ranking import average_precision
from ..metrics.scores import ClassificationMetrics
from ..probes.build import for_task
from ..probes.checks import check_parts
from ..probes.outcome import Choice, ProbeOutcome, outcome
from ..probes.run import fit
from ..probes.selection import end_of_grid
from ..probes.sklearn_calls import predict
from ..tasks import Prediction
from .base import Problem, Protocol, Transform
from .draws import draw_as_coop, draw_as_mteb
from .fitting import fit_and_score
from .logistic_search import SOLVER, LogisticSearch
from .search import bisect

COOP_FIRST = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
"""Values of C that CoOp's search begins with, in its order: among equals the first is taken."""

COOP_STEPS = 8


def run_bigvision(problem: Problem) -> ProbeOutcome:
    """Solve the ridge regression of big_vision/evaluators/fewshot_lsr.py."""
    from ..probes.closed_form.few_shot_ridge import FewShotRidgeProbe

    strength = float(problem.parameters["l2"])
    return fit_and_score(problem, FewShotRidgeProbe(strength), {"l2": strength})


def run_coop(problem: Problem) -> ProbeOutcome:
    """Find C on the validation shots by seven values and eight bisections; fit on the training shots alone."""
    search = LogisticSearch(problem)
    peak = COOP_FIRST[int(np.argmax(search.scores(COOP_FIRST)))]
    exponent = bisect(
        lambda ends: search.scores([10.0**end for end in ends]), np.log10(peak) - 1, np.log10(peak) + 1, COOP_STEPS
    )
    search.warnings += end_of_grid("C", 10.0**exponent, COOP_FIRST)
    return search.finish(10.0**exponent, problem.train)


def run_mieb(problem: Problem) -> ProbeOutcome:
    """Fit logistic regression with C = 1, for multi-label data one for each flag."""
    from sklearn.linear_model import LogisticRegression

    # scikit-learn's own: at 100 iterations it may stop before its optimum, and that is what is published.
    single = LogisticRegression(C=1.0, max_iter=int(problem.parameters["max_iter"]))
    if not problem.train.task.exclusive:
        return _of_flags(problem, single)
    done = fit_and_score(problem, single, {"C": 1.0})
    found: dict[str, Any] = {**done.metrics, **_of_predicted(problem, done)}
    return replace(done, metrics=cast(ClassificationMetrics, found))


def _of_flags(problem: Problem, single: Any) -> ProbeOutcome:
    """Fit one classifier a flag, and rank by probabilities.

    The fits are those of scikit-learn's MultiOutputClassifier, which can't fit a flag that all drawn rows have or lack.
    """
    warnings = check_parts(problem.train, None, problem.test, problem.n_classes)
    test = problem.test
    final = fit(for_task(single, problem.train.task), problem.train)
    labels = predict(final.estimator, test, problem.n_classes).labels
    prediction = Prediction(labels, np.asarray(final.estimator.predict_proba(test.matrix)))
    return outcome(
        final,
        problem.train,
        test,
        problem.n_classes,
        Choice({"C": 1.0}),
        warnings=warnings,
        prediction=prediction,
    )


def _of_predicted(problem: Problem, done: ProbeOutcome) -> dict[str, float]:
    """Return what mteb calls ``ap`` of two classes: average precision of the predicted labels, not of scores."""
    if problem.n_classes != 2:
        return {}
    y = (problem.test.y == 1).astype(np.uint8)
    if not y.any():
        return {}
    return {"ap": average_precision(y, np.asarray(done.estimator.predict(problem.test.matrix), dtype=np.float64))}


BIGVISION_FEWSHOT = Protocol(
    name="bigvision-fewshot",
    description="ridge regression on standardised rows, λ = 1024; 1, 5, 10 and 25 shots, 3 draws each",
    source="big_vision/evaluators/fewshot_lsr.py",
    features="raw",
    shots=(1, 5, 10, 25),
    seeds=(0, 1, 2),
    parameters=MappingProxyType({"l2": 1024.0}),
    transform=Transform(256, 224),
    run=run_bigvision,
)

COOP_FEWSHOT = Protocol(
    name="coop-fewshot",
    description="logistic regression, C by seven values and 8 bisections on min(k, 4) validation shots; 10 draws",
    source="CoOp (Zhou et al. 2022), lpclip/linear_probe.py",
    features="raw",
    tap="post_projection",
    validation="either",
    shots=(1, 2, 4, 8, 16),
    seeds=tuple(range(1, 11)),
    ddof=0,
    draw=draw_as_coop,
    parameters=SOLVER,
    run=run_coop,
)

MIEB = Protocol(
    name="mieb",
    description="logistic regression, C = 1, 100 iterations; 16 rows of every label (flags: 8, by lrap); 5 draws",
    source="MIEB (Xiao et al. 2025), mteb's image classification tasks",
    features="raw",
    shots=(16,),
    flag_shots=(8,),
    seeds=(0, 1, 2, 3, 4),
    draw=draw_as_mteb,
    flag_metric="lrap",
    packages=("scikit-learn",),
    parameters=MappingProxyType({"max_iter": 100}),
    run=run_mieb,
)
