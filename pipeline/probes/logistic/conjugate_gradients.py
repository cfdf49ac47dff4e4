"""Preconditioned conjugate gradients for the Newton directions of many models together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .curvature import Curvature, Preconditioner
from .objective import Point
from .progress import Experience, Progress

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
    left : tensor, float64 [m]
        What a longer direction may still gain that is little enough whatever `accuracy` says; negative where nobody
        asks for it.
    products : tensor, int64 [m]
        At most so many.
    """

    accuracy: torch.Tensor
    square: torch.Tensor
    intercepts: torch.Tensor
    left: torch.Tensor
    products: torch.Tensor

    def keep(self, which: torch.Tensor) -> Effort:
        """Return that of the chosen models."""
        return Effort(
            self.accuracy[which],
            self.square[which],
            self.intercepts[which],
            self.left[which],
            self.products[which],
        )

    def suffices(self, residual: Point, left: torch.Tensor) -> torch.Tensor:
        """Say, for each model, whether the residual, or what is left to gain, is small enough by itself, bool [m]."""
        small: torch.Tensor = residual.w.square().sum((1, 2)) <= self.square
        return (small & (residual.b.abs().amax(1) <= self.intercepts)) | (left <= self.left)


@dataclass(frozen=True)
class Directions:
    """What came out, one for each of m models.

    Parameters
    ----------
    direction : Point
        In the type of the curvature; a direction of descent also where the accuracy was not reached.
    residual : Point
        The gradient that is to be expected after the step, with its sign turned.
    products : tensor, int64 [m]
        With the Hessian.
    decrease : tensor, float64 [m]
        Of the quadratic model along the direction: -⟨gradient, direction⟩ / 2.
    left : tensor, float64 [m]
        What a longer direction could still gain, by `Progress`; inf where nobody asked.
    experience : Experience
        What the solve has shown; what is left, by the first of the estimates.
    preconditioner : Preconditioner
    """

    direction: Point
    residual: Point
    products: torch.Tensor
    decrease: torch.Tensor
    left: torch.Tensor
    experience: Experience
    preconditioner: Preconditioner


def newton_directions(curvature: Curvature, gradient: Point, effort: Effort, experience: Experience) -> Directions:
    """Solve Hessian times direction = -gradient for every model, each with its own effort.

    Parameters
    ----------
    curvature : Curvature
        Of the same models; afterwards, of those that were left last.
    gradient : Point
    effort : Effort
    experience : Experience
        Of the solves before.

    Returns
    -------
    Directions
    """
    import torch

    preconditioner = kept = curvature.preconditioner
    dtype = preconditioner.dtype
    residual = Point(-gradient.w.to(dtype), -gradient.b.to(dtype))
    expected = Point(torch.zeros_like(residual.w), torch.zeros_like(residual.b))
    z = kept.apply(residual)
    direction = Point(torch.zeros_like(z.w), torch.zeros_like(z.b))
    solution = Point(torch.zeros_like(z.w), torch.zeros_like(z.b))
    products = torch.zeros(len(z.w), dtype=torch.int64, device=z.w.device)
    search = z
    rz = residual.dot(z)
    small = rz * effort.accuracy.to(dtype).square()
    alive = torch.arange(len(z.w), device=z.w.device)
    progress = Progress(rz, experience, effort.left) if (effort.left >= 0).any() else None
    left = torch.full_like(effort.left, torch.inf)
    for product in range(int(effort.products.max())):
        image = curvature.product(search)
        products[alive] += 1
        curved = search.dot(image)
        # Rounding can make a flat direction look bent the wrong way: stop before it.
        flat = curved <= 0
        step = torch.where(flat, torch.zeros_like(rz), rz / curved)
        direction = direction.plus(search, step)
        residual = residual.plus(image, -step)
        z = kept.apply(residual)
        after = residual.dot(z)
        if progress is not None:
            left[alive] = progress.see(alive, step, after)
        going = (after > small) & ~effort.suffices(residual, left[alive]) & ~flat & (product + 1 < effort.products)
        if not going.all():
            solution.put(alive[~going], direction.keep(~going))
            expected.put(alive[~going], residual.keep(~going))
            if not going.any():
                break
        search = z.plus(search, after / rz)
        rz = after
        if not going.all():
            alive, rz, small, effort = alive[going], rz[going], small[going], effort.keep(going)
            direction, residual, search = direction.keep(going), residual.keep(going), search.keep(going)
            curvature.keep(going)
            kept = kept.keep(going)
    if progress is not None:
        left, experience = progress.end()
    decrease = -0.5 * gradient.dot(solution.to(gradient.w.dtype))
    return Directions(solution, expected, products, decrease, left, experience, preconditioner)
