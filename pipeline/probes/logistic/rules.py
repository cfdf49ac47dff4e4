"""What a search is given: where objectives are evaluated, and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .certificate import Certificate
from .objective import Evaluation, Models, Point

Oracle: TypeAlias = Callable[[Models, Point], Evaluation]
Start: TypeAlias = tuple[Point, Evaluation]


@dataclass(frozen=True)
class Rules:
    """When to stop, and how hard to try.

    Parameters
    ----------
    gap : float
        A model is good enough when its objective is at most by this share above the smallest one, and by this share of
        what the weights have gained: with a large penalty, no weights at all are close to the smallest objective.
    strict : bool
        Whether a model goes on for some steps until its weights are good too: by strong convexity, an objective that is
        above the smallest one by ε (λ/2) ‖W‖² has weights that are off by sqrt(ε) at most. Where contradicting rows
        make up the objective, all others decide on the weights and are lost in it.
    last : bool
        Whether no more exact arithmetic follows.
    trust : bool
        Whether the quadratic model may say so where no bound proves it; see `Search.model`.
    decrease : float
        A model that is not done goes on as long as a step lowers its objective by at least this share of it.
    rounding : float
        Relative error of an objective: a step is not refused for less.
    max_steps : int
    max_products : int
        With the Hessian, per step; ten times as many where the optimum is near.
    """

    gap: float
    strict: bool
    last: bool
    trust: bool
    decrease: float
    rounding: float
    max_steps: int
    max_products: int


@dataclass(frozen=True)
class Exact:
    """Where objectives are evaluated that count: on all rows.

    Parameters
    ----------
    oracle : callable
        Evaluates objectives and gradients of some models.
    certificate : Certificate
        Of the same rows.
    noise : float
        Variance of the gradient by rounding, for weights of norm 1 and a loss of 1.
    """

    oracle: Oracle
    certificate: Certificate
    noise: float
