"""What several trials said of the same test samples, row beside row.

Test sets of two encoders have different ids. They have the same samples in the same order if their data set ids agree,
and the same rows of them were held out. Where that is not so, rows are matched by their sample ids; and where no sample
id is shared, as of embeddings that were added without ids, by the names of samples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from ...amounts import count
from ...arrays import Array, Flags, Float64, Indices, Labels, Mask, Targets
from ...errors import CryoprobeError
from ...stores.feature_set import FeatureSet
from ...stores.store import RowPredictions, Store
from ..trials.joined_sets import opened as open_sets
from ..trials.result import Trial


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept with a trial.

    Parameters
    ----------
    trial : Trial
    found : RowPredictions
    set : str
        Id of the set that has the test rows.
    rows : str
        Stands for the test rows: those of one `rows` are the same samples in the same order.
    """

    trial: Trial
    found: RowPredictions
    set: str
    rows: str

    @property
    def row_numbers(self) -> Indices:
        """Rows of the set, int64 [n]."""
        held_out = self.found.arrays.get("rows")
        return np.arange(self.trial.rows.test) if held_out is None else held_out.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Aligned:
    """What trials said of the test samples that all of them have.

    Parameters
    ----------
    trials : tuple of Trial
    classes : tuple of str
    true : ndarray, int64 [n], or of flags uint8 [n, C]
        Places in `classes`, or flags.
    predicted : list of ndarray
        Of each trial, as `true`.
    values : list of ndarray, float64 [n]
        Of each trial what it gives its predicted class; of flags the scores, [n, C], NaN if there are none.
    set : str
        Id of the set that `rows` are of.
    rows : ndarray, int64 [n]
    """

    trials: tuple[Trial, ...]
    classes: tuple[str, ...]
    true: Targets
    predicted: list[Targets]
    values: list[Float64]
    set: str
    rows: Indices

    @property
    def multilabel(self) -> bool:
        """Whether rows have flags."""
        return self.true.ndim == 2

    @property
    def labels(self) -> Labels:
        """True labels, int64 [n], of rows that have one each."""
        return self.true.astype(np.int64, copy=False)

    @property
    def flags(self) -> Flags:
        """True flags, uint8 [n, C]."""
        return self.true.astype(np.uint8, copy=False)

    def right(self, i: int) -> Mask:
        """Return which rows a trial has right, bool [n]; of flags, those of which it has every flag right."""
        same = self.predicted[i] == self.true
        return np.asarray(same.all(axis=1) if self.multilabel else same, bool)


