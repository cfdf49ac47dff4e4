"""Searches over one hyper-parameter, as papers prescribe them: coarse to fine on a grid, and bisection.

Nothing is fitted here. `score` gets all values of a round together, so that they can be fitted together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..probes.selection import middle_of_best

Score = Callable[[Sequence[int]], Sequence[float]]
"""From positions in the grid to their validation scores; higher is better."""

FIRST = (0, 16, 32, 48, 64, 80, 96)
"""Where a search of 97 values begins: every sixteenth, both ends included."""

SPANS = (8, 4, 2, 1)
"""Grid steps on either side of the peak, by round: CLIP (appendix A.3) halves the interval down to one step."""


def coarse_to_fine(
    score: Score, size: int, first: Sequence[int], *, spans: Sequence[int] = SPANS, inward: bool = False
) -> int:
    """Return the position with the best score that the search meets.

    The peak of `first`, then of it and its neighbours at each span; positions beyond an end are that end. Among equal
    scores the lowest position, which is how CLIP_benchmark breaks ties (clip_benchmark/metrics/linear_probe.py).

    Parameters
    ----------
    score : callable
        Never asked for a position twice.
    size : int
        Of the grid.
    first : sequence of int
    spans : sequence of int
    inward : bool
        Among equal scores of a round take the middle instead; see `middle_of_best`.
    """
    known: dict[int, float] = {}

    def peak(positions: Sequence[int]) -> int:
        wanted = [p for p in dict.fromkeys(positions) if p not in known]
        known.update(zip(wanted, score(wanted) if wanted else (), strict=True))
        if inward:
            places = sorted(set(positions))
            return places[middle_of_best([known[p] for p in places], places, size)]
        return max(positions, key=known.__getitem__)  # the first of equals

    best = peak(first)
    for span in spans:
        best = peak([max(best - span, 0), best, min(best + span, size - 1)])
    return best


def bisect(score: Callable[[Sequence[float]], Sequence[float]], low: float, high: float, steps: int) -> float:
    """Return the end with the better score, after halving an interval `steps` times towards it.

    Parameters
    ----------
    score : callable
        From values to validation scores.
    low, high : float
        Ends of the interval, on the scale on which it is halved.
    steps : int
        Each looks at both ends; equal scores keep the lower (CoOp/lpclip/linear_probe.py).
    """
    best = low
    for _ in range(steps):
        at_low, at_high = score([low, high])
        best = high if at_low < at_high else low
        middle = (low + high) / 2
        low, high = (middle, high) if best == high else (low, middle)
    return best
