"""Which set is looked at, and which of its rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...arrays import Indices, Targets
from ...errors import BadInput, CryoprobeError, NotFound
from ...stores.feature_set import FeatureSet
from ...stores.store import Store
from ..results import trial
from ..trials.joined_sets import opened as open_sets
from ..trials.result import Trial


def set_of(store: Store, digits: str, part: str) -> FeatureSet:
    """Return the set whose id begins so, or a set of the trial whose id begins so.

    Parameters
    ----------
    store : Store
    digits : str
        A trial that reads several taps as one has one set of them.
    part : {"train", "test", "val"}
        Of a trial. If it was held out of the train set, that is returned.

    Raises
    ------
    NotFound, Conflict, BadInput
        If there is no such set or trial, if there are several, or the trial has no such part.
    """
    if "+" in digits or store.kind_of(digits) == "set":
        return open_sets(store, digits)
    if part not in ("train", "test", "val"):
        raise BadInput(f"part is train, test or val, not {part!r}.", key="part", found=part)
    found = trial(store, digits)
    ids = {"train": found.train, "test": found.test, "val": found.val}
    chosen = ids[part]
    if not isinstance(chosen, str):
        if part == "val" and chosen is None:
            raise BadInput(f"Trial {found.trial[:12]} chose nothing: it has no validation set.", key="part")
        chosen = found.train
    return open_sets(store, str(chosen))


def held_out_rows(store: Store, found: Trial) -> Indices:
    """Return the rows of the train set that a trial held out for its test, ascending, int64 [m].

    Raises
    ------
    NotFound
        If they are not kept with the trial, or are not rows of the set.
    Corrupt
        If what is kept is damaged.
    """
    kept = store.predictions(
        found.stored, rows=found.rows.test, classes=len(found.classes), multilabel="map" in found.metrics
    )
    if kept is None or "rows" not in kept.arrays:
        raise NotFound("It is not known which rows were held out.", key=found.trial)
    rows = np.unique(kept.arrays["rows"].astype(np.int64))
    if len(rows) and not 0 <= rows[0] <= rows[-1] < open_sets(store, str(found.train)).rows:
        raise NotFound("The rows that were held out are not rows of the set.", key=found.trial)
    return rows


def drawn(labels: Targets, rows: Indices, most: int | None, seed: int) -> tuple[Indices, list[str]]:
    """Return at most so many of the rows, a share of each class, ascending; and what is to be said of the others.

    Parameters
    ----------
    labels : ndarray, int64 [n] or uint8 [n, C]
        Of all rows. Of flags, rows are drawn at random.
    rows : ndarray, int64 [m]
        Of these.
    most : int or None
    seed : int

    Examples
    --------
    >>> drawn(np.array([0, 0, 0, 0, 1, 1]), np.arange(6), 3, seed=0)[0].size
    3
    """
    if most is not None and most < 1:
        raise BadInput(f"max_rows is 1 or more, not {most}.", key="max_rows", found=most)
    if most is None or len(rows) <= most:
        return rows, []
    order = np.random.default_rng(seed).permutation(rows)
    if labels.ndim == 1:
        by_class = order[np.argsort(labels[order], kind="stable")]
        # Evenly spaced in the order of classes: each class gives its share, to a row.
        order = by_class[np.floor(np.arange(most) * (len(rows) / most)).astype(np.int64)]
    return np.sort(order[:most]), [f"{most:,} of {len(rows):,} rows were drawn (seed {seed}), and only these looked at"]


def names_of(feature_set: FeatureSet) -> tuple[Sequence[str] | None, list[str]]:
    """Return what the samples of a set are called, and what is to be said if that is not known."""
    try:
        names = feature_set.sample_names()
    except CryoprobeError as e:
        return None, [f"the rows have no names: {e.message}"]
    if names is None:
        return None, ["the rows have no names: an older version made the set, and extract, run again, writes them"]
    return names, []
