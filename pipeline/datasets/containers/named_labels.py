"""Labels of containers, by split, and the class names that people give for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ....amounts import count
from ....arrays import Array
from ....errors import BadInput, NotFound
from ..label_arrays import LabelArrays, read_labels

_INTEGER = re.compile(r"-?\d+")


def text_labels(given: Mapping[str, Sequence[str]], named: tuple[str, ...] | None, what: str) -> LabelArrays:
    """Tell what labels mean that are written as texts: places in `named` if these are given and all are integers.

    Raises
    ------
    BadInput
        If they do not fit the names.
    """
    all_integers = all(_INTEGER.fullmatch(label) for labels in given.values() for label in labels)
    are_places = named is not None and all_integers
    arrays: dict[str, Array] = {
        split: np.array([int(v) for v in labels], np.int64) if are_places else np.array(labels, str)
        for split, labels in given.items()
    }
    if named is not None:
        _check_fit(arrays, named, what)
    return read_labels(arrays, named, what)


def _check_fit(arrays: Mapping[str, Array], named: tuple[str, ...], what: str) -> None:
    """Refuse labels without a name, and name the first of them."""
    known = set(range(len(named))) if next(iter(arrays.values())).dtype.kind == "i" else set(named)
    for labels in arrays.values():
        for label in np.unique(labels).tolist():
            if label not in known:
                raise BadInput(
                    f"{what}: the label {label!r} is not one of the {count(len(named), 'class', 'classes')}.",
                    hint="Integers are places in the list of class names, from 0 on. Name every class.",
                    key=what,
                )


def class_names(file: Path | None) -> tuple[str, ...] | None:
    """Read class names: a JSON list, a JSON object from places to names, or a name a line; None without a file.

    Raises
    ------
    NotFound, BadInput
        If there is no such file, or it holds something else.
    """
    if file is None:
        return None
    try:
        text = file.expanduser().read_text("utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.", hint="Check --class-names.", key=str(file)) from None
    except (OSError, UnicodeDecodeError, RuntimeError) as e:
        why = getattr(e, "strerror", None) or "it is not UTF-8"
        raise BadInput(f"{file} cannot be read: {why}.", hint="Check --class-names.", key=str(file)) from None
    names = _from_json(text, file) if text.lstrip()[:1] in ("[", "{") else _lines(text)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise BadInput(
            f"{file} names no classes, or one of them is empty.",
            hint='Write a name a line, a JSON list, or {"0": "cat", "1": "dog"}.',
            key=str(file),
        )
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(
            f"{file} names two classes {twice!r}.",
            hint="Give each class a name of its own; a list that is shifted by one has such a pair, too.",
            key=str(file),
        )
    return tuple(names)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.rstrip().splitlines()]


def _from_json(text: str, file: Path) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        raise BadInput(f"{file} is not JSON.", hint="Or write a name a line.", key=str(file)) from None
    if isinstance(found, list):
        return found
    places = dict(sorted((int(k), v) for k, v in found.items())) if all(map(str.isdecimal, found)) else {}
    if list(places) != list(range(len(found))):
        raise BadInput(
            f"{file}: the numbers of the classes are not 0, 1, 2 … without a gap.",
            hint='Write {"0": "cat", "1": "dog"}.',
            key=str(file),
        )
    return list(places.values())
