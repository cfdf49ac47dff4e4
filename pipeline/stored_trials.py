"""What a stored trial must look like before its fields are used: a store can come from a stranger.

Only what is computed with, looked up or formatted is checked; a trial may hold more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import Corrupt
from ..stores.chunks import LATEST
from ..stores.layout import first_problem

Count = Annotated[int, Field(ge=0, le=2**53)]
Number = float | int
_CURVE_SCORES = ("nll", "top1", "mean_per_class_recall", "map", "map_11_point")


class _Rows(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    train: Count
    test: Count
    val: Count


class _Draw(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    shots: Count | None = None
    fraction: Number | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.shots is None) == (self.fraction is None):
            raise ValueError("either shots or a fraction are drawn")
        return self


class _StoredTrial(BaseModel):
    """The fields of docs/trials.md by which a trial is listed, printed and summed up."""

    model_config = ConfigDict(extra="ignore", strict=True)

    trial: str
    protocol: str
    probe: str
    features: str
    params: dict[str, Any]
    draw: _Draw | None = None
    seed: int
    name: dict[str, str | bool | Number | None]
    chosen: dict[str, Number]
    chosen_by: str | None
    metric: str
    metrics: dict[str, Any]
    intervals: dict[str, Annotated[list[Number], Field(min_length=2, max_length=2)] | None]
    curve: list[dict[str, Any]]
    remarks: list[str] = []
    converged: bool
    warnings: list[str]
    test_in_train: Count
    rows: _Rows
    dim: Count
    classes: list[str]
    created: Annotated[int, Field(ge=0, le=LATEST)]
    top1_by_k: dict[Annotated[str, Field(pattern=r"\A[0-9]{1,9}\z")], Number | None] = {}
    map_by_k: dict[Annotated[str, Field(pattern=r"\A[0-9]{1,9}\z")], Number | None] = {}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for columns in self.metrics.get("per_class", {}).values():
            if len(columns) != len(self.classes) or not all(v is None or _is_number(v) for v in columns):
                raise ValueError("its table of classes does not fit its classes")
        if len(self.curve) > 1:
            chosen = next(iter(self.chosen), "")
            for point in self.curve:
                scores = [point[kind] for kind in _CURVE_SCORES]
                if not _is_number(point[chosen]) or not all(v is None or _is_number(v) for v in scores):
                    raise ValueError("its curve is no table of numbers")
        return self


def check_stored(trial: Mapping[str, Any], where: str) -> None:
    """Raise `Corrupt` unless a trial that a store gave has the fields of one.

    Parameters
    ----------
    trial : mapping
    where : str
        The store's URL, for the message.
    """
    try:
        _StoredTrial.model_validate(trial)
    except (ValidationError, KeyError, TypeError, AttributeError) as e:
        if isinstance(e, ValidationError):
            problem = first_problem(e)
        else:
            problem = "its curve or table of classes lacks something"
        key = f"trials/{trial.get('trial')}.json"
        raise Corrupt(
            f"The trial {key} in {where} is no result of a probe: {problem}.",
            hint="Delete the object and run the same probe again.",
            key=key,
        ) from None


def is_stored(trial: Mapping[str, Any]) -> bool:
    """Return whether a trial that a store gave has the fields of one."""
    try:
        check_stored(trial, "")
    except Corrupt:
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
