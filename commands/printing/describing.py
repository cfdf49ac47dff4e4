"""How a set is described, as `cryoprobe show` prints it: what its manifest holds, line by line. Nothing here prints.

A manifest can be a stranger's, and its provenance holds what its writer thought of: anything is laid out somehow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...printable import one_line
from .wording import shell, size, versions, when

_TIMES = ("created", "pinned", "named")
_DEEPEST = 4
"""So many levels are laid out; deeper ones, which only a stranger's store has, are JSON."""
_LONGEST = 500


def describe(description: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines that describe a set, from what `Store.describe` returns."""
    for key, value in description.items():
        yield from _lines(key, value)


def brief(value: Any) -> str:
    """Return a value in one line; of a long one the start, and how long it is."""
    return _cut(one_line(", ".join(map(str, value)) if isinstance(value, list) else str(value)))


def _lines(key: str, value: Any, depth: int = 0) -> Iterator[str]:
    start = f"{'  ' * depth}{one_line(key)}:"
    if not value and isinstance(value, list | Mapping):
        yield f"{start} none"
    elif depth == _DEEPEST and isinstance(value, list | Mapping):
        yield f"{start} {_cut(json.dumps(value))}"
    elif isinstance(value, Mapping) and key == "versions":
        yield f"{start} {one_line(versions(value))}"
    elif isinstance(value, Mapping) and key == "name":
        yield f"{start} {_options(value)}"
    elif isinstance(value, Mapping):
        yield start
        for name, item in value.items():
            if item is not None:
                yield from _lines(name, item, depth + 1)
    elif isinstance(value, list) and isinstance(value[0], Mapping):
        yield start
        for item in value:
            yield f"{'  ' * depth}  {_options(item) if isinstance(item, Mapping) else brief(item)}"
    else:
        yield f"{start} {_value(key, value)}"


def _value(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key in _TIMES:
        return when(value)
    if isinstance(value, int) and key == "size":
        return size(value)
    if isinstance(value, list) and key == "command":
        return shell(map(str, value))
    return brief(value)


def _options(of: Mapping[str, Any]) -> str:
    """Return the fields of a name or a failure in one line, without those that say nothing."""
    said = [k if v is True else f"{k} {v}" for k, v in of.items() if v is not None and v is not False]
    return one_line(", ".join(said))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters in all)"
