"""Which columns of an Arrow schema are the image and the label, and what integer labels mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....errors import BadInput

_LABELS = ("label", "labels", "class", "cls", "category", "target", "class_name", "class_label", "y")
_PATHS = ("image", "path", "file", "file_name", "filename", "image_path", "filepath", "img")
SPLIT = "split"
"""The column that tells the splits, if there is one."""


@dataclass(frozen=True)
class Columns:
    """The columns of a table that matter.

    Parameters
    ----------
    image : str
    form : {"struct", "bytes", "path"}
        Of an image: a struct of its bytes and its path, as the package datasets writes it; its bytes; or its path.
    label : str
    kind : {"text", "integer", "boolean", "float"}
        Of the labels.
    classes : tuple of str or None
        What integer labels index.
    split : str or None
    """

    image: str
    form: str
    label: str
    kind: str
    classes: tuple[str, ...] | None
    split: str | None

    def __str__(self) -> str:
        """Say which they are."""
        names = f", class names in the file: {len(self.classes)}" if self.classes else ""
        split = f", split: {self.split}" if self.split else ""
        return f"Columns: image {self.image} ({self.form}), label {self.label} ({self.kind}){names}{split}"


def find_columns(schema: Any, what: str, image: str | None = None, label: str | None = None) -> Columns:
    """Return the columns of an image and its label: those that are told, or the only ones that fit.

    Parameters
    ----------
    schema : pyarrow.Schema
    what : str
        The table, in messages.
    image, label : str or None

    Raises
    ------
    BadInput
        If there is none, or several fit; it lists the columns.
    """
    forms = {field.name: form for field in schema if (form := _form(field.type)) is not None}
    features = _features(schema)
    sure = [name for name, form in forms.items() if form != "path"]
    marked = [name for name, feature in features.items() if name in forms and feature.get("_type") == "Image"]
    likely = marked or sure or [name for name in forms if name.lower() in _PATHS]
    chosen = _chosen("image", image, list(forms), likely, schema, what)
    classes = {name: names for name, feature in features.items() if (names := _names(feature)) is not None}
    kinds = {f.name: kind for f in schema if (kind := _label_kind(f.type)) is not None and f.name != chosen}
    called = [name for name in kinds if name.lower() in _LABELS]
    called = [name for name in called if kinds[name] != "float"] or called
    own = [name for name in kinds if name in classes]
    best = own if len(own) == 1 else [name for name in own if name.lower() in _LABELS] or own or called
    label = _chosen("label", label, list(kinds), best, schema, what)
    split = next((f for f in schema if f.name.lower() == SPLIT and f.name not in (chosen, label)), None)
    if split is not None and not _is_text(split.type):
        raise BadInput(
            f"The column {split.name} of {what} is {_short(split.type)}, and no text.",
            hint="Write train, val and test into it; or rename it, if it does not say the split.",
            key=split.name,
        )
    return Columns(
        chosen,
        forms[chosen],
        label,
        kinds[label],
        classes.get(label),
        None if split is None else split.name,
    )


def _chosen(
    which: str, told: str | None, possible: Sequence[str], likely: Sequence[str], schema: Any, what: str
) -> str:
    columns = ", ".join(f"{field.name} ({_short(field.type)})" for field in schema)
    if told is not None:
        if told in possible:
            return told
        problem = f"has no column {told!r} that can be {'an image' if which == 'image' else 'a label'}"
    elif len(likely) == 1:
        return likely[0]
    else:
        several = f"several columns that may be the {which}: {', '.join(likely)}"
        problem = f"has {several}" if likely else f"has no column that is surely the {which}"
    raise BadInput(
        f"{what} {problem}. Its columns: {columns}.",
        hint=f"Say which: --{which}-column {likely[0] if likely else (possible[0] if possible else 'NAME')}",
        key=what,
    )


def _form(type_: Any) -> str | None:
    """Return how an image is kept in a column of a type; None if it cannot be one."""
    import pyarrow.types as t

    if t.is_struct(type_):
        names = {type_.field(i).name: type_.field(i).type for i in range(type_.num_fields)}
        holds = "bytes" in names and (_is_binary(names["bytes"]) or t.is_null(names["bytes"]))
        return "struct" if holds else None
    if _is_binary(type_):
        return "bytes"
    return "path" if _is_text(type_) else None


def _is_binary(type_: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_binary(type_) or t.is_large_binary(type_) or t.is_fixed_size_binary(type_))


def _is_text(type_: Any) -> bool:
    import pyarrow.types as t

    if t.is_dictionary(type_):
        return _is_text(type_.value_type)
    return bool(t.is_string(type_) or t.is_large_string(type_) or getattr(t, "is_string_view", bool)(type_))


def _label_kind(type_: Any) -> str | None:
    """Return what labels in a column of a type are; None if it cannot hold labels."""
    import pyarrow.types as t

    if _is_text(type_):
        return "text"
    kinds = {"integer": t.is_integer, "boolean": t.is_boolean, "float": t.is_floating}
    return next((kind for kind, fits in kinds.items() if fits(type_)), None)


def _features(schema: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return what the package datasets has written of the columns; nothing if another has written the file."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in found.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _names(feature: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names of a ClassLabel; in some files they are an object from places to names."""
    if feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    if isinstance(names, dict):
        names = [names[str(i)] for i in range(len(names)) if str(i) in names]
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _short(type_: Any) -> str:
    text = str(type_)
    return text if len(text) <= 40 else f"{text[:37]}…"
