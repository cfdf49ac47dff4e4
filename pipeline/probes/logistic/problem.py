"""Rows, labels and axes of one path of fits, and where its objectives are evaluated: exactly, or on coarse rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ....errors import BadInput
from ..block_threads import BlockThreads
from .axes import Axes
from .certificate import certificate
from .machine import fast_type, free_memory
from .objective import Evaluation, Models, Point, WeightedTargets, evaluate
from .rotated import Rotated
from .rows import Rows
from .rules import Exact, Oracle
from .sample import Sample, sample_rows

if TYPE_CHECKING:
    import torch


_OF_A_SHARD = 0.5
"""Classes are drawn in equal numbers, and a rank can have most of the rare ones: so much of the memory is planned."""


@dataclass(frozen=True)
class PathProblem:
    """What is the same for every penalty.

    Parameters
    ----------
    rows : Rows
    weighted : WeightedTargets
        Of all rows.
    held : WeightedTargets
        Of those that this rank has; the same object if it has all.
    axes : Axes
    sample : Sample
        For curvature.
    pool : BlockThreads
    """

    rows: Rows
    weighted: WeightedTargets
    held: WeightedTargets
    axes: Axes
    sample: Sample
    pool: BlockThreads

    @property
    def columns(self) -> int:
        """Models of a penalty."""
        return 1 if self.weighted.softmax else self.weighted.targets.shape[1]

    def coarsely(self) -> Oracle:
        """Return an oracle that evaluates on the sample, in its type."""
        part = self.sample
        return lambda models, point: evaluate(
            part.blocks(point.b.numel(), self.pool.threads), part.weighted, models, point,
            dtype=part.x.dtype, scale=part.scale, pool=self.pool, over_rows=part.over_rows,
        )  # fmt: skip

    def exactly(self, dtype: torch.dtype) -> Exact:
        """Return an oracle that evaluates on all rows with products in `dtype`, and the certificate for it."""
        import torch

        # Rotated rows in the same type are as exact as the features are: the gradient differs by rounding.
        rotated = self.sample.weighted is self.held and self.sample.x.dtype == dtype
        oracle = self.coarsely() if rotated else self._on_features(dtype)
        square = self.axes.spread**2 + (0.0 if rotated else float(self.axes.centre.square().sum()))
        largest = 1.0 if self.weighted.weights is None else float(self.weighted.weights.max())
        # A logit w x is off by about eps |w| |x|, a probability by p (1 - p) times that, which is less than half of the
        # row's loss and than 1/4; errors of rows are independent.
        noise = largest * (torch.finfo(dtype).eps / 4 * square) ** 2
        return Exact(oracle, certificate(oracle, self.weighted, self.axes.basis.shape[1]), noise)

    def in_float64(self) -> PathProblem:
        """Return the same problem with all rows in the sample, in float64."""
        import torch

        if self.sample.weighted is self.held and self.sample.x.dtype == torch.float64:
            return self
        turned = [(block.x.double() - self.axes.centre) @ self.axes.basis for block in self.rows.blocks()]
        none = self.axes.basis.new_empty(0, self.axes.basis.shape[1])
        return replace(self, sample=Sample(torch.cat([none, *turned]), None, self.held, 1.0))

    def _on_features(self, dtype: torch.dtype) -> Oracle:
        rows, weighted, axes, pool = self.rows, self.held, self.axes, self.pool

        def oracle(models: Models, point: Point) -> Evaluation:
            at = evaluate(
                rows.blocks(), weighted, models, axes.to_features(point, pool), dtype=dtype, scale=1.0, pool=pool
            )
            # The norm of the weights is the same before and after the rotation, and so is the penalty.
            return Evaluation(at.objective, axes.gradient(at.gradient, pool))

        return oracle


def pose(
    rows: Rows,
    weighted: WeightedTargets,
    dtype: torch.dtype,
    pool: BlockThreads,
    *,
    orthogonal: torch.dtype,
    n_penalties: int,
    at_once: int,
    memory: int | None,
) -> PathProblem:
    """Find the principal axes of the rows, and rotate as many as memory allows.

    Parameters
    ----------
    rows : Rows
    weighted : WeightedTargets
    dtype : torch.dtype
        Of the first gradients.
    orthogonal : torch.dtype
        Of the last ones, which the axes are orthonormal to.
    pool : BlockThreads
    n_penalties : int
    at_once : int
        Penalties that are fitted together, at most.
    memory : int or None
        See `fit_path`.
    """
    held = weighted if rows.shard is None else weighted.rows(rows.shard.held)
    if isinstance(rows, Rotated):
        axes, sample = rows.sample(weighted, pool)
    else:
        limit = _sample_size(rows, weighted, n_penalties, at_once, memory)
        fast = fast_type(rows.n * rows.d, rows.device, dtype)
        if pool.ranks is not None and pool.ranks.largest(np.array([fast.itemsize]))[0] > fast.itemsize:
            fast = dtype  # what all of them multiply fast
        axes, sample = sample_rows(rows, weighted, held, limit, fast, pool, orthogonal=orthogonal)
    return PathProblem(rows, weighted, held, axes, sample, pool)


def _sample_size(rows: Rows, weighted: WeightedTargets, n_penalties: int, at_once: int, memory: int | None) -> int:
    """Return how many rows to hold for curvature.

    A row takes its features twice in the fast type (4 bytes an entry together in bfloat16), once more in float32 while
    they are rotated, and a float32 probability for each head. The rest is for blocks on their way, whose number does
    not depend on the number of rows, and for weights.
    """
    allowed = memory if memory is not None else free_memory(rows.device)
    if allowed is None:
        return rows.n
    heads = weighted.n_classes if weighted.softmax else weighted.targets.shape[1]
    weights = 12 * 8 * n_penalties * heads * rows.d
    heads *= at_once
    fixed = 4 * rows.d * rows.d * 4 + weights + 8 * (32 << 20)
    count = (allowed - fixed) // (8 * rows.d + 8 * heads)
    if rows.shard is not None:
        count = int(_OF_A_SHARD * count * rows.shard.ranks.rank.of)
    enough = min(rows.n, 2 * rows.d)
    if memory is None:
        return min(rows.n, max(count, enough))  # where that is too much after all, the device says so
    if count < enough:
        least = fixed + 2 * rows.d * (8 * rows.d + 8 * heads)  # of one process
        raise BadInput(
            f"{memory / 2**20:.0f} MiB are too little for {heads} heads of {rows.d} features",
            hint=f"Give at least {least / 2**20:.0f} MiB.",
            key="fit-memory",
            expected=least,
        )
    return min(rows.n, count)
