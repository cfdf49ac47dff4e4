"""A data set of one's own: arrays, lists of files, or whatever gives images and labels by their numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInput
from .base import ALL, Split
from .images import encode_image
from .kinds import KINDS
from .label_arrays import LabelArrays, read_labels
from .splits import ArraySplit, FileSplit, as_flags, class_order, fixed
from .torchvision_sets import Decoded

_WANTED = (
    "Give a pair of arrays (images, labels), a list of (path, label), or a data set whose items are (image, label), "
    "such as torch's or torchvision's; or a dict of them by split."
)


class Dataset:
    """A data set made of images and labels of your own.

    Parameters
    ----------
    source : pair of arrays, list of (path, label), data set, or dict of these by split
        Images uint8 [n, h, w] or [n, h, w, 1|3|4], or uint16 [n, h, w], as arrays or tensors, with labels [n] (integers
        or texts) or 0/1 flags [n, C]; image files with a label each, or a set of labels; or anything with a length
        whose items are (image, label), the image one of PIL's, as torchvision gives it without a transform.
    name : str
        What people call it, and `probe` finds it by.
    classes : sequence of str, optional
        Class names that integer labels index. By default what the data set says, or else the labels themselves.
    split : str
        What the part is called, if `source` is no dict.

    Raises
    ------
    BadInput
        If the source is of another kind, or images and labels do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((4, 8, 8, 3), np.uint8)
    >>> data = Dataset((images, [0, 1, 0, 1]), name="lab:toy", classes=["off", "on"], split="train")
    >>> data
    Dataset('lab:toy', train: 4 samples, 2 classes)
    """

    def __init__(self, source: Any, *, name: str, classes: Sequence[str] | None = None, split: str = ALL) -> None:
        self.name = checked_name(name)
        parts = dict(source) if isinstance(source, Mapping) else {split: source}
        if not parts or not all(isinstance(part, str) and part for part in parts):
            raise BadInput(f"{name} has no splits.", hint=_WANTED, key=name)
        named = _checked_classes(name, classes)
        made, notes = _splits(name, parts, named)
        self._fixed = fixed(name, made, notes)
        self.splits = tuple(self._fixed.splits)

    def __repr__(self) -> str:
        """Return the name, and what is in it."""
        parts = [self.split(part) for part in self.splits]
        sizes = ", ".join(f"{part.name}: {len(part):,} samples" for part in parts)
        return f"Dataset({self.name!r}, {sizes}, {len(parts[0].classes)} classes)"

    def split(self, name: str) -> Split:
        """Return one split; raise `NotFound`, naming those that exist, if there is none of that name."""
        return self._fixed.split(name)

    def notes(self) -> Sequence[str]:
        """Return how the data were read."""
        return self._fixed.notes()


def _checked_classes(name: str, classes: Sequence[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    if not isinstance(classes, list | tuple) or not classes or not all(isinstance(c, str) for c in classes):
        raise BadInput(
            f"classes of {name} are {classes!r}"[:200] + ".",
            hint="Give a list of texts; an integer label is a place in it.",
            key="classes",
        )
    return tuple(classes)


def checked_name(name: str) -> str:
    """Return the name of a data set of somebody's own; refuse one that would be taken for another's.

    Raises
    ------
    BadInput
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise BadInput(
            f"{name!r} cannot be the name of a data set.", hint="Give it one, such as lab:birds.", key="name"
        )
    if (kind := name.partition(":")[0]) in KINDS and ":" in name:
        raise BadInput(
            f"{name} would be taken for a {kind} data set.", hint="Give it another name, such as lab:birds.", key="name"
        )
    return name


def _splits(
    name: str, parts: Mapping[str, Any], named: tuple[str, ...] | None
) -> tuple[Sequence[Split], Sequence[str]]:
    kinds = {_kind(name, source) for source in parts.values()}
    if len(kinds) > 1:
        raise BadInput(
            f"The splits of {name} are of several kinds: {', '.join(sorted(kinds))}.", hint=_WANTED, key=name
        )
    (kind,) = kinds
    if kind == "arrays":
        from .arrays import array_splits

        pairs = {split: (_array(images), _label_array(name, labels)) for split, (images, labels) in parts.items()}
        return array_splits(pairs, named, name)
    if kind == "files":
        return _files(name, parts, named)
    return _items(name, parts, named)


def _kind(name: str, source: Any) -> str:
    """Say what a source is.

    Raises
    ------
    BadInput
        If it is none that is known.
    """
    if isinstance(source, tuple) and len(source) == 2 and all(hasattr(source[0], a) for a in ("shape", "dtype")):
        return "arrays"
    if not hasattr(source, "__len__") or not hasattr(source, "__getitem__") or isinstance(source, str | bytes):
        raise BadInput(f"{name} is made of a {type(source).__name__}.", hint=_WANTED, key=name)
    if not len(source):
        raise BadInput(f"{name} has no samples.", hint=_WANTED, key=name)
    from PIL import Image

    try:
        first = source[0]
    except Exception as error:  # somebody's code, or a table whose rows have names
        raise BadInput(
            f"The first item of {name}, a {type(source).__name__}, cannot be read: {type(error).__name__}.",
            hint=_WANTED,
            key=name,
        ) from error
    if not isinstance(first, tuple | list) or len(first) != 2:
        raise BadInput(f"An item of {name} is a {type(first).__name__}.", hint=_WANTED, key=name)
    if isinstance(first[0], str | os.PathLike):
        return "files"
    if isinstance(first[0], Image.Image):
        return "images"
    raise BadInput(
        f"The images of {name} are of the kind {type(first[0]).__name__}.",
        hint="They must be PIL's images, as they are before a transform: an encoder brings its own. Tensors of whole "
        "images go in as a pair (images [n, h, w, c], labels).",
        key=name,
    )


