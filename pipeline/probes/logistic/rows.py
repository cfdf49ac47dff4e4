"""Rows of features in blocks: a matrix in memory, or a stream that is read anew for every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from ....arrays import Array, Float32, Floating
from ....errors import BadInput

if TYPE_CHECKING:
    import torch

    from ...rank_group import RankGroup

BLOCK_BYTES = 8 << 20
"""Of a block of float32 rows in memory. Measured: 4 MiB is 5 % slower, 16 MiB no faster."""


@dataclass(frozen=True)
class Block:
    """Consecutive rows: x [b, d] and the index of the first."""

    start: int
    x: torch.Tensor

    @property
    def rows(self) -> slice:
        """Which rows of the whole these are."""
        return slice(self.start, self.start + len(self.x))


class Shard(NamedTuple):
    """The part of the rows that this rank has.

    Parameters
    ----------
    ranks : RankGroup
    held : tensor, int64 [k]
        Which of the n rows, ascending.
    """

    ranks: RankGroup
    held: torch.Tensor


class Rows(Protocol):
    """Features [n, d] that can be gone through any number of times, always in the same order and the same blocks.

    With a shard, n counts the rows of all ranks, and blocks are those of this one's [k, d], counted from its first.
    """

    n: int
    d: int
    device: torch.device
    shard: Shard | None

    def blocks(self) -> Iterator[Block]:
        """Yield every row once."""
        ...


class MatrixRows:
    """A matrix in memory; blocks are views of it.

    Parameters
    ----------
    x : tensor [n, d]
        On any device.
    """

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x
        self.n, self.d = x.shape
        self.device = x.device
        self.shard: Shard | None = None
        # On a GPU there is nothing to gain from small blocks but the memory of the intermediate results.
        block_bytes = BLOCK_BYTES if x.device.type == "cpu" else 256 << 20
        self.block_rows = max(64, block_bytes // (4 * self.d) // 64 * 64)

    def blocks(self) -> Iterator[Block]:
        """Yield views of the matrix."""
        for start in range(0, self.n, self.block_rows):
            yield Block(start, self.x[start : start + self.block_rows])


class StreamRows:
    """Rows that are read block by block, from first to last, for every pass.

    Parameters
    ----------
    read : callable
        Returns an iterator over arrays [b, d] that together are the n rows; called once a pass. The arrays must be the
        same each time.
    n, d : int
    device : torch.device
        Where the blocks are worked on.
    shard : Shard, optional
        Of n rows, those that `read` gives.

    Raises
    ------
    BadInput
        While iterating, if the arrays are not n rows of d.
    """

    def __init__(
        self,
        read: Callable[[], Iterable[Floating]],
        n: int,
        d: int,
        device: torch.device,
        shard: Shard | None = None,
    ) -> None:
        self._read = read
        self.n, self.d = n, d
        self.device = device
        self.shard = shard

    def blocks(self) -> Iterator[Block]:
        """Read the rows once more."""
        start, n = 0, self.n if self.shard is None else len(self.shard.held)
        for x in self._read():
            if x.ndim != 2 or x.shape[1] != self.d or start + len(x) > n:
                raise BadInput(
                    f"the stream of features gave an array {x.shape} at row {start} of {n} rows of {self.d}",
                    hint="Give the same rows on every pass.",
                    expected=(n - start, self.d),
                    found=x.shape,
                )
            yield Block(start, as_tensor(x).to(self.device))
            start += len(x)
        if start != n:
            raise BadInput(
                f"the stream of features ended after {start} of {n} rows",
                hint="Give the same rows on every pass.",
                expected=n,
                found=start,
            )


class Stored(Protocol):
    """Rows that can be gone through again and again, such as `StoredRows`."""

    shape: tuple[int, int]

    def blocks(self) -> Iterator[Float32]:
        """Yield every row once."""
        ...


def stream(rows: Stored) -> StreamRows:
    """Return rows that come in blocks on every pass, to be worked on by the CPU; of `ShardedRows`, this rank's."""
    import torch

    n, d = rows.shape
    ranks, held = getattr(rows, "ranks", None), getattr(rows, "held", None)
    shard = None if ranks is None or held is None else Shard(ranks, torch.from_numpy(held))
    return StreamRows(rows.blocks, n, d, torch.device("cpu"), shard)


def as_tensor(array: Array | torch.Tensor) -> torch.Tensor:
    """Return the same memory as a tensor; a copy of what may not be written to, or has gaps."""
    import torch

    if isinstance(array, torch.Tensor):
        return array.detach()
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
