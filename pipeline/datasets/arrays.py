"""Data sets of arrays: npz files, IDX files (MNIST's format), and scikit-learn's digits."""

from __future__ import annotations

import gzip
import math
import stat
import zlib
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...amounts import count
from ...arrays import Array, Labels
from ...errors import BadInput, CryoprobeError, NotFound
from ..passing import patiently
from .base import ALL, Dataset, Place, Split
from .containers.encoded import EncodedSplit
from .label_arrays import read_labels, texts
from .npz_members import Member, Rows, members_of
from .splits import ArraySplit, LazyDataset, as_labels, class_order, fixed, status

_IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IDX_PREFIXES = {"train": ("train",), "test": ("t10k", "test")}


def npz(name: str, file: Path) -> Dataset:
    """Open an npz file: ``images`` and ``labels`` [and ``split``], or these per split, or x_train/y_train and so on.

    Images may be encoded, as their files hold them: the bytes of all, one behind the other, uint8 [bytes] in
    ``images``, and where each begins and the last ends, integers [n + 1] in ``offsets``, or ``SPLIT_images`` and
    ``SPLIT_offsets``. Their ids are those of the files.

    ``train_images``/``train_labels`` is MedMNIST's form, ``x_train``/``y_train`` Keras'. ``classes`` or
    ``class_names`` names the classes that integer labels index; see `read_labels`. Images are read when the first of a
    split is asked for.

    Raises
    ------
    NotFound, BadInput
        If there is no such file, or its arrays have other names, shapes or dtypes. Nothing is ever unpickled.
    """
    if (found := status(file)) is None or not stat.S_ISREG(found.st_mode):
        raise NotFound(f"There is no file {file}.", hint="Check the path of the data set.", key=str(file))
    arrays = members_of(file)
    given = arrays.get("classes", arrays.get("class_names"))
    named = None if given is None else _class_names(given.read(), file)
    parts = _npz_parts(arrays, file)
    if any("offsets" in key for key in arrays) and all(len(images.shape) == 1 for images, _ in parts.values()):
        splits, notes = packed_splits(parts, arrays, named, file)
    else:
        splits, notes = array_splits(parts, named, str(file), (file,))
    return fixed(name, splits, [_about(arrays, splits), *notes])


def _about(arrays: Collection[str], splits: Sequence[Split]) -> str:
    """Say which arrays of a file are read, as which splits, and what names the classes."""
    of_splits = (text for s in splits for text in (f"{s.name}_images", f"{s.name}_labels", f"{s.name}_offsets"))
    keras = (text for s in splits for text in (f"x_{s.name}", f"y_{s.name}"))
    whole = ("images", "labels", "split", "offsets") if "images" in arrays and "labels" in arrays else ()
    names = next((name for name in ("classes", "class_names") if name in arrays), None)
    known = {*of_splits, *keras} if not whole else {*whole}
    read = [name for name in arrays if name in known or name == names]
    unused = [name for name in arrays if name not in read]
    sizes = ", ".join(f"{s.name} {len(s):,}" for s in splits)
    classes = count(len(splits[0].classes), "class", "classes")
    left_out = f". Not used: {', '.join(unused)}" if unused else ""
    return (
        f"Arrays: {', '.join(read)}. {count(len(splits), 'split')} ({sizes}). {classes}, named by "
        f"{names or 'the labels'}{left_out}"
    )


def packed_splits(
    parts: Mapping[str, tuple[Any, Any]], arrays: Mapping[str, Member], named: tuple[str, ...] | None, file: Path
) -> tuple[list[Split], list[str]]:
    """Return the splits of encoded images whose bytes lie one behind the other; see `npz`.

    Raises
    ------
    BadInput
        If the offsets are not such, or do not fit.
    """
    read = read_labels({split: labels for split, (_, labels) in parts.items()}, named, str(file))
    splits: list[Split] = []
    for split, (images, _) in parts.items():
        key = "offsets" if "images" in arrays else f"{split}_offsets"
        labels = read.labels[split]
        offsets = arrays[key].read() if key in arrays else np.empty(0)
        fits = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) == len(labels) + 1
        if images.dtype != np.uint8 or not fits or not _is_ascending(offsets.astype(np.int64), len(images)):
            raise BadInput(
                f"{file}: {key} does not tell where the {len(labels)} encoded images of {split} begin and end: it is "
                f"{offsets.dtype} {list(offsets.shape)}, and images {images.dtype} {list(images.shape)}.",
                hint="images = np.frombuffer(b''.join(files), np.uint8), offsets = np.cumsum([0, *map(len, files)])",
                key=str(file),
            )
        packed = PackedImages(images, offsets.astype(np.int64))
        splits.append(EncodedSplit(split, read.classes, labels, packed, (file,)))
    return splits, read.notes


