"""The result of a trial: one class, with one JSON form (docs/trials.md), made here and read here.

A store can come from a stranger, so what is computed with, looked up or formatted is checked when it is read; a trial
may hold more.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from ...errors import BadInput, Corrupt
from ...notebook import Cell, html_table
from ...validation import LATEST, first_problem

Count = Annotated[int, Field(ge=0, le=2**53)]
Number = float | int
ByK = dict[Annotated[str, Field(pattern=r"\A[0-9]{1,9}\z")], Number | None]
_CURVE_SCORES = ("nll", "top1", "mean_per_class_recall", "map", "map_11_point")


class RowCounts(BaseModel):
    """How many rows a trial was trained, scored and chosen on."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    train: Count
    test: Count
    val: Count


def _lenient(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Return None for a value of another type: nothing is computed with it, and the trial is worth more."""
    try:
        return check(value)
    except ValidationError:
        return None


Told = Annotated[JsonValue, WrapValidator(_lenient)]
"""What a trial says of how it came about: of any form, since nothing is computed with it."""

Text = Annotated[str | None, WrapValidator(_lenient)]


class Drawn(BaseModel):
    """What was drawn of the training rows: so many of every class, or a share of them."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    shots: Count | None = None
    fraction: Number | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.shots is None) == (self.fraction is None):
            raise ValueError("either shots or a fraction are drawn")
        return self


class Asked(BaseModel):
    """What was asked for, with what goes without saying."""

    protocol: str
    probe: str
    params: dict[str, Any]
    grid: Told = None
    draw: Drawn | None = None
    seed: int
    schema_version: Told = Field(None, alias="schema")
    train: Text = None
    test: Told = None
    val: Told = None


class Probed(BaseModel):
    """What was probed, by its names."""

    model: Text = None
    dataset: Text = None
    tap: Text = None
    untrained: Annotated[bool | None, WrapValidator(_lenient)] = None
    name: dict[str, str | bool | Number | None]
    encoder: Text = None
    splits: Told = None


class Measured(BaseModel):
    """What came of it: scores, and how they were reached. A protocol may report more, under other names."""

    model_config = ConfigDict(extra="allow")

    chosen: dict[str, Number]
    chosen_by: str | None
    metric: str
    metrics: dict[str, Any]
    intervals: dict[str, Annotated[list[Number], Field(min_length=2, max_length=2)] | None]
    curve: list[dict[str, Any]]
    features: str
    solver: Told = None
    converged: bool
    warnings: list[str]
    remarks: list[str] = []
    test_in_train: Count
    rows: RowCounts
    dim: Count
    classes: list[str]
    fit_seconds: Told = None
    created: Annotated[int, Field(ge=0, le=LATEST)]
    host: Text = None
    user: Text = None
    command: Told = None
    versions: Told = None
    top1_by_k: ByK = {}
    map_by_k: ByK = {}

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not _is_number_or_none(self.metrics.get(self.metric)):
            raise ValueError(f"its {self.metric} is not a number")
        if not isinstance(self.metrics.get("nll_rows", 0), int):
            raise ValueError("its nll_rows is not a number of rows")
        for columns in self.metrics.get("per_class", {}).values():
            if len(columns) != len(self.classes) or not all(map(_is_number_or_none, columns)):
                raise ValueError("its table of classes does not fit its classes")
        if len(self.curve) > 1:
            chosen = next(iter(self.chosen), "")
            for point in self.curve:
                scores = [point[kind] for kind in _CURVE_SCORES]
                if point[chosen] is None or not all(map(_is_number_or_none, [point[chosen], *scores])):
                    raise ValueError("its curve is not a table of numbers")
        return self

    @classmethod
    def of(cls, found: Mapping[str, Any], what: str) -> Measured:
        """Return what a probe or protocol, called `what`, has measured.

        Raises
        ------
        BadInput
            If it cannot be stored: a protocol of somebody's own may report anything.
        """
        try:
            return cls.model_validate(found)
        except (ValidationError, KeyError, TypeError, AttributeError) as e:
            problem = first_problem(e) if isinstance(e, ValidationError) else f"its curve lacks {e}"
            raise BadInput(
                f"What {what} reports cannot be stored: {problem}.",
                hint="See cryoprobe.ProbeOutcome for what its fields hold.",
                key=what,
            ) from e


