"""What a probe said of each test row, in the form in which it is kept with a trial."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ...arrays import Array, Indices
from ...stores.store import RowPredictions
from ..probes.labelled_features import LabelledFeatures
from ..tasks import Prediction


def row_predictions(prediction: Prediction, test: LabelledFeatures, held_out: Indices | None) -> RowPredictions:
    """Return what is kept of a prediction.

    Of one label a row: the true and the predicted class, and what the probe gives each of the two, a probability or
    else a score. Of flags: both, and the scores of all.

    Parameters
    ----------
    prediction : Prediction
    test : LabelledFeatures
    held_out : ndarray, int64 [n], or None
        Rows of the train set, if the test rows were held out of it.
    """
    arrays: dict[str, Array] = {} if held_out is None else {"rows": held_out.astype(np.int32)}
    measure: Literal["probability", "score", "none"]
    if not test.task.exclusive:
        flags = {"true": test.y, "predicted": prediction.labels}
        arrays |= {name: np.packbits(y.astype(np.uint8), axis=1) for name, y in flags.items()}
        if prediction.scores is not None:
            arrays["scores"] = prediction.scores.astype(np.float32)
        return RowPredictions(arrays, "none" if prediction.scores is None else "score")
    true, predicted = test.y.astype(np.int32), prediction.labels.astype(np.int32)
    values = prediction.probabilities
    measure = "probability"
    if values is None:
        values, measure = prediction.scores, "none" if prediction.scores is None else "score"
    arrays |= {"true": true, "predicted": predicted}
    for name, classes in (("value", predicted), ("true_value", true)):
        of_rows = np.full(len(true), np.nan) if values is None else values[np.arange(len(true)), classes]
        arrays[name] = of_rows.astype(np.float32)
    return RowPredictions(arrays, measure)