class PredictionReader:
    """Reads what is kept with trials, and the samples of sets, each once.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sets: dict[str, FeatureSet | None] = {}
        self._kept: dict[str, Kept | None] = {}

    def kept(self, trial: Trial) -> Kept | None:
        """Return what is kept with a trial; None if it is not there, or damaged."""
        if trial.trial not in self._kept:
            self._kept[trial.trial] = self._read(trial)
        return self._kept[trial.trial]

    def forget(self) -> None:
        """Let go of the predictions that were read; what is known of sets is small and stays."""
        self._kept.clear()

    def sample_ids(self, kept: Kept) -> Array | None:
        """Return the sample id of each test row, void [n]; None if the set is not there."""
        found = self._set(kept.set)
        if found is None:
            return None
        ids = np.ascontiguousarray(found.sample_ids(kept.row_numbers))
        return ids.view(np.dtype((np.void, ids.shape[1]))).ravel()

    def sample_names(self, kept: Kept) -> Array | None:
        """Return the name of each test row, str [n]; None if they are not known."""
        return self.names_of(kept.set, kept.row_numbers)

    def names_of(self, set_: str, rows: Indices) -> Array | None:
        """Return the names of rows of a set, str [n]; None if they are not known."""
        found = self._set(set_)
        try:
            names = None if found is None else found.sample_names()
        except CryoprobeError:  # damaged: rows then have numbers
            return None
        return None if names is None else np.array(names, dtype=object)[rows].astype(str)

    def _read(self, trial: Trial) -> Kept | None:
        flags = "map" in trial.metrics
        try:
            found = self._store.predictions(
                trial.stored, rows=trial.rows.test, classes=len(trial.classes), multilabel=flags
            )
        except CryoprobeError:
            return None
        if found is None:
            return None
        held_out = found.arrays.get("rows")
        set_ = str(trial.test if held_out is None else trial.train)
        opened = self._set(set_)
        content = set_ if opened is None else opened.dataset_id
        return Kept(trial, found, set_, content + ("" if held_out is None else sha256(held_out.tobytes()).hexdigest()))

    def _set(self, set_: str) -> FeatureSet | None:
        if set_ not in self._sets:
            try:
                self._sets[set_] = open_sets(self._store, set_)
            except CryoprobeError:  # removed, or damaged: its trials are compared if they are of this very set
                self._sets[set_] = None
        return self._sets[set_]


def align(reader: PredictionReader, trials: Sequence[Trial]) -> tuple[Aligned | None, list[str], bool]:
    """Put what trials said of the same test samples side by side.

    Parameters
    ----------
    reader : PredictionReader
    trials : sequence of Trial

    Returns
    -------
    Aligned or None
        Of the trials that share samples with most others; None if fewer than two do.
    list of str
        What is to be said: which trials were left out, and how many rows.
    bool
        Whether all whose predictions are kept have the same test samples.
    """
    found = [kept for trial in trials if (kept := reader.kept(trial)) is not None]
    notes = []
    if len(found) < len(trials):
        left = len(trials) - len(found)
        notes.append(f"predictions of {count(left, 'trial')} are not kept (probe --rerun keeps them)")
    if not found:
        return None, notes, True
    keys = [kept.rows for kept in found]
    first = found[max(range(len(found)), key=lambda i: keys.count(keys[i]))]
    places, kinds = _places(reader, first, found)
    together = [kept for kept in found if len(places[kept.rows][0]) and kept.found.multilabel == first.found.multilabel]
    if len(together) < len(found):
        notes.append(f"{count(len(found) - len(together), 'trial')} share no test sample with the others")
    if "names" in kinds:
        notes.append("test rows are paired by the names of their samples, because their ids differ")
    if "numbers" in kinds:
        notes.append("test rows are paired by row number, because their ids differ and their samples have no names")
    aligned, said, whole = _side_by_side(first, together, places)
    return aligned, notes + said, whole and len(together) == len(found)


_NUMBERED = re.compile(r"\Arow [0-9]+\Z")
"""What samples without a name are called."""

_Places = dict[str, tuple[Indices, Indices]]
"""Of other test rows the places in the first, and the places in them, of what both have."""


def _places(reader: PredictionReader, first: Kept, found: Sequence[Kept]) -> tuple[_Places, set[str]]:
    every = np.arange(first.trial.rows.test)
    places: _Places = {first.rows: (every, every)}
    kinds: set[str] = set()
    for kept in found:
        if kept.rows not in places:
            places[kept.rows] = np.arange(0), np.arange(0)
            for kind in ("ids", "names"):
                read: Callable[[Kept], Array | None] = reader.sample_ids if kind == "ids" else reader.sample_names
                one, other = read(first), read(kept)
                if one is None or other is None or not len((both := matched(one, other))[0]):
                    continue
                numbered = kind == "names" and bool(_NUMBERED.match(str(one[0])))
                if numbered and not _same_data(first.trial, kept.trial):
                    continue
                if kind == "ids" or _labels_agree(first, kept, both):
                    places[kept.rows] = both
                    kinds.add("numbers" if numbered else kind)
                    break
    return places, kinds


def _same_data(one: Trial, other: Trial) -> bool:
    """Return whether two trials were tested on as many rows of one data set: names such as ``row 7`` are of any."""
    return one.dataset == other.dataset and one.rows.test == other.rows.test


def _labels_agree(first: Kept, other: Kept, both: tuple[Indices, Indices]) -> bool:
    """Return whether matched rows have the same labels."""
    classes = tuple(dict.fromkeys([*first.trial.classes, *other.trial.classes]))
    if first.found.multilabel != other.found.multilabel:
        return False
    one, two = (_labels(kept, at, classes)[0] for kept, at in zip((first, other), both, strict=True))
    return bool((one == two).all())


def matched(one: Array, other: Array) -> tuple[Indices, Indices]:
    """Return where two lists have the same entries; of one that comes several times the first is the first, and so on.

    Examples
    --------
    >>> [at.tolist() for at in matched(np.array(["a", "b", "a", "c"]), np.array(["a", "a", "b", "a"]))]
    [[0, 1, 2], [0, 2, 1]]
    """
    _, numbers = np.unique(np.concatenate([one, other]), return_inverse=True)
    numbers = numbers.ravel()
    parts = numbers[: len(one)], numbers[len(one) :]
    most = len(numbers) + 1
    left, right = (part * most + _occurrence(part) for part in parts)
    _, at, there = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    order = np.argsort(at)
    return at[order], there[order]


def _occurrence(numbers: Indices) -> Indices:
    """Return how often each number came before, int64 [n]."""
    order = np.argsort(numbers, kind="stable")
    ranked = numbers[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])) if len(ranked) else np.arange(0)
    before = np.empty(len(numbers), np.int64)
    before[order] = np.arange(len(numbers)) - np.repeat(starts, np.diff(np.append(starts, len(numbers))))
    return before


def _side_by_side(first: Kept, found: Sequence[Kept], places: _Places) -> tuple[Aligned | None, list[str], bool]:
    """Return the rows that all have, with the same label in all; what is to be said; and whether that is every row."""
    classes = tuple(dict.fromkeys([*first.trial.classes, *(c for kept in found for c in kept.trial.classes)]))
    n = first.trial.rows.test
    there = {}
    for rows, (at, other) in places.items():
        there[rows] = np.full(n, -1)
        there[rows][at] = other
    shared = np.all([there[kept.rows] >= 0 for kept in found], axis=0)
    common = np.flatnonzero(shared)
    taken = {rows: where[common] for rows, where in there.items()}
    read = [_labels(kept, taken[kept.rows], classes) for kept in found]
    true = _labels(first, common, classes)[0]
    same = np.all([_rowwise(of[0] == true) for of in read], axis=0)
    notes = []
    most = max(kept.trial.rows.test for kept in found)
    if len(common) < most:
        notes.append(f"only the {len(common):,} of {most:,} test rows that all have are compared")
    if not same.all():
        notes.append(f"{count(int((~same).sum()), 'test row')} with other labels are left out")
    if len(found) < 2 or not same.any():
        return None, notes, len(common) == most and bool(same.all())
    aligned = Aligned(
        trials=tuple(kept.trial for kept in found),
        classes=classes,
        true=true[same],
        predicted=[predicted[same] for _, predicted, _ in read],
        values=[values[same] for _, _, values in read],
        set=first.set,
        rows=first.row_numbers[common[same]],
    )
    return aligned, notes, len(common) == most and bool(same.all())


def _rowwise(same: Mask) -> Mask:
    return np.asarray(same.all(axis=1) if same.ndim == 2 else same, bool)


def _labels(kept: Kept, rows: Indices, classes: Sequence[str]) -> tuple[Targets, Targets, Float64]:
    """Return true and predicted labels of some rows, by their places in `classes`, and the values; see `Aligned`."""
    arrays, own = kept.found.arrays, kept.trial.classes
    place = {name: i for i, name in enumerate(classes)}
    number = np.array([place[name] for name in own], np.int64)
    if not kept.found.multilabel:
        return number[arrays["true"][rows]], number[arrays["predicted"][rows]], arrays["value"][rows].astype(np.float64)
    flags = []
    for name in ("true", "predicted"):
        wide = np.zeros((len(rows), len(classes)), np.uint8)
        wide[:, number] = np.unpackbits(arrays[name][rows], axis=1, count=len(own))
        flags.append(wide)
    scores = np.full((len(rows), len(classes)), np.nan)
    if "scores" in arrays:
        scores[:, number] = arrays["scores"][rows]
    return flags[0], flags[1], scores
