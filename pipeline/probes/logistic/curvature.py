"""Second derivatives of many models at once: products with the Hessian, and its diagonal.

The Hessian of the loss of one model, in the direction V [K, d], is Σ_i w_i u_i x_iᵀ with

    u_i = p_i ∘ (z_i - ⟨p_i, z_i⟩),  z_i = V x_i,   for softmax, and
    u_i = p_i (1 - p_i) z_i                         for a single logistic head.

Both are exact for the probabilities p_i at the point of linearisation. Features may be a sample, and in bfloat16:
an approximate Hessian changes the way to the optimum, not the optimum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .objective import Models, Point, probabilities_
from .rows import Block
from .sample import Sample
from .team import Team

if TYPE_CHECKING:
    import torch

_MANY_ROWS = 8192


class Curvature:
    """The Hessian of m models at a point.

    Parameters
    ----------
    sample : Sample
    models : Models
    point : Point
        In the coordinates of the sample.
    team : Team
    """

    def __init__(self, sample: Sample, models: Models, point: Point, team: Team) -> None:
        import torch

        self._sample, self._models, self._team = sample, models, team
        m, k, d = point.w.shape
        heads = point.w.reshape(m * k, d).to(sample.x.dtype).T
        intercepts = point.b.reshape(m * k).to(sample.x.dtype)
        self._blocks = list(sample.blocks(m * k))
        # Of many rows, every fourth gives a diagonal that is good enough to precondition with.
        stride = 4 if len(sample) >= _MANY_ROWS else 1

        def one(block: Block) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            # Probabilities stay in float32: 1 - p of a row that is all but decided would be lost in fewer digits.
            z = torch.addmm(intercepts, block.x, heads).to(_wide(sample.x.dtype)).view(-1, m, k)
            p = probabilities_(z, softmax=sample.task.softmax)
            own = p * (1 - p)
            weights = sample.task.rows(block.rows).weights_of(models)
            if weights is not None:
                own.mul_(weights[:, :, None])
            own = own.view(-1, m * k)
            diagonal = own[::stride].to(sample.x.dtype).T @ block.x[::stride].square()
            return (p if sample.task.softmax else own.view(-1, m, 1)), diagonal, own.sum(0)

        # Per block: p for softmax; for a single head, all that the product needs, w p (1 - p).
        self._p: list[torch.Tensor] = []
        diagonal = torch.zeros(m * k, d, dtype=_wide(sample.x.dtype), device=sample.x.device)
        total = torch.zeros(m * k, dtype=diagonal.dtype, device=sample.x.device)
        for p, part, part_b in team.map(one, self._blocks):
            self._p.append(p)
            diagonal += part
            total += part_b
        thinning = len(sample) / sum(len(range(0, len(block.x), stride)) for block in self._blocks)
        diagonal = diagonal.view(m, k, d) * (sample.scale * thinning) + models.penalties[:, None, None]
        self._inverse = Point(diagonal.reciprocal_().to(total.dtype), _pseudo_inverse(total.view(m, k) * sample.scale))

    def precondition(self, gradient: Point) -> Point:
        """Return the gradient over the Hessian's diagonal."""
        dtype = self._inverse.w.dtype
        return Point(gradient.w.to(dtype) * self._inverse.w, gradient.b.to(dtype) * self._inverse.b)

    def keep(self, which: torch.Tensor) -> None:
        """Go on with the chosen models only."""
        softmax = self._sample.task.softmax
        self._models = self._models.keep(which)
        self._p = list(self._team.map(lambda p: p[:, which].contiguous() if softmax else p[:, which], self._p))
        self._inverse = self._inverse.keep(which)

    def product(self, direction: Point) -> Point:
        """Return the Hessian times a direction, for every model."""
        import torch

        m, k, d = direction.w.shape
        sample, models = self._sample, self._models
        dtype = sample.x.dtype
        heads = direction.w.reshape(m * k, d).to(dtype).T
        intercepts = direction.b.reshape(m * k).to(dtype)

        def one(item: tuple[Block, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            block, p = item
            z = torch.addmm(intercepts, block.x, heads).view(-1, m, k)
            u = z * p
            if sample.task.softmax:
                u.addcmul_(p, u.sum(2)[:, :, None], value=-1)
                weights = sample.task.rows(block.rows).weights_of(models)
                if weights is not None:
                    u.mul_(weights[:, :, None])
            u = u.view(-1, m * k)
            return sample.over_rows(u.to(dtype), block), u.sum(0)

        hw = torch.zeros(m * k, d, dtype=direction.w.dtype, device=direction.w.device)
        hb = torch.zeros(m * k, dtype=direction.w.dtype, device=direction.w.device)
        for part_w, part_b in self._team.map(one, zip(self._blocks, self._p, strict=True)):
            hw += part_w
            hb += part_b
        if sample.scale != 1.0:
            hw *= sample.scale
            hb *= sample.scale
        penalties = models.penalties.to(hw.dtype)
        return Point(hw.view(m, k, d).addcmul_(penalties[:, None, None], direction.w), hb.view(m, k))


def _wide(dtype: torch.dtype) -> torch.dtype:
    import torch

    return torch.float32 if dtype == torch.bfloat16 else dtype


def _pseudo_inverse(values: torch.Tensor) -> torch.Tensor:
    """Return 1 / values, and 0 where there is no curvature to speak of: an intercept that does not matter stays."""
    import torch

    floor = 1e-12 * values.amax(1, keepdim=True)
    return torch.where(values > floor, values.reciprocal(), torch.zeros_like(values))
