"""Second derivatives of many models at once: products with the Hessian, and its diagonal along principal axes.

The Hessian of the loss of one model, in the direction V [K, d], is Σ_i w_i u_i x_iᵀ with

    u_i = p_i ∘ (z_i - ⟨p_i, z_i⟩),  z_i = V x_i,   for softmax, and
    u_i = p_i (1 - p_i) z_i                         for a single logistic head.

Both are exact for the probabilities p_i at the point of linearisation. Classes that are told apart from each other but
seldom from the rest make the Hessian far from diagonal in the classes as they are; along the principal axes of their
curvature, Σ_i w_i (diag p_i - p_i p_iᵀ), as along those of the rows, it is nearly so.

Features may be a sample, and in bfloat16: an approximate Hessian changes the way to the optimum, not the optimum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..team import Team
from .objective import Models, Point, probabilities_
from .rows import Block
from .sample import Sample

if TYPE_CHECKING:
    import torch

_ROWS_OF_A_DIAGONAL = 4096
"""Of more, some are left out, seven of eight at most: so many say enough of the diagonal to precondition with."""


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
        stride = max(1, min(8, len(sample) // _ROWS_OF_A_DIAGONAL))
        softmax, wide = sample.task.softmax, _wide(sample.x.dtype)

        def weights_of(block: Block) -> torch.Tensor | None:
            weights = sample.task.rows(block.rows).weights_of(models)
            return None if weights is None else weights[:, :, None].to(wide)

        def begin(block: Block) -> tuple[torch.Tensor, torch.Tensor]:
            # Probabilities stay in float32: 1 - p of a row that is all but decided would be lost in fewer digits.
            z = torch.addmm(intercepts, block.x, heads).to(wide).view(-1, m, k)
            p = probabilities_(z, softmax=softmax)
            weights = weights_of(block)
            if not softmax:
                p.mul_(1 - p)
                if weights is not None:
                    p.mul_(weights)
                return p, p[::stride].sum(0)[:, :, None]
            some = p[::stride]
            weighted = some if weights is None else some * weights[::stride]
            return p, torch.diag_embed(weighted.sum(0)) - weighted.permute(1, 2, 0) @ some.transpose(0, 1)

        # Per block: p for softmax; for a single head, all that the product needs, w p (1 - p).
        self._p: list[torch.Tensor] = []
        by_class = torch.zeros(m, k, k, dtype=wide, device=sample.x.device)
        for p, part in team.map(begin, self._blocks):
            self._p.append(p)
            by_class += part
        if softmax:
            # Classes that all rise together change nothing: make that the last of the axes, to leave it out below.
            by_class += by_class.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        curved, turn = torch.linalg.eigh(by_class)
        self._turn = turn.mT.contiguous()

        def along_axes(item: tuple[Block, torch.Tensor]) -> torch.Tensor:
            block, p = item
            own = p[::stride]
            if softmax:
                own = own.transpose(0, 1)  # [m, b, K]
                own = (own @ turn.square() - (own @ turn).square()).clamp_min_(0).transpose(0, 1)
                weights = weights_of(block)
                if weights is not None:
                    own = own * weights[::stride]
            return own.reshape(-1, m * k).to(sample.x.dtype).T @ block.x[::stride].square()

        diagonal = torch.zeros(m * k, d, dtype=wide, device=sample.x.device)
        for part in team.map(along_axes, zip(self._blocks, self._p, strict=True)):
            diagonal += part
        scale = sample.scale * len(sample) / sum(len(range(0, len(block.x), stride)) for block in self._blocks)
        diagonal = diagonal.view(m, k, d) * scale + models.penalties[:, None, None]
        self._inverse = Point(diagonal.reciprocal_().to(wide), _pseudo_inverse(curved * scale))
        if softmax:
            self._inverse.w[:, -1] = 0
            self._inverse.b[:, -1] = 0

    def precondition(self, gradient: Point) -> Point:
        """Return the gradient over the Hessian's diagonal, along the principal axes of the rows and the classes."""
        w, b = gradient.w.to(self._turn.dtype), gradient.b.to(self._turn.dtype)
        w = self._turn.mT @ ((self._turn @ w).mul_(self._inverse.w))
        b = (self._turn.mT @ (self._turn @ b[:, :, None]).mul_(self._inverse.b[:, :, None])).squeeze(2)
        return Point(w, b)

    def keep(self, which: torch.Tensor) -> None:
        """Go on with the chosen models, bool [m], only."""
        chosen = which.nonzero().squeeze(1)
        self._models = self._models.keep(which)
        self._p = list(self._team.map(lambda p: p.index_select(1, chosen), self._p))
        self._inverse, self._turn = self._inverse.keep(which), self._turn[which]

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
            u = z.to(p.dtype).mul_(p)
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
