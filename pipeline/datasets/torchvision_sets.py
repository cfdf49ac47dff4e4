"""torchvision's classification data sets: how each selects its splits, and how to get at files instead of pixels.

torchvision reads and checks its own formats. Where it keeps a list of files, those are the samples, so that their
ids come from the files' bytes and unchanged files are known by a stat call; where it keeps an array, the rows are.
Either shortcut is believed only after it agreed with what the data set itself returns.
"""

from __future__ import annotations

import difflib
import importlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array, Targets
from ...errors import BadInput, NotFound
from ..passing import is_passing
from .base import ALL, Dataset, Split, UndecodableImage
from .images import encode_image
from .splits import ArraySplit, FileSplit, LazyDataset

if TYPE_CHECKING:
    from PIL import Image

Options = Mapping[str, Any]


def _by_train() -> dict[str, Options]:
    return {"train": {"train": True}, "test": {"train": False}}


def _by_split(*names: str) -> dict[str, Options]:
    return {name: {"split": name} for name in names}


_EMNIST = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")

SPLITS: Mapping[str, Mapping[str, Options]] = {
    "CIFAR10": _by_train(),
    "CIFAR100": _by_train(),
    "CLEVRClassification": _by_split("train", "val"),  # test has no labels
    "Caltech101": {ALL: {}},
    "Caltech256": {ALL: {}},
    "CelebA": _by_split("train", "valid", "test"),  # 40 attributes: multi-label
    "Country211": _by_split("train", "valid", "test"),
    "DTD": _by_split("train", "val", "test"),
    **{f"EMNIST/{s}": {k: {"split": s, **v} for k, v in _by_train().items()} for s in _EMNIST},
    "EuroSAT": {ALL: {}},
    "FER2013": _by_split("train", "test"),
    "FGVCAircraft": _by_split("train", "val", "test"),
    "FakeData": {ALL: {}},
    "FashionMNIST": _by_train(),
    "Flowers102": _by_split("train", "val", "test"),
    "Food101": _by_split("train", "test"),
    "GTSRB": _by_split("train", "test"),
    "INaturalist": {"train": {"version": "2021_train"}, "val": {"version": "2021_valid"}},
    "ImageNet": _by_split("train", "val"),
    "Imagenette": _by_split("train", "val"),
    "KMNIST": _by_train(),
    "LFWPeople": _by_split("train", "test"),
    "LSUN": {"train": {"classes": "train"}, "val": {"classes": "val"}},
    "MNIST": _by_train(),
    "Omniglot": {"background": {"background": True}, "evaluation": {"background": False}},
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "PCAM": _by_split("train", "val", "test"),
    "Places365": {"train": {"split": "train-standard"}, "val": {"split": "val"}},
    "QMNIST": {"train": {"what": "train"}, "test": {"what": "test"}},
    "RenderedSST2": _by_split("train", "val", "test"),
    "SEMEION": {ALL: {}},
    "STL10": _by_split("train", "test"),
    "SUN397": {ALL: {}},
    "SVHN": _by_split("train", "test"),
    "StanfordCars": _by_split("train", "test"),
    "USPS": _by_train(),
}
"""Every data set of torchvision that has one image and a class (or flags) per sample, and how to ask for its splits.

Left out: detection, segmentation, captions, optical flow, stereo, video and pairs; ``ImageFolder`` is ``folder:``.
"""

_NO_DOWNLOAD = {"FER2013", "FakeData", "ImageNet", "LFWPeople", "LSUN", "StanfordCars"}

_PATHS: Mapping[str, Callable[[Any], list[Path]]] = {
    "Caltech101": lambda d: [
        Path(d.root, "101_ObjectCategories", d.categories[y], f"image_{i:04d}.jpg")
        for i, y in zip(d.index, d.y, strict=True)
    ],
    "Caltech256": lambda d: [
        Path(d.root, "256_ObjectCategories", d.categories[y], f"{y + 1:03d}_{i:04d}.jpg")
        for i, y in zip(d.index, d.y, strict=True)
    ],
    "CelebA": lambda d: [Path(d.root, d.base_folder, "img_align_celeba", f) for f in d.filename],
    "INaturalist": lambda d: [Path(d.root, d.all_categories[c], f) for c, f in d.index],
    "Omniglot": lambda d: [Path(d.target_folder, d._characters[c], f) for f, c in d._flat_character_images],
}
"""Where the files are, for data sets that build the path anew for each sample."""

_LABELS_OF: Mapping[str, Callable[[Any], list[int]]] = {
    "INaturalist": lambda d: [c for c, _ in d.index],
    "LSUN": lambda d: [c for c, db in enumerate(d.dbs) for _ in range(len(db))],
    "Omniglot": lambda d: [c for _, c in d._flat_character_images],
}
"""The labels, for data sets that have no list of them: asking for one decodes its image, and they have millions."""

