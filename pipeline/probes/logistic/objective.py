"""The regularised logistic loss of many models, and its gradient, in one pass over blocks of rows.

For a model with penalty λ, weights W [K, d] and intercept b [K] (scikit-learn's convention, C = 1/λ):

    F(W, b) = Σ_i w_i ℓ(y_i, W x_i + b) + (λ/2) ‖W‖²

with ℓ either -log softmax (K classes, one label a row) or the sum over columns of the binary logistic loss. In the
second case every column is a model by itself with K = 1, so that a binary problem is one column, and a multi-label
problem one column a class.

Products run in the type of the blocks; sums over blocks and over rows of the loss in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..block_threads import BlockThreads
from .rows import Block

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class WeightedTargets:
    """Labels and weights of the rows.

    Parameters
    ----------
    targets : tensor
        int64 [n], class indices, for softmax; else uint8 [n, C], 0 or 1 for each column.
    weights : tensor, float32 [n] or [n, C], or None
        Of each row (or entry); None for all ones.
    n_classes : int
        Heads a model has: K for softmax, 1 otherwise.
    """

    targets: torch.Tensor
    weights: torch.Tensor | None
    n_classes: int

    @property
    def softmax(self) -> bool:
        """Whether the heads of a model exclude each other."""
        return self.targets.ndim == 1

    def rows(self, rows: slice | torch.Tensor) -> WeightedTargets:
        """Return the part for some of the rows."""
        return replace(
            self, targets=self.targets[rows], weights=self.weights[rows] if self.weights is not None else None
        )

    def weights_of(self, models: Models) -> torch.Tensor | None:
        """Return weights that broadcast against [m, n]."""
        if self.weights is None:
            return None
        return self.weights[None] if self.weights.ndim == 1 else self.weights[:, models.columns].T


@dataclass(frozen=True)
class Models:
    """m models: a penalty each and, where there are several columns of targets, the column.

    Parameters
    ----------
    penalties : tensor, float64 [m]
    columns : tensor, int64 [m]
    """

    penalties: torch.Tensor
    columns: torch.Tensor

    def __len__(self) -> int:
        return len(self.penalties)

    def keep(self, which: torch.Tensor) -> Models:
        """Return the chosen models."""
        return Models(self.penalties[which], self.columns[which])


@dataclass(frozen=True)
class Point:
    """Weights [m, K, d] and intercepts [m, K] of m models, or a direction or gradient in the same space."""

    w: torch.Tensor
    b: torch.Tensor

    def keep(self, which: torch.Tensor) -> Point:
        """Return the chosen models."""
        return Point(self.w[which], self.b[which])

    def put(self, which: torch.Tensor, other: Point) -> None:
        """Overwrite the chosen models."""
        self.w[which] = other.w
        self.b[which] = other.b

    def plus(self, other: Point, scale: torch.Tensor | float = 1.0) -> Point:
        """Return self + scale other, with a scale for each model."""
        import torch

        if isinstance(scale, torch.Tensor):
            return Point(self.w + scale[:, None, None] * other.w, self.b + scale[:, None] * other.b)
        return Point(self.w + scale * other.w, self.b + scale * other.b)

    def dot(self, other: Point) -> torch.Tensor:
        """Return the inner product of each model, [m]."""
        import torch

        w: torch.Tensor = torch.linalg.vecdot(self.w.flatten(1), other.w.flatten(1))
        b: torch.Tensor = torch.linalg.vecdot(self.b, other.b)
        return w + b

    def largest(self) -> torch.Tensor:
        """Return the largest absolute value of each model, [m]."""
        return self.w.abs().amax((1, 2)).maximum(self.b.abs().amax(1))

    def to(self, dtype: torch.dtype) -> Point:
        """Return a copy in another type."""
        return Point(self.w.to(dtype), self.b.to(dtype))


@dataclass(frozen=True)
class Evaluation:
    """Objectives, float64 [m], and gradients, float64, of m models at a point."""

    objective: torch.Tensor
    gradient: Point


def residuals_(z: torch.Tensor, weighted: WeightedTargets, models: Models) -> torch.Tensor:
    """Turn logits z [m, K, n] into the derivative of the loss by them, in place; return the loss, float64 [m].

    Rows come last, for products and sums over a few classes alike: they fill the vector registers.
    """
    import torch

    weights = weighted.weights_of(models)
    if weighted.softmax:
        index = weighted.targets.expand(len(models), 1, -1)
        z.sub_(z.amax(1, keepdim=True))
        below = z.gather(1, index).squeeze(1)  # [m, n], logit of the label less the largest one
        own = below.exp()
        z.exp_()
        # The label's own share is left out of the sum: what remains of a row that is all but decided is then exact to
        # the last digit, where 1 - p would have lost it.
        z.scatter_(1, index, z.new_zeros(1, 1, 1).expand(index.shape))
        others = z.sum(1)
        mass = own + others
        loss = torch.where(below == 0, others.log1p(), mass.log().sub_(below))
        z.mul_(mass.reciprocal()[:, None])
        z.scatter_(1, index, others.div_(mass).neg_()[:, None])
    else:
        flags = weighted.targets[:, models.columns].T.to(torch.int8)  # [m, n]
        sign = (1 - 2 * flags).to(z.dtype)  # 1 for 0 and -1 for 1
        flat = z.squeeze(1)
        flat.mul_(sign)
        loss = torch.nn.functional.softplus(flat)
        flat.sigmoid_().mul_(sign)  # p - y, exact to the last digit where it is small
    if weights is not None:
        loss.mul_(weights)
        z.mul_(weights[:, None])
    total: torch.Tensor = loss.sum(1, dtype=torch.float64)
    return total


def probabilities_(z: torch.Tensor, *, softmax: bool) -> torch.Tensor:
    """Turn logits z [m, K, n] into probabilities, in place."""
    if not softmax:
        return z.sigmoid_()
    z.sub_(z.amax(1, keepdim=True)).exp_()
    return z.mul_(z.sum(1, keepdim=True).reciprocal_())


def evaluate(
    blocks: Iterable[Block],
    weighted: WeightedTargets,
    models: Models,
    point: Point,
    *,
    dtype: torch.dtype,
    scale: float,
    pool: BlockThreads,
    over_rows: Callable[[torch.Tensor, Block], torch.Tensor] | None = None,
) -> Evaluation:
    """Evaluate the objective and gradient of every model in one pass.

    Parameters
    ----------
    blocks : iterable of Block
    weighted : WeightedTargets
    models : Models
    point : Point
        float64, in the coordinates of the blocks.
    dtype : torch.dtype
        Of the products; blocks of another type are converted one by one.
    scale : float
        Factor of the loss; other than 1 where the rows are a sample of more.
    pool : BlockThreads
    over_rows : callable, optional
        A faster way to ``residual @ block.x``.
    """
    import torch

    m, k, d = point.w.shape
    heads = point.w.reshape(m * k, d).to(dtype)
    intercepts = point.b.reshape(m * k, 1).to(dtype)
    arithmetic = torch.float32 if dtype == torch.bfloat16 else dtype

    def one(block: Block) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = block.x.to(dtype)
        z = torch.addmm(intercepts, heads, x.T).to(arithmetic)  # [m K, b]
        loss = residuals_(z.view(m, k, len(x)), weighted.rows(block.rows), models)
        r = z.to(dtype)
        return loss, z.sum(1), (r @ x if over_rows is None else over_rows(r, block))

    loss = point.b.new_zeros(m)
    gw = point.w.new_zeros(m * k, d)
    gb = point.b.new_zeros(m * k)
    pool.summed(one, blocks, (loss, gb, gw), about=point.w)
    if scale != 1.0:
        loss, gw, gb = loss * scale, gw * scale, gb * scale
    penalty = models.penalties
    objective = loss + 0.5 * penalty * point.w.square().sum((1, 2))
    gw = gw.view(m, k, d) + penalty[:, None, None] * point.w
    return Evaluation(objective, Point(gw, gb.view(m, k)))
