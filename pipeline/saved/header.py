"""The header of a saved probe: what it is, which encoder it belongs to, and what was measured when it was trained."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from ...arrays import Array
from ...canonical import digest
from ...checksummed import checksum_holds, dump_document
from ...errors import Corrupt, Incompatible
from ...stores.format.names import Name
from ..tasks import Task, task_named

FORMAT_VERSION = 1

Kind = Literal["linear", "mlp", "knn"]
Step = Literal["unit", "standardise"]
Probability = Literal["softmax", "sigmoid", "normalised-sigmoid", "votes"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EncoderRecord(_Record):
    """The encoder whose features the probe reads.

    Parameters
    ----------
    id : str
        The digest of `spec`; what decides whether an encoder is the right one.
    spec : dict
        The fields of `EncoderSpec`.
    name : Name or None
        How to load it again.
    """

    id: str
    spec: dict[str, JsonValue]
    name: Name | None

    @model_validator(mode="after")
    def _id_is_of_spec(self) -> Self:
        if digest(self.spec) != self.id:
            raise ValueError("the encoder's id is not that of its spec")
        return self


class Neighbours(_Record):
    """Parameters of nearest neighbours; see `KNNProbe`.

    Parameters
    ----------
    k : int
    weights, metric : str
    temperature : float
    """

    k: int = Field(ge=1)
    weights: Literal["uniform", "softmax"]
    temperature: float = Field(gt=0, allow_inf_nan=False)
    metric: Literal["cosine", "euclidean"]


class ProbeHeader(_Record):
    """What a probe file says of itself; docs/trained-probes.md describes every field.

    Parameters
    ----------
    version : int
        Of the format.
    kind : {"linear", "mlp", "knn"}
    dim : int
        Width of the features, d.
    features : {"unit", "raw"}
        Whether the probe reads embeddings of unit norm, or as the encoder gave them.
    before : tuple of str
        What is done to the features first, in order: ``unit`` or ``standardise``.
    classes : tuple of str
        Names of the K classes that can be predicted, in the order of the outputs.
    multilabel : bool
    probability : str or None
        How outputs become probabilities; None where they are only scores.
    neighbours : Neighbours or None
        Where `kind` is ``knn``.
    encoder : EncoderRecord
    tensors : str
        See `tensors_digest`.
    protocol, probe, params, chosen, metrics, dataset, train, test, trial, rows, created, versions
        Of the trial in which it was trained (docs/trials.md); `metrics` has the numbers only.
    """

    version: Literal[1] = 1
    kind: Kind
    dim: int = Field(ge=1)
    features: Literal["unit", "raw"]
    before: tuple[Step, ...] = Field(default=(), max_length=8)
    classes: tuple[str, ...] = Field(min_length=2)
    multilabel: bool
    probability: Probability | None
    neighbours: Neighbours | None = None
    encoder: EncoderRecord
    tensors: str
    protocol: str | None = None
    probe: str | None = None
    params: dict[str, JsonValue] = {}
    chosen: dict[str, JsonValue] = {}
    metrics: dict[str, float] = {}
    dataset: str | None = None
    train: str | None = None
    test: JsonValue = None
    trial: str | None = None
    rows: dict[str, int] = {}
    created: int | None = None
    versions: dict[str, str] = {}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.kind == "knn") != (self.neighbours is not None) or (self.kind == "knn") != (
            self.probability == "votes"
        ):
            raise ValueError("neighbours and votes go with the kind knn, and with no other")
        if self.multilabel and self.probability in ("softmax", "normalised-sigmoid"):
            raise ValueError(f"flags have no {self.probability}")
        return self

    @property
    def task(self) -> Task:
        """What was asked of the rows: one label each, or flags."""
        return task_named(multilabel=self.multilabel)

    def dump(self) -> str:
        """Return the JSON document that is stored, with a checksum of its own content."""
        return dump_document(self.model_dump(mode="json")).decode()


def parse_header(text: str, path: str) -> ProbeHeader:
    """Read the JSON document of a probe file.

    Raises
    ------
    Incompatible
        If a newer version of Cryoprobe wrote it.
    Corrupt
        If it is not the document that was written.
    """
    try:
        content = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError) as e:
        raise damaged(path, f"its header is not JSON ({e})") from None
    if not isinstance(content, dict):
        raise damaged(path, "its header is not an object")
    version = content.get("version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise Incompatible(
            f"{path} has probe format {version}; this version of Cryoprobe knows {FORMAT_VERSION}.",
            hint="Upgrade Cryoprobe: pip install -U cryoprobe",
            key=path,
            expected=FORMAT_VERSION,
            found=version,
        )
    try:
        whole = checksum_holds(content)
        header = ProbeHeader.model_validate(content)
    except ValidationError as e:
        first = e.errors()[0]
        raise damaged(path, f"its header is wrong at {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError) as e:  # a lone surrogate, which cannot be encoded
        raise damaged(path, f"its header cannot be read ({e})") from None
    if not whole:
        raise damaged(path, "the checksum of its header does not agree with its content")
    return header


def damaged(path: str, why: str) -> Corrupt:
    """Return the error for a probe file that is not what was written."""
    return Corrupt(f"The probe file {path} is damaged: {why}.", hint="Copy it again, or train anew.", key=path)


def tensors_digest(tensors: Mapping[str, Array]) -> str:
    """Return the sha256 over the tensors in the order of their names: name, a zero byte, little-endian bytes."""
    h = hashlib.sha256()
    for name in sorted(tensors):
        h.update(name.encode() + b"\0")
        h.update(np.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("<")).data)
    return h.hexdigest()


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics that are one number each; a confusion matrix can outgrow the probe."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _not_json(name: str) -> NoReturn:
    # Python's parser takes NaN and Infinity, which JSON does not have.
    raise ValueError(f"{name} is not JSON")
