"""A path of penalties in one go: from features and labels to the optimum of every λ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ....errors import BadInput
from ..team import Team
from .axes import Axes
from .course import Course
from .machine import fast_type
from .newton import Rules, Search
from .objective import Evaluation, Models, Point, Task, evaluate
from .rotated import Rotated
from .rows import MatrixRows, Rows, as_tensor
from .sample import Sample, draw

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "float64"]
Float64 = npt.NDArray[np.float64]

_WORTH_A_TEAM = 1 << 20
"""Entries of the features from which several threads pay."""

_WORTH_A_START = 8192
"""Rows of the sample from which a start from coarse arithmetic pays."""


_LITTLE_LOSS = 0.1
"""Loss a row under which `tol` shrinks with the loss."""

_DECREASE = 0.05
"""Share by which a coarse step must lower the objective to be worth another. With 0.2 a fifth more passes in float32
follow, and as many products; with 0.02 more products."""


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
    gradient_norm: Float64
    gradient_max: Float64
    passes: npt.NDArray[np.int64]
    products: npt.NDArray[np.int64]
    converged: npt.NDArray[np.bool_]


def fit_path(
    x: npt.NDArray[np.floating[Any]] | torch.Tensor | Rows,
    y: npt.NDArray[Any] | torch.Tensor,
    lambdas: Sequence[float] | Float64,
    *,
    sample_weight: npt.NDArray[np.floating[Any]] | torch.Tensor | None = None,
    precision: Precision = "float32",
    tol: float = 8e-5,
    max_steps: int = 50,
    threads: int | None = None,
    memory: int | None = None,
    start: tuple[Float64, Float64] | None = None,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Fit L2-regularised logistic regression for every λ, together.

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
    precision : {"float32", "float64"}
        Of the gradient and the objective, and so of the result; sums over rows are float64 in both.
    tol : float
        A λ is done when max |g| ≤ tol Σ w_i r, with g in the coordinates of the principal axes and r the root mean
        square distance of the rows from their mean. scikit-learn's ``tol``, 1e-4, bounds max |g| / Σ w_i: for rows of
        unit length, where r < 1, ours is the stricter. Where the objective F is less than 0.1 Σ w_i, the bound shrinks
        with it, to 10 tol F r: with little loss left, gradients are small far from the optimum too.
    max_steps : int
        Newton steps; a λ that needs more is returned where it got to, with `Path.converged` False. In a long path,
        those that are set aside after twelve begin anew from their neighbours, with as many.
    threads : int, optional
        On a CPU; torch's own number by default.
    memory : int, optional
        Bytes that the fit may take, beside what is there before it: features in memory, the interpreter, torch. The
        fewer, the fewer rows are held for curvature, and the more passes it takes. All rows by default, and of a
        `Rotated`, which holds them already.
    start : tuple of ndarray, optional
        coef [L, K, d] and intercept [L, K] to begin with.
    report : callable, optional
        Told a line a step.

    Returns
    -------
    Path

    Raises
    ------
    BadInput
        If shapes do not agree, or values are out of their range.
    """
    import torch

    rows = MatrixRows(as_tensor(x)) if isinstance(x, np.ndarray | torch.Tensor) else x
    penalties = np.array(lambdas, dtype=np.float64, order="C")
    if penalties.ndim != 1 or not len(penalties) or not np.isfinite(penalties).all() or (penalties <= 0).any():
        raise BadInput("penalties must be positive and finite", hint="Give λ = 1/C, one or several.", found=lambdas)
    task = _task(rows, y, sample_weight)
    n_columns = 1 if task.softmax else task.targets.shape[1]
    small = rows.n * rows.d < _WORTH_A_TEAM
    count = threads if threads is not None else torch.get_num_threads()
    dtype = torch.float32 if precision == "float32" else torch.float64
    with Team(count, workers=not small and rows.device.type == "cpu") as team:
        if isinstance(rows, Rotated):
            axes, sample = rows.sample(task, team)
        else:
            limit = _sample_rows(rows, task, len(penalties), memory)
            fast = fast_type(rows.n * rows.d, rows.device, dtype)
            axes, sample = draw(rows, task, limit, fast, team, orthogonal=dtype)
        if report is not None:
            report(f"{len(sample)} of {rows.n} rows rotated to their principal axes, {sample.x.dtype}")
        models = Models(
            torch.from_numpy(penalties).repeat_interleave(n_columns).to(rows.device),
            torch.arange(n_columns, device=rows.device).repeat(len(penalties)),
        )
        found = Search(models, _start(axes, task, models, start, team))
        weight = float(rows.n) if task.weights is None else float(task.weights.sum(dtype=torch.float64))
        if task.weights is not None and task.weights.ndim == 2:
            weight /= n_columns
        scale = weight * axes.spread

        def on_sample(part: Sample) -> Callable[[Models, Point], Evaluation]:
            return lambda models, point: evaluate(
                part.blocks(point.b.numel()), part.task, models, point,
                dtype=part.x.dtype, scale=part.scale, team=team, over_rows=part.over_rows,
            )  # fmt: skip

        def on_features(models: Models, point: Point) -> Evaluation:
            at = evaluate(rows.blocks(), task, models, axes.to_features(point, team), dtype=dtype, scale=1.0, team=team)
            # The norm of the weights is the same before and after the rotation, and so is the penalty.
            return Evaluation(at.objective, axes.gradient(at.gradient, team))

        # Rotated rows in the same type are as exact as the features are: the gradient differs by rounding.
        on_all = on_sample(sample) if sample.task is task and sample.x.dtype == dtype else on_features
        coarse = Rules(0.0, 1.0, _DECREASE, 1e-4, 7, 12)
        fine = Rules(
            tol * scale, _LITTLE_LOSS * weight, -torch.inf, 1e-6 if precision == "float32" else 1e-13, max_steps, 40
        )

        def approach(search: Search) -> None:
            if start is None and len(sample) >= _WORTH_A_START:
                search.run(on_sample(sample), sample, coarse, team, report)
                search.passes.zero_()

        def descend(search: Search, rules: Rules) -> None:
            search.run(on_all, sample, rules, team, report)

        course = Course(found, penalties, n_columns, approach, descend)
        if start is None:
            course.by_levels(fine)
        else:
            course.together(fine)
        return _path(found, axes, penalties, n_columns, weight, team)


