"""The coordinates that curvature is measured in: along the principal axes of the rows, from their mean.

Any centre and any orthogonal axes leave the problem the same, only the diagonal of the Hessian is a worse guide to it
along others. With fewer rows than dimensions the axes span the rows alone: the optimum lies in that span, because the
loss does not see what is orthogonal to it and the penalty makes that zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....errors import BadInput
from ..block_threads import BlockThreads
from .objective import Point

if TYPE_CHECKING:
    import torch

PIECE = 2048
"""Rows to rotate at once."""

_ROUND = 1.05
"""Mean square eigenvalue of the correlations, over that of independent features, up to which axes stay as they are.

Of n rows of d independent features it is 1 + d / n. Eigenvectors of 2,000 rows of 1,024 take 0.25 s, and save
no product.
"""


@dataclass(frozen=True)
class Axes:
    """A centre, axes through it, and how far the rows spread.

    Parameters
    ----------
    centre : tensor, float64 [d]
    basis : tensor, float64 [d, r]
        Orthonormal columns, an axis each: r = d, or as many as there are rows where they are fewer.
    spread : float
        Root mean square distance of the rows from their mean.
    """

    centre: torch.Tensor
    basis: torch.Tensor
    spread: float

    def to_features(self, point: Point, pool: BlockThreads) -> Point:
        """Return weights for the features as they are from weights for rotated, centred ones."""
        w = pool.matmul(point.w, self.basis.T)
        return Point(w, point.b - w @ self.centre)

    def from_features(self, point: Point, pool: BlockThreads) -> Point:
        """Undo `to_features`; of weights outside the span of the axes, drop what the rows do not see."""
        return Point(pool.matmul(point.w, self.basis), point.b + point.w @ self.centre)

    def gradient(self, gradient: Point, pool: BlockThreads) -> Point:
        """Return the gradient by rotated weights from that by weights for the features as they are.

        From x_i = centre + basis x̃_i: Σ r_i x̃_iᵀ = (Σ r_i x_iᵀ - (Σ r_i) centreᵀ) basis.
        """
        return Point(pool.matmul(gradient.w - gradient.b[:, :, None] * self.centre, self.basis), gradient.b)

    def gradient_of_features(self, gradient: Point, pool: BlockThreads) -> Point:
        """Undo `gradient`, for rows in the span of the axes."""
        return Point(pool.matmul(gradient.w, self.basis.T) + gradient.b[:, :, None] * self.centre, gradient.b)


def rotate_(
    x: torch.Tensor, weights: torch.Tensor | None, dtype: torch.dtype, orthogonal: torch.dtype, pool: BlockThreads
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Find the principal axes of centred rows and rotate them.

    Parameters
    ----------
    x : tensor [n, d]
        Overwritten. With ranks, those of this one; the axes are those of all.
    weights : tensor [n], optional
    dtype : torch.dtype
        Of the rotated rows. With many rows their scatter is measured in it too: axes that are a little off cost a few
        iterations and no accuracy.
    orthogonal : torch.dtype
        The axes are orthonormal to the precision of this type.
    pool : BlockThreads

    Returns
    -------
    basis : tensor, float64 [d, r]
    rotated : tensor [n, r]
    square : float
        Weighted sum of the squares of x.

    Raises
    ------
    BadInput
        If the rows are not finite, or their squares.
    """
    if len(x) < x.shape[1] and pool.ranks is None:
        return _thin(x, weights, dtype, orthogonal)
    return _wide(x, weights, dtype, orthogonal, pool)


def _thin(
    x: torch.Tensor, weights: torch.Tensor | None, dtype: torch.dtype, orthogonal: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, float]:
    import torch

    # Householder's columns are orthonormal whatever the rank of the rows, where XᵀU/σ would not be.
    columns, triangle = torch.linalg.qr(x.T.to(orthogonal))
    rows = triangle.T
    gram = triangle @ (rows if weights is None else weights[:, None].to(orthogonal) * rows)
    turn = _principal(gram)
    return (columns @ turn).double(), (rows @ turn).to(dtype), float(gram.trace())


def _wide(
    x: torch.Tensor, weights: torch.Tensor | None, dtype: torch.dtype, orthogonal: torch.dtype, pool: BlockThreads
) -> tuple[torch.Tensor, torch.Tensor, float]:
    import torch

    n, d = x.shape
    pieces = [slice(start, start + PIECE) for start in range(0, n, PIECE)]

    def scatter(piece: slice) -> tuple[torch.Tensor]:
        part = x[piece]
        if weights is not None:
            part = part * weights[piece, None].to(x.dtype).sqrt()
        part = part.to(dtype)
        return (part.T @ part,)

    gram = torch.zeros(d, d, dtype=x.dtype, device=x.device)
    pool.summed(scatter, pieces, (gram,))
    count = torch.tensor([n, n] if weights is None else [weights.sum(), weights.square().sum()], dtype=torch.float64)
    if pool.ranks is not None:
        pool.ranks.add(count)
    # By one thread: torch's own are faster by a third on an idle machine, and 20 times slower on one that is not.
    if _independent(gram, float(count[0] ** 2 / count[1])):
        return torch.eye(d, dtype=torch.float64, device=x.device), x.to(dtype), float(gram.trace())
    basis = _principal(gram.to(orthogonal))
    if pool.ranks is not None:
        pool.ranks.first(basis)  # equal eigenvalues leave the axes open
    turn = basis.to(dtype)
    rotated = x if dtype == x.dtype else torch.empty(n, d, dtype=dtype, device=x.device)

    def rotate(piece: slice) -> None:
        rotated[piece] = x[piece].to(dtype) @ turn

    for _ in pool.map(rotate, pieces):
        pass
    return basis.double(), rotated, float(gram.trace())


def _independent(gram: torch.Tensor, n: float) -> bool:
    """Return whether features look independent of each other in n rows: whatever is constant is."""
    import torch

    varies = gram.diagonal() > 0
    scale = torch.where(varies, gram.diagonal(), 1.0).rsqrt()
    correlated = (scale[:, None] * gram * scale).square().sum(dtype=torch.float64)
    count = int(varies.sum())
    # False of values that are not finite, too.
    return bool(correlated <= _ROUND * (1 + count / n) * count)


def _principal(gram: torch.Tensor) -> torch.Tensor:
    """Return the eigenvectors; a row that is not finite has left its mark on the mean, and so on every entry."""
    import torch

    if not torch.isfinite(gram).all():
        raise BadInput(
            "features, and their weighted squares, must be finite",
            hint="Look for NaN and infinite values, and scale features and sample weights to about one.",
        )
    vectors: torch.Tensor = torch.linalg.eigh(gram).eigenvectors
    return vectors
