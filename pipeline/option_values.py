"""Values of options: what of many forms is taken, and what is refused rather than guessed."""

from __future__ import annotations

import numbers
import operator
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from ..files import absolute
from .ranks import Rank, read_rank
from .specs import NVJPEG

LARGEST = 2**53
"""Larger whole numbers are not exact in JSON."""

INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "nearest")
"""Filters of PIL's, by the names that timm and open_clip give them."""

_NAMED_COLOURS = {"#ffffff": "white", "#000000": "black"}


def several(values: Any) -> tuple[Any, ...]:
    """Return one value as a tuple of one, and several as a tuple.

    Examples
    --------
    >>> several(1.0), several([1, 2]), several("cls")
    ((1.0,), (1, 2), ('cls',))
    """
    if getattr(values, "ndim", 1) == 0 or isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        return (values,)
    return tuple(values)


def _refuse(wanted: str) -> PydanticCustomError:
    return PydanticCustomError("option", "{wanted}", {"wanted": wanted})


def _whole(value: Any) -> Any:
    """Return any kind of integer, also numpy's and 1e9, as Python's; booleans are none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or type(value).__name__ == "bool":
        raise _refuse("a whole number")
    try:
        return operator.index(value)
    except TypeError:
        raise _refuse("a whole number") from None


def _number(value: Any) -> Any:
    """Return any kind of number as Python's: numpy's float32 of 0.1 is 0.1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _refuse("a number, or several")
    return value if isinstance(value, int) else float(str(value)) if hasattr(value, "dtype") else float(value)


def _flag(value: Any) -> Any:
    """Return True or False, also numpy's; texts and numbers are neither."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise _refuse("True or False")
    return bool(value)


def _text(value: Any) -> Any:
    """Return a fraction as text, as it is typed; a device of torch's as its name."""
    return str(value) if isinstance(value, float) or type(value).__name__ == "device" else value


def _colour(value: Any) -> Any:
    """Return a colour in its one form: white, black, or ``#rrggbb`` in lower case."""
    low = value.lower() if isinstance(value, str) else ""
    if low not in _NAMED_COLOURS.values() and re.fullmatch(r"#[0-9a-f]{6}", low) is None:
        raise _refuse("white, black or #rrggbb")
    return _NAMED_COLOURS.get(low, low)


def _interpolation(value: Any) -> Any:
    if value not in INTERPOLATIONS:
        raise _refuse(" or ".join([", ".join(INTERPOLATIONS[:-1]), INTERPOLATIONS[-1]]))
    return value


def _batch_size(value: Any) -> Any:
    """Return a number of images, also as it is typed, or ``auto``."""
    if value == "auto":
        return value
    number = _whole(int(value) if isinstance(value, str) and value.isdecimal() else value)
    if not 1 <= number < LARGEST:
        raise _refuse("auto, or 1 or more")
    return number


def _preprocess(value: Any) -> Any:
    """Return the name of a model as it is, and a file or folder by its absolute path."""
    if not isinstance(value, str | os.PathLike) or not (text := os.fspath(value)):
        raise _refuse("the name of a model, or a preprocessor_config.json")
    kind, colon, rest = text.partition(":")
    place = rest if (kind, colon) == ("hf", ":") else text  # a folder of transformers may be named, too
    there = place.endswith(".json") or place.startswith((".", "/", "~")) or (place == rest and Path(place).exists())
    if isinstance(value, os.PathLike) or there:
        return f"hf:{absolute(place, text)}" if place == rest else absolute(place, text)
    return text


def _decode_in(value: Any) -> Any:
    if value not in ("threads", "processes"):
        raise _refuse("threads or processes")
    return value


def _engine(value: Any) -> Any:
    if value not in ("serial", "ray"):
        raise _refuse("serial or ray")
    return value


def _share(value: Any) -> Any:
    """Return a number of things of which several may share one: 0, ½ or 2, but not 1½."""
    number = _number(value)
    if not (0 <= number < 1 or (number < LARGEST and number == int(number))):
        raise _refuse("a whole number, or a fraction of 1")
    return number


def _decoder(value: Any) -> Any:
    if value != NVJPEG:
        raise _refuse(f"{NVJPEG}, or left out for Pillow")
    return value


def _rank(value: Any) -> Any:
    """Return which of several processes is meant, also of text; ``auto`` is told by the environment."""
    try:
        return value if value == "auto" or isinstance(value, Rank) else read_rank(str(value))
    except ValueError:
        raise _refuse("which process of how many this is, from 0/8 to 7/8") from None


def mapping(value: Any) -> Any:
    """Return a dict of any mapping from names."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _refuse("a mapping from names")
    return dict(value)


Integer = Annotated[int, BeforeValidator(_whole)]
NotNegative = Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=LARGEST)]
Positive = Annotated[int, BeforeValidator(_whole), Field(ge=1, lt=LARGEST)]
BatchSize = Annotated[int | Literal["auto"], BeforeValidator(_batch_size)]
DecodeIn = Annotated[Literal["threads", "processes"], BeforeValidator(_decode_in)]
Engine = Annotated[Literal["serial", "ray"], BeforeValidator(_engine)]
Share = Annotated[float, BeforeValidator(_share)]
Decoder = Annotated[str, BeforeValidator(_decoder)]
RankOf = Annotated[Any, BeforeValidator(_rank)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Text = Annotated[str, BeforeValidator(_text)]
Colour = Annotated[str, BeforeValidator(_colour)]
Interpolation = Annotated[str, BeforeValidator(_interpolation)]
Preprocess = Annotated[str, BeforeValidator(_preprocess)]
Names = Annotated[tuple[str, ...], BeforeValidator(several)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(several)]
Numbers = Annotated[tuple[Annotated[Any, BeforeValidator(_number)], ...], BeforeValidator(several)]
Integers = Annotated[tuple[Integer, ...], BeforeValidator(several)]
