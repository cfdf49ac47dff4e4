"""Features rotated to their principal axes once, for many fits on subsets of their rows.

Hold-outs, refits and seeds fit subsets of the same rows again and again. Axes and centre of the whole are exact for
every subset, and nearly as good a guide as its own; what they cost is then paid once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ....arrays import Array, Floating
from ....errors import BadInput
from ..block_threads import BlockThreads
from .axes import PIECE, Axes, rotate_
from .machine import fast_type
from .objective import WeightedTargets
from .rows import Block, MatrixRows, Shard, as_tensor
from .sample import Sample, mass, row_weights, transposed

if TYPE_CHECKING:
    import torch


class Rotated:
    """Features and their rotated rows; or some of the rows of another, sharing its memory.

    `fit_path` takes it in place of the features, and then computes no axes. It is never changed, so threads may share
    it. Beside the features, which are kept but not copied, it holds a rotated row for each in the fast type (bfloat16
    where this machine multiplies it faster), and one more copy of the features while it is made.

    Parameters
    ----------
    x : ndarray or tensor, float32 or float64 [n, d]
        On the device where the work is to be done. Not to be changed while this is in use.
    threads : int, optional
        On a CPU; torch's own number by default.

    Attributes
    ----------
    n, d : int
    device : torch.device

    Raises
    ------
    BadInput
        If `x` is not a matrix, or not finite.

    Examples
    --------
    >>> from cryoprobe.pipeline.probes.logistic import fit_path
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(40, 3))
    >>> y = (x[:, 0] > 0).astype(int)
    >>> rotated = Rotated(x)
    >>> held_out = fit_path(rotated.rows(np.arange(30)), y[:30], [1.0, 0.1])
    >>> refit = fit_path(rotated, y, [0.1])
    >>> refit.coef.shape
    (1, 1, 3)
    """

    def __init__(self, x: Floating | torch.Tensor, *, threads: int | None = None) -> None:
        import torch

        features = as_tensor(x)
        if features.ndim != 2 or not features.numel():
            raise BadInput("features must be a matrix with rows", expected="[n, d]", found=tuple(features.shape))
        self._matrix = MatrixRows(features)
        self.n, self.d = features.shape
        self.device = features.device
        self.shard: Shard | None = None
        self._chosen: torch.Tensor | None = None
        exact = torch.float64 if features.dtype == torch.float64 else torch.float32
        dtype = fast_type(features.numel(), self.device, exact)
        on_cpu = self.device.type == "cpu"
        with BlockThreads(threads if threads is not None else torch.get_num_threads(), workers=on_cpu) as pool:
            centre = features.mean(0, dtype=torch.float64).to(exact)
            centred = features.to(exact, copy=True).sub_(centre)
            squares = torch.linalg.vecdot(centred, centred)
            # Orthonormal to float64, as the penalty of a fit in float64 needs it.
            basis, turned, _ = rotate_(centred, None, dtype, torch.float64, pool)
        self._centre, self._basis, self._turned, self._squares = centre.double(), basis, turned, squares

    def __len__(self) -> int:
        return self.n

    def rows(self, indices: Array | torch.Tensor | slice) -> Rotated:
        """Return some of the rows, without a copy.

        Parameters
        ----------
        indices : ndarray or tensor, int [k] or bool [n], or slice
            Of the rows of this object, in the order of the labels to come; a row may come several times.

        Raises
        ------
        BadInput
            If there are no such rows, or none.
        """
        import torch

        every = torch.arange(self.n) if self._chosen is None else self._chosen.cpu()
        try:
            chosen = every[indices if isinstance(indices, slice) else torch.as_tensor(indices)]
        except (IndexError, TypeError) as error:
            raise BadInput(f"no such rows among {self.n}: {error}", expected=self.n) from error
        if chosen.ndim != 1 or not len(chosen):
            raise BadInput("rows must be chosen by indices or flags, one at least", found=tuple(chosen.shape))
        part = copy.copy(self)
        part._chosen, part.n = chosen.to(self.device), len(chosen)
        return part

    def blocks(self) -> Iterator[Block]:
        """Yield the features of the rows; with chosen rows, a copy of a block at a time."""
        if self._chosen is None:
            yield from self._matrix.blocks()
            return
        size = self._matrix.block_rows
        for start in range(0, self.n, size):
            yield Block(start, self._matrix.x[self._chosen[start : start + size]])

    def sample(self, weighted: WeightedTargets, pool: BlockThreads) -> tuple[Axes, Sample]:
        """Return the axes, and the rotated rows with their labels; chosen rows are copied, all rows are not."""
        import torch

        x, squares = self._turned, self._squares
        if self._chosen is not None:
            chosen = self._chosen
            x = x.new_empty(self.n, x.shape[1])
            pieces = [slice(start, start + PIECE) for start in range(0, self.n, PIECE)]
            for _ in pool.map(lambda piece: x[piece].copy_(self._turned[chosen[piece]]), pieces):
                pass
            squares = squares[chosen]
        weights = row_weights(weighted)
        each = torch.ones(self.n, device=self.device) if weights is None else weights
        total = mass(weighted)
        # Where their mean is needs no more digits than the rows have: it only corrects how far they spread around it.
        mean = ((each / total).to(x.dtype) @ x).double()
        square = float(each.double() @ squares.double()) / total - float(mean @ mean)
        return Axes(self._centre, self._basis, max(square, 1e-300) ** 0.5), Sample(x, transposed(x), weighted, 1.0)
