"""Labels and splits of tables, from Arrow arrays; and what a row's image is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....amounts import count
from ....arrays import Array
from ....errors import BadInput
from ..base import ALL, UndecodableImage
from ..label_arrays import BOOLEANS, LabelArrays, as_integers, read_labels
from .columns import Columns
from .named_labels import text_labels


def labels_of(column: Any, what: str) -> Array:
    """Return a column of labels, int64 or str [n].

    Parameters
    ----------
    column : pyarrow.ChunkedArray
    what : str
        The table, in messages.

    Raises
    ------
    BadInput
        If some are missing, or are numbers that are not whole.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        first = pc.index(pc.is_null(column), True).as_py()
        raise BadInput(
            f"{what}: {count(column.null_count, 'row')} {'has' if column.null_count == 1 else 'have'} no label (null), "
            f"first row {first}.",
            hint="Leave them out of the file, or name another column: --label-column",
            key=what,
        )
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy()).astype(np.int64)
    if pa.types.is_boolean(column.type) or pa.types.is_floating(column.type):
        return as_integers(np.asarray(column.to_numpy()), f"{what}: the labels")
    return np.array(column.to_pylist(), str)


def meaning(
    labels: Mapping[str, Array], columns: Columns, given: tuple[str, ...] | None, what: str
) -> tuple[LabelArrays, list[str]]:
    """Tell what labels mean, and what is to be said of it.

    A ClassLabel that is -1 is, by the convention of the package datasets, a label that is not known (of a test split,
    say), and is refused.

    Raises
    ------
    BadInput
        If they do not fit the class names.
    """
    named = given or columns.classes or (BOOLEANS if columns.kind == "boolean" else None)
    if named is None:
        return read_labels(labels, None, what), []
    if columns.classes and (
        without := [part for part, of in labels.items() if of.dtype.kind == "i" and (of == -1).any()]
    ):
        raise BadInput(
            f"{what}: labels of {', '.join(without)} are -1, which is no class: they are not published.",
            hint="Take the other splits: leave its files out of the pattern, or --split",
            key=what,
        )
    texts = {part: [str(v) for v in of.tolist()] for part, of in labels.items()}
    unused = len(named) - len({label for of in texts.values() for label in of})
    notes = [
        f"{count(unused, 'class', 'classes')} of the {len(named)} named {'has' if unused == 1 else 'have'} no image"
    ]
    return text_labels(texts, named, what), notes if unused > 0 else []


def about_classes(classes: Sequence[str], columns: Columns, given: tuple[str, ...] | None) -> str:
    """Say how many classes there are, and what names them."""
    source = "--class-names" if given else "the file" if columns.classes else "the labels"
    return f"{count(len(classes), 'class', 'classes')}, named by {source}"


def by_split(values: Sequence[str | None] | None, fallback: str, rows: int, what: str) -> dict[str, Array]:
    """Return the rows of each split, int64, in their order.

    Raises
    ------
    BadInput
        If a row has no split, and others do.
    """
    if values is None:
        return {fallback: np.arange(rows)}
    if None in values:
        raise BadInput(f"{what}: row {values.index(None)} has no split (null).", hint="Give every row one.", key=what)
    array = np.array(values, str)
    return {str(split) or ALL: np.flatnonzero(array == split) for split in dict.fromkeys(values)}


def image_bytes(value: Any, form: str, read: Callable[[str], bytes]) -> bytes:
    """Return the bytes of an image as a row holds it.

    Parameters
    ----------
    value : bytes, str, dict or None
    form : str
        See `Columns`.
    read : callable
        Reads a file, by its path as it is written there.

    Raises
    ------
    UndecodableImage
        If it holds none.
    """
    if form == "struct" and isinstance(value, dict):
        raw, path = value.get("bytes"), value.get("path")
        value = raw if raw is not None else path
    if isinstance(value, str):
        return read(value)
    if isinstance(value, bytes):
        return value
    raise UndecodableImage("has no image: the row is null")


def path_reader(folder: Path) -> Callable[[str], bytes]:
    """Return what reads files by paths that are relative to a folder."""

    def read(path: str) -> bytes:
        if "://" in path:
            raise UndecodableImage(f"is elsewhere: {path}. Only files are read")
        return (folder / path).read_bytes()

    return read
