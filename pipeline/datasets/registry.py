"""Names of data sets: what ``folder:PATH`` and its kin mean.

Beside the kinds of this package there are those that installed packages announce, and functions of one's own; see
`doors`.
"""

from __future__ import annotations

import difflib
import glob
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

_LONGEST_NAME = 100
_MOST_GIVEN = 8
"""Given names that a message lists."""


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


def refuse_name(spec: str, given: Sequence[str] = ()) -> NoReturn:
    """Say that a name is that of no data set, and which there are; `given` are those that people gave in a store."""
    near = difflib.get_close_matches(spec, given, n=_MOST_GIVEN) or given[:_MOST_GIVEN]
    raise BadInput(
        f"{spec!r} names no data set."
        + (f" By names that were given the store has: {', '.join(near)}." if near else ""),
        hint="Write folder:PATH, csv:FILE, npz:FILE, idx:PATH, torchvision:NAME or sklearn:digits "
        "(`cryoprobe datasets` lists them), or MODULE:FUNCTION for one of your own."
        + (
            ""
            if ":" in spec
            else f" Is it a folder? folder:{spec}. Is it a name that was given? To extract it say where it is: "
            f"--dataset folder:PATH --as {spec}"
        ),
        key=spec,
    )


def check_given_name(name: str) -> str:
    """Return a name that somebody gives a data set; refuse one that could be taken for something else.

    Examples
    --------
    >>> check_given_name("birds")
    'birds'

    Raises
    ------
    BadInput
        If it is empty or very long, looks like a path, a pattern or a kind of data set, or has odd characters.
    """
    kind, colon, _ = name.partition(":")
    kinds = {*KINDS, *doors.announced(doors.DATASETS)}
    problem = None
    if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        problem = f"is not a name of 1 to {_LONGEST_NAME} printable characters, without blanks around it"
    elif kind in kinds:
        problem = f"would be taken for a data set of the kind {kind}{colon}…"
    elif sign := next((sign for sign in "*?[]/\\" if sign in name), None):
        problem = f"has the sign {sign}, of paths and patterns"
    elif name[0] in "-.~":
        problem = f"begins with {name[0]}"
    if problem is not None:
        raise BadInput(f"--as {name!r} {problem}.", hint="Give another name, such as --as birds.", key="as")
    return name


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
    kind, _, rest = pattern.partition(":")
    try:
        name = canonical_name(pattern)
    except BadInput:  # a home folder of nobody
        return pattern
    if name == pattern or rest.startswith(("/", "~")):
        return name
    # What was not typed holds no wildcards: the working folder may be called birds [v2].
    absolute = name.partition(":")[2]
    here = os.path.commonpath([absolute, Path.cwd().as_posix()])
    return f"{kind}:{glob.escape(here)}{absolute.removeprefix(here)}"


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
