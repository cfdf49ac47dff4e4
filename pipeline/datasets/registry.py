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
from pathlib import Path
from typing import NoReturn, Unpack

from ...errors import BadInput, CryoprobeError
from ...files import absolute
from .. import doors
from ..keywords import check_names, read, takes
from ..options import SourceArguments, SourceOptions
from .base import Dataset
from .kinds import KINDS, DatasetKind, check_options
from .urls import is_hf_path, is_remote

_LONGEST_NAME = 100
_MOST_GIVEN = 8
"""Given names that a message lists."""


@takes(SourceArguments, SourceOptions)
def load_dataset(spec: str, **options: Unpack[SourceArguments]) -> Dataset:
    """Open a data set.

    Parameters
    ----------
    spec : str
        ``folder:PATH``, ``csv:FILE``, ``wds:PATTERN``, ``parquet:FILE``, ``hf:NAME``, ``npz:FILE``, ``idx:PATH``,
        ``torchvision:NAME`` or ``sklearn:digits``; ``KIND:REST`` of an installed package, or ``MODULE:FUNCTION``, a
        function of your own that returns a data set.
    **options
        How it is read, see `SourceOptions`.

    Raises
    ------
    NotFound, BadInput
        If there is no such data set, it is not what it should be, or an option is not for its kind.
    """
    check_names("load_dataset", options, SourceOptions)
    return open_dataset(spec, read(SourceOptions, options))


def open_dataset(spec: str, asked: SourceOptions) -> Dataset:
    """Open a data set with options that have been read; see `load_dataset`."""
    name = canonical_name(spec)
    kind, _, rest = name.partition(":")
    if is_own(name):
        opener = _opener_of(name)
        check_options(None, spec, asked)
        return as_dataset(opener(), name)
    check_options(kind, spec, asked)
    return KINDS[kind].open(name, rest, asked)


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
    if kind not in KINDS or not KINDS[kind].is_path or not rest or (kind == "hf" and not is_hf_path(rest)):
        return spec
    if is_remote(rest):
        scheme, _, place = rest.partition("://")
        return f"{kind}:{scheme.lower()}://{place if kind == 'wds' else place.rstrip('/')}"
    return f"{kind}:{absolute(rest, spec)}"


def refuse_name(spec: str, given: Sequence[str] = ()) -> NoReturn:
    """Say that a name is that of no data set, and which there are; `given` are those that people gave in a store."""
    near = difflib.get_close_matches(spec, given, n=_MOST_GIVEN) or given[:_MOST_GIVEN]
    raise BadInput(
        f"{spec!r} names no data set."
        + (f" By names that were given the store has: {', '.join(near)}." if near else ""),
        hint=f"Write {', '.join(kind.shown.name for kind in KINDS.values())} "
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
    if name == pattern or rest.startswith(("/", "~")) or is_remote(rest):
        return name
    # What was not typed holds no wildcards: the working folder may be called birds [v2].
    path = name.partition(":")[2]
    here = os.path.commonpath([path, Path.cwd().as_posix()])
    return f"{kind}:{glob.escape(here)}{path.removeprefix(here)}"


def known_splits(spec: str, data_root: Path | None = None) -> Sequence[str] | None:
    """Return the splits of a data set, as far as names, listings of folders and tables tell; None where they do not."""
    name = canonical_name(spec, data_root)
    kind, _, rest = name.partition(":")
    if kind == "torchvision":
        from .torchvision_sets import SPLITS

        return tuple(SPLITS[rest]) if rest in SPLITS else None
    with suppress(CryoprobeError, OSError):
        return load_dataset(name, data_root=data_root).splits if kind in ("csv", "sklearn") or is_listed(name) else None
    return None


def is_listed(name: str) -> bool:
    """Say whether opening the data set of that canonical name lists local folders, and reads no file."""
    return name.startswith("folder:") and not is_remote(name.partition(":")[2])


def list_datasets() -> list[DatasetKind]:
    """Return the kinds of data sets, and each of torchvision's, with an example."""
    from .torchvision_sets import SPLITS

    rows = [kind.shown for kind in KINDS.values() if kind.shown.name != "torchvision:NAME"]
    for which, splits in SPLITS.items():
        parts = ", ".join(splits)
        rows.append(DatasetKind(f"torchvision:{which}", f"splits: {parts}", f"torchvision:{which} --data-root DIR"))
    for kind, package in sorted(doors.announced(doors.DATASETS).items()):
        rows.append(DatasetKind(f"{kind}:…", f"of the package {package}", f"{kind}:…"))
    return rows
