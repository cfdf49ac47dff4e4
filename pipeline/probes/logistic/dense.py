"""Newton directions from the whole Hessian of a small model: where conjugate gradients need too many products.

Contradicting rows and a tiny penalty leave a Hessian whose eigenvalues are 14 orders of magnitude apart. Some thousand
unknowns are then solved for directly, in less time and with more digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .objective import Models, Point, probabilities_
from .sample import Sample

if TYPE_CHECKING:
    import torch

    from ...rank_group import RankGroup

MOST_UNKNOWNS = 3000
"""K (d + 1): a factorisation takes 9 GFLOP then, and 72 MB."""


def dense_directions(
    sample: Sample, models: Models, point: Point, gradient: Point, ranks: RankGroup | None = None
) -> Point:
    """Solve Hessian times direction = -gradient for each model.

    Parameters
    ----------
    sample : Sample
        In float64, and all of the rows.
    models : Models
    point, gradient : Point
    ranks : RankGroup, optional
        Others that have the rest of the rows.
    """
    import torch

    x = torch.cat([sample.x, torch.ones_like(sample.x[:, :1])], 1)
    direction = Point(torch.zeros_like(point.w), torch.zeros_like(point.b))
    for i in range(len(models)):
        one = torch.tensor([i], device=x.device)
        rhs = torch.cat([gradient.w[i], gradient.b[i][:, None]], 1).flatten()
        step = -_solve(_hessian(x, sample, models.keep(one), point.keep(one), ranks), rhs).view(point.w.shape[1], -1)
        direction.w[i], direction.b[i] = step[:, :-1], step[:, -1]
    return direction


def _hessian(x: torch.Tensor, sample: Sample, model: Models, point: Point, ranks: RankGroup | None) -> torch.Tensor:
    """Return the Hessian of one model, [K (d + 1), K (d + 1)]; x has a last column of ones."""
    import torch

    k, d = point.w.shape[1:]
    z = point.w @ x[:, :-1].T + point.b[:, :, None]
    softmax = sample.weighted.softmax
    p = probabilities_(z, softmax=softmax)[0].T.contiguous()  # [n, K]
    weights = sample.weighted.weights_of(model)
    weights = None if weights is None else weights.T
    own = p if softmax else p * (1 - p)
    own = own if weights is None else own * weights
    hessian = torch.zeros(k, d + 1, k, d + 1, dtype=x.dtype, device=x.device)
    for j in range(k):
        hessian[j, :, j] = x.T @ (own[:, j, None] * x)
    if softmax:
        root = p if weights is None else p * weights.sqrt()
        spread = (root[:, :, None] * x[:, None]).flatten(1)
        hessian -= (spread.T @ spread).view_as(hessian)
        # What is added to all intercepts alike changes nothing: give it some curvature, and it stays as it is.
        hessian[:, -1, :, -1] += own.sum() / k**2
    if ranks is not None:
        ranks.add(hessian, about=point.w)
    flat = hessian.view(k * (d + 1), -1)
    penalty = flat.new_full((k, d + 1), float(model.penalties[0]))
    penalty[:, -1] = 0
    flat.diagonal().add_(penalty.flatten())
    return flat


def _solve(hessian: torch.Tensor, rhs: torch.Tensor) -> torch.Tensor:
    """Solve by Cholesky's factors, scaled to a diagonal of ones."""
    import torch

    scale = hessian.diagonal().clamp_min(1e-300).rsqrt()
    scaled = hessian * scale[:, None] * scale
    factor, failed = torch.linalg.cholesky_ex(scaled)
    if failed:
        # Singular to rounding: lift it a little.
        scaled.diagonal().add_(1e-13 * len(scaled))
        factor, failed = torch.linalg.cholesky_ex(scaled)
    if failed:
        return rhs * scale.square()
    return scale * torch.cholesky_solve((scale * rhs)[:, None], factor)[:, 0]
