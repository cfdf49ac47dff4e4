"""The k nearest rows of each query: exact, in bounded memory, the same on every machine.

Not an index: every query is compared with every row. The comparison is a matrix product, block by block, in the
arithmetic of the rows; it keeps the pairs that rounding cannot exclude, and those few are then compared in float64. So
which rows are nearest, and their order, does not depend on the blocks, on threads or on the BLAS library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ....arrays import Features, Float64, Indices, Mask
from ....errors import BadInput
from ..sharded_rows import ShardedRows
from ..sklearn_input import blocks, norms, squares

Metric = Literal["cosine", "euclidean"]

_ELEMENTS_AT_ONCE = 2**18
"""Entries of the rows that are compared together in float64: two buffers of 2 MiB, which stay in cache."""

_SPARE = 3
"""How many times k candidates a query may have on average before the list is cut; cutting costs a sort."""


def nearest(
    queries: Features, rows: Features, k: int, *, metric: Metric = "cosine", block_size: int = 2048
) -> Iterator[tuple[slice, Float64, Indices]]:
    """Find the k nearest rows of every query.

    Parameters
    ----------
    queries : ndarray [m, d]
    rows : ndarray [n, d]
    k : int
        From 1 to n.
    metric : {"cosine", "euclidean"}
        Similarity: the cosine (0 where either row is zeros), or -|q - t|²/2, which on unit rows is the cosine less 1.
    block_size : int
        Queries, and rows, that are compared at once. Memory is of the order of block_size² + block_size (k + d)
        numbers, and does not grow with m or n beyond two numbers a row.

    Yields
    ------
    block : slice
        Which queries.
    similarities : ndarray, float64 [b, k]
        Descending.
    indices : ndarray, int64 [b, k]
        Of two rows with the same similarity in float64 the first comes first.
    """
    space = _Space(rows, np.result_type(queries, rows), metric)
    for block in blocks(len(queries), block_size):
        candidates = _candidates(space, queries[block], k, block_size)
        pairs = space.exact(queries[block], candidates)
        order, rank = pairs.ranking()
        best = pairs.take(order[rank < k])
        yield block, best.similarity.reshape(-1, k), best.column.reshape(-1, k)


def nearest_of_ranks(
    queries: Features, rows: ShardedRows, k: int, *, metric: Metric = "cosine", block_size: int = 2048
) -> Iterator[tuple[slice, Float64, Indices]]:
    """Find the k nearest of the rows that several ranks share, as `nearest` does; called by all of them alike.

    Each finds the nearest of its own rows, and all merge what they found. A pair's similarity does not depend on what
    it is compared with, so the result is the same to the bit.

    Parameters
    ----------
    queries : ndarray [m, d]
        The same for all ranks.
    rows : ShardedRows
        In memory.
    k, metric, block_size
        See `nearest`.

    Yields
    ------
    block, similarities, indices
        See `nearest`.
    """
    own, held = rows.own, rows.held
    if not isinstance(own, np.ndarray):
        raise BadInput(
            "Nearest neighbours need each rank's rows in its memory, and --memory does not allow them.",
            hint="Start more ranks, or give more.",
            key="memory",
        )
    for block in blocks(len(queries), block_size):
        part, found = queries[block], None
        if len(own):
            ((_, similarity, which),) = nearest(part, own, min(k, len(own)), metric=metric, block_size=block_size)
            found = similarity.T, held[which].T
        similarities = np.concatenate(rows.ranks.gather(None if found is None else found[0])).T  # [b, ranks k]
        indices = np.concatenate(rows.ranks.gather(None if found is None else found[1])).T
        order = np.lexsort((indices, -similarities), axis=1)[:, :k]
        yield block, np.take_along_axis(similarities, order, 1), np.take_along_axis(indices, order, 1)


def pairs_above(
    rows: Features, threshold: float, *, most: int, block_size: int = 2048
) -> tuple[Indices, Indices, Float64]:
    """Find the pairs of rows whose cosine is at least a threshold, each once.

    Parameters
    ----------
    rows : ndarray [n, d]
    threshold : float
        Above -1.
    most : int
        At most so many: the closest, as far as the arithmetic of the rows can tell.
    block_size : int
        Rows that are compared at once. Memory is of the order of block_size² + block_size d numbers, and the pairs.

    Returns
    -------
    first, second : ndarray, int64 [p]
        The first row of a pair comes before the second.
    cosines : ndarray, float64 [p]
        Computed in float64; 0 if either row is zeros.

    Examples
    --------
    >>> first, second, cosines = pairs_above(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]), 0.9, most=10)
    >>> first.tolist(), second.tolist(), cosines.tolist()
    ([0], [2], [1.0])
    """
    space = _Space(rows, rows.dtype, "cosine")
    found = _Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    least = threshold - space.margin
    for block in blocks(len(rows), block_size):
        products_with = space.approximate(rows[block])
        for other in blocks(len(rows), block_size):
            if other.start < block.start:
                continue
            products = products_with(other)
            flat = np.flatnonzero(products >= least)
            query, column = np.divmod(flat, products.shape[1])
            later = query + block.start < column + other.start
            pairs = _Pairs(query[later], column[later] + other.start, products.ravel()[flat[later]].astype(np.float64))
            # Rows that all but coincide make millions of pairs in a block: float64 of each would take minutes.
            pairs = space.exact(rows[block], pairs.closest(most))
            pairs = pairs.take(pairs.similarity >= threshold)
            found = found.joined(pairs._replace(query=pairs.query + block.start))
            if len(found.query) > most:
                found = found.closest(most)
                least = max(least, float(found.similarity.min()))
    return found.query, found.column, found.similarity


class _Pairs(NamedTuple):
    """Pairs of a query and a row, with a similarity; columns ascend within each query."""

    query: Indices
    column: Indices
    similarity: Float64

    def take(self, which: Mask | Indices) -> _Pairs:
        """Return the pairs at `which`, a mask or indices."""
        return _Pairs(self.query[which], self.column[which], self.similarity[which])

    def joined(self, other: _Pairs) -> _Pairs:
        """Return the pairs of both."""
        return _Pairs(*(np.concatenate(both) for both in zip(self, other, strict=True)))

    def closest(self, most: int) -> _Pairs:
        """Return the `most` pairs with the highest similarity, in their order; all if there are not more."""
        if len(self.query) <= most:
            return self
        return self.take(np.sort(np.argpartition(-self.similarity, most - 1)[:most]))

    def ranking(self) -> tuple[Indices, Indices]:
        """Return the order by query, similarity and column, and in that order each pair's rank in its query."""
        order = np.argsort(-self.similarity, kind="stable")
        query = self.query[order]
        # numpy has a radix sort for 16 bits, and blocks seldom have more queries.
        order = order[np.argsort(query.astype(np.uint16) if query.max() < 2**16 else query, kind="stable")]
        first = np.flatnonzero(np.diff(self.query[order], prepend=-1))
        return order, np.arange(len(order)) - np.repeat(first, np.diff(first, append=len(order)))

    def above_kth(self, k: int, floor: Features, margin: float) -> tuple[_Pairs, Features]:
        """Drop what is further than `margin` below the k-th of its query; return with it the floor [b] so raised."""
        order, rank = self.ranking()
        kth = self.similarity[order[rank == k - 1]]  # [b]: every query has k pairs
        floor = np.maximum(floor, (kth - margin).astype(floor.dtype))
        return self.take(self.similarity >= floor[self.query]), floor