_CLASS_COUNTS = {
    "CLEVRClassification": 11,  # how many objects there are, of at most ten
    "FER2013": 7,
    "FakeData": 10,
    "GTSRB": 43,
    "PCAM": 2,
    "SEMEION": 10,
    "SVHN": 10,
    "USPS": 10,
}
"""How many classes there are, where torchvision has no names: a split may lack the last ones."""

_LISTS = ("samples", "imgs", "_samples", "_image_files", "_images", "data")
_LABELS = ("targets", "labels", "_labels", "y", "attr")
_CHECKED_ROWS = 5


def torchvision_set(name: str, which: str, root: Path, download: bool) -> Dataset:
    """Open one of torchvision's classification data sets.

    Raises
    ------
    NotFound
        If there is no such data set, or its files are not below `root`.
    BadInput
        If it needs a package that is not installed.
    """
    if which not in SPLITS:
        close = _similar(which)
        raise NotFound(
            f"torchvision has no classification data set {which!r} that Cryoprobe knows.",
            hint=(f"Did you mean {', '.join(close)}? " if close else "") + "List them: cryoprobe datasets",
            key=which,
        )

    def make(split: str) -> Split:
        return _split(which, split, _construct(which, SPLITS[which][split], root, download))

    return LazyDataset(name, {split: partial(make, split) for split in SPLITS[which]})


def _similar(which: str) -> list[str]:
    """Return the names that somebody may have meant."""
    plain = {"".join(filter(str.isalnum, n)).lower(): n for n in SPLITS}
    wanted = "".join(filter(str.isalnum, which)).lower()
    inside = [n for p, n in plain.items() if wanted and wanted in p]
    return inside or [plain[p] for p in difflib.get_close_matches(wanted, plain, cutoff=0.75)]


def _construct(which: str, options: Options, root: Path, download: bool) -> Any:
    """Make torchvision's own data set object."""
    factory = getattr(importlib.import_module("torchvision.datasets"), which.partition("/")[0])
    arguments = dict(options)
    if which != "FakeData":
        arguments["root"] = str(root)
    if which not in _NO_DOWNLOAD:
        arguments["download"] = download
        if download:
            root.mkdir(parents=True, exist_ok=True)
    try:
        return factory(**arguments)
    except ModuleNotFoundError as e:
        raise BadInput(
            f"torchvision needs the package {e.name} to read {which}.",
            hint=f"Install it: pip install {e.name}",
            key=which,
        ) from None
    except Exception as e:  # each data set fails in its own way on files that are not there
        manual = " (torchvision cannot download it: see its documentation)" if which in _NO_DOWNLOAD else ""
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        raise NotFound(
            f"torchvision cannot open {which} in {root}: {first}",
            hint=f"Name the folder that has it with --data-root, or fetch it with --download{manual}."
            if not download
            else f"The download failed. Put the files into {root} by hand, and leave --download out{manual}.",
            key=which,
        ) from e


def _split(which: str, split: str, data: Any) -> Split:
    labels = _labels(which, data)
    classes = _classes(data, labels, _CLASS_COUNTS.get(which, 0))
    if which == "Omniglot":  # numbers its classes in the order in which the file system lists them
        order = np.argsort(classes)
        labels, classes = np.argsort(order)[labels], tuple(classes[i] for i in order)
    elif which == "LSUN":  # bedroom_train and bedroom_val are one class
        classes = tuple(c.rpartition("_")[0] for c in classes)
    folder = Path(getattr(data, "root", None) or ".")
    paths = _paths(which, data)
    if paths is not None and _agree(data, paths, lambda p: _open(p)):
        # torchvision may list files as the file system does.
        rank = sorted(range(len(paths)), key=lambda i: os.fsencode(paths[i]))
        return FileSplit(split, classes, labels[rank], [paths[i] for i in rank], folder)
    files = () if which == "FakeData" else _files_below(_home(data, folder))
    rows = _rows(data)
    if rows is not None and _agree(data, rows, np.asarray):
        return ArraySplit(split, classes, labels, rows, files)
    return ArraySplit(split, classes, labels, Decoded(data), files, encode_image)


