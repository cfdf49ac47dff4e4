"""From labels and weights to what is fitted: a class that no row has, or a flag that is the same in all, is not.

Such a class has its optimum at infinity, where it takes nothing from the others and adds nothing to the objective. It
gets no weights, and an intercept that makes it unlikely wherever the rest is undecided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import BadInput
from .certificate import class_weights
from .objective import Point, WeightedTargets
from .rows import Rows, as_tensor

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class FittedHeads:
    """Which heads are fitted, and what the others are.

    Parameters
    ----------
    weighted : WeightedTargets or None
        Of the fitted heads; None where there is nothing to fit.
    heads : int
        Of all: K classes, or 1 for two classes, or columns of flags.
    which : tensor, int64 [fitted]
        The fitted heads.
    rest : tensor, float64 [heads]
        Intercepts of the others.
    """

    weighted: WeightedTargets | None
    heads: int
    which: torch.Tensor
    rest: torch.Tensor

    def complete(self, point: Point) -> Point:
        """Return all heads, w [L, heads, d] and b [L, heads], from the fitted ones."""
        n, _, d = point.w.shape
        w, b = point.w.new_zeros(n, self.heads, d), self.rest.repeat(n, 1)
        w[:, self.which], b[:, self.which] = point.w, point.b
        return Point(w, b)


def heads_to_fit(rows: Rows, y: Any, sample_weight: Any) -> FittedHeads:
    """Check labels and weights, and leave out what needs no fit.

    Raises
    ------
    BadInput
        If they do not fit the rows, or are out of range.
    """
    import torch

    weighted = _checked_targets(rows, y, sample_weight)
    counts = class_weights(weighted)
    unlikely = -math.log(2.0 * rows.n + 1)
    if weighted.softmax:
        which = (counts[0] > 0).nonzero().squeeze(1)
        # All other logits add up to the same at every row, so the largest of them is far above this.
        rest = torch.full((weighted.n_classes,), 2 * unlikely, dtype=torch.float64, device=rows.device)
        heads = weighted.n_classes
        if len(which) < 2:
            rest[which] = 0.0
            return FittedHeads(None, heads, which[:0], rest)
        if len(which) < heads:
            place = torch.zeros(heads, dtype=torch.int64, device=rows.device)
            place[which] = torch.arange(len(which), device=rows.device)
            # Rows of the others have no weight: it does not matter which class they are put in.
            weighted = replace(weighted, targets=place[weighted.targets], n_classes=len(which))
        return FittedHeads(weighted, heads, which, rest)
    heads = weighted.targets.shape[1]
    which = (counts > 0).all(1).nonzero().squeeze(1)
    rest = torch.where(counts[:, 1] > 0, -unlikely, unlikely).double()
    if not len(which):
        return FittedHeads(None, heads, which, rest)
    if len(which) < heads:
        weights = weighted.weights
        if weights is not None and weights.ndim == 2:
            weights = weights[:, which]
        weighted = replace(weighted, targets=weighted.targets[:, which], weights=weights)
    return FittedHeads(weighted, heads, which, rest)


def _checked_targets(rows: Rows, y: Any, sample_weight: Any) -> WeightedTargets:
    import torch

    targets = as_tensor(np.asarray(y) if not isinstance(y, torch.Tensor) else y).to(rows.device)
    if len(targets) != rows.n:
        raise BadInput(f"{rows.n} rows of features, but {len(targets)} of labels", expected=rows.n, found=len(targets))
    if targets.ndim == 1:
        targets = targets.long()
        k = int(targets.max()) + 1
        if int(targets.min()) < 0 or k < 2:
            raise BadInput("labels must be class indices from 0, of two classes or more", found=k)
        if k == 2:
            targets = targets[:, None].to(torch.uint8)
    else:
        k = 1
        if not ((targets == 0) | (targets == 1)).all():
            raise BadInput("flags must be 0 or 1")
        targets = targets.to(torch.uint8)
    weights = None
    if sample_weight is not None:
        weights = as_tensor(np.asarray(sample_weight) if not isinstance(sample_weight, torch.Tensor) else sample_weight)
        weights = weights.to(rows.device, torch.float64)
        if len(weights) != rows.n or not torch.isfinite(weights).all() or (weights < 0).any() or not weights.any():
            raise BadInput("sample weights must be finite, not negative and not all zero, one for each row")
    return WeightedTargets(targets, weights, k if targets.ndim == 1 else 1)