class _Space:
    """Similarity between queries and rows: approximate for all pairs of two blocks, exact for a list of pairs."""

    def __init__(self, rows: Features, dtype: npt.DTypeLike, metric: Metric) -> None:
        self.rows = rows
        self.dtype: Any = np.dtype(dtype)
        self.euclidean = metric == "euclidean"
        if self.euclidean:
            # Distances change neither with the origin nor, in their order, with the scale; rounding and overflow do.
            self.centre = rows.mean(axis=0, dtype=np.float64).astype(dtype)
            self.longest = max(float(np.sqrt(squares(rows[b] - self.centre).max())) for b in blocks(len(rows))) or 1.0
        else:
            self.norms = norms(rows)
        # A sum of d products of two vectors of norm 1 is off by at most d eps/2, in any order; scaling the vectors and
        # subtracting half a square add a few eps. Twice, since both sides of a comparison are off.
        self.margin = 2 * (rows.shape[1] + 16) * float(np.finfo(self.dtype).eps)

    def approximate(self, queries: Features) -> Callable[[slice], Features]:
        """Return a function of a block of rows: products [b, w] that are off by less than half of `margin`.

        Cosines, or for each query the similarities times a factor plus a constant of its own.
        """
        if not self.euclidean:
            unit = (queries / norms(queries)[:, None]).astype(self.dtype)

            def cosines(block: slice) -> Features:
                inverse = (1 / self.norms[block, None]).astype(self.dtype)
                found: Features = unit @ (self.rows[block] * inverse).T
                return found

            return cosines

        # -|q - t|²/2 = qt - t²/2 - q²/2, without the last, after division by max(|q|, longest) and by the longest |t|.
        left = (queries.astype(self.dtype) - self.centre) / self.longest
        shrunk = 1 / np.maximum(np.sqrt(squares(left)), 1.0)  # [b]
        left = (left * shrunk[:, None]).astype(self.dtype)

        def products(block: slice) -> Features:
            right = ((self.rows[block].astype(self.dtype) - self.centre) / self.longest).astype(self.dtype)
            found: Features = left @ right.T
            found -= (shrunk[:, None] * (squares(right) / 2)).astype(self.dtype)
            return found

        return products

    def exact(self, queries: Features, pairs: _Pairs) -> _Pairs:
        """Return the pairs with their similarities in float64, each computed alone and so the same anywhere."""
        found = np.empty(len(pairs.query))
        lengths = None if self.euclidean else norms(queries)
        for block in blocks(len(found), max(_ELEMENTS_AT_ONCE // queries.shape[1], 1)):
            query, column = pairs.query[block], pairs.column[block]
            left, right = queries[query].astype(np.float64), self.rows[column].astype(np.float64)
            if lengths is None:
                left -= right
                found[block] = -np.einsum("pd,pd->p", left, left) / 2
            else:
                found[block] = np.einsum("pd,pd->p", left, right) / (lengths[query] * self.norms[column])
        return pairs._replace(similarity=found)


def _candidates(space: _Space, queries: Features, k: int, block_size: int) -> _Pairs:
    """Return every pair that may be among the k best of its query, and not many others."""
    enough = _SPARE * k * len(queries)
    products_with = space.approximate(queries)
    floor = np.full(len(queries), -np.inf, dtype=space.dtype)  # [b], what a pair must reach
    kept = _Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    for block in blocks(len(space.rows), block_size):
        products = products_with(block)  # [b, w]
        wanted = products >= floor[:, None]
        if products.shape[1] > k and np.count_nonzero(wanted) > k * len(queries):
            floor = np.maximum(floor, (np.partition(products, -k, axis=1)[:, -k] - space.margin).astype(space.dtype))
            wanted = products >= floor[:, None]
        flat = np.flatnonzero(wanted)  # several times faster than nonzero of a matrix
        query, column = np.divmod(flat, products.shape[1])
        kept = kept.joined(_Pairs(query, column + block.start, products.ravel()[flat].astype(np.float64)))
        if len(kept.query) > enough:
            kept, floor = kept.above_kth(k, floor, space.margin)
            if len(kept.query) > enough:  # rows that all but coincide: only float64 can tell
                order, rank = space.exact(queries, kept).ranking()
                kept = kept.take(np.sort(order[rank < k]))
    return kept.above_kth(k, floor, space.margin)[0]