class PackedImages:
    """Encoded images, one behind the other; see `containers.encoded.Encoded`."""

    def __init__(self, rows: Any, offsets: Array) -> None:
        self._rows, self._offsets = rows, offsets

    def read(self, index: int) -> bytes:
        """Return the bytes of one."""
        start, end = self._offsets[index : index + 2].tolist()
        return bytes(self._rows.part(start, end))

    def describe(self, index: int) -> str:
        """Return ``row 17``."""
        return f"row {index}"

    def path(self, index: int) -> Path | None:
        """Return None: no file is just this sample."""
        return None

    def place(self, index: int) -> Place | None:
        """Return None: rows of arrays are read again, as those of pixels are."""
        return None


def _is_ascending(offsets: Array, size: int) -> bool:
    return bool(offsets[0] == 0 and offsets[-1] == size and (np.diff(offsets) >= 0).all())


def array_splits(
    parts: Mapping[str, tuple[Any, Any]], named: tuple[str, ...] | None, file: str, sources: tuple[Path, ...] = ()
) -> tuple[list[Split], list[str]]:
    """Return the splits that pairs of arrays make, and what is to be said of how they were read.

    Parameters
    ----------
    parts : mapping of str to (ndarray, ndarray)
        Images and labels by split, as `npz` takes them.
    named : tuple of str or None
        Class names that integer labels index.
    file : str
        What they are called in messages.
    sources : tuple of Path
        Files that they come from.

    Raises
    ------
    BadInput
        If they are of another kind, or do not fit together.
    """
    read = read_labels({split: labels for split, (_, labels) in parts.items()}, named, file)
    splits: list[Split] = []
    for split, (images, _) in parts.items():
        _check_images(images, f"{file}: images of {split}")
        labels = read.labels[split]
        if len(images) != len(labels):
            raise BadInput(
                f"{file}: {split} has {len(images)} images and {len(labels)} labels.",
                hint="Save one label per image.",
                key=file,
            )
        splits.append(ArraySplit(split, read.classes, labels, images, sources))
    return splits, read.notes


def idx(name: str, root: Path) -> Dataset:
    """Open a folder in MNIST's format: ``train-images-idx3-ubyte[.gz]`` and its three companions.

    Raises
    ------
    NotFound, BadInput
        If the folder, or a file's companion, is missing; if a file is cut short or no IDX file.
    """
    if (found := status(root)) is None or not stat.S_ISDIR(found.st_mode):
        raise NotFound(f"There is no folder {root}.", hint="Name the folder with the IDX files.", key=str(root))
    pairs = {}
    for split, prefixes in _IDX_PREFIXES.items():
        images, labels = (_idx_file(root, prefixes, kind) for kind in ("images-idx3", "labels-idx1"))
        if images is not None and labels is not None:
            pairs[split] = (images, labels)
        elif images is not None or labels is not None:
            raise BadInput(
                f"{images or labels} has no companion of {'labels' if images else 'images'} in {root}.",
                hint="Put both files of a split into the folder.",
                key=str(images or labels),
            )
    if not pairs:
        raise NotFound(
            f"{root} has no IDX files.",
            hint="It needs train-images-idx3-ubyte[.gz] and train-labels-idx1-ubyte[.gz], or the same with t10k.",
            key=str(root),
        )
    read = {split: _idx_labels(labels) for split, (_, labels) in pairs.items()}
    classes = class_order({str(label) for labels in read.values() for label in np.unique(labels)})

    def make(split: str) -> Split:
        images = read_idx(pairs[split][0])
        _check_images(images, str(pairs[split][0]))
        if len(images) != len(read[split]):
            raise BadInput(
                f"{root}: {split} has {len(images)} images and {len(read[split])} labels.",
                hint="The two files do not belong together.",
                key=str(root),
            )
        return ArraySplit(split, classes, as_labels([str(v) for v in read[split]], classes), images, pairs[split])

    return LazyDataset(name, {split: partial(make, split) for split in pairs})


def read_idx(file: Path) -> Array:
    """Read one IDX file, gzipped or not.

    Raises
    ------
    BadInput
        If its magic number, dimensions or length are wrong.
    """
    try:
        raw = patiently(file.read_bytes, str(file))
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except CryoprobeError:  # some of them are OSErrors
        raise
    except (OSError, EOFError, zlib.error) as e:
        raise BadInput(f"{file} cannot be read: {e}.", hint="Fetch the file again.", key=str(file)) from None
    header = 4 + 4 * raw[3] if len(raw) > 3 else 4
    if len(raw) < header or raw[:2] != b"\0\0" or raw[2] not in _IDX_DTYPES or not 0 < raw[3] <= 8:
        raise BadInput(
            f"{file} is not an IDX file (magic {raw[:4].hex()}).", hint="Fetch the file again.", key=str(file)
        )
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, header, 4))
    dtype = np.dtype(_IDX_DTYPES[raw[2]])
    expected = header + math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise BadInput(
            f"{file} has {len(raw)} bytes where its header promises {expected}.",
            hint="Fetch the file again.",
            key=str(file),
            expected=expected,
            found=len(raw),
        )
    return np.frombuffer(raw, dtype, offset=header).reshape(shape)


