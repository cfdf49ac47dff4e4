"""Few-shot protocols: big_vision's ridge regression, CoOp's logistic regression, and MIEB's classification tasks."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from ..probes.checks import check_parts
from ..probes.fit import ProbeOutcome, fit, outcome
from ..probes.selection import end_of_grid
from .base import Problem, Protocol
from .logistic_search import SOLVER, LogisticSearch
from .search import bisect

COOP_FIRST = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
"""Values of C that CoOp's search begins with, in its order: among equals the first is taken."""

COOP_STEPS = 8


def run_bigvision(problem: Problem) -> ProbeOutcome:
    """Solve the ridge regression of big_vision/evaluators/fewshot_lsr.py."""
    from ..probes.closed_form.few_shot_ridge import FewShotRidgeProbe

    strength = float(problem.parameters["l2"])
    return _plain(problem, FewShotRidgeProbe(strength), {"l2": strength})


def run_coop(problem: Problem) -> ProbeOutcome:
    """Find C on the validation shots by seven values and eight bisections; fit on the training shots alone."""
    search = LogisticSearch(problem, problem.accuracy)
    peak = COOP_FIRST[int(np.argmax(search.scores(COOP_FIRST)))]
    exponent = bisect(
        lambda ends: search.scores([10.0**end for end in ends]), np.log10(peak) - 1, np.log10(peak) + 1, COOP_STEPS
    )
    search.told += end_of_grid("C", 10.0**exponent, COOP_FIRST)
    return search.finish(10.0**exponent, problem.train)


def run_mieb(problem: Problem) -> ProbeOutcome:
    """Fit logistic regression with C = 1, or for flags take five neighbours."""
    if problem.train.multilabel:
        from ..probes.knn.neighbours import KNNProbe

        return _plain(problem, KNNProbe(5, metric="euclidean"), {"k": 5.0})
    from sklearn.linear_model import LogisticRegression

    # scikit-learn's own: at 100 iterations it may stop before its optimum, and that is what is published.
    iterations = int(problem.parameters["max_iter"])
    return _plain(problem, LogisticRegression(C=1.0, max_iter=iterations, random_state=problem.seed), {"C": 1.0})


def _plain(problem: Problem, estimator: Any, chosen: dict[str, float]) -> ProbeOutcome:
    told = check_parts(problem.train, None, problem.test, problem.n_classes)
    final = fit(estimator, problem.train)
    return outcome(final, problem.train, problem.test, problem.n_classes, chosen=chosen, warnings=told)


BIGVISION_FEWSHOT = Protocol(
    name="bigvision-fewshot",
    description="ridge regression on standardised rows, λ = 1024; 1, 5, 10 and 25 shots, 3 draws each",
    source="big_vision/evaluators/fewshot_lsr.py",
    features="raw",
    shots=(1, 5, 10, 25),
    seeds=(0, 1, 2),
    parameters=MappingProxyType({"l2": 1024.0}),
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
    parameters=SOLVER,
    run=run_coop,
)

MIEB = Protocol(
    name="mieb",
    description="16 rows of every label, logistic regression with C = 1 and 100 iterations (flags: 5-NN); 5 draws",
    source="MIEB (Xiao et al. 2025), mteb's image classification tasks",
    features="raw",
    shots=(16,),
    seeds=(0, 1, 2, 3, 4),
    parameters=MappingProxyType({"max_iter": 100}),
    run=run_mieb,
)
