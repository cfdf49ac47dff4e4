"""What a pattern of files names: brace ranges as webdataset expands them, and wildcards; in the pattern's order."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ....amounts import count
from ....errors import BadInput, NotFound
from ....parallel import each
from ....stores.backends.remote_files import RemoteFile, RemoteFiles, root_of
from ..splits import status
from ..urls import BUCKETS, is_remote

File = TypeVar("File")

PARQUET = (".parquet", ".pq")
"""How the names of parquet files end."""

_WILD = re.compile(r"[*?[]")
_NAMED = 3
"""How many missing files are named."""


@dataclass(frozen=True)
class Found:
    """Files that a pattern names: local ones, or remote ones of one place each.

    Parameters
    ----------
    local : list of Path
    remote : list of (RemoteFiles, RemoteFile)
    """

    local: list[Path]
    remote: list[tuple[RemoteFiles, RemoteFile]]


def find(pattern: str, endings: tuple[str, ...]) -> Found:
    """Return the files that a pattern names.

    Parameters
    ----------
    pattern : str
        A path or URL, with ``{000..127}``, ``{a,b}``, ``*``, ``?`` and ``[…]``; or a folder, for its files with one of
        these endings.
    endings : tuple of str

    Raises
    ------
    NotFound
        If it names none, or one that is named is not there.
    BadInput
        If it cannot be expanded.
    """
    if is_remote(pattern):
        return Found([], _remote(pattern, endings))
    return Found(_local(pattern, endings), [])


def expanded(pattern: str) -> list[str]:
    """Expand the braces of a pattern, as webdataset does.

    Raises
    ------
    BadInput
        If they do not close, or the package for it is not installed.
    """
    if "{" not in pattern:
        return [pattern]
    try:
        from braceexpand import braceexpand
    except ImportError:
        raise BadInput(
            f"The braces in {pattern} need one more package.",
            hint="Install it: pip install 'cryoprobe[wds]'",
            key="dataset",
        ) from None
    try:
        return list(braceexpand(pattern))
    except ValueError:  # UnbalancedBracesError
        raise BadInput(f"A brace in {pattern} does not close.", hint="Write {000..127}.", key="dataset") from None


def _local(pattern: str, endings: tuple[str, ...]) -> list[Path]:
    if (found := status(Path(pattern))) is not None and stat.S_ISREG(found.st_mode):
        return [Path(pattern)]  # whatever signs its name has
    files: list[Path] = []
    missing = []
    for part in expanded(pattern):
        path = Path(part)
        if (found := status(path)) is not None:
            files += _inside(path, endings) if stat.S_ISDIR(found.st_mode) else [path]
        elif _WILD.search(part):
            matches = sorted(glob.glob(part, recursive=True), key=os.fsencode)  # noqa: PTH207  # as many as there are
            files += [Path(match) for match in matches if not Path(match).is_dir()]
        else:
            missing.append(part)
    return _complete(files, missing, pattern, endings)


def _inside(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Return the files in a folder, at any depth, that have one of the endings; hidden ones are left out."""
    found = []
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(here, n) for n in names if n.lower().endswith(endings) and not n.startswith(".")]
    return sorted(found, key=os.fsencode)


def _remote(pattern: str, endings: tuple[str, ...]) -> list[tuple[RemoteFiles, RemoteFile]]:
    places: dict[str, _Listing] = {}
    files: list[tuple[RemoteFiles, RemoteFile]] = []
    missing: list[str] = []
    urls = expanded(pattern)
    for url in urls:
        place, _ = root_of(url)
        if place not in places:
            places[place] = _Listing(RemoteFiles(place), place)
    for url, found in zip(urls, _asked(places, urls, endings), strict=True):
        place, _ = root_of(url)
        files += [(places[place].files, file) for file in found]
        if not found and not _WILD.search(url) and not url.endswith("/"):
            missing.append(url)
    return _complete(files, missing, pattern, endings)


def _asked(places: dict[str, _Listing], urls: Sequence[str], endings: tuple[str, ...]) -> Iterator[list[RemoteFile]]:
    def ask(url: str) -> list[RemoteFile]:
        place, key = root_of(url)
        return places[place].named(key, endings)

    if len(urls) == 1 or any(place.partition("://")[0] in BUCKETS for place in places):
        yield from map(ask, urls)  # a listing serves them all
    else:
        yield from each(ask, urls)


class _Listing:
    """What there is in one place, listed once for each folder that is asked for."""

    def __init__(self, files: RemoteFiles, place: str) -> None:
        self.files = files
        self._place = place
        self._lists = place.partition("://")[0] in BUCKETS
        self._listed: dict[str, list[RemoteFile]] = {}

    def named(self, key: str, endings: tuple[str, ...]) -> list[RemoteFile]:
        if not self._lists:
            if _WILD.search(key) or not key or key.endswith("/"):
                raise BadInput(
                    f"{self._place} is a web server, which does not list its files.",
                    hint="Name them: shards/train-{000..127}.tar",
                    key="dataset",
                )
            try:
                return [self.files.head(key)]
            except NotFound:
                return []
        if not key or key.endswith("/"):
            return [file for file in self._below(key) if file.key.lower().endswith(endings)]
        wild = _WILD.search(key)
        folder = (key[: wild.start()] if wild else key).rpartition("/")[0]
        fits = _matcher(key) if wild else key.__eq__
        return [file for file in self._below(folder) if fits(file.key)]

    def _below(self, folder: str) -> list[RemoteFile]:
        if folder not in self._listed:
            self._listed[folder] = self.files.list(folder.rstrip("/"))
        return self._listed[folder]


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Return what says whether a key fits a pattern: as in a shell, ``*`` and ``?`` do not go over a slash."""
    text, at = "", 0
    for found in re.finditer(r"\*\*/|\*+|\?|\[[!^]?\]?[^]]*\]", pattern):
        text += re.escape(pattern[at : found.start()])
        sign, at = found[0], found.end()
        if sign == "**/":
            text += "(?:.*/)?"
        elif sign[0] == "[":
            text += "[" + re.sub(r"^!", "^", sign[1:-1]).replace("\\", r"\\") + "]"
        else:
            text += "[^/]*" if sign[0] == "*" else "[^/]"
    whole = re.compile(text + re.escape(pattern[at:]), re.DOTALL)
    return lambda key: whole.fullmatch(key) is not None


def _complete(files: list[File], missing: Sequence[str], pattern: str, endings: tuple[str, ...]) -> list[File]:
    """Return files each once, in their order; refuse a pattern of which some are not there."""
    if missing:
        named = ", ".join(missing[:_NAMED]) + (f" … {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
        if len(missing) == 1 and missing[0] == pattern:
            raise NotFound(f"There is no {pattern}.", hint="Check the path of the data set.", key=pattern)
        raise NotFound(
            f"{count(len(missing), 'file')} of {pattern} {'is' if len(missing) == 1 else 'are'} not there: {named}.",
            hint="Correct the range, or name what is there by wildcards.",
            key=pattern,
        )
    if not files:
        raise NotFound(
            f"{pattern} names no file.",
            hint=f"Check the pattern; of a folder the files {' and '.join('*' + e for e in endings)} are taken.",
            key=pattern,
        )
    return list(dict.fromkeys(files))
