"""The two kinds of splits: samples that are files, and samples that are rows of an array."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Array, Flags, Labels, Targets
from ...errors import BadInput, CryoprobeError, NotFound
from ...file_lists import FileList
from ..passing import patiently
from .base import ALL, Split
from .images import decode_file, decode_pixels, encode_pixels, identified
from .split_names import split_order

if TYPE_CHECKING:
    pass

_LOOKED_AT = 100
"""How many files `FileSplit.advice` looks for."""

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


@dataclass(frozen=True)
class FileSplit:
    """Samples that are image files; see `base.Split`.

    Parameters
    ----------
    name : str
    classes : tuple of str
    labels : ndarray, int64 [n] or uint8 [n, C]
    paths : sequence of Path
        One per sample.
    root : Path
        What sample names are relative to.
    others : tuple of Path
        Further files and folders that the split was read from.
    urls : dict of int to str
        Rows of a table that name a URL, as it is written there: a path loses a slash of it.
    """

    name: str
    classes: tuple[str, ...]
    labels: Targets
    paths: Sequence[Path]
    root: Path
    others: tuple[Path, ...] = ()
    urls: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def sources(self) -> Sequence[Path]:
        """Every file that the samples and labels come from, those of the samples first."""
        return FileList([*FileList.of(self.paths).texts, *map(os.fspath, self.others)])

    def describe(self, index: int) -> str:
        """Return the path of a sample, relative to the data set."""
        if index in self.urls:
            return self.urls[index]
        # As text: of a million samples it is asked, and pathlib takes ten times as long.
        paths = self.paths
        text = paths.texts[index] if isinstance(paths, FileList) else os.fspath(paths[index])
        name = text.removeprefix(self._inside)
        # A name that is not UTF-8 must still be printable and go into JSON.
        return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")

    @cached_property
    def _inside(self) -> str:
        """How the paths of the samples begin that are inside of the root."""
        return os.path.join(self.root, "")  # noqa: PTH118

    def path(self, index: int) -> Path | None:
        """Return the file that is the sample."""
        return self.paths[index]

    def read(self, index: int) -> bytes:
        """Return the file's bytes, with a mark behind them if it is an image of more than 8 bits a value."""
        return identified(self.paths[index].read_bytes())

    decode = staticmethod(decode_file)

    def advice(self) -> str:
        """Return what may be wrong if none of the files can be read."""
        missing = [self.paths[i] for i in range(min(len(self), _LOOKED_AT)) if not self.paths[i].exists()]
        if not missing:
            return ""
        inside = missing[0].is_relative_to(self.root)
        text = str(missing[0].relative_to(self.root)) if inside else str(missing[0])
        base = f"Paths are relative to the folder {self.root}, and {missing[0]} is not there."
        if missing[0].is_symlink():
            return f"{missing[0]} is a link to {missing[0].readlink()}, which is not there. Mend or remove it."
        if text.lower().startswith("file:/"):
            return f"The paths are URLs (file:…). Write them without file://, or relative to {self.root}."
        if re.match(r"[a-z][a-z0-9+.-]+:/", text, re.IGNORECASE):
            return (
                f"The paths are URLs ({text.split(':')[0]}:…). Fetch the files, and name them by paths in {self.root}."
            )
        if "\\" in text:
            return f"{base} The paths have backslashes: write them with / instead."
        if text.startswith("~"):
            return f"{base} ~ is not replaced in a table: write the paths in full."
        if inside and Path(text).exists():
            return f"{base} They would be found from {Path.cwd()}: move the table there, or write the paths in full."
        return f"{base} Correct the paths, or move the table to where they count from."


@dataclass(frozen=True)
class ArraySplit:
    """Samples that are rows of an array; see `base.Split`.

    Parameters
    ----------
    name : str
    classes : tuple of str
    labels : ndarray, int64 [n] or uint8 [n, C]
    images : ndarray, uint8 [n, h, w] or [n, h, w, 1|3|4], or uint16 [n, h, w]
    sources : tuple of Path
    encode : callable
        From a row of `images` to the bytes that stand for it.
    """

    name: str
    classes: tuple[str, ...]
    labels: Targets
    images: Sequence[Any] | Array
    sources: tuple[Path, ...] = ()
    encode: Callable[[Any], bytes] = encode_pixels

    def __len__(self) -> int:
        return len(self.labels)

    def describe(self, index: int) -> str:
        """Return ``row 17``."""
        return f"row {index}"

    def path(self, index: int) -> Path | None:
        """Return None: no file is just this sample."""
        return None

    def read(self, index: int) -> bytes:
        """Return the row's pixels behind a header of dtype and shape."""
        return self.encode(self.images[index])

    decode = staticmethod(decode_pixels)


class LazyDataset:
    """A data set whose splits are made when they are asked for.

    Parameters
    ----------
    name : str
        Canonical name.
    makers : dict of str to callable
        What makes each split.
    notes : callable
        Returns what is to be said of how the data were read; see `base.Noting`.
    """

    def __init__(
        self, name: str, makers: dict[str, Callable[[], Split]], notes: Callable[[], Sequence[str]] = tuple
    ) -> None:
        self.name = name
        self.notes = notes
        self.splits = sorted(makers, key=split_order)
        self._makers = makers
        self._made: dict[str, Split] = {}

    def split(self, name: str) -> Split:
        """Return one split.

        Raises
        ------
        NotFound
            If there is none of that name.
        """
        if name not in self._makers:
            raise NotFound(
                f"{self.name} has no split {name!r}.",
                hint=f"It has: {', '.join(self.splits)}."
                + (" Leave --split out to take everything." if self.splits == [ALL] else ""),
                key=name,
            )
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]


def fixed(name: str, splits: Sequence[Split], notes: Sequence[str] = ()) -> LazyDataset:
    """Return a data set of splits that exist already."""
    return LazyDataset(name, {s.name: partial(_same, s) for s in splits}, lambda: notes)


def status(path: Path) -> os.stat_result | None:
    """Stat a file or folder that somebody named; None where there is none.

    Raises
    ------
    BadInput
        If that cannot be told: no right to look.
    Unavailable
        If the disk or the machine fails.
    """
    try:
        return patiently(path.stat, str(path))
    except CryoprobeError:  # some of them are OSErrors
        raise
    except ValueError:  # a NUL character
        return None
    except OSError as e:
        if e.errno in _ABSENT:
            return None
        raise BadInput(f"{path} cannot be opened: {e.strerror}.", hint="Check your rights.", key=str(path)) from None


def class_order(labels: set[str]) -> tuple[str, ...]:
    """Order class names: by number where all are integers (``01`` before ``1``), else by code point."""
    ordered = sorted(labels)
    try:
        return tuple(sorted(ordered, key=int))
    except ValueError:
        return tuple(ordered)


def as_labels(names: Sequence[str], classes: Sequence[str]) -> Labels:
    """Return class names as indices into `classes`, int64 [n]."""
    index = {c: i for i, c in enumerate(classes)}
    return np.array([index[n] for n in names], np.int64)


def as_flags(names: Sequence[set[str]], classes: Sequence[str]) -> Flags:
    """Return sets of class names as flags, uint8 [n, C]."""
    index = {c: i for i, c in enumerate(classes)}
    flags = np.zeros((len(names), len(classes)), np.uint8)
    for row, present in enumerate(names):
        flags[row, [index[c] for c in present]] = 1
    return flags


def _same(split: Split) -> Split:
    return split
