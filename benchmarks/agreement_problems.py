"""The logistic probe on 300 seeded random problems, against certified optima of scikit-learn in float64.

A problem passes if all of this holds:

- the probe says that it converged, and states a gap of at most 1e-4 of the optimum;
- its objective, evaluated in float64, is above the optimum by no more than the stated gap;
- its accuracy on 4,000 held-out rows is within half a point of the optimum's;
- no more than 5 % of those rows are ties;
- the optimum itself is certified: a lower bound, proven by `certificate`, lies within 1e-6 of it.

The optimum is that of scikit-learn's L-BFGS at tol 1e-10. If its tolerances, which are absolute, stop it short of
that, SciPy's L-BFGS goes on with the objective scaled (`certificate.descend`), and scikit-learn's newton-cholesky
after it. All get the rows centred, scaled to a root mean square norm of one, and along their principal axes, with C
scaled along: the same problem, better conditioned.

Held-out rows whose two largest logits differ, at the optimum, by less than the optimum is known or than float32 can
represent are counted as ties: they can go either way, and neither side gets the credit. If they are too many because
the optimum is not known well enough, both begin once more, from the probe's weights. That favours nobody:
`certificate` proves how far any weights are from the optimum, however they were found, so that the class of a row that
is not a tie is proven to be the optimum's. A probe whose weights are wrong gives a start that leads to no better proof,
or to weights that are right and differ from its own.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from certificate import Certificate, certify, descend, logits_of, objective, two_columns
from sklearn.linear_model import LogisticRegression

from cryoprobe.pipeline.probes.logistic import LogisticProbe

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.logistic_problems import COUNT, Problem, problem

__all__ = ["COUNT", "Outcome", "report", "solve"]

Array = npt.NDArray[Any]
STATED = 1e-4
"""The gap that a fit may state by default."""
CERTIFIED = 1e-6
"""How closely the optimum must be known, relative."""
_POLISHED = 1e-11
"""How closely it is tried for: the closer it is known, the fewer held-out rows are ties."""
HALF_A_POINT = 0.005
MOST_TIES = 0.05
"""Share of the held-out rows that may be ties, for accuracy to say anything."""
_ROUNDING = 1e-9
"""Of an objective in float64, relative."""
_LOST_IN_FLOAT32 = 2.0**-22
"""Of a logit's terms: a few units in the last place."""
_LARGEST_CHOLESKY, _LARGEST_LAST = 4100, 8200
"""Parameters up to which a dense Hessian is factorised; and where there would be too many ties without."""


@dataclass(frozen=True)
class Outcome:
    """What the probe and the reference found on one problem; all gaps and excesses are relative to the optimum."""

    seed: int
    what: str
    converged: bool
    gap: float
    excess: float
    reference_gap: float
    accuracy: float
    reference_accuracy: float
    ties: float
    seconds: float

    @property
    def difference(self) -> float:
        """Accuracy, less the reference's."""
        return self.accuracy - self.reference_accuracy

    @property
    def failures(self) -> list[str]:
        """What does not hold, in words; a nan fails."""
        held = {
            "not converged": self.converged,
            f"states a gap above {STATED:g}": self.gap <= STATED,
            "objective beyond the stated gap": self.excess <= self.gap + _ROUNDING,
            "accuracy": abs(self.difference) <= HALF_A_POINT,
            "too many ties": self.ties <= MOST_TIES,
            "reference not certified": self.reference_gap <= CERTIFIED,
        }
        return [name for name, holds in held.items() if not holds]


class Frame:
    """The rows of a problem centred, along their principal axes and scaled; the same problem with another C."""

    def __init__(self, given: Problem) -> None:
        self.given, self.x = given, given.x.astype(np.float64)
        self.mean = self.x.mean(0)
        centred = self.x - self.mean
        self.axes = np.linalg.svd(centred, full_matrices=False)[2]
        self.rotated = centred @ self.axes.T
        self.scale = float(np.sqrt(np.square(self.rotated).sum(1).mean()))
        self.rotated /= self.scale
        self.C = given.C * self.scale**2

    def back(self, coef: Array, best: Certificate) -> tuple[Array, Certificate]:
        """Return coefficients for the rows as they are, and the better of the certificates here and there."""
        coef = coef @ self.axes / self.scale
        again = certify(self.x, self.given.y, coef, best.intercept - coef @ self.mean, self.given.C)
        if again.relative > best.relative:
            again = replace(again, objective=best.objective, gap=best.gap)
        return coef, again

    def descend_from(self, coef: Array, intercept: Array) -> tuple[Array, Certificate]:
        """Return what SciPy's L-BFGS finds from the given weights for the rows as they are."""
        start = coef @ self.axes.T * self.scale, intercept + coef @ self.mean
        coef, best = descend(self.rotated, self.given.y, *start, self.C, steps=500, wanted=_POLISHED)
        if best.relative > _POLISHED and coef.size <= _LARGEST_LAST:
            coef, best = self.by_cholesky(coef, best)
        return self.back(coef, best)

    def by_cholesky(self, coef: Array, best: Certificate) -> tuple[Array, Certificate]:
        """Return what scikit-learn's newton-cholesky makes of weights for the rotated rows, if that is better."""
        # Its tolerance is absolute as well: with this one it goes on until rounding stops it.
        steps = 100 if coef.size <= _LARGEST_CHOLESKY else 4  # each of which takes seconds, from close by
        model = LogisticRegression(C=self.C, solver="newton-cholesky", warm_start=True, tol=1e-20, max_iter=steps)
        model.classes_ = np.unique(self.given.y)
        model.coef_, model.intercept_ = coef, best.intercept
        model.fit(self.rotated, self.given.y)
        found = certify(self.rotated, self.given.y, model.coef_, model.intercept_, self.C)
        return (model.coef_, found) if found.relative < best.relative else (coef, best)


