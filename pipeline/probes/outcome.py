"""What came of a probe: a final fit, scored on test rows, with what there is to say of it.

Test labels are read only to score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..metrics.bootstrap import Interval
from ..metrics.scores import ClassificationMetrics, MultilabelMetrics
from ..tasks import Prediction
from .labelled_features import LabelledFeatures
from .selection import CurvePoint
from .sklearn_calls import Fitted, predict

_WORTH_SAYING = 0.01
"""Share of the test rows from which equal votes are worth a warning: a few are usual."""


@dataclass(frozen=True)
class ProbeOutcome:
    """A probe that was fitted and scored.

    Parameters
    ----------
    chosen : dict
        The value that the probe was fitted with, under its parameter's name, ``{"C": 10.0}``; empty for an estimator
        without a grid.
    chosen_by : str or None
        The validation score that chose it: ``nll``, ``top1`` or ``map``; None where nothing was chosen.
    curve : list of CurvePoint
        Validation scores of every value that was tried; empty where nothing was chosen.
    metrics : dict
        On test; see `classification_metrics` and `multilabel_metrics`.
    intervals : dict
        Of the metrics, 95 %; see `classification_intervals`.
    converged : bool
        Whether the final fit reached its optimum.
    warnings : list of str
        What is suspicious about data, grid or fit.
    estimator : object
        The fitted estimator; not for serialising.
    fit_seconds : float
        Of all fits, those of the grid included.
    solver : dict
        Of the final fit: ``name``, ``rows`` (how many it was fitted on), ``iterations``, ``gradient_norm``,
        ``objective``, ``gap``; None where it does not say.
    more : dict
        What else a protocol reports.
    remarks : list of str
        What sets the result apart from what was asked for.
    prediction : Prediction or None
        What the estimator says of each test row, to be kept with the trial.
    """

    chosen: dict[str, float]
    chosen_by: str | None
    curve: list[CurvePoint]
    metrics: ClassificationMetrics | MultilabelMetrics
    intervals: dict[str, Interval | None]
    converged: bool
    warnings: list[str]
    estimator: Any
    fit_seconds: float
    solver: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    prediction: Prediction | None = None


@dataclass(frozen=True)
class Choice:
    """What was chosen, and how.

    Parameters
    ----------
    chosen : mapping
        The value of each parameter that was chosen, or given; empty if there was nothing to choose.
    by : str or None
        The validation score that chose it.
    curve : sequence of CurvePoint
        Of every value.
    """

    chosen: Mapping[str, float] = field(default_factory=dict)
    by: str | None = None
    curve: Sequence[CurvePoint] = ()


def outcome(
    final: Fitted,
    fitted_on: LabelledFeatures,
    test: LabelledFeatures,
    n_classes: int,
    choice: Choice,
    *,
    warnings: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
    prediction: Prediction | None = None,
) -> ProbeOutcome:
    """Score a final fit on `test`, by its prediction if that is given, and put together what is known of it."""
    if not final.converged:
        warnings = [*warnings, f"the final fit did not converge: {_how_far(final)}"]
    prediction = prediction or predict(final.estimator, test, n_classes, in_float64=True)
    metrics, intervals = test.task.test_scores(test.y, prediction, n_classes)
    warnings = [*warnings, *_probability_warnings(metrics, prediction, test)]
    if prediction.tied is not None:
        warnings = [*warnings, *_vote_warnings(final.estimator, prediction, len(fitted_on))]
    return ProbeOutcome(
        chosen=dict(choice.chosen),
        chosen_by=choice.by,
        curve=list(choice.curve),
        metrics=metrics,
        intervals=intervals,
        converged=final.converged,
        warnings=[*warnings, *final.warnings],
        estimator=final.estimator,
        fit_seconds=final.seconds + sum(point.seconds for point in choice.curve),
        solver={
            "name": type(final.estimator).__name__,
            "rows": len(fitted_on),
            "iterations": final.iterations,
            "gradient_norm": final.gradient_norm,
            "objective": final.objective,
            "gap": final.gap,
        },
        more=dict(more or {}),
        prediction=prediction,
    )


def _how_far(final: Fitted) -> str:
    if final.gap is not None:
        return f"its objective may be {100 * final.gap:.2g} % above the optimum"
    if final.gradient_norm is not None:
        return f"gradient norm {final.gradient_norm:.3g}"
    return "how far it is from its optimum is not known"


def _probability_warnings(
    metrics: ClassificationMetrics | MultilabelMetrics, prediction: Prediction, test: LabelledFeatures
) -> list[str]:
    """Warn if likelihood and calibration are computed on a part of the rows, or not at all."""
    p = prediction.probabilities
    if p is None:
        return []
    n, seen = len(test), int(metrics.get("nll_rows", 0))  # type: ignore[call-overload]
    warnings = []
    if 0 < seen < n:
        warnings.append(f"nll and ece are of {seen:,} of {n:,} test rows: the others' classes have no train row")
    if without := int((p[np.arange(n), test.y.astype(np.int64)] == 0).sum()):
        warnings.append(
            f"nll and ece are left out: {without:,} of {n:,} test rows give their class no vote, "
            "and the logarithm of 0 is infinite"
        )
    return warnings


def _vote_warnings(estimator: Any, prediction: Prediction, rows: int) -> list[str]:
    """Say where votes, or who casts them, are decided by the order of rows or classes."""
    k, tied = int(estimator.k_), prediction.tied
    assert tied is not None
    n, warnings = len(tied), []
    if k == rows and estimator.weights == "uniform":
        return [f"all {rows:,} training rows vote on every test row: with so large a k all predictions are the same"]
    if across := int(tied.sum()):
        warnings.append(
            f"for {across:,} of {n:,} test rows the neighbours number {k} and {k + 1} are equally near: "
            "the order of the training rows decides which of them votes"
        )
    if prediction.probabilities is not None:
        votes = np.nan_to_num(prediction.probabilities, nan=-1.0)
        equal = int((np.isclose(votes, votes.max(axis=1, keepdims=True), rtol=0, atol=1e-12).sum(axis=1) > 1).sum())
        if equal >= _WORTH_SAYING * n:
            warnings.append(
                f"for {equal:,} of {n:,} test rows several classes have the most votes: the first is predicted"
            )
    return warnings
