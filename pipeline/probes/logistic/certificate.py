"""Proof of how far a fit is from its optimum: lower bounds on the smallest objective, from points of the dual problem.

For the objective F(W, b) = Σ_i w_i ℓ(y_i, W x_i + b) + (λ/2) ‖W‖² and any distributions q_i over the classes with
Σ_i w_i (q_i - y_i) = 0, Fenchel's duality gives (Shalev-Shwartz and Zhang, 2013, section 5; y_i as a unit vector)

    F*  ≥  D(q) = Σ_i w_i H(q_i) - ‖Σ_i w_i (q_i - y_i) x_iᵀ‖² / (2 λ),      H the entropy.

At the probabilities p of a point (W, b), every term follows from what its evaluation has returned: with the loss L, its
gradient A by W and g by b, Σ w H(p) = L - ⟨A, W⟩ - ⟨g, b⟩, and the norm is that of A. Where g is zero, F - D is
‖A + λ W‖² / (2 λ). Where it is not, p breaks the condition; the mixture q_i = (1 - ε) p_i + ε u with one distribution u
for all rows, u = n/N - (1 - ε) g / (ε N), keeps it (n: weights of the classes, N: their sum). By concavity of H

    D(q)  ≥  (1 - ε) Σ w H(p) + ε N H(u) - ‖(1 - ε) Ā + ε R‖² / (2 λ),

with Ā = A - g sᵀ / N, s = Σ_i w_i x_i, and R = Σ_i w_i (n/N - y_i) x_iᵀ, the gradient at W = 0. Any ε is valid at
which u is a distribution. R and s take one pass over the rows, and nothing else does. The bound holds for every
problem: it supposes nothing of the Hessian, of how the point was found, or of how close it is.

Each column of flags is two classes with one head, q in [0, 1], and everything above holds for it by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .objective import Evaluation, Models, Point, WeightedTargets

if TYPE_CHECKING:
    import torch

_CERTAIN = 60.0
"""A logit at which a class is certain: exp(-60) is lost beside 1 in float64."""

_MIXTURES = 40
"""Values of ε that are tried, evenly spaced in its logarithm from the smallest valid one to 1."""


@dataclass(frozen=True)
class Certificate:
    """What lower bounds need to know of the rows.

    Parameters
    ----------
    counts : tensor, float64 [C, K]
        Weights of the classes, for each column: for softmax one column with K classes, else two classes each.
    at_zero : tensor, float64 [C, heads, d]
        R: the gradient by W at W = 0 with the intercepts of the class frequencies.
    total : tensor, float64 [C, d]
        s: weighted sum of the rows.
    """

    counts: torch.Tensor
    at_zero: torch.Tensor
    total: torch.Tensor

    def bounds(self, models: Models, point: Point, at: Evaluation) -> tuple[torch.Tensor, torch.Tensor]:
        """Bound the smallest objective of each model from below.

        Parameters
        ----------
        models : Models
        point : Point
        at : Evaluation
            At that point.

        Returns
        -------
        lower : tensor, float64 [m]
        price : tensor, float64 [m]
            What the bound loses for each unit of ε: how exact the gradient by the intercepts has to be.
        """
        import torch

        penalties, columns = models.penalties, models.columns
        counts = self.counts[columns]
        n = counts.sum(1)
        g = at.gradient.b
        a = at.gradient.w - penalties[:, None, None] * point.w
        entropy = at.objective - 0.5 * penalties * point.w.square().sum((1, 2))
        entropy = entropy - (a * point.w).sum((1, 2)) - (g * point.b).sum(1)
        a = a - (g / n[:, None])[:, :, None] * self.total[columns][:, None, :]
        r = self.at_zero[columns]
        aa, ar, rr = a.square().sum((1, 2)), (a * r).sum((1, 2)), r.square().sum((1, 2))
        if g.shape[1] == 1:
            g = torch.cat([-g, g], 1)
        least = (g / (counts + g.clamp_min(0))).amax(1).clamp(1e-15, 1.0)
        eps = least[:, None] ** torch.linspace(1, 0, _MIXTURES, dtype=least.dtype, device=least.device)  # [m, e]
        shift = ((1 - eps) / eps / n[:, None])[:, :, None] * g[:, None, :]
        u = ((counts / n[:, None])[:, None, :] - shift).clamp_min(0)  # below 0 by rounding alone
        norm = (1 - eps).square() * aa[:, None] + 2 * eps * (1 - eps) * ar[:, None] + eps.square() * rr[:, None]
        mixed = -torch.xlogy(u, u).sum(2) * n[:, None]
        lower = (1 - eps) * entropy[:, None] + eps * mixed - norm / (2 * penalties[:, None])
        price = entropy + (ar - aa) / penalties - mixed[:, -1]
        return lower.nan_to_num(-torch.inf).amax(1), price

    def without_weights(self, models: Models) -> tuple[Point, Evaluation]:
        """Return the point of no weights and the intercepts of the class frequencies, and what it evaluates to."""
        import torch

        counts = self.counts[models.columns]
        n = counts.sum(1, keepdim=True)
        logs = (counts / n).log()
        gradient = self.at_zero[models.columns]
        two = gradient.shape[1] == 1
        b = logs[:, 1:] - logs[:, :1] if two else logs - logs.mean(1, keepdim=True)
        objective = -(counts * logs).sum(1)
        return Point(torch.zeros_like(gradient), b), Evaluation(objective, Point(gradient, torch.zeros_like(b)))


def certificate(oracle: Callable[[Models, Point], Evaluation], weighted: WeightedTargets, d: int) -> Certificate:
    """Measure what the bounds need, by one pass over the rows.

    Parameters
    ----------
    oracle : callable
        Evaluates models at points with d features, on all rows.
    weighted : WeightedTargets
        Every class of a softmax has some weight; every column of flags has both values.
    d : int
    """
    import torch

    counts = class_weights(weighted)
    columns = len(counts)
    device = counts.device
    # Two models of a column: class frequencies, and one class for certain. The less frequent that class is, the further
    # they lie apart, and the more digits their difference has.
    share = counts / counts.sum(1, keepdim=True)
    rare = share.argmin(1)
    every = torch.arange(columns, device=device)
    if weighted.softmax:
        known = share.log()
        sure = torch.zeros_like(known)
        sure[every, rare] = _CERTAIN
    else:
        known = (share[:, 1:] / share[:, :1]).log()
        sure = torch.where(rare[:, None] == 1, _CERTAIN, -_CERTAIN).to(known.dtype)
    b = torch.cat([known, sure])
    w = torch.zeros(len(b), b.shape[1], d, dtype=torch.float64, device=device)
    at = oracle(Models(torch.zeros(len(b), dtype=torch.float64, device=device), every.repeat(2)), Point(w, b))
    r, other = at.gradient.w[:columns], at.gradient.w[columns:]
    apart = 1 - share[every, rare]
    head = rare if weighted.softmax else torch.zeros_like(rare)
    sign = torch.ones_like(apart) if weighted.softmax else torch.where(rare == 1, 1.0, -1.0).to(apart.dtype)
    total = (other - r)[every, head] * (sign / apart)[:, None]
    return Certificate(counts, r, total)


def class_weights(weighted: WeightedTargets) -> torch.Tensor:
    """Return the sums of the rows' weights by column and class, float64 [1, K] for softmax, [C, 2] for flags."""
    import torch

    device = weighted.targets.device
    n = len(weighted.targets)
    weights = torch.ones(n, 1, dtype=torch.float64, device=device)
    if weighted.weights is not None:
        weights = (weighted.weights if weighted.weights.ndim == 2 else weighted.weights[:, None]).double()
    if weighted.softmax:
        counts = torch.zeros(weighted.n_classes, dtype=torch.float64, device=device)
        return counts.index_add_(0, weighted.targets, weights[:, 0])[None]
    positive = (weights * weighted.targets).sum(0)
    return torch.stack([(weights * (1 - weighted.targets.to(torch.int8))).sum(0), positive], 1)
