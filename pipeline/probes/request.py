"""What probe is asked for: its name, parameters, grid and seed, and how they are written on a command line.

A request is completed when it is made (aliases resolved, Cryoprobe's defaults filled in), so two requests that mean
the same thing have the same canonical dict, and a default that changes is a changed key. Which rows choose C (a
validation split, or a fraction of train) is the caller's to decide and to put into the trial key.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, field_validator, model_validator

from ...canonical import canonical_json
from ...errors import BadInput
from .registry import NamedProbe, named_probe

_GRID_FORMS = "Accepted: one number (0.316), a list (1.0,10), or lo:hi:n log-spaced with both ends (1e-3:1e3:7)."
_LONGEST_GRID = 1000
_PYTHON_LITERALS: dict[str, JsonValue] = {"True": True, "False": False, "None": None}


class ProbeRequest(BaseModel):
    """A probe, fully specified.

    Parameters
    ----------
    probe : str
        ``logreg``, ``knn``, another short name (`list_probes`), or the dotted path of a scikit-learn classifier.
    params : dict
        Parameters of the estimator, JSON values. ``step__name`` reaches into a pipeline.
    tune : str
        The parameter that `grid` has values of; empty where there is no grid.
    grid : tuple of float
        Values to choose from; sorted, positive, unique. Empty means the probe's default grid (see `registry`), or the
        estimator's own default where it has no grid. A number given as ``params[tune]`` is moved here. Given as a
        mapping of one parameter, it says `tune` too; ``C=…`` is short for ``grid={"C": …}``.
    choose_by : {"nll", "top1"}
        The validation score that chooses among several values; see docs/decisions for why it is the likelihood. By
        default top-1 for nearest neighbours, whose votes are not likelihoods.
        A probe without probabilities is chosen by top-1, and multi-label data by mAP, either way.
    seed : int
        Becomes ``random_state`` of estimators that have one.
    schema_version : int
        Raised when a change of Cryoprobe's probes changes the numbers.

    Raises
    ------
    BadInput
        If parameters contradict each other, or a value is not finite JSON, or the grid or the seed is out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe: str
    params: dict[str, JsonValue] = {}
    tune: str = ""
    grid: tuple[float, ...] = ()
    choose_by: Literal["nll", "top1"] = "nll"
    seed: int = 0
    schema_version: Literal[2] = 2

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        """Resolve aliases and fill in defaults; leave every type check to pydantic."""
        if not isinstance(data, dict) or not isinstance(data.get("params", {}), dict):
            return data
        probe = data.get("probe", "")
        named = named_probe(probe) if isinstance(probe, str) else None
        params = dict(data.get("params", {}))
        if named is not None:
            for alias, own in named.aliases.items():
                if alias in params and own in params:
                    raise BadInput(
                        f"{alias} and {own} are the same parameter of {named.name}", hint="Give one of them."
                    )
                if alias in params:
                    params[own] = params.pop(alias)
        data = {**data, "params": params}
        tune, grid = _grid_of(data, named)
        if named is not None:
            # What is tuned has no default; what is usually tuned, where something else is, has its usual value.
            usual = {named.tune: _as_parameter(named.grid[0])} if named.tune != tune and len(named.grid) == 1 else {}
            data["params"] = {**{k: v for k, v in named.defaults.items() if k != tune}, **usual, **params}
            data.setdefault("choose_by", named.choose_by)
        if len(grid) < 2 and data.get("choose_by") in ("nll", "top1"):
            data["choose_by"] = "nll"  # nothing is chosen
        return {**data, "tune": tune, "grid": grid}

    @field_validator("params")
    @classmethod
    def _finite(cls, params: dict[str, JsonValue]) -> dict[str, JsonValue]:
        try:
            canonical_json(params)
        except ValueError as error:
            raise BadInput(
                f"parameters of a probe must be finite JSON values: {error}", hint="Give a finite number.", found=params
            ) from error
        return params

    @field_validator("grid")
    @classmethod
    def _tidy_grid(cls, grid: tuple[float, ...]) -> tuple[float, ...]:
        return _checked_grid(grid, found=grid)

    @field_validator("seed")
    @classmethod
    def _seed_range(cls, seed: int) -> int:
        if not 0 <= seed < 2**32:
            raise BadInput(f"seed {seed} is out of range", hint="Give a seed from 0 to 4294967295.", key="seed")
        return seed

    def canonical(self) -> dict[str, JsonValue]:
        """Return the JSON dict that stands for this request in a trial key."""
        return self.model_dump(mode="json")


