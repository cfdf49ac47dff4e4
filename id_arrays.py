"""Sample ids as arrays: compared and looked up without a Python object for each, of which 10^8 would take 8 GB.

Two ids are taken to be the same if their first 16 bytes are: they are sha256, so 128 bits tell any two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from .arrays import Indices, SampleIds

SAMPLE_BYTES = 32
"""Of a sample id."""

Words: TypeAlias = npt.NDArray[np.uint64]
"""Eight bytes of each sample id as one number, uint64 [n]."""

AnyIds: TypeAlias = Sequence[bytes] | SampleIds
"""Sample ids one by one, 32 bytes each, or as an array, uint8 [n, 32]."""


def sample_array(ids: AnyIds) -> SampleIds:
    """Return sample ids as an array, uint8 [n, 32]; an array as it is."""
    return ids if isinstance(ids, np.ndarray) else np.frombuffer(b"".join(ids), np.uint8).reshape(-1, SAMPLE_BYTES)


def halves(ids: SampleIds) -> tuple[Words, Words]:
    """Return the first and the next 8 bytes of each sample id, as numbers."""
    words = np.ascontiguousarray(ids).view("<u8").astype(np.uint64, copy=False)  # [n, 4]
    return words[:, 0], words[:, 1]


class Repeats(NamedTuple):
    """The rows whose sample an earlier row has.

    Parameters
    ----------
    rows : ndarray, int64 [r]
        These rows, ascending.
    first : ndarray, int64 [r]
        For each, the first row that has its sample.
    """

    rows: Indices
    first: Indices


def repeats(ids: AnyIds) -> Repeats:
    """Find the rows whose sample an earlier row has.

    Takes 16 bytes of memory a row, and some 50 for each row whose sample occurs more than once.

    Examples
    --------
    >>> found = repeats([b"a" * 32, b"b" * 32, b"a" * 32])
    >>> found.rows.tolist(), found.first.tolist()
    ([2], [0])
    """
    heads, tails = halves(sample_array(ids))
    ordered = np.sort(heads)
    doubled = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    rows = np.flatnonzero(_among(heads, doubled))  # those that have company, as far as the first 8 bytes tell
    heads, tails = heads[rows], tails[rows]
    order = np.lexsort((tails, heads))  # stable: of equal ones the first row comes first
    heads, tails, rows = heads[order], tails[order], rows[order]
    begins = np.ones(len(rows), bool)
    begins[1:] = (heads[1:] != heads[:-1]) | (tails[1:] != tails[:-1])
    first = rows[np.flatnonzero(begins)][np.cumsum(begins) - 1]
    again = np.flatnonzero(~begins)
    again = again[np.argsort(rows[again])]
    return Repeats(rows[again].astype(np.int64), first[again].astype(np.int64))


def distinct_ids(ids: AnyIds) -> int:
    """Return how many different samples there are."""
    return len(ids) - len(repeats(ids).rows)


def _among(values: Words, ordered: Words) -> npt.NDArray[np.bool_]:
    """Return which of the values are in an ordered array."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return np.asarray(ordered[at] == values)
