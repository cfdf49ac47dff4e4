"""Names of data sets: what ``folder:PATH`` and its kin mean.

Beside the kinds of this package there are those that installed packages announce, and functions of one's own; see
`doors`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ...errors import BadInput, CryoprobeError
from ...folders import cache_folder
from .. import doors
from .base import Dataset

_PATH_KINDS = {"folder": "PATH", "csv": "FILE", "npz": "FILE", "idx": "PATH"}

KINDS = frozenset({*_PATH_KINDS, "torchvision", "sklearn"})
"""What the names of data sets begin with that this package opens."""


@dataclass(frozen=True)
class DatasetKind:
    """A row of `cryoprobe datasets`: how to name it, what it is, an example."""

    name: str
    description: str
    example: str


_KINDS = (
    DatasetKind("folder:PATH", "images in PATH/SPLIT/CLASS/* or PATH/CLASS/*", "folder:~/photos"),
    DatasetKind("csv:FILE", "columns path, label[, split]; a|b is multi-label", "csv:labels.csv"),
    DatasetKind("npz:FILE", "arrays images, labels[, split]; MedMNIST's and Keras' names too", "npz:bloodmnist.npz"),
    DatasetKind("idx:PATH", "MNIST's format, gzipped or not", "idx:/usr/share/datasets/fashion-mnist"),
    DatasetKind("sklearn:digits", "1,797 scans of 8 x 8 pixels, 10 classes", "sklearn:digits"),
)


def load_dataset(
    spec: str,
    *,
    data_root: Path | None = None,
    download: bool = False,
    layout: str | None = None,
    ignore: Sequence[str] = (),
    unlabelled: bool = False,
) -> Dataset:
    """Open a data set.

    Parameters
    ----------
    spec : str
        ``folder:PATH``, ``csv:FILE``, ``npz:FILE``, ``idx:PATH``, ``torchvision:NAME`` or ``sklearn:digits``;
        ``KIND:REST`` of an installed package, or ``MODULE:FUNCTION``, a function of your own that returns a data set.
    data_root : Path, optional
        Folder of torchvision's data sets; ``data`` in the cache folder by default.
    download : bool
        Let torchvision fetch what is missing.
    layout : {"class", "split"}, optional
        What the top folders of ``folder:`` are. By default those are splits that are called so and hold folders.
    ignore : sequence of str
        Patterns of files and folders that ``folder:`` leaves out.
    unlabelled : bool
        Take all images of ``folder:``, at any depth, without classes.

    Raises
    ------
    NotFound, BadInput
        If there is no such data set, or it is not what it should be.
    """
    name = canonical_name(spec, data_root)
    kind, _, rest = name.partition(":")
    own = _opener_of(name) if is_own(name) else None
    if kind != "folder" and (layout is not None or ignore or unlabelled):
        option = "layout" if layout is not None else "ignore" if ignore else "unlabelled"
        raise BadInput(f"--{option} is for folder:PATH, and {spec} is not a folder.", hint="Leave it out.", key=option)
    if own is not None:
        if data_root is not None or download:
            option = "data-root" if data_root is not None else "download"
            raise BadInput(f"--{option} has no effect on {spec}.", hint="Leave it out.", key=option)
        return as_dataset(own(), name)
    if kind == "folder":
        from .folders import folder, unlabelled_folder

        if unlabelled and layout is not None:
            raise BadInput("--layout has no effect with --unlabelled.", hint="Leave one of them out.", key="layout")
        if unlabelled:
            return unlabelled_folder(name, Path(rest), ignore)
        return folder(name, Path(rest), layout, ignore)
    if kind == "csv":
        from .files import table

        return table(name, Path(rest))
    if kind == "npz":
        from .arrays import npz

        return npz(name, Path(rest))
    if kind == "idx":
        from .arrays import idx

        return idx(name, Path(rest))
    if kind == "sklearn":
        from .arrays import digits

        return digits(name)
    from .torchvision_sets import torchvision_set

    return torchvision_set(name, rest, (data_root or cache_folder() / "data").expanduser().absolute(), download)


def canonical_name(spec: str, data_root: Path | None = None) -> str:
    """Return the one name of a data set: with an absolute path where there is one. Touches no file.

    Parameters
    ----------
    spec : str
    data_root : Path, optional
        Not part of the name: colleagues keep torchvision's data in different folders.

    Returns
    -------
    str
        A name of another kind is returned as it is: it may be that of somebody's own.

    Raises
    ------
    BadInput
        If the home folder of a path is unknown.
    """
    kind, _, rest = spec.partition(":")
    if kind in _PATH_KINDS and rest:
        try:
            path = Path(rest).expanduser()
        except RuntimeError as e:  # ~name, and there is nobody of that name
            raise BadInput(f"{spec}: {e}", hint="Write the path in full.", key=spec) from None
        # Not `resolve`: a link that a team shares keeps its name wherever it points.
        return f"{kind}:{Path(os.path.abspath(path)).as_posix()}"  # noqa: PTH100
    return spec


def refuse_name(spec: str) -> NoReturn:
    """Say that a name is that of no data set, and which there are."""
    raise BadInput(
        f"{spec!r} names no data set.",
        hint="Write folder:PATH, csv:FILE, npz:FILE, idx:PATH, torchvision:NAME or sklearn:digits "
        "(`cryoprobe datasets` lists them), or MODULE:FUNCTION for one of your own."
        + ("" if ":" in spec else f" Is it a folder? folder:{spec}"),
        key=spec,
    )


def is_own(name: str) -> bool:
    """Say whether a name is none of the kinds that this package opens."""
    kind, _, rest = name.partition(":")
    return kind not in KINDS or not rest or (kind == "sklearn" and rest != "digits")


def _opener_of(name: str) -> Callable[[], object]:
    """Return what opens a data set of somebody's own; refuse a name that is nobody's."""
    found = None if name.partition(":")[0] in KINDS else doors.opener(name, doors.DATASETS)
    return found or refuse_name(name)


def as_dataset(made: object, name: str = "dataset") -> Dataset:
    """Return a data set; refuse, with what to do, what is none.

    Raises
    ------
    BadInput
    """
    if isinstance(made, Dataset) and not isinstance(made, type):
        return made
    raise BadInput(
        f"{name} is a {type(made).__name__}, and no data set.",
        hint="Wrap arrays, a list of (path, label), or a torch or torchvision data set: cryoprobe.Dataset(source, "
        "name=…); or name one, such as folder:PATH.",
        key=name,
    )


def dataset_pattern(pattern: str | None) -> str | None:
    """Return what filters data sets by name: a name that `extract` takes becomes the one that the store has.

    Parameters
    ----------
    pattern : str or None
        A relative path becomes absolute, also in a pattern (``folder:data/*``), unless that begins with a wildcard
        (``folder:*/birds``). What names no data set of the usual kinds stays as it is: a program can give its own any
        name.
    """
    if pattern is None or pattern.partition(":")[2].startswith("*"):
        return pattern
    try:
        return canonical_name(pattern)
    except BadInput:  # a home folder of nobody
        return pattern


def known_splits(spec: str, data_root: Path | None = None) -> Sequence[str] | None:
    """Return the splits of a data set, as far as names, listings of folders and tables tell; None where they do not."""
    name = canonical_name(spec, data_root)
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        from .torchvision_sets import SPLITS

        return tuple(SPLITS[rest]) if rest in SPLITS else None
    with suppress(CryoprobeError, OSError):
        return load_dataset(name, data_root=data_root).splits if kind in ("folder", "csv", "sklearn") else None
    return None


def is_listed(name: str) -> bool:
    """Say whether opening the data set of that canonical name lists folders, and neither reads nor decodes a file."""
    return name.startswith("folder:")


def list_datasets() -> list[DatasetKind]:
    """Return the kinds of data sets, and each of torchvision's, with an example."""
    from .torchvision_sets import SPLITS

    rows = list(_KINDS)
    for which, splits in SPLITS.items():
        parts = ", ".join(splits)
        rows.append(DatasetKind(f"torchvision:{which}", f"splits: {parts}", f"torchvision:{which} --data-root DIR"))
    for kind, package in sorted(doors.announced(doors.DATASETS).items()):
        rows.append(DatasetKind(f"{kind}:…", f"of the package {package}", f"{kind}:…"))
    return rows
