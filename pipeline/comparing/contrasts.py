"""Where two models differ on the same test rows: in which classes, and on which samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...arrays import Array, Float64, Indices
from .aligned import Aligned
from .holm import holm
from .paired_tests import mcnemar_mid_p, pair_tests
from .row_shares import EXACT


@dataclass(frozen=True)
class ClassDifference:
    """How often two models are right on the rows of a class; of flags, how often its flag is right on all rows.

    Parameters
    ----------
    name : str
    rows : int
    a, b : float
        Shares of the rows, means over draws.
    p : float
        Of the difference, corrected for all classes (Holm).
    """

    name: str
    rows: int
    a: float
    b: float
    p: float


@dataclass(frozen=True)
class Example:
    """A test sample that one of two models has right in every draw, and the other in none.

    Parameters
    ----------
    row : int
        Of the set that `PairComparison.set` names.
    name : str or None
    true : str
        Class; of flags those that are set, joined by ``|``.
    a, b : str
        What the models say, in the first draw.
    right : {"a", "b"}
    """

    row: int
    name: str | None
    true: str
    a: str
    b: str
    right: str


def class_differences(aligned: Aligned, index: Indices) -> list[ClassDifference]:
    """Return the classes that come, those that differ most surely first.

    Parameters
    ----------
    aligned : Aligned
    index : ndarray, int64 [2, D]
        Which trials of it are of either model.
    """
    if aligned.multilabel:
        places = list(range(len(aligned.classes)))
        right = np.stack([[aligned.predicted[i] == aligned.true for i in side] for side in index])  # [2, D, n, C]
        groups = [right[..., c] for c in places]
    else:
        places = np.unique(aligned.true).tolist()
        right = np.stack([[aligned.right(i) for i in side] for side in index])  # [2, D, n]
        groups = [right[..., aligned.true == c] for c in places]
    p = holm(_p_values(groups))
    found = []
    for place, group, value in zip(places, groups, p.tolist(), strict=True):
        a, b = group.mean(axis=(1, 2)).tolist()
        found.append(ClassDifference(aligned.classes[place], group.shape[2], a, b, value))
    return sorted(found, key=lambda c: (c.p, -abs(c.a - c.b) * c.rows**0.5))


def _p_values(groups: list[Array]) -> Float64:
    """Return the p value of each class from which rows are right, bool [2, D, n] each."""
    if groups[0].shape[1] == 1:
        only = [[int((g[0, 0] & ~g[1, 0]).sum()), int((g[1, 0] & ~g[0, 0]).sum())] for g in groups]
        a, b = np.array(only).T
        return mcnemar_mid_p(a, b)
    tested = []
    for group in groups:
        shares = group / group.shape[2]
        tested.append(pair_tests(shares.sum(axis=2), shares, EXACT).p[0, 1])
    return np.array(tested)


def examples(
    aligned: Aligned, index: Indices, names: Callable[[Indices], Array | None], top: int
) -> tuple[tuple[int, int], list[Example]]:
    """Return samples that only one of two models has right.

    Parameters
    ----------
    aligned : Aligned
    index : ndarray, int64 [2, D]
    names : callable
        Returns the names of rows.
    top : int
        At most so many of either side; those first of which the model that is right is surest.

    Returns
    -------
    tuple of int
        How many rows a, and how many b, has right in every draw and the other in none.
    list of Example
    """
    right = [np.stack([aligned.right(i) for i in side]) for side in index]
    counts, found = [], []
    for side, (one, other) in (("a", (0, 1)), ("b", (1, 0))):
        only = np.flatnonzero(right[one].all(axis=0) & ~right[other].any(axis=0))
        counts.append(len(only))
        values = aligned.values[index[one][0]]
        if values.ndim == 1:
            only = only[np.argsort(-np.nan_to_num(values[only]), kind="stable")]
        listed = only[:top]
        called = names(aligned.rows[listed]) if len(listed) else None
        for k, i in enumerate(listed.tolist()):
            said_a, said_b = (_label(aligned, aligned.predicted[index[which][0]][i]) for which in (0, 1))
            name = None if called is None else str(called[k])
            found.append(Example(int(aligned.rows[i]), name, _label(aligned, aligned.true[i]), said_a, said_b, side))
    return (counts[0], counts[1]), found


def _label(aligned: Aligned, label: Array) -> str:
    if aligned.multilabel:
        return "|".join(aligned.classes[c] for c in np.flatnonzero(label).tolist())
    return aligned.classes[int(label)]
