"""Rows of one or several sets of one encoder, side by side: embeddings, ids, labels, names, and images if at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...arrays import Features, Indices, SampleIds, Targets
from ...errors import BadInput, Conflict, CryoprobeError
from ...id_arrays import repeats
from ...stores.feature_set import FeatureSet
from ...stores.store import Store
from ..results import trial
from .originals import Originals, originals_of
from .pictures import Pictures, pictures_of
from .subset import drawn, held_out_rows, names_of, set_of

HELD_OUT = "held out"
"""What the test part is called if a trial held it out of its train set."""


class Described(NamedTuple):
    """A row as people look at it."""

    set: str
    split: str
    row: int
    name: str | None
    label: str


@dataclass
class Gathered:
    """Rows of several sets, or of several parts of one.

    Parameters
    ----------
    sets : list of FeatureSet
        One for each part; the same twice if a trial held its test rows out of its train set.
    splits : list of str
        What each part is called.
    x : ndarray, float32 [n, d]
    ids : ndarray, uint8 [n, 32]
    which : ndarray, int64 [n]
        The set of each row, as a place in `sets`.
    rows : ndarray, int64 [n]
        Its row in that set.
    labels : list of Targets
        Of all rows of each set.
    notes : list of str
    """

    sets: list[FeatureSet]
    splits: list[str]
    x: Features
    ids: SampleIds
    which: Indices
    rows: Indices
    labels: list[Targets]
    names: list[Sequence[str] | None]
    notes: list[str] = field(default_factory=list)

    def described(self, i: int) -> Described:
        """Return set, row, name and label of one of the rows."""
        k, row = int(self.which[i]), int(self.rows[i])
        one, names, label = self.sets[k], self.names[k], self.labels[k][row]
        if np.ndim(label):
            text = "|".join(one.classes[c] for c in np.flatnonzero(label).tolist())
        else:
            text = one.classes[int(label)] if int(label) >= 0 else ""
        name = names[row] if names is not None and row < len(names) else None
        return Described(one.id, self.splits[k], row, name, text)

    def pictures(self, store: Store, data_root: Path | None) -> tuple[Pictures | None, list[str]]:
        """Look at all images; None if none is at hand. With what is to be said of those that are not."""
        found, looked = [], dict[str, Originals]()
        for k, one in enumerate(self.sets):
            rows = self.rows[self.which == k].tolist()
            if one.id not in looked:
                looked[one.id] = originals_of(store, one, data_root)
            found.append(pictures_of(looked[one.id].images(rows), len(rows)))
        notes = [line for originals in looked.values() for line in originals.notes()]
        joined = Pictures(
            np.concatenate([part.vectors for part in found]),
            [colour for part in found for colour in part.plain],
            np.concatenate([part.there for part in found]),
        )
        return (joined if joined.there.any() else None), list(dict.fromkeys(notes))

    def equal_pairs(self, most: int) -> Indices:
        """Return pairs i < j of rows with the same bytes as i * n + j: each repetition with the first row."""
        again = repeats(self.ids)
        return (again.first * len(self.ids) + again.rows)[:most]


def gather(store: Store, what: str | Sequence[str], *, max_rows: int | None, seed: int) -> Gathered:
    """Read rows of sets, or of the train and test sets of a trial, into memory.

    Raises
    ------
    NotFound, Conflict, BadInput
        If there is no such set or trial, if sets are of several encoders, or none is named.
    """
    digits = [what] if isinstance(what, str) else list(what)
    if not digits:
        raise BadInput("No set and no trial is named.", key="what")
    chosen: dict[tuple[str, str], _Part] = {}
    notes: list[str] = []
    for text in digits:
        for part in _parts_of(store, text, notes):
            chosen[part.set.id, part.split] = part
    opened = [part.set for part in chosen.values()]
    for other in opened[1:]:
        if other.encoder_id != opened[0].encoder_id:
            raise Conflict(
                f"Sets {opened[0].id[:12]} and {other.id[:12]} are of two encoders: embeddings cannot be compared.",
                hint="Name sets of one encoder; `cryoprobe ls` shows which is which.",
                key=other.id,
            )
    parts, labels, names = [], [], []
    for one, split, whole in chosen.values():
        targets = one.labels()
        rows, about = drawn(targets, np.arange(one.rows) if whole is None else whole, max_rows, seed)
        called, about_names = names_of(one)
        x, _ = one.load(rows=rows)
        parts.append((x, one.sample_ids(rows), rows))
        labels.append(targets)
        names.append(called)
        notes += [f"{split}: {line}" for line in (*about, *about_names)]
    return Gathered(
        opened,
        [part.split for part in chosen.values()],
        np.concatenate([x for x, _, _ in parts]),
        np.concatenate([ids for _, ids, _ in parts]),
        np.repeat(np.arange(len(parts)), [len(rows) for _, _, rows in parts]),
        np.concatenate([rows for _, _, rows in parts]),
        labels,
        names,
        notes,
    )


class _Part(NamedTuple):
    """Rows of a set that are looked at, and what they are called; None stands for all rows."""

    set: FeatureSet
    split: str
    rows: Indices | None


def _parts_of(store: Store, text: str, notes: list[str]) -> list[_Part]:
    """Return the set whose id begins so, or the train and test parts of a trial; add what is not known to `notes`."""
    train = set_of(store, text, "train")
    if "+" in text or store.kind_of(text) != "trial":
        return [_Part(train, train.split, None)]
    found = trial(store, text)
    if isinstance(found.test, str):
        test = set_of(store, text, "test")
        return [_Part(train, train.split, None), _Part(test, test.split, None)]
    try:
        rows = held_out_rows(store, found)
    except CryoprobeError as e:
        notes.append(f"train and test are one set: pairs across cannot be told ({e.message.rstrip('.')})")
        return [_Part(train, train.split, None)]
    rest = np.setdiff1d(np.arange(train.rows), rows, assume_unique=True)
    return [_Part(train, train.split, rest), _Part(train, HELD_OUT, rows)]
