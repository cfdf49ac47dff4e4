"""Choosing: which rows are held out, and which value does best on them. Test rows never come here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ...arrays import Indices, Mask, Targets
from ...errors import BadInput
from .sklearn_calls import Fitted

CurvePoint = dict[str, Any]
"""One value of the parameter, under its name; its validation scores, None where one does not apply; and its fit:
``converged``, ``iterations``, ``gradient_norm``, ``objective``,
``gap`` and ``seconds``."""

Criterion = Literal["nll", "top1", "map", "mean_per_class_recall", "map_11_point", "roc_auc", "mean_top1_top5"]

_LOWER_IS_BETTER = ("nll",)


@dataclass(frozen=True)
class ValidationScores:
    """What a fit scores on the validation part.

    Parameters
    ----------
    nll : float or None
        Mean negative log-likelihood of the true class, in nats; None for a probe without probabilities.
    top1, mean_per_class_recall : float or None
        For single-label data.
    map, map_11_point : float or None
        Mean average precision, for multi-label data: the area, and VOC2007's 11 points.
    roc_auc, mean_top1_top5 : float or None
        For single-label data, and only where it is what chooses.
    """

    nll: float | None = None
    top1: float | None = None
    mean_per_class_recall: float | None = None
    map: float | None = None
    map_11_point: float | None = None
    roc_auc: float | None = None
    mean_top1_top5: float | None = None


_WHERE_ASKED = ("roc_auc", "mean_top1_top5")


def curve_point(name: str, value: float, fitted: Fitted, scores: ValidationScores) -> CurvePoint:
    """Return what is recorded of one value."""
    return {
        name: value,
        **{k: v for k, v in asdict(scores).items() if v is not None or k not in _WHERE_ASKED},
        "converged": fitted.converged,
        "iterations": fitted.iterations,
        "gradient_norm": fitted.gradient_norm,
        "objective": fitted.objective,
        "gap": fitted.gap,
        "seconds": fitted.seconds,
    }


def best_of(
    curve: Sequence[CurvePoint], prefer: Criterion, *, ties: Literal["middle", "first"] = "middle"
) -> tuple[int, Criterion]:
    """Return which point has the best validation score, and the score that says so.

    Parameters
    ----------
    curve : sequence of CurvePoint
    prefer : str
        The score that chooses. If a point does not have it, top1 does, or else map.
    ties : {"middle", "first"}
        Which of equal points is taken; see `middle_of_best`.

    Raises
    ------
    BadInput
        If there is no score that all points have.
    """
    order: tuple[Criterion, ...] = (prefer, "top1", "map")
    criterion = next((c for c in order if all(point[c] is not None for point in curve)), None)
    if criterion is None:
        raise BadInput(
            "The probe has no score on the validation part to choose by.",
            hint="Choose on rows with positives and with a probe that ranks, or give a single value.",
        )
    values = np.array([point[criterion] for point in curve], dtype=np.float64)
    if criterion in _LOWER_IS_BETTER:
        values = -values
    return (int(np.argmax(values)) if ties == "first" else middle_of_best(values.tolist())), criterion


def middle_of_best(values: Sequence[float], places: Sequence[int] | None = None, size: int | None = None) -> int:
    """Return which of `values` is highest; of several, the middle of the longest run of neighbours that tie.

    On few rows many values of a grid tie, and the first of them is the end of the grid: a choice that no row supports.

    Parameters
    ----------
    values : sequence of float
    places : sequence of int, optional
        Where in the grid each value stands, ascending; by default 0, 1, 2 …
    size : int, optional
        Of the grid. A run of even length has two middles: the one further from the ends of the grid is taken, and the
        first if they are equally far.
    """
    where = range(len(values)) if places is None else places
    last = (len(values) if size is None else size) - 1
    best = max(values)
    runs: list[list[int]] = [[]]
    for i, value in enumerate(values):
        if value == best:
            runs[-1].append(i)
        elif runs[-1]:
            runs.append([])
    run = max(runs, key=len)
    lower, upper = run[(len(run) - 1) // 2], run[len(run) // 2]
    inside = {i: min(where[i], last - where[i]) for i in (lower, upper)}
    return upper if inside[upper] > inside[lower] else lower


def end_of_grid(name: str, best: float, grid: Sequence[float]) -> list[str]:
    """Say that the chosen value is at, or beyond, an end of the grid; nothing for a value inside it."""
    if len(grid) < 2 or min(grid) < best < max(grid):
        return []
    return [f"the best {name}, {best:.6g}, is at the end of the grid: a wider grid may do better"]


def choose(
    name: str,
    grid: Sequence[float],
    fit: Callable[[float], Fitted],
    score: Callable[[Fitted], ValidationScores],
    *,
    prefer: Criterion = "nll",
    progress: Callable[[str], None] | None = None,
) -> tuple[float, Criterion, list[CurvePoint]]:
    """Fit every value, and choose the one with the best validation score; see `middle_of_best` for equal scores.

    The fits are independent of each other: a warm start would save iterations, but then a point's numbers would depend
    on which other values were in the grid.

    Parameters
    ----------
    name : str
        Of the parameter.
    grid : sequence of float
        Ascending.
    fit : callable
        From a value to a fit on the train part.
    score : callable
        From a fit to its scores on the validation part.
    prefer : str
        See `best_of`.
    progress : callable, optional
        Told one line a fit.

    Returns
    -------
    best : float
    criterion : str
        The score that chose.
    curve : list of CurvePoint
        In the order of `grid`.

    Raises
    ------
    BadInput
        If a value has no score.
    """
    curve: list[CurvePoint] = []
    for step, value in enumerate(grid, start=1):
        fitted = fit(value)
        scores = score(fitted)
        curve.append(curve_point(name, value, fitted, scores))
        if progress is not None:
            state = "" if fitted.converged else ", not converged"
            said = ", ".join(f"{k} {v:.4f}" for k, v in asdict(scores).items() if v is not None)
            progress(f"{name} {value:g} ({step}/{len(grid)}): validation {said}, {fitted.seconds:.1f} s{state}")
    best, criterion = best_of(curve, prefer)
    return grid[best], criterion, curve


def stratified_holdout(labels: Targets, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split rows in two, class by class.

    Every class gives its share, ``fraction`` of its rows; what rounding leaves goes to the classes with the largest
    remainders, so that the total is ``round(fraction * n)`` unless a class would be left without a row. A class always
    keeps at least one row, so a class with a single row is kept whole. Of multi-label rows every flag gives its share,
    as nearly as rows with several flags allow, and keeps a row too; see `_hold_by_flag`.

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
        is_held = _hold_by_flag(labels.astype(bool), order, fraction)
    else:
        is_held = _hold_by_class(labels, order, fraction, rng)
    if not is_held.any():
        raise BadInput(
            f"nothing can be held out of {n} rows: every class needs one row to train on",
            hint="Give a larger fraction, more rows, or a validation split.",
            found=fraction,
        )
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _hold_by_class(labels: Targets, order: Indices, fraction: float, rng: np.random.Generator) -> Mask:
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


def _hold_by_flag(flags: Mask, order: Indices, fraction: float) -> Mask:
    """Mark the rows to hold out so that each flag gives its share of its rows, bool [n].

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, algorithm 1) for two parts: the rows of the flag
    with the fewest rows left are dealt out first, rows without a flag last. A row goes to the part that is further from
    its quota, in relative terms, summed over all of the row's flags and the rows themselves; the paper asks the rarest
    flag alone, which leaves frequent ones to chance if rows have many. Ties keep a row, and so does a flag that would
    be left without one. The number of rows is exact.

    Parameters
    ----------
    flags : ndarray, bool [n, C]
    order : ndarray, int64 [n]
        A permutation; in its order the rows of a flag are dealt out.
    fraction : float
    """
    n = len(flags)
    quota = min(max(round(fraction * n), 1), n - 1)
    # Two more columns: rows without a flag, and all rows.
    none = ~flags.any(axis=1, keepdims=True)
    flags = np.concatenate([flags, none, np.ones_like(none)], axis=1)[order]
    left = flags.sum(axis=0)  # [C + 2], rows that are not dealt out yet
    share = quota / n
    per_row = 1 / np.maximum([(1 - share) * left, share * left], 1e-9)  # [2, C + 2], what a row is of a part's quota
    need = np.ones_like(per_row)  # what is missing of each
    kept = np.zeros(len(left), dtype=np.int64)
    held, dealt = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    room, to_deal = quota, n
    while to_deal:
        open_flags = np.flatnonzero(left[:-1])
        rarest = open_flags[np.argmin(left[open_flags])]
        for row in np.flatnonzero(flags[:, rarest] & ~dealt):
            own = np.flatnonzero(flags[row])  # the last of them is that of all rows
            last_chance = bool(((left[own] == 1) & (kept[own] == 0))[own < len(left) - 2].any())
            wants = float((need[1, own] - need[0, own]).sum()) > 1e-9
            part = int(room > 0 and ((wants and not last_chance) or room >= to_deal))
            held[row], dealt[row] = part == 1, True
            need[part, own] -= per_row[part, own]
            left[own] -= 1
            kept[own] += part == 0
            room, to_deal = room - part, to_deal - 1
    is_held = np.zeros(n, dtype=bool)
    is_held[order[held]] = True
    return is_held