def digits(name: str) -> Dataset:
    """Open scikit-learn's digits: 1,797 scans of 8 x 8 pixels, scaled from 0…16 to 0…255."""

    def make() -> Split:
        from sklearn.datasets import load_digits

        data = load_digits()
        images = np.rint(data.images * (255 / 16)).astype(np.uint8)  # [1797, 8, 8]
        return ArraySplit(ALL, tuple(str(c) for c in range(10)), data.target.astype(np.int64), images)

    return LazyDataset(name, {ALL: make})


def _idx_labels(file: Path) -> Labels:
    labels = read_idx(file)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise BadInput(
            f"{file}: labels are {labels.dtype.name} {list(labels.shape)}.",
            hint="It needs one integer per image.",
            key=str(file),
        )
    return labels.astype(np.int64)


def _idx_file(root: Path, prefixes: tuple[str, ...], kind: str) -> Path | None:
    for prefix in prefixes:
        for separator in ("-", "."):
            for ending in ("", ".gz"):
                file = root / f"{prefix}-{kind.replace('-', separator)}-ubyte{ending}"
                if file.is_file():
                    return file
    return None


def _npz_parts(arrays: Mapping[str, Member], file: Path) -> dict[str, tuple[Any, Any]]:
    """Return images and labels per split, whichever way the file names them."""
    if "images" in arrays and "labels" in arrays:
        images, labels = arrays["images"], arrays["labels"].read()
        if "split" in arrays and "offsets" in arrays and images.ndim == 1:
            raise BadInput(
                f"{file}: encoded images with offsets have no array split.",
                hint="Save SPLIT_images, SPLIT_offsets and SPLIT_labels for each split.",
                key=str(file),
            )
        if "split" not in arrays:
            return {ALL: (_rows(images, file), labels)}
        which = texts(arrays["split"].read(), f"{file}: split")
        if not which.ndim == 1 <= min(images.ndim, labels.ndim) or not len(which) == len(images) == len(labels):
            raise BadInput(f"{file}: images, labels and split differ in length.", hint="Save one of each per image.")
        return {s: (Rows(images, which == s), labels[which == s]) for s in dict.fromkeys(which.tolist())}
    pairs = {}
    for key in arrays:
        if key.endswith("_images") and f"{key[:-7]}_labels" in arrays:
            pairs[key[:-7]] = (arrays[key], arrays[f"{key[:-7]}_labels"])
        elif key.startswith("x_") and f"y_{key[2:]}" in arrays:
            pairs[key[2:]] = (arrays[key], arrays[f"y_{key[2:]}"])
        elif key.endswith("_images") or key.startswith("x_"):
            wanted = f"{key[:-7]}_labels" if key.endswith("_images") else f"y_{key[2:]}"
            raise BadInput(
                f"{file} has {key}, and no {wanted}.",
                hint=f"Save the labels as {wanted}, or leave {key} out. It has the arrays {', '.join(arrays)}.",
                key=str(file),
            )
    parts = {split: (_rows(images, file), labels.read()) for split, (images, labels) in pairs.items()}
    if not parts:
        raise BadInput(
            f"{file} has the arrays {', '.join(arrays) or '(none)'}.",
            hint="It needs images and labels [and split], or SPLIT_images and SPLIT_labels, or x_SPLIT and y_SPLIT.",
            key=str(file),
        )
    return parts


def _rows(images: Member, file: Path) -> Rows:
    if not images.ndim:
        raise BadInput(f"{file}: images are {images.dtype} [].", hint="Save one image a row.", key=str(file))
    return Rows(images)


def _class_names(given: Array, file: Path) -> tuple[str, ...]:
    if given.ndim != 1:
        raise BadInput(
            f"{file}: the class names are {given.dtype} {list(given.shape)}.",
            hint="Save a list: one name per class.",
            key=str(file),
        )
    return tuple(texts(given, f"{file}: class names").tolist())


def _check_images(images: Array | Rows, what: str) -> None:
    if images.dtype.kind in "SV" and images.ndim == 1:
        raise BadInput(
            f"{what} are {images.dtype}: texts of a fixed width, which drop zeros at the end of an image.",
            hint="Save encoded images without loss: images = np.frombuffer(b''.join(files), np.uint8), "
            "offsets = np.cumsum([0, *map(len, files)])",
            key=what,
        )
    plain = images.dtype == np.uint8 and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3, 4)))
    wide = images.dtype.newbyteorder("=") == np.uint16 and images.ndim == 3
    if (plain or wide) and 0 not in images.shape[1:]:
        return
    raise BadInput(
        f"{what} are {images.dtype} {list(images.shape)}.",
        hint="Images are uint8 [n, h, w] or [n, h, w, 1|3|4], or uint16 [n, h, w]; floats between 0 and 1 become that "
        "by (255 * images).round().astype('uint8'), colour of 16 bits by (images // 257).astype('uint8').",
        key=what,
    )
