"""The order in which training rows come: a new permutation a pass, cut into batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ....arrays import Indices
from ....errors import BadInput


class Batches:
    """How many batches there are, and the rows of each.

    Parameters
    ----------
    n : int
        Rows.
    size : int
        Rows a batch.
    epochs, iterations : int or None
        Exactly one of both. By `epochs`, each pass ends with a batch of what is left, as a torch ``DataLoader`` has
        it. By `iterations`, every batch is full: it goes on into the next pass's order, as DINOv2's infinite sampler
        does (and a batch larger than n has rows twice).

    Attributes
    ----------
    total : int
        Batches in all.
    last_pass : int
        Batches that make up the last pass over the rows.

    Raises
    ------
    BadInput
        If `size` or the number of passes is below 1, or both ways of counting are given.
    """

    def __init__(self, n: int, size: int, epochs: int | None, iterations: int | None) -> None:
        if size < 1:
            raise BadInput("a batch needs at least one row", hint="Give a batch size of 1 or more.", found=size)
        if (epochs is None) == (iterations is None) or (epochs or iterations or 0) < 1:
            raise BadInput(
                "training goes on for a number of epochs or a number of iterations, at least 1",
                hint="Give one of both.",
                found={"epochs": epochs, "iterations": iterations},
            )
        self.n, self.size, self.full = n, size, iterations is not None
        in_a_pass = -(-n // size)
        self.total = iterations if iterations is not None else (epochs or 0) * in_a_pass
        self.last_pass = min(in_a_pass, self.total)

    def draw(self, rng: np.random.Generator) -> Iterator[Indices]:
        """Yield the rows of each batch, int64 [b]; every row comes once before any comes again."""
        waiting = np.empty(0, dtype=np.int64)
        for _ in range(self.total):
            while len(waiting) < (self.size if self.full else 1):
                waiting = np.append(waiting, rng.permutation(self.n))
            yield waiting[: self.size]
            waiting = waiting[self.size :]
