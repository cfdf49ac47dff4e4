"""Sweeps: what many trials of one probe amount to, mean and standard deviation over draws."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ..errors import BadInput
from .probes import Draw

DRAWS = 5
"""Of the training rows, where their number is asked for and nothing else is said."""


_SEEDS = 2**32
"""Generators of numpy's legacy kind take no larger ones."""


def draws_of(shots: Sequence[int], fractions: Sequence[float], prescribed: Sequence[int]) -> list[Draw]:
    """Return the draws that are asked for, or else a protocol's, or else one of all rows.

    Raises
    ------
    BadInput
        If a number of shots or a fraction is out of range.
    """
    if wrong := [k for k in shots if k < 1]:
        raise BadInput(f"{wrong[0]} shots cannot be drawn.", hint="Give 1 or more: --shots 1,2,4,8,16", key="shots")
    if bad := [f for f in fractions if not 0 < f <= 1]:
        raise BadInput(f"A fraction is above 0 and at most 1, not {bad[0]:g}.", key="fraction", found=bad[0])
    wanted = [Draw(shots=k) for k in dict.fromkeys(shots)]
    wanted += [Draw() if f == 1 else Draw(fraction=f) for f in dict.fromkeys(fractions)]  # all rows are no draw
    return wanted or [Draw(shots=k) for k in prescribed] or [Draw()]


def seeds_of(count: int | None, first: int, prescribed: Sequence[int], *, drawn: bool) -> list[int]:
    """Return the seeds of the draws: so many from the first, or a protocol's own, or `DRAWS` where rows are drawn.

    Raises
    ------
    BadInput
        If the number is below 1.
    """
    if count is not None and count < 1:
        raise BadInput(f"--seeds is a number of draws, 1 or more, not {count}.", key="seeds", found=count)
    usual = len(prescribed) if len(prescribed) > 1 else (DRAWS if drawn else 1)
    start = first or min(prescribed, default=0)
    if start + (count or usual) > _SEEDS:
        raise BadInput(f"Seeds are below {_SEEDS}.", hint="Give a smaller --seed.", key="seed", found=start)
    return list(range(start, start + (count or usual)))


def summarised(trials: Sequence[Mapping[str, Any]], ddof: int = 1) -> list[dict[str, Any]]:
    """Return for every size of the training set the mean and standard deviation of each score over its draws.

    Parameters
    ----------
    trials : sequence of dict
        In the order of their draws.
    ddof : {1, 0}
        1 for the standard deviation of a sample (divided by n - 1), 0 for that of numpy (divided by n).

    Returns
    -------
    list of dict
        ``draw``, ``trials`` (how many), ``train`` (rows, of the first) and ``metrics``: for every score that is one
        number in every trial ``mean`` and ``std``, the standard deviation; None if there is one trial only.
    """
    rows = []
    for _, group in groupby(trials, key=lambda trial: str(trial.get("draw"))):
        same = list(group)
        # A score that some draws do not have, such as the nll of votes, would be a mean over the others.
        each = [trial["metrics"] for trial in same]
        numbers = [name for name in each[0] if all(isinstance(m.get(name), float) for m in each)]
        metrics = {}
        for name in numbers:
            values = [scores[name] for scores in each]
            deviation = statistics.stdev if ddof else statistics.pstdev
            spread = deviation(values) if len(values) > 1 else None
            metrics[name] = {"mean": statistics.fmean(values), "std": spread}
        rows.append(
            {
                "draw": same[0].get("draw"),
                "trials": len(same),
                "train": same[0]["rows"]["train"],
                "metrics": metrics,
            }
        )
    return rows
