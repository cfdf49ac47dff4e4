"""Which training rows a few-shot or label-efficiency trial gets. Depends on labels and seed alone.

Every draw is the beginning of one order of the rows: with one seed, the rows of 1 shot are among those of 5, and those
of 1 % among those of 10 %. Nothing is read from, or done to, a global random state, and nothing depends on what has
been drawn before: the same rows are drawn whether other trials of a sweep were cached or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...arrays import Indices, Mask, Targets
from ...errors import BadInput


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
    """
    if shots < 1:
        raise BadInput(f"{shots} shots cannot be drawn.", hint="Give 1 or more.", key="shots", found=shots)
    if apart is not None:
        return draw_shots(labels, shots, seed)[0], np.sort(draw_shots(apart, then, seed)[0] if then else _NONE)
    rng = np.random.default_rng(seed)
    if labels.ndim == 2:
        order = rng.permutation(len(labels))
        taken = until_each_has(labels[order], shots)
        left = order[~taken]
        return order[taken], left[until_each_has(labels[left], then)]
    orders = [rng.permutation(np.flatnonzero(labels == label)) for label in range(int(labels.max()) + 1)]
    return (
        np.concatenate([order[:shots] for order in orders]),
        np.concatenate([order[shots : shots + then] for order in orders]),
    )


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
    """
    if not 0 < fraction <= 1:
        raise BadInput(f"A fraction of the rows is above 0 and at most 1, not {fraction}.", key="fraction")
    rng = np.random.default_rng(seed)
    if labels.ndim == 2:
        return np.sort(rng.permutation(len(labels))[: max(1, round(fraction * len(labels)))])
    orders = [rng.permutation(np.flatnonzero(labels == label)) for label in range(int(labels.max()) + 1)]
    return np.sort(np.concatenate([order[: max(1, round(fraction * len(order)))] for order in orders]))


def is_mixed(labels: Targets) -> bool:
    """Say whether the classes of the rows come in mixed order, rather than one class after the other.

    Mixed: neighbours differ at least half as often as rows that are put in order at random. Flags count as mixed.
    """
    if labels.ndim == 2 or len(labels) < 2:
        return True
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return bool(np.mean(np.diff(labels) != 0) >= 0.5 * (1 - np.square(shares).sum()))


def first_rows(labels: Targets, count: int, seed: int) -> Indices:
    """Return the first rows of a data set, ascending; of rows that come class after class as many drawn ones."""
    if is_mixed(labels):
        return np.arange(min(count, len(labels)), dtype=np.int64)
    return np.sort(np.random.default_rng(seed).permutation(len(labels))[:count])


def until_each_has(flags: Targets, enough: int) -> Mask:
    """Say which rows are taken when going through them, while one of a row's flags has been taken too seldom."""
    taken = np.zeros(len(flags), dtype=bool)
    counts = np.zeros(flags.shape[1], dtype=np.int64)
    for i, row in enumerate(flags.astype(bool)):
        if (counts[row] < enough).any():
            taken[i] = True
            counts[row] += 1
    return taken
