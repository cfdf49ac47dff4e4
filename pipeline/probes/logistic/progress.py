"""How far conjugate gradients have come, and what is left to gain: an estimate from what they have gained so far."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from ....arrays import Float64

if TYPE_CHECKING:
    import torch

_SURE = 24
"""Products from which what the last half of them have gained says how much is left."""


@dataclass(frozen=True)
class Experience:
    """What the solves so far have shown of m models.

    Parameters
    ----------
    smallest : tensor, float64 [m]
        Smallest Ritz value, which is about the smallest eigenvalue, from above, of the preconditioned Hessian; inf
        where none was seen.
    left : tensor, float64 [m]
        What they are thought to have left to gain; 0 where nothing is known.
    products : tensor, int64 [m]
        Of the solve that says so.
    """

    smallest: torch.Tensor
    left: torch.Tensor
    products: torch.Tensor

    @classmethod
    def none(cls, m: int, device: torch.device) -> Experience:
        """Return that of m models before their first solve."""
        import torch

        left = torch.zeros(m, dtype=torch.float64, device=device)
        return cls(torch.full_like(left, torch.inf), left, torch.zeros(m, dtype=torch.int64, device=device))

    def keep(self, which: torch.Tensor) -> Experience:
        """Return that of the chosen models."""
        return Experience(self.smallest[which], self.left[which], self.products[which])

    def put(self, which: torch.Tensor, other: Experience) -> None:
        """Take over what others have shown as that of the chosen models."""
        self.smallest[which], self.left[which], self.products[which] = other.smallest, other.left, other.products


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
    before : Experience
        Of the solves before.
    enough : tensor, float64 [m]
        So little that it need not be known any better.

    References
    ----------
    Golub and Meurant, Matrices, Moments and Quadrature with Applications, 2010, chapter 12: the coefficients of the
    iteration are those of the Lanczos matrix, whose eigenvalues are the Ritz values. Meurant and Tichy, On computing
    quadrature-based bounds for the A-norm of the error in conjugate gradients, Numerical Algorithms 62, 2013.
    """

    def __init__(self, start: torch.Tensor, before: Experience, enough: torch.Tensor) -> None:
        self._smallest = before.smallest.cpu().numpy().copy()
        self._promised, self._long = before.left.cpu().numpy(), 2 * before.products.cpu().numpy()
        self._enough = enough.cpu().numpy()
        self._device = start.device
        # Before the first product, after it, …: all float64 [m].
        self._squares = [start.double().cpu().numpy()]
        self._gained = [np.zeros_like(self._squares[0])]
        self._likely, self._made = np.full(len(start), np.inf), np.zeros(len(start), dtype=np.int64)
        self._steps: list[Float64] = []
        self._again = np.zeros(len(start), dtype=np.int64)  # products from which it is worth another look

    def see(self, which: torch.Tensor, step: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
        """Take note of a product; return what is left to gain, by the first estimate alone where that is too much.

        Parameters
        ----------
        which : tensor, int64 [a]
            The models that it was made for.
        step, square : tensor [a]
            Length of the step, and square of the residual after it.

        Returns
        -------
        tensor, float64 [a]
        """
        import torch

        at = which.cpu().numpy()
        little = self._enough[at]
        steps, squares = np.zeros_like(self._squares[0]), self._squares[-1].copy()
        steps[at], squares[at] = step.double().cpu().numpy(), square.double().cpu().numpy()
        self._gained.append(self._gained[-1] + 0.5 * steps * self._squares[-1])
        self._steps.append(steps)
        self._squares.append(squares)
        count, gained = len(self._steps), self._gained[-1][at]
        left = max(2.0, 2.0 * _SURE / count) * (gained - self._gained[count // 2][at])
        before, long = self._promised[at] - gained, self._long[at]
        kept = (count < long) & (before > left)
        left = np.where(kept, before, left)
        self._likely[at], self._made[at] = left, np.where(kept, long // 2, count)
        for i in np.flatnonzero(left <= little):
            model = int(at[i])
            left[i] = max(left[i], self._by_quadrature(model) if count >= self._again[model] else np.inf)
            if left[i] > little[i] and count >= self._again[model]:
                self._again[model] = count + 1 + count // 10
        return torch.from_numpy(left).to(self._device)

    def end(self) -> tuple[torch.Tensor, Experience]:
        """Return what is left to gain, float64 [m], and what the solve has shown: in that, by the first estimate."""
        import torch

        bounds = np.array([self._by_quadrature(model) for model in range(len(self._smallest))])
        found = np.maximum(self._likely, bounds), self._smallest, self._likely, self._made
        left, *shown = (torch.from_numpy(values).to(self._device) for values in found)
        return left, Experience(*shown)

    def _look(self, model: int) -> tuple[Float64, Float64]:
        """Take note of the smallest Ritz value; return the steps and the ratios of squares."""
        steps = np.array([of[model] for of in self._steps])
        count = int(np.count_nonzero(steps))
        steps = steps[:count]
        squares = np.array([of[model] for of in self._squares[: count + 1]])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = squares[1:] / squares[:-1]
            diagonal = 1 / steps
            diagonal[1:] += ratios[:-1] / steps[:-1]
            beside = np.sqrt(ratios[:-1].clip(0)) / steps[:-1]
        if count and np.isfinite(diagonal).all() and np.isfinite(beside).all():
            with contextlib.suppress(np.linalg.LinAlgError):
                found = scipy.linalg.eigvalsh_tridiagonal(diagonal, beside, select="i", select_range=(0, 0))[0]
                self._smallest[model] = min(self._smallest[model], max(float(found), 1e-300))
        return steps, ratios

    def _by_quadrature(self, model: int) -> float:
        steps, ratios = self._look(model)
        mu = 0.5 * self._smallest[model]
        weight = 1 / mu
        for step, ratio in zip(steps, ratios, strict=True):
            if not weight > step:
                return np.inf  # there is a smaller eigenvalue after all
            weight = (weight - step) / (mu * (weight - step) + ratio)
        return float(0.5 * weight * self._squares[-1][model])