class Trial(Asked, Probed, Measured):
    """The result of one trial; docs/trials.md has a table of its fields.

    Fields are attributes; and items as well, in their JSON form, so that a trial can be read as a dict:
    ``trial.metrics["top1"]``, ``trial["rows"]["train"]``. The field ``schema`` is the attribute `schema_version`.
    ``json.dumps(trial.document)`` writes one.

    Parameters
    ----------
    trial : str
        Its id.
    origins : dict
        Of each set that is not trusted, where it came from.
    origin : str or None
        From where the result came, if another store had it.
    predictions : dict or None
        Hash and size of the object that has what the probe said of each test row; see `mistakes`.
    cached : bool or None
        Whether the store had it when it was asked for; None for a trial that was listed.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, populate_by_name=True, protected_namespaces=())

    trial: str
    origins: dict[str, dict[str, str]] = {}
    origin: str | None = None
    predictions: Told = None
    cached: bool | None = None

    @classmethod
    def made(cls, trial: str, asked: Asked, probed: Probed, measured: Measured, **more: Any) -> Trial:
        """Put a trial together from what was asked for, probed and measured."""
        parts = asked, probed, measured
        return cls.model_validate({"trial": trial, **{k: v for part in parts for k, v in _given(part).items()}, **more})

    @property
    def score(self) -> float | None:
        """The metric that counts; None if these rows do not define it."""
        score: float | None = self.metrics.get(self.metric)
        return score

    @property
    def what(self) -> str:
        """The probe, or the protocol, in words."""
        return self.probe if self.protocol == "plain" else f"protocol {self.protocol}"

    def chosen_values(self, equals: str = "=") -> str:
        """Return the chosen values as text, such as ``C=10``; empty if there was nothing to choose."""
        return ", ".join(f"{name}{equals}{value:g}" for name, value in self.chosen.items())

    def renamed(self, probed: Probed) -> Trial:
        """Return the same result under the names by which its sets are asked for now."""
        return self.model_copy(update={**dict(probed), "cached": True})

    @property
    def stored(self) -> dict[str, JsonValue]:
        """The JSON form that a store keeps."""
        return {name: value for name, value in self.document.items() if name not in ("cached", "origin")}

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form, with what is known of this call."""
        return _given(self)

    def __getitem__(self, name: str) -> Any:
        """Return a field in its JSON form."""
        return self.document[name]

    def __contains__(self, name: object) -> bool:
        """Return whether the JSON form has a field."""
        return isinstance(name, str) and name in self.document

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        """Iterate over the names of the fields, as a dict does."""
        return iter(self.document)

    def __len__(self) -> int:
        """Return the number of fields."""
        return len(self.document)

    def __eq__(self, other: object) -> bool:
        """Return whether two are the same result, whichever of them the store had."""
        return isinstance(other, Trial) and self.stored == other.stored

    def __hash__(self) -> int:
        """Return the hash of the id."""
        return hash(self.trial)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field in its JSON form, or a default."""
        return self.document.get(name, default)

    def keys(self) -> KeysView[str]:
        """Return the names of the fields."""
        return self.document.keys()

    def values(self) -> ValuesView[Any]:
        """Return the fields in their JSON form."""
        return self.document.values()

    def items(self) -> ItemsView[str, Any]:
        """Return the names of the fields, each with its JSON form."""
        return self.document.items()

    def __repr__(self) -> str:
        """Say in one line what was probed, and its score."""
        chosen = self.chosen_values(" = ")
        said = "undefined" if self.score is None else f"{self.score:.4f}"
        return f"<Trial {self.trial[:12]}: {self.what} on {self.model}, {self.dataset}: {self.metric} {said}" + (
            f" ({chosen})>" if chosen else ">"
        )

    def _repr_html_(self) -> str:
        scores = [(name, value) for name, value in self.metrics.items() if isinstance(value, float)]
        scores.sort(key=lambda score: score[0] != self.metric)
        rows: list[list[Cell]] = [[name, value, interval_text(self.intervals.get(name))] for name, value in scores]
        return html_table(repr(self)[1:-1], ["score", "value", "95 % interval"], rows)


Mapping.register(Trial)


def check_stored(trial: Mapping[str, Any], where: str) -> Trial:
    """Return a trial that a store gave.

    Parameters
    ----------
    trial : mapping
    where : str
        The store's URL, for the message.

    Raises
    ------
    Corrupt
        If it has not the fields of a trial.
    """
    try:
        return Trial.model_validate(trial)
    except (ValidationError, KeyError, TypeError, AttributeError) as e:
        if isinstance(e, ValidationError):
            problem = first_problem(e)
        else:
            problem = "its curve or table of classes lacks something"
        key = f"trials/{trial.get('trial')}.json"
        raise Corrupt(
            f"{key} in {where} is not the result of a trial: {problem}.",
            hint="Delete the object and run the same probe again.",
            key=key,
        ) from None


def _given(model: BaseModel) -> dict[str, JsonValue]:
    """Return the fields that a model was given, in their JSON form."""
    return model.model_dump(by_alias=True, exclude_unset=True)


def interval_text(interval: Sequence[Number] | None) -> str:
    """Return the ends of an interval as text; ``-`` for none."""
    return "-" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _is_number_or_none(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
