"""A path of penalties in one go: from features and labels to the optimum of every λ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np

from ....arrays import Array, Float64, Floating, Int64, Mask
from ....errors import BadInput
from ..block_threads import BlockThreads
from .certificate import class_weights
from .levels import levels
from .newton import Search
from .objective import Models, Point
from .path_schedule import PathSchedule
from .problem import PathProblem, pose
from .rows import MatrixRows, Rows, StreamRows, as_tensor
from .rules import Exact, Rules, Start
from .targets import FittedHeads, heads_to_fit

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "float32", "float64"]

_WORTH_THREADS = 1 << 19
"""Entries of the features from which several threads pay."""

_SMALL = 1 << 22
"""Entries of the features up to which many products cost little, and every optimum is proven."""

_MOST_PRODUCTS = 40
"""With the Hessian, for one direction of large features: what more of them would gain, the next step gains for less."""

_MOST_OF_SMALL = 1000
"""The same of small features in float64: products are cheap, and the Hessian may be all but singular."""

_STEPS_AT_ONCE = 15
"""In float32, of small features: what takes more is ill conditioned, and rather done in float64."""

_DECREASE = 0.02
"""Share by which a coarse step must lower the objective to be worth another. Ten λ of 1,000 rows of 768 take 184
products with it, 176 with 0.005, and 233 with 0.05."""


@dataclass(frozen=True)
class PathOptions:
    """How to fit a path, and how close to the optimum.

    Parameters
    ----------
    precision : {"auto", "float32", "float64"}
        Of the gradient and the objective, and so of the result; sums over rows are float64 in all. "auto" is float64
        for features in float64, else float32 and then, where that cannot find the optimum, float64.
    tol : float
        A λ has converged when its objective is at most by this share above the smallest one, F - F* ≤ tol F*, as
        `Path.gap` knows it, and by this share of what the weights gain over none at all. For features of up to four
        million entries that is proven, and some more steps are taken for the weights.
    max_steps : int
        Newton steps, beside those that bring it near, seven at most. A λ that needs more is returned where it got to,
        with `Path.converged` False. In a long path, those that are set aside after twelve begin anew from their
        neighbours, with as many.
    threads : int, optional
        On a CPU; torch's own number by default.
    memory : int, optional
        Bytes that the fit may take, beside what is there before it: features in memory, the interpreter, torch. The
        fewer, the fewer rows are held for curvature, and the more passes it takes. By default, as many as a GPU's free
        memory bears, and on a CPU all rows; of a `Rotated`, which holds them already, all.
    """

    precision: Precision = "auto"
    tol: float = 1e-4
    max_steps: int = 50
    threads: int | None = None
    memory: int | None = None


class PathArguments(TypedDict, total=False):
    """Keyword arguments that become `PathOptions`."""

    precision: Precision
    tol: float
    max_steps: int
    threads: int | None
    memory: int | None


@dataclass(frozen=True)
class Path:
    """The optimum for each of L penalties.

    K is the number of classes, or 1 for two classes, or the number of columns of multi-label targets.

    Parameters
    ----------
    lambdas : ndarray, float64 [L]
        In the order that was asked for.
    coef : ndarray, float64 [L, K, d]
    intercept : ndarray, float64 [L, K]
    objective : ndarray, float64 [L]
        Σ_i w_i loss_i + (λ/2) ‖W‖², as evaluated in `precision`, summed in float64. Of multi-label targets, the
        sum over columns.
    gap : ndarray, float64 [L]
        (F - F*) / F*, F the objective and F* the smallest one. For features of up to four million entries it is proven:
        at most so much. For more it is the lesser of that and an estimate: what the quadratic model of Newton's method
        says, doubled (`Search.model`). Tried on 256 small problems, many with contradicting rows and a large C, the
        estimate was too small in 9, by a factor of 1.9 at most, and no objective was further than 1.2e-4 above the
        smallest one for a `tol` of 1e-4. What rounding may hide is counted in.
    proven_gap : ndarray, float64 [L]
        What is proven of it, by duality (`certificate`); up to 1,000 times as much as there is.
    gradient_norm : ndarray, float64 [L]
        Euclidean.
    gradient_max : ndarray, float64 [L]
        Largest entry, over the sum of weights: the measure that scikit-learn's ``tol`` bounds.
    passes : ndarray, int64 [L]
        Over all rows, in `precision`. Of multi-label targets, of the slowest column.
    products : ndarray, int64 [L]
        With the Hessian, over the sample or a part of it, in the fast type.
    converged : ndarray, bool [L]
    """

    lambdas: Float64
    coef: Float64
    intercept: Float64
    objective: Float64
    gap: Float64
    proven_gap: Float64
    gradient_norm: Float64
    gradient_max: Float64
    passes: Int64
    products: Int64
    converged: Mask


def fit_path(
    x: Floating | torch.Tensor | Rows,
    y: Array | torch.Tensor,
    lambdas: Sequence[float] | Float64,
    *,
    sample_weight: Floating | torch.Tensor | None = None,
    start: tuple[Float64, Float64] | None = None,
    report: Callable[[str], None] | None = None,
    **options: Unpack[PathArguments],
) -> Path:
    """Fit L2-regularised logistic regression for every λ, in one go.

    Minimises Σ_i w_i loss_i + (λ/2) ‖W‖² with a free intercept: scikit-learn's objective for C = 1/λ, without
    scikit-learn's division by C.

    Parameters
    ----------
    x : ndarray or tensor [n, d], or Rotated, or Rows
        On the device where the work is to be done.
    y : ndarray or tensor
        int [n], class indices from 0: softmax for three classes or more, one logistic head for two. Or flags
        [n, K] of 0 and 1: a binary problem a column.
    lambdas : sequence of float
        Positive.
    sample_weight : [n] or, for flags, [n, K]; optional
        Not negative.
    start : tuple of ndarray, optional
        coef [L, K, d] and intercept [L, K] to begin with.
    report : callable, optional
        Told a line a step.
    **options
        See `PathOptions`.

    Returns
    -------
    Path

    Raises
    ------
    BadInput
        If shapes do not agree, or values are out of their range.
    """
    import torch

    asked = PathOptions(**options)
    rows = MatrixRows(as_tensor(x)) if isinstance(x, np.ndarray | torch.Tensor) else x
    penalties = np.array(lambdas, dtype=np.float64, order="C")
    if penalties.ndim != 1 or not len(penalties) or not np.isfinite(penalties).all() or (penalties <= 0).any():
        raise BadInput("penalties must be positive and finite", hint="Give λ = 1/C, one or several.", found=lambdas)
    fitted = heads_to_fit(rows, y, sample_weight)
    if fitted.weighted is None:
        return _without_fit(fitted, penalties, rows.d)
    types, weighted = _types(x, asked.precision), fitted.weighted
    count = asked.threads if asked.threads is not None else torch.get_num_threads()
    alone = rows.n * rows.d < _WORTH_THREADS or rows.device.type != "cpu"
    ranks = None if rows.shard is None else rows.shard.ranks
    with BlockThreads(count, workers=not alone, ranks=ranks) as pool:
        problem = pose(
            rows, weighted, types[0], pool, orthogonal=types[-1], n_penalties=len(penalties),
            at_once=len(penalties) if start is not None else max(map(len, levels(penalties))), memory=asked.memory,
        )  # fmt: skip
        if report is not None:
            report(f"{len(problem.sample)} of {rows.n} rows rotated to their principal axes, {problem.sample.x.dtype}")
        n_columns = problem.columns
        models = Models(
            torch.from_numpy(penalties).repeat_interleave(n_columns).to(rows.device),
            torch.arange(n_columns, device=rows.device).repeat(len(penalties)),
        )
        found = Search(models, _start(problem, models, fitted, start))
        steps = _Steps(problem, asked, types, small=rows.n * rows.d <= _SMALL, report=report)
        schedule = PathSchedule(found, penalties, n_columns, steps.approach, steps.descend)
        if start is None:
            schedule.by_levels(steps.fine, ahead=not steps.small and not isinstance(rows, StreamRows))
        else:
            schedule.together(steps.fine)
        return _path(found, problem, fitted, penalties)


class _Steps:
    """The two kinds of steps of a path: coarse ones on a sample, and fine ones on all rows, in one type after another.

    Parameters
    ----------
    problem : Problem
    asked : PathOptions
    types : sequence of dtype
        Of the gradient; see `_types`.
    small : bool
        Whether many products cost little.
    report : callable or None
    """

    def __init__(
        self,
        problem: PathProblem,
        asked: PathOptions,
        types: Sequence[torch.dtype],
        *,
        small: bool,
        report: Callable[[str], None] | None,
    ) -> None:
        self.small = small
        self._problem, self._types, self._report = problem, types, report
        self._exact: dict[torch.dtype, tuple[PathProblem, Exact]] = {}
        self._coarse = Rules(
            gap=0.0, strict=False, last=False, trust=False, decrease=_DECREASE, rounding=1e-4,
            max_steps=min(7, asked.max_steps), max_products=12,
        )  # fmt: skip
        # Steps in a type have its rounding, and know whether it is the last: `_rules_in`.
        self.fine = Rules(
            gap=asked.tol, strict=small, last=False, trust=not small, decrease=-math.inf, rounding=0.0,
            max_steps=asked.max_steps, max_products=_MOST_PRODUCTS,
        )  # fmt: skip

    def approach(self, search: Search, instead: Start | None) -> None:
        """Bring models near, by coarse steps on the sample."""
        problem = self._problem
        search.run(problem.coarsely(), problem.sample, self._coarse, problem.pool, self._report, instead=instead)
        if problem.sample.weighted is not problem.held or problem.sample.x.dtype != self._types[0]:
            search.passes.zero_()  # not over all rows, or not in the precision that was asked for

    def descend(self, search: Search, rules: Rules, instead: Start | None) -> None:
        """Bring models to their optimum, by steps that count all rows."""
        import torch

        small, types = self.small, self._types
        part, which = search, torch.arange(len(search.models), device=search.objective.device)
        for dtype in types:
            posed, at = self._posed(dtype)
            within = _rules_in(dtype, rules, types, small=small)
            part.run(at, posed.sample, within, posed.pool, self._report, instead=instead)
            if part is not search:
                search.put(which, part)
            # What rounding does not hide would not be found in more digits either, but where products are cheap.
            which = (~search.done if small else search.blurred).nonzero().squeeze(1)
            if not len(which):
                break
            part, instead = search.part(which), None
        search.done = search.good

    def _posed(self, dtype: torch.dtype) -> tuple[PathProblem, Exact]:
        import torch

        if dtype not in self._exact:
            posed = self._problem.in_float64() if self.small and dtype == torch.float64 else self._problem
            self._exact[dtype] = posed, posed.exactly(dtype)
        return self._exact[dtype]


def _types(x: Any, precision: Precision) -> tuple[torch.dtype, ...]:
    """Return the types of the gradient, one after the other: the next where the last cannot find the optimum."""
    import torch

    if precision == "float32":
        return (torch.float32,)
    if precision == "float64" or str(getattr(x, "dtype", "")).endswith("float64"):
        return (torch.float64,)
    return (torch.float32, torch.float64)


def _rules_in(dtype: torch.dtype, rules: Rules, types: Sequence[torch.dtype], *, small: bool) -> Rules:
    """Return the rules for steps in a type: of small features, float64 does what float32 cannot do at once."""
    import torch

    last = dtype == types[-1]
    if dtype == torch.float32:
        steps = rules.max_steps if last or not small else min(rules.max_steps, _STEPS_AT_ONCE)
        return replace(rules, last=last, rounding=1e-6, max_steps=steps)
    return replace(rules, last=last, rounding=1e-13, max_products=_MOST_OF_SMALL if small else rules.max_products)


def _start(problem: PathProblem, models: Models, fitted: FittedHeads, start: tuple[Float64, Float64] | None) -> Point:
    """Return the given weights, or zero and the intercepts of the class frequencies."""
    import torch

    axes, weighted = problem.axes, problem.weighted
    m, k, device = len(models), weighted.n_classes, axes.centre.device
    d, r = axes.basis.shape
    if start is not None:
        coef, intercept = (torch.from_numpy(np.array(part, dtype=np.float64)).to(device) for part in start)
        n = m // problem.columns
        if coef.numel() != n * fitted.heads * d or intercept.numel() != n * fitted.heads:
            found, expected = tuple(coef.shape), (n, fitted.heads, d)
            raise BadInput("the start has another shape than the result", expected=expected, found=found)
        coef = coef.reshape(n, fitted.heads, d)[:, fitted.which].reshape(m, k, d)
        intercept = intercept.reshape(n, fitted.heads)[:, fitted.which].reshape(m, k)
        if weighted.softmax:
            coef = coef - coef.mean(1, keepdim=True)  # the same logits at a lower penalty
        return axes.from_features(Point(coef, intercept), problem.pool)
    logs = class_weights(weighted).log()
    b = (
        (logs - logs.mean(1, keepdim=True)).expand(m, k)
        if weighted.softmax
        else (logs[:, 1:] - logs[:, :1])[models.columns]
    )
    return Point(torch.zeros(m, k, r, dtype=torch.float64, device=device), b.contiguous().clone())


def _path(search: Search, problem: PathProblem, fitted: FittedHeads, penalties: Float64) -> Path:
    axes, weighted, n, columns = problem.axes, problem.weighted, len(penalties), problem.columns
    point = axes.to_features(search.point, problem.pool)
    b = point.b
    if weighted.softmax:
        b = b - b.mean(1, keepdim=True)  # a constant added to all classes changes nothing
    heads = len(fitted.which)
    whole = fitted.complete(Point(point.w.reshape(n, heads, -1), b.reshape(n, heads)))

    def by_penalty(values: torch.Tensor) -> Array:
        array: Array = values.cpu().numpy().reshape(n, columns)
        return array

    gradient = search.gradient
    norms = gradient.dot(gradient).sqrt()
    weight = class_weights(weighted).sum(1)[search.models.columns]
    largest = axes.gradient_of_features(gradient, problem.pool).largest() / weight
    above, proven = by_penalty(search.above).sum(1), by_penalty(search.proven).sum(1)
    objective = by_penalty(search.objective).sum(1)
    return Path(
        lambdas=penalties,
        coef=whole.w.cpu().numpy(),
        intercept=whole.b.cpu().numpy(),
        objective=objective,
        gap=_share(above, objective),
        proven_gap=_share(proven, objective),
        gradient_norm=np.sqrt(np.square(by_penalty(norms)).sum(1)),
        gradient_max=by_penalty(largest).max(1),
        passes=by_penalty(search.passes).max(1),
        products=by_penalty(search.products).max(1),
        converged=np.asarray(by_penalty(search.good).all(1)),
    )


def _share(above: Float64, objective: Float64) -> Float64:
    """Return (F - F*) / F* for objectives F that are so far above F*; inf where F* could be 0."""
    least = objective - above
    with np.errstate(invalid="ignore"):  # inf / inf
        return np.where(least > 0, above / np.where(least > 0, least, 1.0), np.inf)


def _without_fit(fitted: FittedHeads, penalties: Float64, d: int) -> Path:
    """Return the path of a problem with nothing to fit: intercepts alone, whose objective tends to 0."""
    n = len(penalties)
    none, once = np.zeros(n), np.zeros(n, dtype=np.int64)
    return Path(
        lambdas=penalties,
        coef=np.zeros((n, fitted.heads, d)),
        intercept=np.repeat(fitted.rest.cpu().numpy()[None], n, axis=0),
        objective=none,
        gap=none.copy(),
        proven_gap=none.copy(),
        gradient_norm=none.copy(),
        gradient_max=none.copy(),
        passes=once,
        products=once.copy(),
        converged=np.ones(n, dtype=bool),
    )
