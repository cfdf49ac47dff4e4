"""Axes of values that were tried: logarithmic where they span decades, with labels that do not run into each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt

_SPAN_OF_LOG = 20
_MOST_LABELS = 7


def is_wide(values: Sequence[float]) -> bool:
    """Return whether values span so much that their axis is logarithmic.

    Examples
    --------
    >>> is_wide([1, 200]), is_wide([0, 200]), is_wide([1, 2])
    (True, False, False)
    """
    return min(values) > 0 and max(values) / min(values) >= _SPAN_OF_LOG


def value_scale(values: Sequence[float]) -> alt.Scale:
    """Return the scale of an axis of values."""
    import altair as alt

    if is_wide(values):
        return alt.Scale(type="log", nice=False, padding=14)
    return alt.Scale(zero=False, nice=False, padding=14)


def ticks(values: Sequence[float]) -> list[float]:
    """Return where an axis of values has labels: at the values, if they are few, or else at powers of ten.

    Examples
    --------
    >>> ticks([1, 5, 20]), ticks([10.0**k for k in range(-6, 7)])
    ([1, 5, 20], [1e-06, 0.0001, 0.01, 1.0, 100.0, 10000.0, 1000000.0])
    """
    distinct = sorted(set(values))
    if len(distinct) <= _MOST_LABELS or not is_wide(values):
        return distinct if len(distinct) <= _MOST_LABELS else []
    low, high = math.ceil(math.log10(distinct[0]) - 1e-9), math.floor(math.log10(distinct[-1]) + 1e-9)
    step = max(1, math.ceil((high - low) / (_MOST_LABELS - 1)))
    return [float(f"1e{k}") for k in range(low, high + 1, step)]


def value_axis(values: Sequence[float], title: str) -> alt.Axis:
    """Return the axis of values."""
    import altair as alt

    wide = is_wide(values) and max(values) / min(values) >= 1e6
    style = "~e" if wide else "~g"
    if at := ticks(values):
        return alt.Axis(title=title, values=at, grid=False, labelOverlap="greedy", format=style)
    return alt.Axis(title=title, grid=False, tickCount=6, labelOverlap="greedy", format=style)
