"""Rows with identical features: how many there are, whether their labels contradict, and which part has another's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...arrays import Indices, Mask
from .labelled_features import FeatureRows, LabelledFeatures, blocks_of, of_every_rank

_WORTH_SAYING = 0.01
"""Share of the rows from which one group of identical ones is a warning for any probe: such rows often come of images
that were decoded wrongly, and weigh as much as there are of them."""

_FEWEST = 3

_FIRST_COLUMNS = 16


class Twins(NamedTuple):
    """Of n rows.

    Parameters
    ----------
    rows : int
        Rows whose features another row has too.
    largest : int
        Rows of the largest group of identical ones; 1 if no two rows are.
    contradicted : int
        Rows whose features another row has with another label.
    """

    rows: int
    largest: int
    contradicted: int


def twins(part: LabelledFeatures) -> Twins:
    """Count rows with identical features, in one pass; features of 0 and -0 are the same.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], np.float32)
    >>> twins(LabelledFeatures(x, np.array([0, 1, 1])))
    Twins(rows=2, largest=2, contradicted=2)
    """
    _, group, counts = np.unique(_digests(part.x), return_inverse=True, return_counts=True)  # [n], [g]
    labels = part.task.codes(part.y)
    several = np.flatnonzero(counts[group] > 1)
    pairs = np.unique(np.stack([group[several], labels[several]]), axis=1)  # group and label, once
    contradictory = np.bincount(pairs[0], minlength=len(counts)) > 1  # [g]
    return Twins(len(several), int(counts.max()), int(contradictory[group[several]].sum()))


def twin_warnings(part: LabelledFeatures, *, ordered: bool) -> list[str]:
    """Return warnings of what identical training rows mean for a score.

    Parameters
    ----------
    part : LabelledFeatures
    ordered : bool
        Whether the order of training rows decides between equals, as it does for nearest neighbours: then any number of
        identical rows is a warning, and else only a large group.
    """
    found, n = twins(part), len(part)
    warnings = []
    if (ordered and found.rows) or found.largest >= max(_FEWEST, _WORTH_SAYING * n):
        if 2 * found.largest > found.rows:
            more = f" ({found.rows:,} have a twin)" if found.rows > found.largest else ""
            warnings.append(f"{found.largest:,} of {n:,} training rows are identical{more}")
        else:
            warnings.append(f"{found.rows:,} of {n:,} training rows have an identical twin")
        if ordered:
            warnings[-1] += ": of equally near ones the first votes, so the order of the rows counts"
    if found.contradicted:
        warnings.append(f"{found.contradicted:,} of {n:,} training rows have the features of a row with another label")
    return warnings


def known_rows(part: LabelledFeatures, others: Sequence[LabelledFeatures]) -> Mask:
    """Return which rows of a part, [n], have the very features of a row of other parts.

    Examples
    --------
    >>> train = LabelledFeatures(np.eye(3, dtype=np.float32), np.array([0, 1, 2]))
    >>> test = LabelledFeatures(np.array([[0, 1, 0], [0, 1, 1]], np.float32), np.array([1, 1]))
    >>> known_rows(test, [train])
    array([ True, False])
    """
    columns = _first_columns(part.x)
    own, theirs = _hashes(part.x, columns), [_hashes(other.x, columns) for other in others]
    known = np.isin(own, np.concatenate(theirs))
    if known.any():
        alike = [np.flatnonzero(np.isin(first, own)) for first in theirs]
        whole = [_hashes(other.x[rows]) for other, rows in zip(others, alike, strict=True) if rows.size]
        rows = np.flatnonzero(known)
        known[rows] = np.isin(_hashes(part.x[rows]), np.concatenate(whole))
    return known


def _first_columns(x: FeatureRows) -> Indices:
    return np.unique(np.linspace(0, x.shape[1] - 1, _FIRST_COLUMNS).astype(np.int64))


def _digests(x: FeatureRows) -> npt.NDArray[np.uint64]:
    """Return a number for each row, [n], that rows share if they have the same features.

    Some columns are looked at first: only rows that agree in these can be identical.
    """
    found = _hashes(x, _first_columns(x))
    _, group, counts = np.unique(found, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(counts[group] > 1)
    if alike.size:
        found[alike] ^= _hashes(x[alike])
    return found


def _hashes(x: FeatureRows, columns: Indices | None = None) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of the features of each row, or of some of them, [n].

    Multilinear hashing of their bits (Lemire and Kaser 2014, section 2): of a million rows, the chance that two
    different ones share a hash is about one in a million.
    """
    factors = np.random.default_rng(0).integers(2**64, size=2 * x.shape[1], dtype=np.uint64)
    found = []
    for block in blocks_of(x):
        if columns is not None:
            block = block[:, columns]
        bits = np.ascontiguousarray(block + block.dtype.type(0)).view(np.uint32)  # adding 0 makes 0 of -0
        found.append(bits.astype(np.uint64) @ factors[: bits.shape[1]])
    hashes: npt.NDArray[np.uint64] = of_every_rank(x, np.concatenate(found) if found else np.empty(0, np.uint64))
    return hashes
