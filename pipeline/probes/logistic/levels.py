"""Order of a path: a few penalties first, from the largest down, then those halfway, started from what lies around.

The optimum is a smooth function of log λ. Beyond the last one, a polynomial through those before it is a start that is
a few steps of Newton's method away; between neighbours a factor of two apart, a cubic through four optima is off by
parts in a thousand, and a step or two remain. All penalties between are fitted together. The smallest, whose optimum is
far from any start, come last: a few at a time, each from those above it.
"""

from __future__ import annotations

import numpy as np

from ....arrays import Float64, Indices

_FIRST = 13
"""At most so many penalties in the first level: the ten of a usual grid, and 13 of the 97 of the CLIP paper."""

_DEGREE = 3
"""Of the polynomial that tells the next optimum, at most."""

_WIDEST = 1.0
"""Neighbours further apart than a factor of e are no guide to what lies between."""


def levels(penalties: Float64) -> list[Indices]:
    """Return the positions of the penalties, level by level; each position once.

    Parameters
    ----------
    penalties : ndarray, float64 [L]
        In any order.
    """
    order = np.argsort(penalties, kind="stable")
    step = 1
    while len(range(0, len(order), step)) > _FIRST:
        step *= 2
    found = [np.unique(np.append(np.arange(0, len(order), step), len(order) - 1))]
    while step > 1:
        step //= 2
        found.append(np.setdiff1d(np.arange(0, len(order), step), np.concatenate(found)))
    return [order[places] for places in found if len(places)]


def falling(penalties: Float64, places: Indices) -> Indices:
    """Return those places from the largest penalty down."""
    return places[np.argsort(-penalties[places], kind="stable")]


def outwards(penalties: Float64, places: Indices) -> list[Indices]:
    """Return those places from the largest penalty down, in groups that span a factor of e.

    Parameters
    ----------
    penalties : ndarray, float64 [L]
    places : ndarray, int64
    """
    groups = []
    left = falling(penalties, places)
    while len(left):
        near = np.log(penalties[left[0]] / penalties[left]) <= _WIDEST
        groups.append(left[near])
        left = left[~near]
    return groups


def interpolation(known: Float64, wanted: Float64) -> Float64:
    """Return the weights [wanted, known] of the polynomial in log λ through the nearest known penalties.

    A cubic through two on either side; a line near an end, or where they lie far apart. Beyond the end, a line through
    the last and one that is about as far from it on the other side, or else the last alone.
    """
    at = np.log(known)
    weights = np.zeros((len(wanted), len(known)))
    order = np.argsort(at)
    for row, x in zip(weights, np.log(wanted), strict=True):
        place = int(np.searchsorted(at[order], x))
        lo, hi = max(place - 2, 0), min(place + 2, len(at))
        near = order[max(place - 1, 0) : place + 1]
        if hi - lo == 4 and np.ptp(at[near]) <= 2 * _WIDEST:
            near = order[lo:hi]
        if len(near) == 1 and len(at) > 1:
            beyond, apart = abs(x - at[near[0]]), np.abs(at - at[near[0]])
            other = int(np.argmin(np.abs(np.where(apart > 0, apart, np.inf) - beyond)))
            if beyond / 2 <= apart[other] <= 2 * _WIDEST:
                near = np.append(near, other)
        row[near] = _lagrange(at[near], x)
    return weights


def extrapolations(known: Float64, wanted: Float64) -> list[Float64]:
    """Return the weights [known] of polynomials in log λ through the last one, two, … of the known penalties.

    Parameters
    ----------
    known : ndarray, float64
        In the order in which they were fitted. One that is there twice counts once.
    wanted : ndarray, float64 [1]
    """
    at, found = np.log(known), []
    for order in range(min(len(known), _DEGREE + 1)):
        weights = np.zeros(len(known))
        near = slice(len(known) - 1 - order, None)
        weights[near] = _lagrange(at[near], float(np.log(wanted[0])))
        found.append(weights)
    return found


def _lagrange(at: Float64, x: float) -> Float64:
    """Return the weights of the polynomial through values at `at`, at x; of equal ones, together those of one."""
    weights = np.ones(len(at))
    for j, place in enumerate(at):
        others = np.unique(at[at != place])
        weights[j] = np.prod((x - others) / (place - others)) / np.count_nonzero(at == place)
    return weights
