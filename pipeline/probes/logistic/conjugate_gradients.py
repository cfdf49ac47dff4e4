"""Preconditioned conjugate gradients for the Newton directions of many models together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.linalg

from .curvature import Curvature, Preconditioner
from .objective import Point

if TYPE_CHECKING:
    import torch

Float64 = npt.NDArray[np.float64]

_SURE = 24
"""Products from which what the last half of them have gained says how much is left."""


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
        Smallest Ritz value of earlier solves; inf where there were none.
    promised : tensor, float64 [m]
        What the solve before is thought to have left; 0 where nothing is known.
    sure : tensor, int64 [m]
        Products that it takes to say that there is less.
    left : tensor, float64 [m]
        What a longer direction may still gain that is little enough whatever `accuracy` says; negative where nobody
        asks for it.
    products : tensor, int64 [m]
        At most so many.
    """

    accuracy: torch.Tensor
    square: torch.Tensor
    intercepts: torch.Tensor
    smallest: torch.Tensor
    promised: torch.Tensor
    sure: torch.Tensor
    left: torch.Tensor
    products: torch.Tensor

    def keep(self, which: torch.Tensor) -> Effort:
        """Return that of the chosen models."""
        return Effort(
            self.accuracy[which],
            self.square[which],
            self.intercepts[which],
            self.smallest[which],
            self.promised[which],
            self.sure[which],
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
        What a longer direction could still gain, by `Progress`.
    smallest : tensor, float64 [m]
        Smallest Ritz value: about the smallest eigenvalue, from above, of the preconditioned Hessian.
    preconditioner : Preconditioner
    """

    direction: Point
    residual: Point
    products: torch.Tensor
    decrease: torch.Tensor
    left: torch.Tensor
    smallest: torch.Tensor
    preconditioner: Preconditioner


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
    progress = Progress(rz, effort.smallest)
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
        progress.see(alive, step, after)
        left[alive] = progress.left(alive, effort)
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
    if (effort.left >= 0).any():
        progress.end()
    decrease = -0.5 * gradient.dot(solution.to(gradient.w.dtype))
    return Directions(solution, expected, products, decrease, left, progress.smallest, preconditioner)


class Progress:
    """What products have gained, and so what more of them could, for m models.

    An estimate, and no bound: nobody knows of directions that the gradient hides. It is the larger of two.

    - The energy of the error falls at least as fast as one over the number of products in what was tried, if slowly at
      first where the gradient lies along directions of little curvature. So no more is left than twice what the last
      half of the products have gained; the fewer there were, the more is allowed for. After an earlier solve, slow
      directions are all that there is: what that one left and this one has not gained is still there, until this one
      is twice as long.
    - If no eigenvalue of the preconditioned Hessian is below μ, Gauss and Radau's quadrature bounds what is left. The
      smallest Ritz value is about the smallest eigenvalue that the gradient has a part in, from above; μ is half of it.

    Parameters
    ----------
    start : tensor [m]
        Squares of the gradients in the preconditioner's metric.
    smallest : tensor, float64 [m]
        Ritz value of earlier solves.

    References
    ----------
    Golub and Meurant, Matrices, Moments and Quadrature with Applications, 2010, chapter 12: the coefficients of the
    iteration are those of the Lanczos matrix, whose eigenvalues are the Ritz values. Meurant and Tichy, On computing
    quadrature-based bounds for the A-norm of the error in conjugate gradients, Numerical Algorithms 62, 2013.
    """

    def __init__(self, start: torch.Tensor, smallest: torch.Tensor) -> None:
        import torch

        self.smallest = smallest.clone()
        self._squares = [start.double()]  # rz before the first product, after it, …
        self._steps: list[torch.Tensor] = []
        self._again = [0] * len(start)  # products after which it is worth another look
        self._gained = [torch.zeros_like(self._squares[0])]

    def see(self, which: torch.Tensor, step: torch.Tensor, square: torch.Tensor) -> None:
        """Take note of a product: the length of the step, and the square of the residual after it."""
        before = self._squares[-1]
        steps = before.new_zeros(len(before)).index_copy_(0, which, step.double())
        self._steps.append(steps)
        self._gained.append(self._gained[-1] + 0.5 * steps * before)
        self._squares.append(before.index_copy(0, which, square.double()))

    def left(self, which: torch.Tensor, effort: Effort) -> torch.Tensor:
        """Return what is left to gain for some of the models, float64; roughly where it is more than enough."""
        count = len(self._steps)
        gained = self._gained[-1][which]
        left = max(2.0, 2.0 * _SURE / count) * (gained - self._gained[count // 2][which])
        left = left.where(effort.sure <= count, left.maximum(effort.promised - gained))
        for i in (left <= effort.left).nonzero().flatten().tolist():
            model = int(which[i])
            bound = self._by_quadrature(model) if count >= self._again[model] else float("inf")
            left[i] = max(float(left[i]), bound)
            if bound > float(effort.left[i]) and count >= self._again[model]:
                self._again[model] = count + 1 + count // 10
        return left

    def end(self) -> None:
        """Take note of the Ritz values where it has not been done."""
        for model in range(len(self.smallest)):
            self._ritz(*self._coefficients(model), model)

    def _coefficients(self, model: int) -> tuple[Float64, Float64, Float64]:
        import torch

        steps = torch.stack(self._steps)[:, model].cpu().numpy()
        squares = torch.stack(self._squares)[:, model].cpu().numpy()
        count = int(np.count_nonzero(steps))
        return steps[:count], squares[1 : count + 1] / squares[:count], squares[: count + 1]

    def _ritz(self, steps: Float64, ratios: Float64, squares: Float64, model: int) -> None:
        if not len(steps):
            return
        diagonal = 1 / steps
        diagonal[1:] += ratios[:-1] / steps[:-1]
        beside = np.sqrt(ratios[:-1]) / steps[:-1]
        smallest = scipy.linalg.eigvalsh_tridiagonal(diagonal, beside, select="i", select_range=(0, 0))[0]
        self.smallest[model] = min(float(self.smallest[model]), max(float(smallest), 1e-300))

    def _by_quadrature(self, model: int) -> float:
        steps, ratios, squares = self._coefficients(model)
        self._ritz(steps, ratios, squares, model)
        mu = 0.5 * float(self.smallest[model])
        weight = 1 / mu
        for step, ratio in zip(steps, ratios, strict=True):
            if weight <= step:
                return float("inf")  # there is a smaller eigenvalue after all
            weight = (weight - step) / (mu * (weight - step) + ratio)
        return float(0.5 * weight * squares[-1])
