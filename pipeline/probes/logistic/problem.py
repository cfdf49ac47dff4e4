"""Rows, labels and axes of one path of fits, and where its objectives are evaluated: exactly, or on coarse rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ....errors import BadInput
from ..team import Team
from .axes import Axes
from .certificate import certificate
from .machine import fast_type, free_memory
from .objective import Evaluation, Models, Point, Task, evaluate
from .rotated import Rotated
from .rows import Rows
from .rules import Exact, Oracle
from .sample import Sample, draw

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Problem:
    """What is the same for every penalty.

    Parameters
    ----------
    rows : Rows
    task : Task
    axes : Axes
    sample : Sample
        For curvature.
    team : Team
    """

    rows: Rows
    task: Task
    axes: Axes
    sample: Sample
    team: Team

    @property
    def columns(self) -> int:
        """Models of a penalty."""
        return 1 if self.task.softmax else self.task.targets.shape[1]

    def coarsely(self) -> Oracle:
        """Return an oracle that evaluates on the sample, in its type."""
        part = self.sample
        return lambda models, point: evaluate(
            part.blocks(point.b.numel(), self.team.threads), part.task, models, point,
            dtype=part.x.dtype, scale=part.scale, team=self.team, over_rows=part.over_rows,
        )  # fmt: skip

    def exactly(self, dtype: torch.dtype) -> Exact:
        """Return an oracle that evaluates on all rows with products in `dtype`, and the certificate for it."""
        import torch

        # Rotated rows in the same type are as exact as the features are: the gradient differs by rounding.
        rotated = self.sample.task is self.task and self.sample.x.dtype == dtype
        oracle = self.coarsely() if rotated else self._on_features(dtype)
        square = self.axes.spread**2 + (0.0 if rotated else float(self.axes.centre.square().sum()))
        largest = 1.0 if self.task.weights is None else float(self.task.weights.max())
        # A logit w x is off by about eps |w| |x|, a probability by p (1 - p) times that, which is less than half of the
        # row's loss and than 1/4; errors of rows are independent.
        noise = largest * (torch.finfo(dtype).eps / 4 * square) ** 2
        return Exact(oracle, certificate(oracle, self.task, self.axes.basis.shape[1]), noise)

    def in_float64(self) -> Problem:
        """Return the same problem with all rows in the sample, in float64."""
        import torch

        if self.sample.task is self.task and self.sample.x.dtype == torch.float64:
            return self
        x = torch.cat([(block.x.double() - self.axes.centre) @ self.axes.basis for block in self.rows.blocks()])
        return replace(self, sample=Sample(x, None, self.task, 1.0))

    def _on_features(self, dtype: torch.dtype) -> Oracle:
        rows, task, axes, team = self.rows, self.task, self.axes, self.team

        def oracle(models: Models, point: Point) -> Evaluation:
            at = evaluate(rows.blocks(), task, models, axes.to_features(point, team), dtype=dtype, scale=1.0, team=team)
            # The norm of the weights is the same before and after the rotation, and so is the penalty.
            return Evaluation(at.objective, axes.gradient(at.gradient, team))

        return oracle


def pose(
    rows: Rows,
    task: Task,
    dtype: torch.dtype,
    team: Team,
    *,
    orthogonal: torch.dtype,
    n_penalties: int,
    at_once: int,
    memory: int | None,
) -> Problem:
    """Find the principal axes of the rows, and rotate as many as memory allows.

    Parameters
    ----------
    rows : Rows
    task : Task
    dtype : torch.dtype
        Of the first gradients.
    orthogonal : torch.dtype
        Of the last ones, which the axes are orthonormal to.
    team : Team
    n_penalties : int
    at_once : int
        Penalties that are fitted together, at most.
    memory : int or None
        See `fit_path`.
    """
    if isinstance(rows, Rotated):
        axes, sample = rows.sample(task, team)
    else:
        if memory is None:
            memory = free_memory(rows.device)
        limit = _sample_rows(rows, task, n_penalties, at_once, memory)
        fast = fast_type(rows.n * rows.d, rows.device, dtype)
        axes, sample = draw(rows, task, limit, fast, team, orthogonal=orthogonal)
    return Problem(rows, task, axes, sample, team)


def _sample_rows(rows: Rows, task: Task, n_penalties: int, at_once: int, memory: int | None) -> int:
    """Return how many rows to hold for curvature.

    A row takes its features twice in the fast type (4 bytes an entry together in bfloat16), once more in float32 while
    they are rotated, and a float32 probability for each head. The rest is for blocks on their way, whose number does
    not depend on the number of rows, and for weights.
    """
    if memory is None:
        return rows.n
    heads = task.n_classes if task.softmax else task.targets.shape[1]
    weights = 12 * 8 * n_penalties * heads * rows.d
    heads *= at_once
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
