"""What a probe said of each test row, as charts need it."""

from __future__ import annotations

import numpy as np

from ...arrays import Flags
from ...errors import CryoprobeError
from ...stores.store import RowPredictions, Store
from ..trials.result import Trial


def kept_of(store: Store, trial: Trial, notes: list[str]) -> RowPredictions | None:
    """Return what is kept with a trial; None if nothing is, as of older trials.

    None too if it is damaged, with a note: a page shows what there is.
    """
    try:
        return store.predictions(
            trial.stored, rows=trial.rows.test, classes=len(trial.classes), multilabel="map" in trial.metrics
        )
    except CryoprobeError as e:
        notes.append(e.message)
        return None


def flags_of(packed: Flags, classes: int) -> Flags:
    """Return flags, uint8 [n, C], of those that are packed, eight a byte."""
    return np.unpackbits(packed, axis=1, count=classes)
