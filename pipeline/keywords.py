"""Keyword arguments of public functions, and the option models that they become."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import BadInput

Called = TypeVar("Called", bound=Callable[..., Any])
Model = TypeVar("Model", bound=BaseModel)


def takes(arguments: Any, *models: type[BaseModel]) -> Callable[[Called], Called]:
    """Show the fields of `models` in the signature of a function, instead of the ``**options`` that become them.

    Parameters
    ----------
    arguments : TypedDict
        The types of the keyword arguments, in their order.
    *models
        Their defaults.
    """
    types = {name: getattr(of, "__forward_arg__", of) for name, of in arguments.__annotations__.items()}

    def shown(function: Called) -> Called:
        signature = inspect.signature(function)
        fixed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        fields = _fields(models)
        named = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=fields[name].default, annotation=type_)
            for name, type_ in types.items()
        ]
        at = next((i for i, p in enumerate(fixed) if p.kind is p.KEYWORD_ONLY), len(fixed))
        parameters = [*fixed[:at], *named, *fixed[at:]]
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return shown


def check_names(function: str, options: Mapping[str, Any], *models: type[BaseModel]) -> None:
    """Refuse keyword arguments that no model has, as Python does.

    Raises
    ------
    TypeError
    """
    for name in options:
        if name not in (known := _fields(models)):
            close = difflib.get_close_matches(name, known, n=1)
            better = f". Did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{better}")


def read(model: type[Model], options: Mapping[str, Any]) -> Model:
    """Make a model of those keyword arguments that it has.

    None stands for the default.

    Raises
    ------
    BadInput
        If a value is wrong.

    Examples
    --------
    >>> from cryoprobe import DatasetOptions
    >>> read(DatasetOptions, {"splits": "test", "limit": 100, "device": "cpu"}).splits
    ('test',)
    >>> read(DatasetOptions, {"limit": 0})
    Traceback (most recent call last):
        ...
    cryoprobe.errors.BadInput: --limit must be 1 or more, and below 2^53, not 0.
    """
    given = {name: options[name] for name in model.model_fields if options.get(name) is not None}
    try:
        return model.model_validate(given)
    except ValidationError as e:
        raise _stated(e, given) from None


def _stated(error: ValidationError, given: Mapping[str, Any]) -> BadInput:
    """State the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    option = str(first["loc"][0])
    name, found = _ON_THE_COMMAND_LINE.get(option, option).replace("_", "-"), first["input"]
    if name == "stored-dtype":
        return BadInput(f"Embeddings are stored as float16 or float32, not {found}.", key=name, found=found)
    bounds = first.get("ctx", {})
    wanted = {
        "greater_than_equal": f"{bounds.get('ge')} or more, and below 2^53",
        "less_than": "below 2^53",
        "string_type": "text",
        "path_type": "a path",
        "option": first["msg"],
    }.get(first["type"], first["msg"])
    shown = found if type(found) is int and len(first["loc"]) == 1 else repr(given[option])
    return BadInput(f"--{name} must be {wanted}, not {shown}.", key=name, found=found)


_ON_THE_COMMAND_LINE = {"splits": "split", "taps": "tap", "params": "param", "fractions": "fraction"}
"""Options that have another name there, where they are repeated or take commas."""


def _fields(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    return {name: field for model in models for name, field in model.model_fields.items()}
