"""Provenance: who made something, where, when and with what. Recorded beside a result, never part of its identity."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    PrivateAttr,
    WrapValidator,
    model_serializer,
    model_validator,
)

from ...validation import Milliseconds, lenient

_Text = Annotated[str | None, Field(strict=True), WrapValidator(lenient)]
_Number = Annotated[int | None, Field(strict=True), WrapValidator(lenient)]


class Provenance(BaseModel):
    """Who made a set, where, when and with what.

    What was read is kept as it was, byte for byte: unknown fields, and fields of another form than is described here
    (they read as None), stay in `document`. To change a field, make another one of a changed document.

    Parameters
    ----------
    created : int
        When, in milliseconds since 1970, by the clock of the machine that made it; 0 if it is not recorded.
    host, user : str or None
    command : list or None
        The command line, if it was one of Cryoprobe's own.
    versions : dict or None
        Of Python and the packages.
    name : dict
        The fields of the set's `Name`, as it was made.
    batch_size, workers : int or None
        How it was run.
    device : str or None
        On which the images were encoded.
    encoded : int or None
        Images that were encoded; the store had the other rows.
    encoded_in_ms : int or None
        How many milliseconds that took, from the first look at the files to the last seal of a unit.
    reused : JSON value
        Which versions made the other rows: a list of objects with ``rows``, and ``set``, ``versions``, ``device`` as
        far as they are known. What a set reused in turn is recorded with it.
    checked : JSON value
        How many of those rows were encoded again for a check, how many differed, and by how much at most.
    shared_embeddings : JSON value
        How many different images have one embedding, see `pipeline.extraction.health`, which records more.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    created: Milliseconds = 0
    host: _Text = None
    user: _Text = None
    command: Annotated[list[Any] | None, WrapValidator(lenient)] = None
    versions: Annotated[dict[str, Any] | None, WrapValidator(lenient)] = None
    name: dict[str, Any] = {}
    batch_size: _Number = None
    workers: _Number = None
    device: _Text = None
    encoded: _Number = None
    encoded_in_ms: _Number = None
    reused: Any = None
    checked: Any = None
    shared_embeddings: Any = None

    _document: dict[str, JsonValue] = PrivateAttr(default_factory=dict)

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON object that it is stored as: just what it was made of. A copy."""
        return copy.deepcopy(self._document)

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, value: Any, check: ModelWrapValidatorHandler[Self]) -> Self:
        made = check(value)
        if isinstance(value, Mapping):
            made._document = dict(value)
        return made

    @model_serializer(mode="plain")
    def _stored(self) -> dict[str, Any]:
        return self._document
