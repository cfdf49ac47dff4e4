"""Indices of tar files, kept on this machine: a file that has not changed is not looked through again."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from ....errors import CryoprobeError
from ....files import replacing
from ....folders import cache_folder
from .tar_index import TarIndex, Wanted

_VERSION = 1
"""Of the rules of `tar_index`: an index that was made by others is made anew."""


def kept_index(place: str, stamp: str | None, wanted: Wanted) -> TarIndex | None:
    """Return the index of a tar file that is unchanged since it was made; None if there is none."""
    if stamp is None:
        return None
    try:
        found = json.loads(_file(place, wanted).read_bytes())
        if found["of"] != [_VERSION, place, stamp, *wanted]:
            return None
        index = TarIndex(**found["index"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    lengths = {len(getattr(index, f.name)) for f in fields(index)[:5]}
    return index if len(lengths) == 1 else None


def keep_index(place: str, stamp: str | None, wanted: Wanted, index: TarIndex) -> None:
    """Keep an index; it is not an error if that is not possible."""
    if stamp is None:
        return
    file = _file(place, wanted)
    with suppress(OSError, CryoprobeError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as out:
            out.write(json.dumps({"of": [_VERSION, place, stamp, *wanted], "index": asdict(index)}).encode())


def _file(place: str, wanted: Wanted) -> Path:
    name = hashlib.sha256(json.dumps([place, *wanted]).encode()).hexdigest()[:32]
    return cache_folder() / "shards" / "indices" / f"{name}.json"
