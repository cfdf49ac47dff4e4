"""What the probe of a trial said of each test row: one object beside the trial, which names it by its hash.

``predictions/<trial>/<sha256>.safetensors`` counts if the trial's field ``predictions``, ``{"sha256", "size"}``, has
that hash. So it is exactly as trusted, and as intact, as the trial. It is written before the trial.

===============  =====================  ================================================================
of one label a row
------------------------------------------------------------------------------------------------------------------
``true``         int32 [n]              places in the trial's list of classes
``predicted``    int32 [n]
``value``        float32 [n]            what the probe gives the predicted class
``true_value``   float32 [n]            and the true one
of flags
------------------------------------------------------------------------------------------------------------------
``true``         uint8 [n, ceil(C/8)]   flags, eight a byte, the first one highest (``numpy.packbits``)
``predicted``    uint8 [n, ceil(C/8)]
``scores``       float32 [n, C]         missing if the probe does not rank
of both
------------------------------------------------------------------------------------------------------------------
``rows``         int32 [n]              rows of the train set, if the test rows were held out of it; else missing
===============  =====================  ================================================================

The file's metadata have ``measure``: ``probability``, ``score`` or ``none`` (then values are NaN).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ...arrays import Array
from ...errors import BadInput, Corrupt, NotFound
from ..backends.backend import Backend
from ..keys import predictions_folder

PREDICTIONS = "predictions/"

Measure = Literal["probability", "score", "none"]

MOST_PREDICTION_BYTES = 1 << 30
_ONE = {"true": "int32", "predicted": "int32", "value": "float32", "true_value": "float32"}
_FLAGS = {"true": "uint8", "predicted": "uint8"}


class PredictionRecord(BaseModel):
    """Which object has the predictions of a trial: what the trial says of it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]
    size: Annotated[int, Field(ge=0, le=MOST_PREDICTION_BYTES)]

    def key(self, trial_id: str) -> str:
        """Return its key in the store."""
        return f"{predictions_folder(trial_id)}{self.sha256}.safetensors"


@dataclass(frozen=True)
class RowPredictions:
    """What a probe said of n test rows; see this module.

    Parameters
    ----------
    arrays : mapping of str to ndarray
    measure : {"probability", "score", "none"}
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    measure: Measure = "none"

    @property
    def multilabel(self) -> bool:
        """Whether rows have flags."""
        return self.arrays["true"].ndim == 2


def record_in(trial: Mapping[str, object]) -> PredictionRecord | None:
    """Return what a trial says of its predictions; None if it has none, or says something else."""
    try:
        return PredictionRecord.model_validate(trial.get("predictions"))
    except ValueError:
        return None


def write_predictions(backend: Backend, trial_id: str, found: RowPredictions) -> PredictionRecord:
    """Write the predictions of a trial that is about to be stored; return what it says of them.

    Raises
    ------
    BadInput
        If they are larger than a reader takes.
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in found.arrays.items()}
    data = save(arrays, metadata={"measure": found.measure})
    if len(data) > MOST_PREDICTION_BYTES:
        raise BadInput(f"The predictions of {len(arrays['true']):,} rows take {len(data):,} bytes: they are not kept.")
    record = PredictionRecord(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    backend.put(record.key(trial_id), data)
    return record


def read_bytes(backend: Backend, trial_id: str, record: PredictionRecord) -> bytes:
    """Return the object that a trial names, which must be the very one.

    Raises
    ------
    NotFound
        If it is not there.
    Corrupt
        If it is another one.
    """
    key = record.key(trial_id)
    data = backend.get(key, record.size)
    if len(data) != record.size or hashlib.sha256(data).hexdigest() != record.sha256:
        raise _damaged(backend, key, "they are not what the trial names")
    return data


def read_predictions(
    backend: Backend, trial_id: str, record: PredictionRecord, *, rows: int, classes: int, multilabel: bool
) -> RowPredictions | None:
    """Return what the probe of a trial said of its test rows; None if the object is not there.

    Parameters
    ----------
    backend : Backend
    trial_id : str
    record : PredictionRecord
    rows, classes : int
        Of the trial.
    multilabel : bool

    Raises
    ------
    Corrupt
        If they are not what the trial names, or cannot be its predictions.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = read_bytes(backend, trial_id, record)
    except NotFound:
        return None
    key = record.key(trial_id)
    try:
        arrays = load(data)
        head = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError, RecursionError) as e:
        raise _damaged(backend, key, f"they are no safetensors file ({str(e)[:100]})") from None
    measure = head.get("__metadata__", {}).get("measure")
    if measure not in get_args(Measure):
        raise _damaged(backend, key, "they do not say what they measure")
    if (problem := _misfit(arrays, rows, classes, multilabel)) is not None:
        raise _damaged(backend, key, problem)
    return RowPredictions(arrays, measure)


def _misfit(arrays: Mapping[str, Array], rows: int, classes: int, multilabel: bool) -> str | None:
    """Say why arrays are not the predictions of so many rows; None if they can be."""
    wanted = dict(_FLAGS if multilabel else _ONE)
    shapes: dict[str, tuple[int, ...]] = {name: (rows, -(-classes // 8)) if multilabel else (rows,) for name in wanted}
    if multilabel and "scores" in arrays:
        wanted["scores"], shapes["scores"] = "float32", (rows, classes)
    if "rows" in arrays:
        wanted["rows"], shapes["rows"] = "int32", (rows,)
    if not wanted.keys() <= arrays.keys():
        return f"they lack {', '.join(sorted(wanted.keys() - arrays.keys()))}"
    for name, dtype in wanted.items():
        if arrays[name].dtype.name != dtype or arrays[name].shape != shapes[name]:
            return f"{name} is {arrays[name].dtype} {list(arrays[name].shape)}, not {dtype} {list(shapes[name])}"
    places = () if multilabel else (arrays["true"], arrays["predicted"])
    if any(len(p) and (p.min() < 0 or p.max() >= classes) for p in places):
        return f"they name classes beyond the {classes} of the trial"
    if "rows" in arrays and rows and arrays["rows"].min() < 0:
        return "they name rows below 0"
    return None


def _damaged(backend: Backend, key: str, problem: str) -> Corrupt:
    return Corrupt(
        f"The predictions {key} in {backend.url} are damaged: {problem}.",
        hint="Run the trial again: cryoprobe probe … --rerun",
        key=key,
    )
