"""Rows in the coordinates of their principal axes, in a fast type: where curvature is measured and starts are found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..block_threads import BlockThreads
from .axes import PIECE, Axes, rotate_
from .machine import has_tiles
from .objective import WeightedTargets
from .rows import Block, Rows

if TYPE_CHECKING:
    import torch


_DEVICE_ENTRIES = 1 << 28
"""Of intermediate results [heads, rows] on a GPU: 1 GiB in float32, many times what keeps it busy."""


@dataclass(frozen=True)
class Sample:
    """Rotated, centred rows of a random sample, in their own order, and their labels and weights.

    Parameters
    ----------
    x : tensor [n, d]
    xt : tensor [d, n] or None
        The same, transposed in memory: on matrix units, products over the rows then run at twice the speed.
    weighted : WeightedTargets
        Of these rows.
    scale : float
        Weight of all rows over the weight of these.
    """

    x: torch.Tensor
    xt: torch.Tensor | None
    weighted: WeightedTargets
    scale: float

    def __len__(self) -> int:
        return len(self.x)

    def blocks(self, heads: int, threads: int = 1) -> Iterator[Block]:
        """Yield blocks of a size that suits products with so many columns, and about one for each thread at least."""
        n = len(self)
        on_cpu = self.x.device.type == "cpu"
        size = min(block_rows(heads), max(1, -(-n // threads))) if on_cpu else max(2048, _DEVICE_ENTRIES // heads)
        for start in range(0, n, size):
            yield Block(start, self.x[start : start + size])

    def over_rows(self, residual: torch.Tensor, block: Block) -> torch.Tensor:
        """Return Σ over the block's rows of residual ⊗ x, [heads, d], from residual [heads, b] in the type of x."""
        if self.xt is None:
            return residual @ block.x
        return (self.xt[:, block.rows] @ residual.T).T


def block_rows(heads: int) -> int:
    """Return how many rows to work on at once: intermediate results [heads, rows] of at most 8 MiB in float32.

    Of few heads, 2,048 rows: of 1,280 dimensions, they are still in the last cache for the second half of a product.

    Every product packs the weights of the heads anew, which must not weigh against the arithmetic; beyond, what a
    block leaves in the caches is gone before it is used. Measured on two cores with matrix units and 2 MiB each of
    their own, 1,000 heads of d = 512: 5.9 s a fit with 2 MiB, 4.9 with 8, 5.3 with 16.
    """
    return max(256, min(2048, (1 << 21) // heads // 64 * 64))


def sample_rows(
    rows: Rows,
    weighted: WeightedTargets,
    held: WeightedTargets,
    limit: int,
    dtype: torch.dtype,
    pool: BlockThreads,
    *,
    orthogonal: torch.dtype,
) -> tuple[Axes, Sample]:
    """Take up to `limit` random rows, find their principal axes and rotate them; one pass.

    The draw comes from a generator of its own with a fixed seed, so that all ranks draw the same; each takes those that
    it has. The centre is the mean of all the rows, rounded.

    Parameters
    ----------
    rows : Rows
    weighted : WeightedTargets
        Of all rows.
    held : WeightedTargets
        Of those that this rank has; the same object if it has all.
    limit : int
        All rows, or no fewer than twice their dimensions.
    dtype : torch.dtype
        Of the rotated rows.
    pool : BlockThreads
    orthogonal : torch.dtype
        The axes are orthonormal to the precision of this type, and the penalty the same before and after rotation.

    Returns
    -------
    axes : Axes
    sample : Sample
    """
    import torch

    n, d, device = rows.n, rows.d, rows.device
    count = len(held.targets)
    weights = row_weights(held)  # [count] or None
    all_chosen, chosen, by_row = weighted, held, None
    if limit < n:
        drawn, times = _choose(weighted, limit)
        all_chosen = _weighing_more(weighted.rows(drawn.to(device)), times.to(device))
        chosen, by_row = all_chosen, drawn
        if rows.shard is not None:
            mine = torch.isin(drawn, rows.shard.held)
            chosen, by_row = all_chosen.rows(mine), torch.searchsorted(rows.shard.held, drawn[mine])
        count = len(by_row)
    narrow = torch.float32 if dtype == torch.bfloat16 else dtype
    kept = torch.empty(count, d, dtype=narrow, device=device)

    def take(block: Block) -> tuple[torch.Tensor]:
        if by_row is None:
            kept[block.rows] = block.x
        else:
            first, last = torch.searchsorted(by_row, torch.tensor([block.start, block.rows.stop])).tolist()
            kept[first:last] = block.x[(by_row[first:last] - block.start).to(device)].to(narrow)
        if weights is None:
            return (block.x.sum(0, dtype=torch.float64),)
        return (weights[block.rows].double() @ block.x.double(),)

    total = torch.zeros(d, dtype=torch.float64, device=device)
    pool.summed(take, rows.blocks(), (total,))
    # Rounded, for all that follows: rows less a rounded centre are all but exact, however far they lie from the origin.
    shift = (total / (n if weights is None else mass(weighted))).to(narrow)
    centre = shift.double()
    for _ in pool.map(lambda start: kept[start : start + PIECE].sub_(shift), range(0, count, PIECE)):
        pass

    basis, x, square = rotate_(kept, row_weights(chosen), dtype, orthogonal, pool)
    scale = (n if weights is None else mass(weighted)) / mass(all_chosen)
    spread = max(square / mass(all_chosen), 1e-300) ** 0.5
    return Axes(centre, basis, spread), Sample(x, transposed(x), chosen, scale)


def _weighing_more(chosen: WeightedTargets, times: torch.Tensor) -> WeightedTargets:
    """Return rows that stand for so many each, [n]."""
    return replace(chosen, weights=times if chosen.weights is None else (chosen.weights.T * times).T)


def transposed(x: torch.Tensor) -> torch.Tensor | None:
    """Return rows transposed in memory, if this machine gains by them."""
    return x.T.contiguous() if x.device.type == "cpu" and x.element_size() == 2 and has_tiles() else None


def _choose(weighted: WeightedTargets, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw about `count` rows; return their indices, ascending, and how many rows each stands for.

    Classes give equal numbers as far as they have them: a class of few rows, drawn at its share, would be left with a
    handful whose curvature says little of it, and a step along it would go wrong for every other class too.
    """
    import torch

    targets = weighted.targets.cpu()
    n = len(targets)
    generator = torch.Generator().manual_seed(0)
    if targets.ndim == 2 and targets.shape[1] > 1:
        rows = torch.randperm(n, generator=generator)[:count].sort().values
        return rows, torch.full((len(rows),), n / len(rows))
    classes, codes, sizes = torch.unique(targets.reshape(n), return_inverse=True, return_counts=True)
    quota, left = torch.zeros(len(classes)), float(count)
    for place, at in enumerate(sizes.argsort().tolist()):
        quota[at] = min(float(sizes[at]), left / (len(classes) - place))
        left -= float(quota[at])
    chance = (quota / sizes)[codes]
    rows = (torch.rand(n, generator=generator) < chance).nonzero().squeeze(1)
    return rows, chance[rows].reciprocal()


def row_weights(weighted: WeightedTargets) -> torch.Tensor | None:
    """Return one weight a row, [n], also where every entry has one of its own."""
    if weighted.weights is None or weighted.weights.ndim == 1:
        return weighted.weights
    return weighted.weights.mean(1)


def mass(weighted: WeightedTargets) -> float:
    """Return the sum of the rows' weights."""
    import torch

    weights = row_weights(weighted)
    return float(len(weighted.targets)) if weights is None else float(weights.sum(dtype=torch.float64))