def _array(values: Any) -> np.ndarray[Any, Any]:
    """Return an array, tensor or list as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _files(
    name: str, parts: Mapping[str, Sequence[tuple[Any, Any]]], named: tuple[str, ...] | None
) -> tuple[Sequence[Split], Sequence[str]]:
    for rows in parts.values():
        if wrong := [row for row in rows if len(row) != 2 or not isinstance(row[0], str | os.PathLike)]:
            raise BadInput(
                f"{name} has the item {wrong[0]!r}"[:200] + ", and no (path, label).", hint=_WANTED, key=name
            )
    read = _labels(name, {split: [label for _, label in rows] for split, rows in parts.items()}, named)
    made: list[Split] = []
    for split, rows in parts.items():
        paths = [Path(path).expanduser().absolute() for path, _ in rows]
        root = Path(os.path.commonpath([path.parent for path in paths]))
        made.append(FileSplit(split, read.classes, read.labels[split], paths, root))
    return made, read.notes


def _items(name: str, parts: Mapping[str, Any], named: tuple[str, ...] | None) -> tuple[Sequence[Split], Sequence[str]]:
    """Return the splits of objects that give (image, label).

    What the object itself decodes is taken, in its order, and the label of every item is asked for: a transform or an
    item of its own may have changed either.
    """
    own = {_class_names(data) for data in parts.values()}
    if named is None and len(own) == 1:
        (named,) = own
    read = _labels(
        name, {split: [_label(name, data, i) for i in range(len(data))] for split, data in parts.items()}, named
    )
    made = [
        ArraySplit(split, read.classes, read.labels[split], Decoded(data), encode=encode_image)
        for split, data in parts.items()
    ]
    return made, read.notes


def _label(name: str, data: Any, index: int) -> Any:
    try:
        _, label = data[index]
    except Exception as error:  # somebody's code
        raise BadInput(
            f"Item {index} of {name} cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            hint="Every item is (image, label). Leave out what cannot be read.",
            key=name,
        ) from error
    return label


def _class_names(data: Any) -> tuple[str, ...] | None:
    """Return the class names of an object that has some, also of a part of it; none if it renumbers its labels."""
    while hasattr(data, "dataset") and hasattr(data, "indices"):
        data = data.dataset
    if getattr(data, "target_transform", None) is not None:
        return None
    found: Any = getattr(data, "classes", None)
    fits = isinstance(found, list | tuple) and bool(found) and all(isinstance(c, str) for c in found)
    return tuple(found) if fits and len(set(found)) == len(found) else None


def _labels(name: str, given: Mapping[str, Sequence[Any]], named: tuple[str, ...] | None) -> LabelArrays:
    """Read labels of any kind: one a sample, flags, or sets of classes."""
    several = {split: [_is_set(label) for label in labels] for split, labels in given.items()}
    if not any(any(of) for of in several.values()):
        return read_labels({split: _label_array(name, labels) for split, labels in given.items()}, named, name)
    if not all(all(of) for of in several.values()):
        raise BadInput(f"Some images of {name} have a label, and some a set of labels.", hint=_WANTED, key=name)
    present = {c for labels in given.values() for label in labels for c in label}
    if named is not None and all(isinstance(c, int) for c in present):
        if wrong := [c for c in present if not 0 <= c < len(named)]:
            raise BadInput(f"{name}: the label {wrong[0]} has no class name.", hint="Name every class.", key=name)
        sets = {split: [{named[c] for c in label} for label in labels] for split, labels in given.items()}
    else:
        sets = {split: [{str(c) for c in label} for label in labels] for split, labels in given.items()}
    classes = named or class_order({str(c) for c in present})
    if unknown := sorted({c for labels in sets.values() for label in labels for c in label} - set(classes)):
        raise BadInput(f"{name}: {unknown[0]!r} is not one of its classes.", hint="Name every class.", key=name)
    return LabelArrays(classes, {split: as_flags(labels, classes) for split, labels in sets.items()}, [])


def _is_set(label: Any) -> bool:
    """Say whether a label is a set of classes, rather than one class or flags."""
    if isinstance(label, set | frozenset):
        return True
    return isinstance(label, list | tuple) and bool(label) and all(isinstance(c, str) for c in label)


def _label_array(name: str, labels: Sequence[Any]) -> np.ndarray[Any, Any]:
    try:
        whole = hasattr(labels, "shape")
        found = _array(labels) if whole else np.asarray([_array(label) for label in labels])
    except ValueError:  # of several lengths
        found = np.empty(0, object)
    if found.dtype == bool and found.ndim == 1:
        found = found.astype(np.int64)
    if found.dtype.kind == "O" or found.ndim > 2:
        raise BadInput(
            f"The labels of {name} are neither class indices nor names nor flags; for example {labels[0]!r}"[:200]
            + ".",
            hint="A label is an integer, a text, 0/1 flags of one length, or a set of class names.",
            key=name,
        )
    return found