def parse_params(items: Iterable[str]) -> dict[str, JsonValue]:
    """Read ``name=value`` arguments of a command line.

    Parameters
    ----------
    items : iterable of str
        Such as ``["k=5", "weights=distance"]``. A value that parses as JSON is that JSON value; ``True``, ``False``
        and ``None`` are read as Python writes them; anything else is a string.

    Returns
    -------
    dict

    Raises
    ------
    BadInput
        If ``=`` or the name is missing, or a name comes twice.

    Examples
    --------
    >>> parse_params(["k=5", "weights=distance", "shrinkage=None"])
    {'k': 5, 'weights': 'distance', 'shrinkage': None}
    """
    params: dict[str, JsonValue] = {}
    for item in items:
        name, equals, text = item.partition("=")
        name = name.strip()
        if not equals or not name:
            raise BadInput(f"{item!r} is not a parameter", hint="Write name=value, for example k=5.", found=item)
        if name in params:
            raise BadInput(f"parameter {name} is given twice", hint="Give it once.", key=name)
        params[name] = _literal(text.strip())
    return params


def parse_grids(items: Iterable[str]) -> dict[str, tuple[float, ...]]:
    """Read ``name=values`` arguments, with values as `parse_grid` reads them.

    Raises
    ------
    BadInput
        If ``=`` or the name is missing, a name comes twice, or the values have another form.
    """
    grids: dict[str, tuple[float, ...]] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name.strip():
            raise BadInput(f"{item!r} is not a grid", hint="Write name=values: alpha=0.1,1,10", found=item)
        if name.strip() in grids:
            raise BadInput(f"a grid of {name.strip()} is given twice", hint="Give it once.", key=name.strip())
        grids[name.strip()] = parse_grid(text)
    return grids


def parse_grid(text: str) -> tuple[float, ...]:
    """Read a grid of positive numbers.

    Parameters
    ----------
    text : str
        ``0.316``, ``1.0,10`` or ``lo:hi:n``: n values from lo to hi, evenly spaced in the logarithm, ends included.
        Spaced values are rounded to 12 significant digits, so that 0.01 is 0.01 and not 0.009999999999999998.

    Returns
    -------
    tuple of float
        Ascending and unique.

    Raises
    ------
    BadInput
        If `text` has another form, or a value is not positive and finite.

    Examples
    --------
    >>> parse_grid("10,1.0"), parse_grid("1e-2:1e2:3")
    ((1.0, 10.0), (0.01, 1.0, 100.0))
    """
    try:
        if ":" in text:
            lo, hi, count = text.split(":")
            ends, n = _checked_grid((float(lo), float(hi)), found=text), int(count)
            if not 2 <= n <= _LONGEST_GRID:
                raise ValueError(f"{n} values")
            spaced = np.geomspace(ends[0], ends[-1], n)  # [n]
            values = tuple(float(f"{value:.12g}") for value in spaced[1:-1]) + ends
        else:
            values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise BadInput(f"{text!r} is not a grid of values", hint=_GRID_FORMS, found=text) from error
    return _checked_grid(values, found=text)


def _as_parameter(value: float) -> JsonValue:
    """Return a whole number as one: estimators are particular about it."""
    return int(value) if float(value).is_integer() else value


def _grid_of(data: dict[str, Any], named: NamedProbe | None) -> tuple[str, Any]:
    """Return which parameter is tuned, and its values; takes it out of the parameters, and ``C`` out of the data."""
    params = data["params"]
    given = data.get("grid") or {}
    tune = data.get("tune") or ""
    if short := data.pop("C", ()):
        if given:
            raise BadInput("Only one parameter can be chosen on validation data, and two grids are given.", key="grid")
        given = {"C": short}
    if isinstance(given, dict):
        if len(given) > 1:
            raise BadInput(
                f"Only one parameter can be chosen on validation data, not {', '.join(given)}.",
                hint="Give a grid of one, and the others as parameters.",
                key="grid",
            )
        tune, given = next(iter(given.items()), ("", ()))
    # Anything with a C is tuned by it where nothing else is said: scikit-learn's estimators agree on the name.
    tune = tune or (named.tune if named is not None else "C")
    value = params.get(tune)
    if value is not None and given:
        raise BadInput(f"{tune} is given both as a parameter and as a grid", hint="Give one of them.", key=tune)
    if isinstance(value, int | float) and not isinstance(value, bool):
        given = (params.pop(tune),)
    elif value is None and not given and named is not None and tune == named.tune:
        given = named.grid
    return (tune, given) if given else ("", ())


def _checked_grid(values: tuple[float, ...], *, found: object) -> tuple[float, ...]:
    if any(not math.isfinite(value) or value <= 0 for value in values):
        raise BadInput(f"values of a grid must be positive and finite, not {found!r}", hint=_GRID_FORMS, found=found)
    return tuple(sorted(set(values)))


def _literal(text: str) -> JsonValue:
    if text in _PYTHON_LITERALS:
        return _PYTHON_LITERALS[text]
    try:
        value: JsonValue = json.loads(text, parse_constant=_not_json)
    except ValueError:
        return text
    return value


def _not_json(name: str) -> None:
    # Python's parser takes NaN and Infinity, which JSON does not have.
    raise ValueError(f"{name} is not JSON")
