"""Logistic fits of one problem: several C together, each value once, with the curve that a result records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import BadInput
from ..probes.checks import check_parts
from ..probes.labelled_features import LabelledFeatures
from ..probes.outcome import Choice, ProbeOutcome, outcome
from ..probes.registry import NAMED
from ..probes.run import begin, fit, targets_of
from ..probes.selection import CurvePoint, score_validation
from ..probes.sklearn_calls import Fitted, fit_grid
from ..tasks import ValidationScores
from .base import Problem

SOLVER = NAMED["logreg"].defaults
"""``tol`` and ``max_iter`` of the probe logreg: Newton's steps, where papers count iterations of L-BFGS."""


class LogisticSearch:
    """Fits on a problem's training rows, scored on its validation rows.

    Parameters
    ----------
    problem : Problem
        Its parameters have ``tol`` and ``max_iter``, of `LogisticProbe`.

    Attributes
    ----------
    curve : list of CurvePoint
        Of every C that was fitted, in that order.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.metric = problem, problem.metric
        self.curve: list[CurvePoint] = []
        self.warnings = check_parts(problem.train, problem.val, problem.test, problem.n_classes)
        self._scores: dict[float, float] = {}
        self._fits: dict[float, Fitted] = {}

    def scores(self, values: Sequence[float]) -> list[float]:
        """Return the validation score of each C; those that have not been fitted yet are fitted together."""
        new = [C for C in dict.fromkeys(values) if C not in self._scores]
        if new:
            train = self.problem.train
            fits = fit_grid(probe(self.problem), train.for_logistic, targets_of(train), new)
            for C, fitted in zip(new, fits, strict=True):
                point = CurvePoint.of("C", C, fitted, self._score(fitted))
                if (score := point.score(self.metric)) is None:
                    raise BadInput(
                        f"The validation rows give no {self.metric} to choose by: none of them has a label.",
                        hint="Give others: --val-split SPLIT, or a larger share of train.",
                        key="val-split",
                    )
                self.curve.append(point)
                self._scores[C], self._fits[C] = score, fitted
            self.problem.progress(
                f"{len(new)} value{'s' if len(new) > 1 else ''} of C: validation {self.metric} "
                f"{', '.join(f'{C:.3g} {self._scores[C]:.4f}' for C in new)}"
            )
        return [self._scores[C] for C in values]

    def _score(self, fitted: Fitted) -> ValidationScores:
        p = self.problem
        return score_validation(fitted.estimator, p.chosen_on, p.n_classes, also=self.metric)

    def finish(self, C: float, fitted_on: LabelledFeatures) -> ProbeOutcome:
        """Fit once more with the chosen C, from the weights that it has already, and score on test."""
        final = fit(begin(probe(self.problem, C=C), self._fits.get(C)), fitted_on)
        self.problem.progress(f"C {C:.3g} fitted on {len(fitted_on)} rows in {final.seconds:.1f} s")
        curve = sorted(self.curve, key=lambda point: point.value)
        warnings = list(self.warnings)
        if stopped := [f"{point.value:.3g}" for point in curve if not point.converged]:
            warnings.append(f"validation fits that did not converge: C = {', '.join(stopped)}")
        return outcome(
            final,
            fitted_on,
            self.problem.test,
            self.problem.n_classes,
            Choice({"C": C}, self.metric if curve else None, curve),
            warnings=warnings,
        )


def probe(problem: Problem, **parameters: Any) -> Any:
    """Return a `LogisticProbe` with the problem's tolerance and limits, not fitted."""
    from ..probes.logistic import LogisticProbe

    settings = {name: problem.parameters[name] for name in SOLVER}
    return LogisticProbe(**settings, memory=problem.memory, **parameters)
