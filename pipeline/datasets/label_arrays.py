"""Labels that are arrays: integers, texts or flags, by split, and the classes that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...arrays import Array, Targets
from ...class_names import repeated
from ...errors import BadInput
from .class_names import alike, is_missing, one_form
from .splits import as_labels, class_order

BOOLEANS = ("false", "true")
"""Class names of labels that are booleans."""


@dataclass(frozen=True)
class LabelArrays:
    """What labels mean.

    Parameters
    ----------
    classes : tuple of str
    labels : dict of str to ndarray
        By split: int64 [n], indices into `classes`, or uint8 [n, C], one flag per class.
    notes : list of str
        What is to be said of how they were read.
    """

    classes: tuple[str, ...]
    labels: dict[str, Targets]
    notes: list[str]


def read_labels(given: Mapping[str, Array], named: tuple[str, ...] | None, file: str) -> LabelArrays:
    """Tell what labels mean.

    Flags [n, C] of which every row of every split has exactly one are labels in one-hot form: they are read as one
    label a row, and a note says so. Booleans [n] are two classes, `BOOLEANS`. Floats [n] are read as integers if all
    are whole numbers, and a note says so.

    Parameters
    ----------
    given : mapping of str to ndarray
        By split: integers, texts, booleans or floats [n] or [n, 1], or 0/1 flags [n, C].
    named : tuple of str or None
        Class names that integers index, or that texts are.
    file : str
        What they are called in messages.

    Raises
    ------
    BadInput
        If they are of another kind, of several kinds, or do not fit the names.
    """
    given = {split: labels[:, 0] if labels.shape[1:] == (1,) else labels for split, labels in given.items()}
    kinds = {labels.dtype.kind if labels.ndim == 1 else "" for labels in given.values()}
    named = BOOLEANS if named is None and kinds == {"b"} else named
    flat = {split: _flat_labels(labels, f"{file}: labels of {split}") for split, labels in given.items()}
    flat = _named_alike(flat, named or (), file)
    notes = [f"{file}: the labels are floats, all of them whole numbers: they are read as integers"] * ("f" in kinds)
    if all(_is_one_hot(labels) for labels in flat.values()):
        width = next(iter(flat.values())).shape[1]
        flat = {split: labels.argmax(axis=1) for split, labels in flat.items()}
        named = named or tuple(str(i) for i in range(width))
        if len(named) != width:
            raise _unfit(file)
        notes.append(f"{file}: every row has one flag of {width}, so these are {width} classes that exclude each other")
    classes = _classes(list(flat.values()), named, file)
    if {"-1", "0"} <= set(classes) and (without := sum(int((labels == -1).sum()) for labels in flat.values())):
        notes.append(f"{file}: -1, the label of {without:,} rows, is read as a class; leave them out if they have none")
    present = {split: set(labels.tolist()) for split, labels in flat.items() if labels.dtype.kind == "U"}
    read = {split: _to_labels(labels, classes, named) for split, labels in flat.items()}
    return LabelArrays(classes, read, [*notes, *alike(present)])


def texts(array: Array, what: str) -> Array:
    """Return an array of strings, whichever kind of strings it has."""
    if array.dtype.kind != "S":
        return array.astype(str)
    try:
        return np.asarray(np.char.decode(array, "utf-8"))
    except UnicodeDecodeError:
        raise BadInput(f"{what}: not all are UTF-8.", hint="Save them as str, not as bytes.", key=what) from None


def as_integers(labels: Array, what: str) -> Array:
    """Return booleans, and floats that are whole numbers, as int64; false is 0, and true is 1.

    Parameters
    ----------
    labels : ndarray, bool or float [n]
    what : str
        The labels, in messages.

    Raises
    ------
    BadInput
        If a number is missing (NaN), or is not whole.

    Examples
    --------
    >>> as_integers(np.array([True, False]), "labels"), as_integers(np.array([2.0, 0.0]), "labels")
    (array([1, 0]), array([2, 0]))
    """
    if labels.dtype == bool:
        return labels.astype(np.int64)
    numbers = labels.astype(np.float64)  # 2**53 is infinite in float16
    whole = (np.abs(numbers) <= 2**53) & (numbers == np.rint(numbers))  # beyond that, floats stand for several integers
    if not whole.all():
        first = labels[~whole][0]
        raise BadInput(
            f"{what} are {labels.dtype} {list(labels.shape)}, and one is {first:g}: not a class.",
            hint="Leave out the rows without a label."
            if np.isnan(first)
            else "Labels are integers, texts or booleans. Give another column, or put the numbers into classes first, "
            "such as by np.digitize(labels, edges): probes do not fit numbers.",
            key=what,
        )
    return labels.astype(np.int64)


def _flat_labels(labels: Array, what: str) -> Array:
    if labels.ndim == 1 and labels.dtype.kind in "bf":
        return as_integers(labels, what)
    flags = labels.ndim == 2 and labels.dtype.kind in "biu" and np.isin(labels, (0, 1)).all()
    if not flags and not (labels.ndim == 1 and labels.dtype.kind in "iuUS"):
        raise BadInput(
            f"{what} are {labels.dtype} {list(labels.shape)}.",
            hint="Labels are integers, strings or booleans [n], or 0/1 flags [n, C] for multi-label data.",
            key=what,
        )
    return texts(labels, what) if labels.dtype.kind == "S" else labels


def _is_one_hot(labels: Array) -> bool:
    """Say whether labels are flags of which every row has exactly one, as ``to_categorical`` gives them."""
    return labels.ndim == 2 and labels.shape[1] > 1 and len(labels) > 0 and bool((labels.sum(axis=1) == 1).all())


def _unfit(file: str) -> BadInput:
    return BadInput(f"{file}: the labels do not fit the class names.", hint="Name every class.", key=file)


def _named_alike(flat: Mapping[str, Array], named: tuple[str, ...], file: str) -> dict[str, Array]:
    """Return labels; names that differ only in their Unicode form become one. Refuse missing ones."""
    texts = {str(v) for labels in flat.values() if labels.dtype.kind == "U" for v in np.unique(labels)}
    if missing := sorted(text for text in texts if is_missing(text)):
        raise BadInput(
            f"{file}: a label is {missing[0]!r}, as of a missing one.",
            hint="Leave those rows out, or name their class.",
            key=file,
        )
    forms = one_form(texts, named)
    return {
        split: np.array([forms[v] for v in labels.tolist()], str) if labels.dtype.kind == "U" else labels
        for split, labels in flat.items()
    }


def _classes(labels: list[Array], named: tuple[str, ...] | None, file: str) -> tuple[str, ...]:
    """Return the class names: those given, else the labels that occur, else the columns' numbers."""
    forms = {(part.shape[1:], part.dtype.kind in "US") for part in labels}
    if len(forms) > 1:
        raise BadInput(
            f"{file}: the labels of one split do not fit those of another.",
            hint="Save integers for all, strings for all, or equally many flags for all.",
            key=file,
        )
    if labels[0].ndim == 2:
        found = tuple(str(i) for i in range(labels[0].shape[1]))
        valid = named is None or len(named) == len(found)
    elif labels[0].dtype.kind in "iu":
        found = class_order({str(v) for part in labels for v in np.unique(part)})
        valid = named is None or all(0 <= int(v) < len(named) for v in found)
    else:
        found = class_order({str(v) for part in labels for v in np.unique(part)})
        valid = named is None or set(found) <= set(named)
        if named is not None and (shared := repeated(named)):
            raise BadInput(
                f"{file}: several classes are called {shared[0]!r}, and labels that are names can't tell them apart.",
                hint="Save labels that are integers: places in the list of classes.",
                key=file,
            )
    if not valid:
        raise _unfit(file)
    return named or found


def _to_labels(labels: Array, classes: tuple[str, ...], named: tuple[str, ...] | None) -> Targets:
    if labels.ndim == 2:
        return labels.astype(np.uint8)
    if named is not None and labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    return as_labels([str(v) for v in labels], classes)