def _sample_rows(rows: Rows, task: Task, n_penalties: int, memory: int | None) -> int:
    """Return how many rows to hold for curvature.

    A row takes its features twice in the fast type (4 bytes an entry together in bfloat16), once more in float32 while
    they are rotated, and a float32 probability for each head. The rest is for blocks on their way, whose number does
    not depend on the number of rows, and for weights.
    """
    if memory is None:
        return rows.n
    heads = min(n_penalties, 16) * (task.n_classes if task.softmax else task.targets.shape[1])
    weights = 12 * 8 * n_penalties * heads // min(n_penalties, 16) * rows.d
    fixed = 4 * rows.d * rows.d * 4 + weights + 8 * (32 << 20)
    count = (memory - fixed) // (8 * rows.d + 8 * heads)
    if count < min(rows.n, 2 * rows.d):
        least = fixed + 2 * rows.d * (8 * rows.d + 8 * heads)
        raise BadInput(
            f"{memory / 2**20:.0f} MiB are too little for {heads} heads of {rows.d} features",
            hint=f"Give at least {least / 2**20:.0f} MiB.",
            key="fit-memory",
            expected=least,
        )
    return min(rows.n, count)


def _task(rows: Rows, y: Any, sample_weight: Any) -> Task:
    import torch

    targets = as_tensor(np.asarray(y) if not isinstance(y, torch.Tensor) else y).to(rows.device)
    if len(targets) != rows.n:
        raise BadInput(f"{rows.n} rows of features, but {len(targets)} of labels", expected=rows.n, found=len(targets))
    if targets.ndim == 1:
        targets = targets.long()
        k = int(targets.max()) + 1
        if int(targets.min()) < 0 or k < 2:
            raise BadInput("labels must be class indices from 0, of two classes or more", found=k)
        if k == 2:
            targets = targets[:, None].to(torch.uint8)
    else:
        k = 1
        if not ((targets == 0) | (targets == 1)).all():
            raise BadInput("flags must be 0 or 1")
        targets = targets.to(torch.uint8)
    weights = None
    if sample_weight is not None:
        weights = as_tensor(np.asarray(sample_weight) if not isinstance(sample_weight, torch.Tensor) else sample_weight)
        weights = weights.to(rows.device, torch.float64)
        if len(weights) != rows.n or not torch.isfinite(weights).all() or (weights < 0).any() or not weights.any():
            raise BadInput("sample weights must be finite, not negative and not all zero, one for each row")
    return Task(targets, weights, k if targets.ndim == 1 else 1)


