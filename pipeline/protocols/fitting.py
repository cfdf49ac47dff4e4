"""The simplest thing that a protocol can do with its rows: fit one estimator on train, and score it on test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..probes.build import for_task
from ..probes.checks import check_parts
from ..probes.outcome import Choice, ProbeOutcome, outcome
from ..probes.run import fit
from .base import Problem


def fit_and_score(problem: Problem, estimator: Any, chosen: Mapping[str, float] | None = None) -> ProbeOutcome:
    """Fit an estimator on the training rows of a problem, and score it on the test rows.

    Parameters
    ----------
    problem : Problem
    estimator : estimator
        Fits and predicts as scikit-learn's classifiers do; not fitted yet. For multi-label data an estimator that takes
        one label a row is fitted once for each flag.
    chosen : mapping, optional
        Values that the result records, such as ``{"C": 1.0}``.

    Returns
    -------
    ProbeOutcome

    Raises
    ------
    BadInput
        If a part is empty, misshapen or not finite, or train has a single class.

    Examples
    --------
    A protocol of a package:

    >>> from cryoprobe import Protocol
    >>> from sklearn.linear_model import RidgeClassifier
    >>> def run(problem):
    ...     return fit_and_score(problem, RidgeClassifier(alpha=problem.parameters["alpha"]))
    >>> ours = Protocol(
    ...     "lab-ridge", "ridge regression, alpha = 1", "our paper", "unit", run, parameters={"alpha": 1.0}
    ... )
    >>> ours.completed({"alpha": 2.0})
    {'alpha': 2.0}
    """
    warnings = check_parts(problem.train, None, problem.test, problem.n_classes)
    final = fit(for_task(estimator, problem.train.task), problem.train)
    return outcome(final, problem.train, problem.test, problem.n_classes, Choice(chosen or {}), warnings=warnings)
