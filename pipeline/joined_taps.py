"""Several taps of one encoder read as one: ``cls+patch_mean``.

It is what the encoder would give if it had one tap whose output is theirs side by side. Raw features are the raw
features of each, in order, as DINOv2's linear heads take them. Unit features are these brought to unit length, so a tap
weighs by its norm.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..arrays import Array, Float32

BETWEEN = "+"
"""Stands between the taps, and between the ids of their sets."""


def taps_in(tap: str) -> list[str]:
    """Return the taps that one stands for.

    Examples
    --------
    >>> taps_in("cls+patch_mean"), taps_in("pooled")
    (['cls', 'patch_mean'], ['pooled'])
    """
    return [part.strip() for part in tap.split(BETWEEN)]


def side_by_side(raw: Iterable[Array], *, unit: bool) -> Float32:
    """Return rows of several taps as one, float32 [n, d1 + d2 …].

    Parameters
    ----------
    raw : iterable of ndarray, float32 [n, d]
        Of each tap, as the encoder gave it.
    unit : bool
        Bring the rows to unit length.

    Examples
    --------
    >>> side_by_side([np.array([[3.0]]), np.array([[0.0, 4.0]])], unit=True).tolist()
    [[0.6000000238418579, 0.0, 0.800000011920929]]
    """
    x = np.concatenate(list(raw), axis=1).astype(np.float32, copy=False)
    if unit:
        x /= np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64))[:, None].astype(np.float32)
    return x
