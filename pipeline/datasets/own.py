"""A data set of one's own: arrays, lists of files, or whatever gives images and labels by their numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInput
from .base import ALL, Split
from .label_arrays import LabelArrays, read_labels
from .registry import KINDS
from .splits import FileSplit, fixed

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
        self.name = _checked_name(name)
        parts = dict(source) if isinstance(source, Mapping) else {split: source}
        if not parts or not all(isinstance(part, str) and part for part in parts):
            raise BadInput(f"{name} has no splits.", hint=_WANTED, key=name)
        named = None if classes is None else tuple(str(c) for c in classes)
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


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise BadInput(f"{name!r} is no name for a data set.", hint="Give it one, such as lab:birds.", key="name")
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

        pairs = {split: (_array(images), _array(labels)) for split, (images, labels) in parts.items()}
        return array_splits(pairs, named, name)
    if kind == "files":
        return _files(name, parts, named)
    return _items(name, parts, named), []


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

    first = source[0]
    if not isinstance(first, tuple | list) or len(first) != 2:
        raise BadInput(f"An item of {name} is a {type(first).__name__}.", hint=_WANTED, key=name)
    if isinstance(first[0], str | os.PathLike):
        return "files"
    if isinstance(first[0], Image.Image):
        return "images"
    raise BadInput(
        f"The images of {name} are of the kind {type(first[0]).__name__}.",
        hint="Leave the transform out, so that they are PIL's images: an encoder brings its own. " + _WANTED,
        key=name,
    )


def _array(values: Any) -> np.ndarray[Any, Any]:
    """Return an array, tensor or list as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _files(
    name: str, parts: Mapping[str, Sequence[tuple[Any, Any]]], named: tuple[str, ...] | None
) -> tuple[Sequence[Split], Sequence[str]]:
    several = any(isinstance(label, set | frozenset | list | tuple) for rows in parts.values() for _, label in rows)
    given = {split: [label for _, label in rows] for split, rows in parts.items()}
    if several:
        if not all(isinstance(label, set | frozenset | list | tuple) for labels in given.values() for label in labels):
            raise BadInput(f"Some images of {name} have a label, and some a set of labels.", hint=_WANTED, key=name)
        named = named or tuple(sorted({str(c) for labels in given.values() for label in labels for c in label}))
        place = {c: i for i, c in enumerate(named)}
        flags = {split: np.zeros((len(labels), len(named)), np.uint8) for split, labels in given.items()}
        for split, labels in given.items():
            for row, label in enumerate(labels):
                for c in label:
                    if str(c) not in place:
                        raise BadInput(f"{name}: {c!r} is none of its classes.", hint="Name every class.", key=name)
                    flags[split][row, place[str(c)]] = 1
        read = LabelArrays(named, dict(flags), [])
    else:
        read = read_labels({split: np.asarray(labels) for split, labels in given.items()}, named, name)
    made: list[Split] = []
    for split, rows in parts.items():
        paths = [Path(path).expanduser().absolute() for path, _ in rows]
        root = Path(os.path.commonpath([path.parent for path in paths]))
        made.append(FileSplit(split, read.classes, read.labels[split], paths, root))
    return made, read.notes


def _items(name: str, parts: Mapping[str, Any], named: tuple[str, ...] | None) -> Sequence[Split]:
    from .torchvision_sets import split_of

    made = [split_of(name, split, data, named) for split, data in parts.items()]
    if len({split.classes for split in made}) > 1:
        raise BadInput(
            f"The splits of {name} have different classes.", hint="Name them: classes=[…], for all splits.", key=name
        )
    return made
