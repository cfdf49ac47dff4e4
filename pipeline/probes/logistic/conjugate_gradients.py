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
    smallest : tensor, float64 [m]
        An eigenvalue that the preconditioned Hessian is thought to have none below; 0 where nothing is known.
    left : tensor, float64 [m]
        What a longer direction may still gain, by that eigenvalue, that is little enough whatever `accuracy` says; not
        positive where nobody asks for it.
    products : tensor, int64 [m]
        At most so many.
    """

    accuracy: torch.Tensor
    square: torch.Tensor
    intercepts: torch.Tensor
    smallest: torch.Tensor
    left: torch.Tensor
    products: torch.Tensor

    def keep(self, which: torch.Tensor) -> Effort:
        """Return that of the chosen models."""
        return Effort(
            self.accuracy[which],
            self.square[which],
            self.intercepts[which],
            self.smallest[which],
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
    products : tensor, int64 [m]
        With the Hessian.
    decrease : tensor, float64 [m]
        Of the quadratic model along the direction: -⟨gradient, direction⟩ / 2.
    left : tensor, float64 [m]
        What a longer direction could still gain, at most, if no eigenvalue is below `Effort.smallest`; inf where that
        is not known.
    smallest : tensor, float64 [m]
        Smallest Ritz value: about the smallest eigenvalue, from above, of the preconditioned Hessian; 0 where nobody
        asked for `left`.
    """

    direction: Point
    products: torch.Tensor
    decrease: torch.Tensor
    left: torch.Tensor
    smallest: torch.Tensor


def newton_directions(curvature: Curvature, gradient: Point, effort: Effort) -> Directions:
    """Solve Hessian times direction = -gradient for every model, each with its own effort.

    Parameters
    ----------
    curvature : Curvature
        Of the same models; afterwards, of those that were left last.
    gradient : Point
    effort : Effort

    Returns
    -------
    Directions

    References
    ----------
    Golub and Meurant, Matrices, Moments and Quadrature with Applications, 2010, chapter 12: the coefficients of the
    iteration are those of the Lanczos matrix, whose eigenvalues are the Ritz values. Meurant and Tichy, On computing
    quadrature-based bounds for the A-norm of the error in conjugate gradients, Numerical Algorithms 62, 2013.
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
    # Of each product, [m]; 0 for models that have stopped.
    steps: list[torch.Tensor] = []
    ratios: list[torch.Tensor] = []
    left = torch.full_like(effort.left, torch.inf)
    radau = effort.smallest.reciprocal()
    asked = bool((effort.left > 0).any())
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
        for kept, value in ((steps, step), (ratios, after / rz)):
            kept.append(torch.zeros_like(left).index_copy_(0, alive, value.double()))
        # Gauss-Radau quadrature: γ times the square of the residual, halved, bounds what the model has left to gain. If
        # γ is below the step, there is a smaller eigenvalue after all.
        radau = (radau - step).where(radau > step, torch.inf)
        radau = (radau / (effort.smallest * radau + after / rz)).nan_to_num(torch.inf)
        left[alive] = (0.5 * radau * after).nan_to_num(torch.inf)
        going = (after > small) & ~effort.suffices(residual, left[alive]) & ~flat & (product + 1 < effort.products)
        if not going.all():
            solution.put(alive[~going], direction.keep(~going))
            if not going.any():
                break
        search = z.plus(search, after / rz)
        rz = after
        if not going.all():
            alive, rz, small, effort = alive[going], rz[going], small[going], effort.keep(going)
            radau = radau[going]
            direction, residual, search = direction.keep(going), residual.keep(going), search.keep(going)
            curvature.keep(going)
    else:
        solution.put(alive, direction)
    decrease = -0.5 * gradient.dot(solution.to(gradient.w.dtype))
    smallest = torch.zeros_like(left)
    if asked:
        smallest = _smallest_ritz(torch.stack(steps, 1), torch.stack(ratios, 1))
    return Directions(solution, products, decrease, left, smallest)


def _smallest_ritz(steps: torch.Tensor, ratios: torch.Tensor) -> torch.Tensor:
    """Return the smallest eigenvalue of each model's Lanczos matrix, from steps α and ratios β of squares, [m, k]."""
    import torch

    ran = steps > 0
    inverse = torch.where(ran, 1 / steps, 0.0)
    diagonal = inverse.clone()
    diagonal[:, 1:] += ratios[:, :-1] * inverse[:, :-1]
    beside = (ratios.clamp_min(0).sqrt() * inverse)[:, :-1] * ran[:, 1:]
    largest = torch.where(ran, diagonal, 0.0).amax(1, keepdim=True)
    # Models that stopped earlier have a smaller matrix: the rest is a diagonal that is not the smallest.
    diagonal = torch.where(ran, diagonal, 2 * largest + 1)
    matrix = torch.diag_embed(diagonal) + torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
    smallest: torch.Tensor = torch.linalg.eigvalsh(matrix)[:, 0].clamp_min(0)
    return smallest
