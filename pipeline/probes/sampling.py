"""Which training rows a few-shot or label-efficiency trial gets, and which choose. Depends on labels and seed alone.

Every draw is the beginning of one order of the rows: with one seed, the rows of 1 shot are among those of 5, and those
of 1 % among those of 10 %. Nothing is read from, or done to, a global random state, and nothing depends on what has
been drawn before: the same rows are drawn whether other trials of a sweep were cached or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...arrays import Indices, Targets
from ...errors import BadInput
from ..tasks import task_of


@dataclass(frozen=True)
class Draw:
    """How many training rows a trial gets: so many of every class, a share of them, or all where both are None."""

    shots: int | None = None
    fraction: float | None = None

    @property
    def drawn(self) -> bool:
        """Whether there is anything to draw."""
        return self.shots is not None or self.fraction is not None

    def canonical(self) -> dict[str, int | float] | None:
        """Return what stands for this draw in a trial key; None for all rows."""
        if self.shots is not None:
            return {"shots": self.shots}
        return None if self.fraction is None else {"fraction": self.fraction}


_NONE: Indices = np.empty(0, dtype=np.int64)


def draw_shots(
    labels: Targets, shots: int, seed: int, then: int = 0, apart: Targets | None = None
) -> tuple[Indices, Indices]:
    """Draw rows of every class: as many as there are, where a class has fewer.

    Parameters
    ----------
    labels : ndarray, int64 [n] or uint8 [n, C]
    shots : int
        Rows of every class. Of flags: rows are taken in random order as long as one of their flags has been taken
        fewer than `shots` times.
    seed : int
    then : int
        Further rows of every class, for validation; disjoint from the first.
    apart : ndarray, optional
        Labels of a validation set: the further rows are drawn from it, by a generator of its own with the same seed,
        and not from what is left of the first. Ascending.

    Returns
    -------
    first, further : ndarray, int64
        Of one label a row: class after class, each in the order of its permutation by one ``default_rng(seed)``, which
        is how big_vision draws (big_vision/evaluators/fewshot_lsr.py).

    Examples
    --------
    >>> y = np.array([0, 0, 0, 1, 1, 1])
    >>> first, further = draw_shots(y, shots=1, seed=0, then=1)
    >>> y[first].tolist(), y[further].tolist(), np.intersect1d(first, further).size
    ([0, 1], [0, 1], 0)
    """
    if shots < 1:
        raise BadInput(f"{shots} shots cannot be drawn.", hint="Give 1 or more.", key="shots", found=shots)
    if apart is not None:
        return draw_shots(labels, shots, seed)[0], np.sort(draw_shots(apart, then, seed)[0] if then else _NONE)
    return task_of(labels).draw_shots(labels, shots, then, np.random.default_rng(seed))


def draw_fraction(labels: Targets, fraction: float, seed: int) -> Indices:
    """Draw a share of the rows of every class, at least one each; of flags, a share of all rows.

    Parameters
    ----------
    labels : ndarray, int64 [n] or uint8 [n, C]
    fraction : float
        Above 0, at most 1.
    seed : int

    Returns
    -------
    ndarray, int64
        Ascending.

    Examples
    --------
    >>> y = np.array([0, 0, 0, 0, 1, 1])
    >>> y[draw_fraction(y, 0.5, seed=0)].tolist()
    [0, 0, 1]
    """
    if not 0 < fraction <= 1:
        raise BadInput(f"A fraction of the rows is above 0 and at most 1, not {fraction}.", key="fraction")
    return task_of(labels).draw_fraction(labels, fraction, np.random.default_rng(seed))


def first_rows(labels: Targets, count: int, seed: int) -> Indices:
    """Return the first rows of a data set, ascending; of rows that come class after class as many drawn ones."""
    if task_of(labels).is_mixed(labels):
        return np.arange(min(count, len(labels)), dtype=np.int64)
    return np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])


def stratified_holdout(labels: Targets, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split rows in two, class by class.

    Every class gives its share, ``fraction`` of its rows; what rounding leaves goes to the classes with the largest
    remainders, so that the total is ``round(fraction * n)`` unless a class would be left without a row. A class always
    keeps at least one row, so a class with a single row is kept whole. Of multi-label rows every flag gives its share,
    as nearly as rows with several flags allow, and keeps a row too.

    Parameters
    ----------
    labels : ndarray, int64 [n] or uint8 [n, C]
    fraction : float
        Share to hold out, between 0 and 1.
    seed : int
        Of a generator of its own: no global state is read or changed.

    Returns
    -------
    keep, held : ndarray, int64
        Ascending indices; together every row, once.

    Raises
    ------
    BadInput
        If `fraction` is not between 0 and 1, or nothing could be held out.

    Examples
    --------
    >>> y = np.array([0, 0, 0, 0, 1, 1])
    >>> keep, held = stratified_holdout(y, 0.5, seed=0)
    >>> y[keep].tolist(), y[held].tolist()
    ([0, 0, 1], [0, 0, 1])
    """
    if not 0 < fraction < 1:
        raise BadInput(f"hold-out fraction {fraction} is not between 0 and 1", hint="Give for example 0.2.")
    is_held = task_of(labels).hold_out(labels, fraction, np.random.default_rng(seed))
    if not is_held.any():
        raise BadInput(
            f"nothing can be held out of {len(labels)} rows: every class needs one row to train on",
            hint="Give a larger fraction, more rows, or a validation split.",
            found=fraction,
        )
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)
