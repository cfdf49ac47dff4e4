"""Choosing: which rows are held out, and which C does best on them. Test rows never come here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from ...errors import BadInput
from .training import Fitted, Targets

Indices = npt.NDArray[np.int64]


class CurvePoint(TypedDict):
    """One value of C: its validation score (the one of the two that applies) and its fit."""

    C: float
    top1: float | None
    map: float | None
    converged: bool
    iterations: int | None
    seconds: float


def choose_C(  # noqa: N802
    grid: tuple[float, ...],
    fit: Callable[[float], Fitted],
    score: Callable[[Fitted], float | None],
    *,
    metric: str,
    progress: Callable[[str], None] | None = None,
) -> tuple[float, list[CurvePoint]]:
    """Fit every C, and choose the one with the best validation score; among equals, the smallest.

    The fits are independent of each other: a warm start would save iterations, but then a point's numbers would depend
    on which other values were in the grid.

    Parameters
    ----------
    grid : tuple of float
        Ascending.
    fit : callable
        From C to a fit on the train part.
    score : callable
        From a fit to its score on the validation part, higher is better; None where it has none.
    metric : {"top1", "map"}
        Which score it is.
    progress : callable, optional
        Told one line a fit.

    Returns
    -------
    best : float
    curve : list of CurvePoint
        In the order of `grid`.

    Raises
    ------
    BadInput
        If no value has a score.
    """
    curve: list[CurvePoint] = []
    for step, C in enumerate(grid, start=1):
        fitted = fit(C)
        value = score(fitted)
        if value is None:
            raise BadInput(
                f"C = {C:g} has no {metric} on the validation part",
                hint="Choose C on rows with positives and with a probe that ranks, or give a single C.",
            )
        curve.append(
            {
                "C": C,
                "top1": value if metric == "top1" else None,
                "map": value if metric == "map" else None,
                "converged": fitted.converged,
                "iterations": fitted.iterations,
                "seconds": fitted.seconds,
            }
        )
        if progress is not None:
            state = "" if fitted.converged else ", not converged"
            progress(f"C {C:g} ({step}/{len(grid)}): validation {metric} {value:.4f}, {fitted.seconds:.1f} s{state}")
    scores = [point["top1"] if metric == "top1" else point["map"] for point in curve]
    return grid[int(np.argmax(np.asarray(scores, dtype=np.float64)))], curve  # argmax takes the first of equals


def stratified_holdout(labels: Targets, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split rows in two, class by class.

    Every class gives its share, ``fraction`` of its rows; what rounding leaves goes to the classes with the largest
    remainders, so that the total is ``round(fraction * n)`` unless a class would be left without a row. A class always
    keeps at least one row, so a class with a single row is kept whole. Multi-label rows are drawn at random.

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
    """
    if not 0 < fraction < 1:
        raise BadInput(f"hold-out fraction {fraction} is not between 0 and 1", hint="Give for example 0.2.")
    n = len(labels)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    if labels.ndim == 2:
        is_held = np.zeros(n, dtype=bool)
        is_held[order[: min(max(round(fraction * n), 1), n - 1)]] = True
    else:
        is_held = _hold_by_class(labels, order, fraction, rng)
    if not is_held.any():
        raise BadInput(
            f"nothing can be held out of {n} rows: every class needs one row to train on",
            hint="Give a larger fraction, more rows, or a validation split.",
            found=fraction,
        )
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _hold_by_class(labels: Targets, order: Indices, fraction: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Mark the rows to hold out: the first rows of every class, in `order`."""
    n = len(labels)
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)  # [n], [K]
    share = fraction * counts
    quota = np.floor(share).astype(np.int64)  # [K]
    spare = round(fraction * n) - int(quota.sum())
    # Equal remainders are the rule in balanced data: shuffle, so that low class indices are not favoured.
    ties = rng.permutation(len(counts))
    by_remainder = ties[np.argsort(-(share - quota)[ties], kind="stable")]
    by_remainder = by_remainder[quota[by_remainder] + 1 < counts[by_remainder]]
    quota[by_remainder[: max(spare, 0)]] += 1
    quota = np.minimum(quota, counts - 1)

    grouped = order[np.argsort(codes[order], kind="stable")]  # rows, class after class
    rank = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)  # place of each within its class
    is_held = np.zeros(n, dtype=bool)
    is_held[grouped] = rank < np.repeat(quota, counts)
    return is_held
