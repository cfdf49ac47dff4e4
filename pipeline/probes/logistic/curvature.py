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

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..block_threads import BlockThreads
from .objective import Models, Point, probabilities_
from .rows import Block
from .sample import Sample

if TYPE_CHECKING:
    import torch

_ROWS_OF_A_DIAGONAL = 4096
"""Of more, some are left out, seven of eight at most: so many say enough of the diagonal to precondition with."""


@dataclass(frozen=True)
class Preconditioner:
    """The Hessian's diagonal along the principal axes of the rows and the classes, for m models.

    Parameters
    ----------
    turn : tensor [m, K, K]
        The axes of the classes, in rows.
    inverse : Point
        One over the diagonal; 0 where there is nothing to move.
    """

    turn: torch.Tensor
    inverse: Point

    @property
    def dtype(self) -> torch.dtype:
        """Of directions."""
        return self.turn.dtype

    def keep(self, which: torch.Tensor) -> Preconditioner:
        """Return that of the chosen models."""
        return Preconditioner(self.turn[which], self.inverse.keep(which))

    def apply(self, gradient: Point) -> Point:
        """Return the gradient over the diagonal."""
        w, b = gradient.w.to(self.dtype), gradient.b.to(self.dtype)
        w = self.turn.mT @ ((self.turn @ w).mul_(self.inverse.w))
        b = (self.turn.mT @ (self.turn @ b[:, :, None]).mul_(self.inverse.b[:, :, None])).squeeze(2)
        return Point(w, b)

    def energy(self, gradient: Point) -> torch.Tensor:
        """Return how much there was to gain if the diagonal were all of the Hessian, float64 [m]."""
        return 0.5 * gradient.dot(self.apply(gradient).to(gradient.w.dtype))


class Curvature:
    """The Hessian of m models at a point.

    Parameters
    ----------
    sample : Sample
    models : Models
    point : Point
        In the coordinates of the sample.
    pool : BlockThreads
    """

    def __init__(self, sample: Sample, models: Models, point: Point, pool: BlockThreads) -> None:
        import torch

        self._sample, self._models, self._pool = sample, models, pool
        m, k, d = point.w.shape
        heads = point.w.reshape(m * k, d).to(sample.x.dtype)
        intercepts = point.b.reshape(m * k, 1).to(sample.x.dtype)
        self._blocks = list(sample.blocks(m * k, pool.threads))
        stride = max(1, min(8, len(sample) // _ROWS_OF_A_DIAGONAL))
        looked_at = sum(len(range(0, len(block.x), stride)) for block in self._blocks)
        each = len(sample) / max(1, looked_at)  # so many rows does one of them stand for
        softmax, wide = sample.weighted.softmax, _wide(sample.x.dtype)

        def begin(block: Block) -> tuple[torch.Tensor, torch.Tensor]:
            # Probabilities stay in float32: 1 - p of a row that is all but decided would be lost in fewer digits.
            z = torch.addmm(intercepts, heads, block.x.T).to(wide).view(m, k, -1)
            p = probabilities_(z, softmax=softmax)
            weights = self._weights_of(block, wide)
            if not softmax:
                p.mul_(1 - p)
                if weights is not None:
                    p.mul_(weights)
                return p, p[:, :, ::stride].sum(2, keepdim=True)
            some = p[:, :, ::stride]
            weighted = some if weights is None else some * weights[:, :, ::stride]
            return p, torch.diag_embed(weighted.sum(2)) - weighted @ some.mT

        # Per block: p for softmax; for a single head, all that the product needs, w p (1 - p).
        self._p: list[torch.Tensor] = []
        by_class = torch.zeros(m, k, k, dtype=wide, device=sample.x.device)
        for p, part in pool.map(begin, self._blocks):
            self._p.append(p)
            by_class += part
        by_class *= each
        if pool.ranks is not None:
            pool.ranks.add(by_class, about=point.w)
        if softmax:
            # Classes that all rise together change nothing: make that the last of the axes, to leave it out below.
            by_class += by_class.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
        curved, turn = torch.linalg.eigh(by_class)
        if pool.ranks is not None:
            pool.ranks.first(curved, turn)  # equal eigenvalues leave the axes open
        turned = turn.mT.contiguous()

        def along_axes(item: tuple[Block, torch.Tensor]) -> torch.Tensor:
            block, p = item
            own = p[:, :, ::stride]
            if softmax:
                own = (turn.square().mT @ own).sub_((turn.mT @ own).square_()).clamp_min_(0)
                weights = self._weights_of(block, wide)
                if weights is not None:
                    own.mul_(weights[:, :, ::stride])
            return own.reshape(m * k, -1).to(sample.x.dtype) @ block.x[::stride].square()

        diagonal = torch.zeros(m * k, d, dtype=wide, device=sample.x.device)
        for part in pool.map(along_axes, zip(self._blocks, self._p, strict=True)):
            diagonal += part
        diagonal *= each
        if pool.ranks is not None:
            pool.ranks.add(diagonal)
        diagonal = diagonal.view(m, k, d) * sample.scale + models.penalties[:, None, None]
        inverse = Point(diagonal.reciprocal_().to(wide), _pseudo_inverse(curved * sample.scale))
        if softmax:
            inverse.w[:, -1] = 0
            inverse.b[:, -1] = 0
        self.preconditioner = Preconditioner(turned, inverse)

    def _weights_of(self, block: Block, dtype: torch.dtype) -> torch.Tensor | None:
        weights = self._sample.weighted.rows(block.rows).weights_of(self._models)
        return None if weights is None else weights[:, None].to(dtype)

    def keep(self, which: torch.Tensor) -> None:
        """Go on with the chosen models, bool [m], only."""
        chosen = which.nonzero().squeeze(1)
        self._models = self._models.keep(which)
        self._p = list(self._pool.map(lambda p: p.index_select(0, chosen), self._p))

    def product(self, direction: Point) -> Point:
        """Return the Hessian times a direction, for every model."""
        import torch

        m, k, d = direction.w.shape
        sample, models = self._sample, self._models
        dtype = sample.x.dtype
        heads = direction.w.reshape(m * k, d).to(dtype)
        intercepts = direction.b.reshape(m * k, 1).to(dtype)

        def one(item: tuple[Block, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            block, p = item
            z = torch.addmm(intercepts, heads, block.x.T).view(m, k, -1)
            u = z.to(p.dtype).mul_(p)
            if sample.weighted.softmax:
                u.addcmul_(p, u.sum(1, keepdim=True), value=-1)
                weights = sample.weighted.rows(block.rows).weights_of(models)
                if weights is not None:
                    u.mul_(weights[:, None])
            u = u.view(m * k, -1)
            return sample.over_rows(u.to(dtype), block), u.sum(1)

        hw = torch.zeros(m * k, d, dtype=direction.w.dtype, device=direction.w.device)
        hb = torch.zeros(m * k, dtype=direction.w.dtype, device=direction.w.device)
        self._pool.summed(one, zip(self._blocks, self._p, strict=True), (hw, hb), about=direction.w)
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
