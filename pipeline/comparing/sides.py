"""What is compared: a model, a set or a trial, as a person names it, and what was measured with it in each column."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import combinations

from ...errors import BadInput, NotFound
from ...stores.format.names import matching
from ...stores.store import Store
from ..encoders import canonical_model
from ..results import trial as find_trial
from ..trials.joined_sets import opened as open_sets
from ..trials.result import Trial
from .cells import Cell, cells_of
from .places import Column
from .trusted import Placed, came_from, placed

_DIGITS = re.compile(r"\A[0-9a-f]{4,64}(\+[0-9a-f]{4,64})*\Z", re.IGNORECASE)
_MOST_LISTED = 8
_TELLING: tuple[Callable[[Cell], str], ...] = (
    lambda cell: cell.column.what,
    lambda cell: cell.column.draw,
    lambda cell: f"seed {cell.trials[0].seed}",
    lambda cell: f"trial {cell.trials[0].trial[:8]}",
)
"""What tells apart trials of one model, as far as it is needed."""


@dataclass(frozen=True)
class Side:
    """One of the things that are compared.

    Parameters
    ----------
    label : str
        A model, with what tells apart several extractions of it.
    cells : mapping
        By column, what was measured.
    notes : tuple of str
        Which of several settings counts.
    """

    label: str
    cells: Mapping[Column, Cell]
    notes: tuple[str, ...] = ()


def sides_of(store: Store, which: Sequence[str], trials: Sequence[Trial]) -> list[Side]:
    """Return what is compared.

    Parameters
    ----------
    store : Store
    which : sequence of str
        Models, or rows of a matrix, or ids of trials or sets, or the first digits of them (four at least).
    trials : sequence of Trial
        That count, but for trials that are named by their ids.

    Raises
    ------
    NotFound, BadInput, Conflict
        If one of them is not there, or fits several.
    """
    named = {text: find_trial(store, text) for text in which if _kind(store, text) == "trial"}
    by_id = [*dict.fromkeys(named.values())]
    listed = by_id if len(named) == len(which) else [*trials, *(t for t in by_id if t not in trials)]
    places, notes = placed(listed, {trial.trial for trial in by_id})
    chosen = [_chosen(store, text, named.get(text), places) for text in which]
    _check_distinct(which, chosen)
    sides = [Side(own[0].row, {}, tuple(notes)) for own in chosen]
    for column in dict.fromkeys(one.column for own in chosen for one in own):
        having = [i for i, own in enumerate(chosen) if any(one.column == column for one in own)]
        groups = [(sides[i].label, [one.trial for one in chosen[i] if one.column == column]) for i in having]
        cells, said = cells_of(column, groups)
        for i, cell in zip(having, cells, strict=True):
            sides[i] = replace(sides[i], cells={**sides[i].cells, column: cell}, notes=(*sides[i].notes, *said))
    return _told_apart(sides)


def _check_distinct(which: Sequence[str], chosen: Sequence[Sequence[Placed]]) -> None:
    """Refuse to compare a trial with itself."""
    for (a, one), (b, other) in combinations(zip(which, chosen, strict=True), 2):
        if shared := {p.trial.trial for p in one} & {p.trial.trial for p in other}:
            raise BadInput(
                f"{a} and {b} both stand for trial {min(shared)[:12]}, which cannot be compared with itself.",
                hint="Name another trial, or two models.",
                key=b,
            )


def columns_of(sides: Sequence[Side]) -> list[tuple[Column, list[Side]]]:
    """Return the columns that two or more sides have, with these; or, of two single trials, the column of the first.

    Raises
    ------
    NotFound
        If no two have one in common.
    BadInput
        If two trials report different scores.
    """
    every = list(dict.fromkeys(column for side in sides for column in side.cells))
    found = [(column, [side for side in sides if column in side.cells]) for column in every]
    if shared := [(column, having) for column, having in found if len(having) > 1]:
        return shared
    if all(len(side.cells) == 1 for side in sides):
        columns = [next(iter(side.cells)) for side in sides]
        if len({column.metric for column in columns}) > 1:
            metrics = " and ".join(dict.fromkeys(column.metric for column in columns))
            raise BadInput(f"These trials report different scores, which cannot be compared: {metrics}.", key="metric")
        both = Column(*(" / ".join(dict.fromkeys(words)) for words in zip(*map(astuple, columns), strict=True)))
        return [(both, [replace(side, cells={both: cell}) for side in sides for cell in side.cells.values()])]
    lines = [f"{side.label}: {_listed([column.text for column in side.cells])}" for side in sides]
    raise NotFound("They have no data set and probe in common.", hint="\n  ".join(["They have:", *lines]))


def _kind(store: Store, text: str) -> str:
    """Return whether a text names a model, a set or a trial."""
    if not _DIGITS.match(text):
        return "model"
    try:
        return store.kind_of(text.split("+")[0])
    except NotFound:
        return "model"


def _chosen(store: Store, text: str, trial: Trial | None, places: Sequence[Placed]) -> list[Placed]:
    """Return the trials that a text stands for, of one row: those that are trusted, if there are any."""
    if trial is not None:
        chosen = [one for one in places if one.trial == trial]
    elif _kind(store, text) == "set":
        id_ = open_sets(store, text).id
        chosen = [one for one in places if id_ in (one.trial.train, one.trial.test)]
    else:
        exact = [one for one in places if one.row == text]
        chosen = exact or matching(places, lambda one, _: one.trial.model, {"model": canonical_model(text)})
    if trusted := [one for one in chosen if came_from(one.trial) is None]:
        chosen = trusted
    if not chosen:
        known = _listed(sorted({one.row for one in places}))
        raise NotFound(
            f"No trial of {text} is in {store.url}, or none that fits.",
            hint=f"There are trials of: {known}" if known else "Train probes first: cryoprobe probe …",
            key=text,
        )
    rows = list(dict.fromkeys(one.row for one in chosen))
    if len(rows) > 1:
        raise BadInput(
            f"{text!r} fits several models, or several extractions of one.",
            hint="\n  ".join(["Name one of them, a set or a trial:", *rows[:_MOST_LISTED]]),
            key=text,
        )
    return chosen


def _told_apart(sides: Sequence[Side]) -> list[Side]:
    """Add to labels that are alike what was measured, and to those that still are alike the trial."""
    labels = [side.label for side in sides]
    if len({*labels}) == len(labels):
        return list(sides)
    first = [next(iter(side.cells.values())) for side in sides]
    for tell in _TELLING:
        told = [tell(cell) for cell in first]
        if len({*labels}) < len(labels) and len({*told}) > 1:
            labels = [f"{label}, {words}" for label, words in zip(labels, told, strict=True)]
    return [replace(side, label=label) for side, label in zip(sides, labels, strict=True)]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_LISTED]) + (f" and {len(names) - _MOST_LISTED} more" * (len(names) > _MOST_LISTED))