def _start(axes: Axes, task: Task, models: Models, start: tuple[Float64, Float64] | None, team: Team) -> Point:
    """Return the given weights, or zero and the intercepts of the class frequencies."""
    import torch

    m, k, device = len(models), task.n_classes, axes.centre.device
    d, r = axes.basis.shape
    if start is not None:
        coef, intercept = (torch.from_numpy(np.array(part, dtype=np.float64)).to(device) for part in start)
        if coef.numel() != m * k * d or intercept.numel() != m * k:
            raise BadInput("the start has another shape than the result", expected=(m, k, d), found=tuple(coef.shape))
        coef = coef.reshape(m, k, d)
        if task.softmax:
            coef = coef - coef.mean(1, keepdim=True)  # the same logits at a lower penalty
        return axes.from_features(Point(coef, intercept.reshape(m, k)), team)
    weights = torch.ones(len(task.targets), 1, dtype=torch.float64, device=device)
    if task.weights is not None:
        weights = task.weights if task.weights.ndim == 2 else task.weights[:, None]
    if task.softmax:
        counts = torch.zeros(k, dtype=torch.float64, device=device).index_add_(0, task.targets, weights[:, 0])
        logs = (counts + 1e-3 * counts.sum() / k).log()
        b = (logs - logs.mean()).expand(m, k)
    else:
        positive = (weights * task.targets).sum(0)
        smoothing = 1e-3 * weights.sum(0)
        negative = (weights * (1 - task.targets)).sum(0)
        b = ((positive + smoothing) / (negative + smoothing)).log()[models.columns][:, None]
    return Point(torch.zeros(m, k, r, dtype=torch.float64, device=device), b.contiguous().clone())


def _path(search: Search, axes: Axes, penalties: Float64, n_columns: int, weight: float, team: Team) -> Path:
    point = axes.to_features(search.point, team)
    n, d = len(penalties), point.w.shape[2]
    heads = n_columns if point.w.shape[1] == 1 else point.w.shape[1]
    b = point.b
    if point.w.shape[1] > 1:
        b = b - b.mean(1, keepdim=True)  # a constant added to all classes changes nothing

    def by_penalty(values: torch.Tensor) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = values.cpu().numpy().reshape(n, n_columns)
        return array

    gradient = search.gradient
    norms = gradient.dot(gradient).sqrt()
    largest = axes.gradient_of_features(gradient, team).largest() / weight
    return Path(
        lambdas=penalties,
        coef=point.w.cpu().numpy().reshape(n, heads, d),
        intercept=b.cpu().numpy().reshape(n, heads),
        objective=by_penalty(search.objective).sum(1),
        gradient_norm=np.sqrt(np.square(by_penalty(norms)).sum(1)),
        gradient_max=by_penalty(largest).max(1),
        passes=by_penalty(search.passes).max(1),
        products=by_penalty(search.products).max(1),
        converged=np.asarray(by_penalty(search.done).all(1)),
    )
