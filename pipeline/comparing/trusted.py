"""What of another store's results counts: those of a store that is not trusted stand apart, or are left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ...amounts import count
from ..trials.result import Trial
from .places import Column, rows_and_columns


@dataclass(frozen=True)
class Placed:
    """A trial that counts, with its place.

    Parameters
    ----------
    trial : Trial
    row : str
        The model; it says so if the trial is not trusted.
    column : Column
    """

    trial: Trial
    row: str
    column: Column


def came_from(trial: Trial) -> str | None:
    """Return the place that is not trusted from which a trial, or a set that it read, came; None if there is none."""
    if trial.origin is not None:
        return trial.origin
    return next((str(origin.get("from", "another store")) for origin in trial.origins.values()), None)


def placed(trials: Sequence[Trial], named: Collection[str] = ()) -> tuple[list[Placed], list[str]]:
    """Return the trials that count, each once in a place.

    One that is not trusted is left out if there is another in its row and column. If there is none, it stands in a row
    of its own, whose name says where it came from.

    Parameters
    ----------
    trials : sequence of Trial
    named : collection of str
        Ids of trials that count in any case.

    Returns
    -------
    list of Placed
    list of str
        How many were left out, of each store.
    """
    own = {place for trial, place in _places(trials) if came_from(trial) is None}
    kept, left = [], dict[str, set[str]]()
    for trial, place in _places(trials):
        origin = came_from(trial)
        if origin is None or place not in own or trial.trial in named:
            kept.append(trial)
        else:
            left.setdefault(origin, set()).add(trial.trial)
    found: dict[tuple[str, str, Column], Placed] = {}
    for trial, (row, column) in _places(kept):
        origin = came_from(trial)
        name = row if origin is None else f"{row} (from {origin}, not trusted)"
        found.setdefault((trial.trial, name, column), Placed(trial, name, column))
    notes = [
        f"{count(len(ids), 'trial')} from {origin} left out: it is not trusted, and there are others in their place"
        for origin, ids in left.items()
    ]
    return list(found.values()), notes


def _places(trials: Sequence[Trial]) -> list[tuple[Trial, tuple[str, Column]]]:
    return list(zip(trials, rows_and_columns(trials), strict=True))