def optimum(frame: Frame) -> tuple[Array, Certificate]:
    """Return coefficients [K, d] of the optimum, for the rows as they are, and their certificate."""
    given, rotated, C = frame.given, frame.rotated, frame.C
    model = LogisticRegression(C=C, tol=1e-10, max_iter=3000).fit(rotated, given.y)
    coef, best = descend(rotated, given.y, model.coef_, model.intercept_, C, steps=500, wanted=_POLISHED)
    if best.relative > _POLISHED and coef.size <= _LARGEST_CHOLESKY:
        coef, best = frame.by_cholesky(coef, best)
    if best.relative > 0.1 * CERTIFIED:
        coef, best = descend(rotated, given.y, coef, best.intercept, C, steps=3000, wanted=0.1 * CERTIFIED)
    return frame.back(coef, best)


def solve(seed: int) -> Outcome:
    """Fit the probe on the problem of a seed, and compare."""
    given = problem(seed)
    frame = Frame(given)
    coef, best = optimum(frame)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what did not converge is in the table
        probe = LogisticProbe(C=given.C).fit(given.x, given.y)
    seconds = time.perf_counter() - start
    found = objective(given.x, given.y, probe.coef_, probe.intercept_, given.C)
    ours = two_columns(given.x_test.astype(np.float64) @ probe.coef_.T + probe.intercept_)
    theirs, tied = _decide(given, coef, best)
    if tied.mean() > MOST_TIES:
        second_coef, second = frame.descend_from(probe.coef_, probe.intercept_)
        if second.relative < best.relative:
            coef, best = second_coef, second
            theirs, tied = _decide(given, coef, best)
    reference_right = (theirs.argmax(1) == given.y_test) & ~tied
    right = (ours.argmax(1) == given.y_test) & ~tied
    return Outcome(
        seed=seed,
        what=given.what,
        converged=bool(probe.converged_),
        # Solvers without a certificate are held to what they should state.
        gap=float(getattr(probe, "gap_", STATED)),
        excess=found / best.objective - 1,
        reference_gap=best.relative,
        accuracy=float(right.mean()),
        reference_accuracy=float(reference_right.mean()),
        ties=float(tied.mean()),
        seconds=seconds,
    )


def _decide(given: Problem, coef: Array, best: Certificate) -> tuple[Array, Array]:
    """Return logits of the held-out rows, [n, K], and which rows [n] have two largest that cannot be told apart."""
    logits = two_columns(logits_of(given.x_test, coef)[:, -len(coef) :] + best.intercept)
    ordered = np.sort(logits, axis=1)
    margin = ordered[:, -1] - ordered[:, -2]
    rows = given.x_test.astype(np.float64)
    # Strong convexity: ‖W - W*‖² ≤ 2 C (F - F*). Two logits of a row differ by √2 ‖x‖ times as much at most.
    distance = 2 * np.sqrt(given.C * best.gap) * np.linalg.norm(rows - given.x.mean(0, dtype=np.float64), axis=1)
    terms = np.abs(rows) @ np.abs(coef).max(0) + np.abs(best.intercept).max()
    tied: Array = margin <= distance + _LOST_IN_FLOAT32 * terms
    return logits, tied


def report(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Print a line for each problem as it is solved, and the worst of them; return the figures."""
    print("\nRandom problems: gaps and excess relative to the optimum, accuracy on held-out rows\n", flush=True)
    known = []
    for at in outcomes:
        known.append(at)
        verdict = "FAIL" if at.failures else "PASS"
        print(
            f"{verdict}  {at.seed:3d}  gap {at.gap:7.1e}  excess {at.excess:8.1e}  known to {at.reference_gap:7.1e}  "
            f"accuracy {at.accuracy:.4f} optimum {at.reference_accuracy:.4f} ties {at.ties:.3f}  {at.what}"
            + (f"  <- {'; '.join(at.failures)}" if at.failures else ""),
            flush=True,
        )
    return worst(known)


def worst(outcomes: list[Outcome]) -> dict[str, Any]:
    """Print how many pass and the worst figures, and return them."""
    failed = [at.seed for at in outcomes if at.failures]
    by_excess = max(outcomes, key=lambda at: at.excess)
    by_gap = max(outcomes, key=lambda at: at.gap)
    by_accuracy = max(outcomes, key=lambda at: abs(at.difference))
    print(
        f"\n{len(outcomes) - len(failed)} of {len(outcomes)} pass. Worst gap: stated {by_gap.gap:.1e} (seed "
        f"{by_gap.seed}), measured {by_excess.excess:.1e} (seed {by_excess.seed}).\nWorst accuracy difference: "
        f"{100 * by_accuracy.difference:+.2f} points (seed {by_accuracy.seed}). Most ties: "
        f"{max(at.ties for at in outcomes):.3f} of the rows. Fits took {sum(at.seconds for at in outcomes):.1f} s."
    )
    if failed:
        print(f"Failed seeds: {', '.join(map(str, failed))}")
    return {
        "problems": len(outcomes),
        "failed_seeds": failed,
        "worst_stated_gap": by_gap.gap,
        "worst_measured_gap": by_excess.excess,
        "worst_accuracy_difference": by_accuracy.difference,
    }
