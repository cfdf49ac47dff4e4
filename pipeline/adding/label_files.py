"""Labels in a file of their own, beside embeddings that have none: an npy, a csv with a head, or one label a line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import Array
from ...errors import BadInput, NotFound
from ..datasets.splits import status


def read_label_file(file: Path) -> dict[str, Any]:
    """Return the arrays that a file of labels has: ``labels``, and perhaps ``names``, ``samples`` and ``split``.

    Raises
    ------
    NotFound, BadInput
        If it is missing or cannot be read.
    """
    if status(file) is None:
        raise NotFound(f"There is no file {file}.", hint="Check the path of the labels.", key=str(file))
    ending = file.suffix.lower()
    try:
        if ending == ".npy":
            return {"labels": np.load(file, allow_pickle=False)}
        if ending not in (".csv", ".txt"):
            raise BadInput(f"{file} does not end with .npy, .csv or .txt.", hint="Save the labels so.", key=str(file))
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as e:
        raise BadInput(
            f"{file} cannot be read: {str(e)[:200]}.", hint="Save the labels again.", key=str(file)
        ) from None
    if ending == ".txt":
        return {"labels": _numbers(text.splitlines())}
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "label" not in head:
        if any(len(row) != 1 for row in rows):
            raise BadInput(f"{file} has no column label.", hint="Give it a head: name,label", key=str(file))
        return {"labels": _numbers([row[0] for row in rows])}
    if bad := next((i for i, row in enumerate(rows) if len(row) != len(head)), None):
        raise BadInput(f"{file}, row {bad + 1}: it has {len(rows[bad])} cells, not {len(head)}.", key=str(file))
    column = {name: [row[i] for row in rows[1:]] for i, name in enumerate(head)}
    names = next((column[name] for name in ("name", "path") if name in column), None)
    found: dict[str, Any] = {"labels": _numbers(column["label"])}
    return {**found, **({} if names is None else {"names": names}), **_if_there(column, "split", "sample")}


def _if_there(column: Mapping[str, list[str]], *names: str) -> dict[str, Any]:
    return {("samples" if name == "sample" else name): np.array(column[name]) for name in names if name in column}


def _numbers(values: Sequence[str]) -> Array:
    """Return labels as integers if all are, else as texts."""
    stripped = [value.strip() for value in values]
    if stripped and all(re.fullmatch(r"0|-?[1-9][0-9]{0,17}", value) for value in stripped):
        return np.array([int(value) for value in stripped], np.int64)
    return np.array(stripped, dtype=np.str_)
