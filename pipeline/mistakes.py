"""`mistakes`: the test rows that a trial's probe got wrong, from what is kept with the trial: nothing is run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Flags, Float64, Indices, Mask
from ..class_names import composed
from ..errors import BadInput, CryoprobeError, NotFound
from ..notebook import Listing
from ..stores.opening import open_store
from ..stores.store import RowPredictions, Store
from .results import trial as find_trial
from .trials.joined_sets import opened as open_sets
from .trials.result import Trial


@dataclass(frozen=True)
class Mistake:
    """A test row that a probe got wrong.

    Parameters
    ----------
    row : int
        Of the set that `Mistakes.set` names.
    name : str or None
        What its sample is called; None if the store does not have that.
    true, predicted : str
        Classes; of flags those that are set, joined by ``|``.
    value, true_value : float or None
        What the probe gives the predicted and the true class; see `Mistakes.measure`. Of flags, `value` is the score
        of the wrong flag that is furthest on the wrong side, and `true_value` is None.
    """

    row: int
    name: str | None
    true: str
    predicted: str
    value: float | None
    true_value: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Mistakes(Listing[Mistake]):
    """Mistakes, the most confident one first.

    Parameters
    ----------
    trial, set : str
        Ids of the trial, and of the set that has the rows.
    of, wrong : int
        How many test rows there are (of the class that was asked for), and how many of them are wrong.
    measure : {"probability", "score", "none"}
        What values are.
    rows : tuple of Mistake
    notes : tuple of str
        What is to be said of them.
    """

    row_type = Mistake

    trial: str
    set: str
    of: int
    wrong: int
    measure: str
    rows: tuple[Mistake, ...]
    notes: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The JSON form."""
        fields = {name: getattr(self, name) for name in ("trial", "set", "of", "wrong", "measure")}
        return {**fields, "mistakes": self.documents, "notes": list(self.notes)}

    def __repr__(self) -> str:
        """Say how many rows are wrong."""
        return f"<Mistakes of trial {self.trial[:12]}: {self.wrong:,} of {self.of:,} test rows, {len(self):,} listed>"


def mistakes(
    store: str | Path | Store, trial: str, *, top: int | None = None, class_name: str | None = None
) -> Mistakes:
    """List the test rows that a trial's probe got wrong, the most confident mistake first.

    Parameters
    ----------
    store : str, Path or Store
    trial : str
        Its id, or the first digits of it that no other trial has.
    top : int, optional
        At most so many; all by default.
    class_name : str, optional
        Only rows of this class.

    Returns
    -------
    Mistakes

    Raises
    ------
    NotFound
        If there is no such trial; or if the store does not have what its probe said of each row, as of trials that an
        older version ran; or if that is lost.
    BadInput
        If several trials begin so, or there is no such class.
    Corrupt
        If what was kept is damaged.
    """
    if top is not None and top < 1:
        raise BadInput(f"top is 1 or more, not {top}.", key="top", found=top)
    opened = open_store(store)
    result = find_trial(opened, trial)
    multilabel = "map" in result.metrics
    found = opened.predictions(result.stored, rows=result.rows.test, classes=len(result.classes), multilabel=multilabel)
    if found is None:
        why = "an older version ran it, or its protocol does not tell"
        if result.predictions is not None:
            why = "it was kept, and is lost (cryoprobe verify lists what else is)"
        said = f"what the probe of trial {result.trial[:12]} said of each row"
        raise NotFound(
            f"The store {opened.url} does not have {said}: {why}.",
            hint="Run the same probe again with --rerun (in Python, rerun=True): that keeps it.",
            key=result.trial,
        )
    wanted = _of_class(result, found, class_name)
    order, value = (_wrong_flags if multilabel else _wrong_classes)(found, len(result.classes))
    order = order[wanted[order]]
    listed = order if top is None else order[:top]
    held_out = found.arrays.get("rows")
    set_ = str(result.test if held_out is None else result.train)
    names, notes = _names(opened, set_)
    rows = np.arange(result.rows.test) if held_out is None else held_out
    return Mistakes(
        trial=result.trial,
        set=set_,
        of=int(wanted.sum()),
        wrong=len(order),
        measure=found.measure,
        rows=tuple(_mistake(found, result.classes, i, int(rows[i]), value[i], names) for i in listed.tolist()),
        notes=tuple(notes),
    )


def _names(store: Store, set_: str) -> tuple[Sequence[str] | None, list[str]]:
    """Return what the samples of a set are called, and what is to be said if that is not known."""
    try:
        names = open_sets(store, set_).sample_names()
    except CryoprobeError as e:  # the set was removed, or its names are damaged: rows have numbers all the same
        return None, [f"the rows have no names: {e.message}"]
    if names is None:
        return None, ["the rows have no names: an older version made the set, and extract, run again, writes them"]
    return names, []


def _of_class(trial: Trial, found: RowPredictions, name: str | None) -> Mask:
    """Return which test rows are of a class, bool [n]; all if none is named."""
    if name is None:
        return np.ones(trial.rows.test, bool)
    places = [i for i, c in enumerate(trial.classes) if composed(c) == composed(name)]
    if not places:
        known = ", ".join(trial.classes[:8]) + (" …" if len(trial.classes) > 8 else "")
        raise BadInput(f"The trial has no class {name!r}.", hint=f"It has: {known}", key="class", found=name)
    true = found.arrays["true"]
    return np.asarray(
        _flags(true, len(trial.classes))[:, places[0]] == 1 if found.multilabel else true == places[0], bool
    )


def _wrong_classes(found: RowPredictions, classes: int) -> tuple[Indices, Float64]:
    """Return the rows that are wrong, the surest first, and the value of every row."""
    value = found.arrays["value"].astype(np.float64)
    wrong = np.flatnonzero(found.arrays["true"] != found.arrays["predicted"])
    return wrong[np.argsort(-np.nan_to_num(value[wrong], nan=-np.inf), kind="stable")], value


def _wrong_flags(found: RowPredictions, classes: int) -> tuple[Indices, Float64]:
    """Return the same of flags: by how far the score of a wrong flag is beyond where it should be.

    Margins decide at 0, and probabilities, which are never negative, at one half.
    """
    wrong = _flags(found.arrays["true"], classes) != _flags(found.arrays["predicted"], classes)
    rows = np.flatnonzero(wrong.any(axis=1))
    scores = found.arrays.get("scores")
    if scores is None:
        return rows, np.full(len(wrong), np.nan)
    border = 0.0 if (scores < 0).any() else 0.5
    beyond = np.where(wrong, np.abs(np.nan_to_num(scores.astype(np.float64)) - border), -1.0)
    value = scores[np.arange(len(scores)), beyond.argmax(axis=1)].astype(np.float64)
    return rows[np.argsort(-beyond[rows].max(axis=1), kind="stable")], value


def _mistake(
    found: RowPredictions, classes: Sequence[str], i: int, row: int, value: float, names: Sequence[str] | None
) -> Mistake:
    arrays = found.arrays
    name = names[row] if names is not None and row < len(names) else None
    if not found.multilabel:
        true, predicted = (classes[int(arrays[which][i])] for which in ("true", "predicted"))
        return Mistake(row, name, true, predicted, _finite(value), _finite(arrays["true_value"][i]))
    true, predicted = ("|".join(_set_flags(arrays[which][i : i + 1], classes)) for which in ("true", "predicted"))
    return Mistake(row, name, true, predicted, _finite(value), None)


def _flags(packed: Flags, classes: int) -> Flags:
    return np.unpackbits(packed, axis=1, count=classes)


def _set_flags(packed: Flags, classes: Sequence[str]) -> list[str]:
    return [classes[i] for i in np.flatnonzero(_flags(packed, len(classes))[0]).tolist()]


def _finite(value: float) -> float | None:
    """Return a value as JSON has it: None for what is not there, or of a class that was not in training."""
    return float(value) if np.isfinite(value) else None