class Decoded(Sequence[Any]):
    """The images as the data set itself decodes them, one at a time.

    Samples are read in threads, and a data set need not bear that, since torch reads in processes: torchvision's
    FakeData sets the state of one random generator for each image, and others seek in one open file.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Any:
        try:
            with self._reading:
                return self._data[index][0]
        except Exception as e:  # each data set fails in its own way on a damaged file
            if is_passing(e) or isinstance(e, OSError):
                raise
            raise UndecodableImage(f"cannot be decoded: {' '.join(str(e).split()) or type(e).__name__}") from e


def _labels(which: str, data: Any) -> Targets:
    """Return all labels, from an attribute that agrees with what samples have, else sample by sample."""
    candidates: list[Any] = [_LABELS_OF[which](data)] if which in _LABELS_OF else []
    candidates += [getattr(data, name, None) for name in _LABELS]
    for name in _LISTS:
        listed = getattr(data, name, None)
        if isinstance(listed, list) and listed and isinstance(listed[0], tuple):
            candidates.append([item[1] for item in listed if len(item) == 2])
    truth = {}
    for i in _checked(len(data)):
        try:
            truth[i] = np.asarray(data[i][1])
        except Exception:  # a damaged image is reported when it is its turn
            continue
    for candidate in candidates:
        if candidate is None or len(candidate) != len(data):
            continue
        try:
            array = np.asarray(candidate)
            if all(np.array_equal(array[i], t) for i, t in truth.items()):
                return _as_labels(array, which)
        except (TypeError, ValueError):
            continue
    return _as_labels(np.asarray([np.asarray(data[i][1]) for i in range(len(data))]), which)


def _as_labels(array: Array, which: str) -> Targets:
    if array.dtype.kind not in "biu":
        raise BadInput(
            f"This part of {which} has no labels.", hint="Take another one: --split", key=which, found=str(array.dtype)
        )
    return array.astype(np.uint8) if array.ndim == 2 else array.astype(np.int64)


def _classes(data: Any, labels: Targets, count: int) -> tuple[str, ...]:
    """Return the data set's class names where they fit the labels, else numbers."""
    highest = labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=-1)) + 1
    for name in ("classes", "categories", "all_categories", "attr_names", "_characters"):
        named = getattr(data, name, None)
        if isinstance(named, list | tuple) and highest <= len(named):
            if labels.ndim == 2:
                named = [c for c in named if c][:highest]  # CelebA's header ends in an empty name
            texts = [c[0] if isinstance(c, tuple) else str(c) for c in named]  # ImageNet has tuples of synonyms
            if len(set(texts)) == len(texts):
                return tuple(texts)
            return tuple(f"{text} ({i})" if texts.count(text) > 1 else text for i, text in enumerate(texts))
    numbers = getattr(data, "class_to_idx", None)
    if isinstance(numbers, dict) and sorted(numbers.values()) == list(range(len(numbers))) and highest <= len(numbers):
        return tuple(sorted(numbers, key=lambda name: int(numbers[name])))
    return tuple(str(i) for i in range(max(highest, count)))


def _paths(which: str, data: Any) -> list[Path] | None:
    if which in _PATHS:
        return _PATHS[which](data)
    for name in _LISTS:
        listed = getattr(data, name, None)
        if isinstance(listed, list) and len(listed) == len(data) and listed:
            items = [item[0] if isinstance(item, tuple) else item for item in listed]
            if all(isinstance(item, str | os.PathLike) for item in items):
                return [Path(item) for item in items]
    return None


def _rows(data: Any) -> Array | None:
    """Return the data set's array as [n, h, w] or [n, h, w, c], if it has one."""
    raw = getattr(data, "data", None)
    if raw is None or not hasattr(raw, "shape") or len(raw) != len(data):
        return None
    rows = np.asarray(raw)
    if rows.ndim == 4 and rows.shape[1] in (1, 3) and rows.shape[3] not in (1, 3):
        rows = rows.transpose(0, 2, 3, 1)
    return rows if rows.dtype == np.uint8 and rows.ndim in (3, 4) else None


def _agree(data: Any, items: Sequence[Any] | Array, decode: Callable[[Any], Any]) -> bool:
    """Say whether a shortcut gives the pixels that the data set gives, on a few samples."""
    for i in _checked(len(data)):
        try:
            expected = data[i][0]
        except Exception:  # a damaged image is damaged either way, and is reported when it is its turn
            continue
        try:
            found = decode(items[i])
        except Exception:
            return False
        mode = getattr(found, "mode", None)
        if mode is not None and mode != expected.mode:
            found = found.convert(expected.mode)  # torchvision converts to RGB, where the encoder would anyway
        if not np.array_equal(np.asarray(found), np.asarray(expected)):
            return False
    return True


def _open(path: Path) -> Image.Image:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        return image


def _checked(n: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, _CHECKED_ROWS))})


def _home(data: Any, folder: Path) -> Path:
    """Return the folder of an array data set's own files, where it has one: not those of others beside it."""
    homes = [folder / name for a in ("raw_folder", "_base_folder", "base_folder") if (name := getattr(data, a, None))]
    return next((home for home in homes if home.is_dir()), folder)


def _files_below(root: Path) -> tuple[Path, ...]:
    return tuple(sorted(p for p in root.rglob("*") if p.is_file())) if root.is_dir() else ()
