"""Preconditioned conjugate gradients for the Newton directions of many models together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .curvature import Curvature
from .objective import Point

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Effort:
    """When a direction is good enough; one value for each of m models.

    Parameters
    ----------
    accuracy : tensor [m]
        Norm of the residual, in the preconditioner's metric, relative to that of the gradient.
    square, intercepts : tensor, float64 [m]
        Squared norm of the residual of the weights, and largest entry of that of the intercepts, that are small enough
        whatever `accuracy` says. The residual is the gradient that is to be expected after the step.
    products : tensor, int64 [m]
        At most so many.
    """

    accuracy: torch.Tensor
    square: torch.Tensor
    intercepts: torch.Tensor
    products: torch.Tensor

    def keep(self, which: torch.Tensor) -> Effort:
        """Return that of the chosen models."""
        return Effort(self.accuracy[which], self.square[which], self.intercepts[which], self.products[which])

    def suffices(self, residual: Point) -> torch.Tensor:
        """Say, for each model, whether the residual is small enough by itself, bool [m]."""
        small: torch.Tensor = residual.w.square().sum((1, 2)) <= self.square
        return small & (residual.b.abs().amax(1) <= self.intercepts)


def newton_directions(curvature: Curvature, gradient: Point, effort: Effort) -> tuple[Point, torch.Tensor]:
    """Solve Hessian times direction = -gradient for every model, each with its own effort.

    Parameters
    ----------
    curvature : Curvature
        Of the same models; afterwards, of those that were left last.
    gradient : Point
    effort : Effort

    Returns
    -------
    direction : Point
        In the type of the curvature; a direction of descent also where the accuracy was not reached.
    products : tensor, int64 [m]
        With the Hessian.
    """
    import torch

    residual = curvature.precondition(gradient)
    dtype = residual.w.dtype
    z = Point(-residual.w, -residual.b)
    residual = Point(-gradient.w.to(dtype), -gradient.b.to(dtype))
    direction = Point(torch.zeros_like(z.w), torch.zeros_like(z.b))
    solution = Point(torch.zeros_like(z.w), torch.zeros_like(z.b))
    products = torch.zeros(len(z.w), dtype=torch.int64, device=z.w.device)
    search = z
    rz = residual.dot(z)
    small = rz * effort.accuracy.to(dtype).square()
    alive = torch.arange(len(z.w), device=z.w.device)
    for product in range(int(effort.products.max())):
        image = curvature.product(search)
        products[alive] += 1
        curved = search.dot(image)
        # Rounding can make a flat direction look bent the wrong way: stop before it.
        flat = curved <= 0
        step = torch.where(flat, torch.zeros_like(rz), rz / curved)
        direction = direction.plus(search, step)
        residual = residual.plus(image, -step)
        z = curvature.precondition(residual)
        after = residual.dot(z)
        going = (after > small) & ~effort.suffices(residual) & ~flat & (product + 1 < effort.products)
        if not going.all():
            solution.put(alive[~going], direction.keep(~going))
            if not going.any():
                return solution, products
        search = z.plus(search, after / rz)
        rz = after
        if not going.all():
            alive, rz, small, effort = alive[going], rz[going], small[going], effort.keep(going)
            direction, residual, search = direction.keep(going), residual.keep(going), search.keep(going)
            curvature.keep(going)
    solution.put(alive, direction)
    return solution, products
