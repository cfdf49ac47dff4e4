"""In which fields two JSON objects differ, such as the specs of two encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def fields_that_differ(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the fields in which two JSON objects differ, with dots between levels, and the value in each.

    Examples
    --------
    >>> fields_that_differ({"tap": "cls", "images": {"size": 224}}, {"tap": "cls", "images": {"size": 336}})
    {'images.size': [224, 336]}
    """
    old, new = _flat(a), _flat(b)
    return {k: [old.get(k), new.get(k)] for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(_flat(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat
