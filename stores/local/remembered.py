"""What this machine remembers of things that were read from files: a JSON value by key, believed while the files stay.

An optimisation only, kept in the user's cache folder: a value that cannot be written or read is as good as none. As in
the sample index, a file is what it was if path, size, mtime, ctime and inode agree, and if it had been so for two
seconds before it was read. What was not there must still not be there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from ...errors import CryoprobeError
from ...files import replacing
from ...folders import cache_folder
from .mounts import Mounts
from .sample_index import is_old, stamp

_MOST_BYTES = 1 << 22


class Remembered:
    """Values by key, one file each.

    Parameters
    ----------
    kind : str
        Name of their folder.
    folder : Path, optional
        Where that is; `cache_folder` by default.
    """

    def __init__(self, kind: str, folder: Path | None = None) -> None:
        self._folder = (folder or cache_folder()) / kind

    def read(self, key: str) -> JsonValue:
        """Return what was remembered under a key; None if that is nothing, or a file that it was read from changed.

        Parameters
        ----------
        key : str
            Hexadecimal digits.
        """
        try:
            with self._file(key).open("rb") as file:
                found = json.loads(file.read(_MOST_BYTES))
            files, value = found["files"], found["value"]
            mounts = Mounts()
            return value if all(_state(Path(path), mounts) == state for path, state in files) else None
        except (OSError, ValueError, TypeError, LookupError):  # none, or damaged
            return None

    def write(self, key: str, value: JsonValue, files: Iterable[Path], since_ns: int) -> None:
        """Remember a value, unless one of its files is too young to be told from a later one.

        Parameters
        ----------
        key : str
        value : JSON value
        files : iterable of Path
            All that it was read from, and what would have been read in their place.
        since_ns : int
            When reading began, `time.time_ns`.
        """
        mounts = Mounts()
        states: list[JsonValue] = []
        for path in dict.fromkeys(files):
            try:
                found = stamp(path, mounts)
            except OSError:
                states.append([os.fspath(path), None])
                continue
            if not is_old(found, since_ns):
                self.forget(key)
                return
            states.append([os.fspath(path), list(found)])
        with suppress(OSError, ValueError, CryoprobeError):  # no space, no rights, a name that is not UTF-8
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._file(key)) as file:
                file.write(json.dumps({"files": states, "value": value}).encode())

    def forget(self, key: str) -> None:
        """Remember nothing under a key."""
        with suppress(OSError):
            self._file(key).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _state(path: Path, mounts: Mounts) -> list[int | None] | None:
    """Return what stat says of a file, as it is written; None if there is none."""
    try:
        return list(stamp(path, mounts))
    except OSError:
        return None
