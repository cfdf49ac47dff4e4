"""How a data set of the Hub holds sets: which files it has, and which of them are which set.

============================================  ==========================================================================
``README.md``                                 the card
``data/<config>/<split>-00000-of-00002.parquet``  the rows of a set
``cryoprobe/store/<key>``                     every other object of the store as it is: manifests, zarr documents,
                                              names, trials, predictions
``cryoprobe/index.json``                      the list of these files with size and sha256, and of the sets
============================================  ==========================================================================

The chunks of a set are left out: they follow from its rows, bit by bit, and are compared with the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...canonical import digest
from ...checksummed import LARGE, dump_document
from ...errors import Corrupt, Incompatible
from ...validation import Count, Sha256, first_problem
from ..backends.backend import is_key
from ..backends.memory import MemoryBackend
from ..format.documents import read_document
from ..format.manifest import Manifest
from ..format.names import NamedSet

INDEX = "cryoprobe/index.json"
OBJECTS = "cryoprobe/store/"
CARD = "README.md"

VERSION = 1
_LONGEST_WORD = 40
_OTHER = "Ask whoever pushed it, or pull an earlier commit: hf://datasets/USER/NAME@COMMIT"


class HubFile(BaseModel):
    """A file of the data set: its size in bytes, and its sha256."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    size: Count
    sha256: Sha256


class Shard(BaseModel):
    """A parquet file with some consecutive rows of a set."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    rows: Annotated[Count, Field(gt=0)]


class HubSet(BaseModel):
    """Where a set is: the key of its manifest, its configuration and split, and its files in order."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    manifest: str
    config: str
    split: str
    shards: tuple[Shard, ...]


class HubIndex(BaseModel):
    """The list of what a data set of the Hub holds.

    Parameters
    ----------
    version : int
    files : dict of str to HubFile
        By path; all but the card and the list itself.
    sets : dict of str to HubSet
        By set id.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = VERSION
    files: dict[str, HubFile] = {}
    sets: dict[str, HubSet] = {}

    def dump(self) -> bytes:
        """Return the file: JSON with a checksum of its own content."""
        return dump_document(self.model_dump(mode="json"))

    def problem(self) -> str | None:
        """Return what does not fit together; None if all does. The list may come from a stranger."""
        if bad := next((path for path in self.files if not is_key(path)), None):
            return f"{bad[:80]!r} is not a path"
        for set_id, found in self.sets.items():
            if found.manifest.rpartition("/")[2] != f"{set_id}.json" or OBJECTS + found.manifest not in self.files:
                return f"the set {set_id[:12]} has no manifest"
            if not found.shards or any(shard.path not in self.files for shard in found.shards):
                return f"the set {set_id[:12]} lacks files"
        return None


def read_index(data: bytes, url: str) -> HubIndex:
    """Return the list that a file holds.

    Raises
    ------
    Corrupt
        If it is damaged.
    Incompatible
        If a newer version wrote it.
    """
    held = MemoryBackend()
    held.url = url
    held.put(INDEX, data)
    content = read_document(held, INDEX, "list", _OTHER, LARGE)
    if isinstance(version := content.get("version"), int) and version > VERSION:
        raise Incompatible(
            f"{INDEX} in {url} has version {version}; this version knows {VERSION}.",
            hint="Upgrade Cryoprobe: pip install -U cryoprobe",
            key=INDEX,
        )
    try:
        found = HubIndex.model_validate(content)
        problem = found.problem()
    except ValidationError as e:
        problem = first_problem(e)
    if problem is not None:
        raise Corrupt(f"{INDEX} in {url} is damaged: {problem}.", hint=_OTHER, key=INDEX)
    return found


def config_and_split(manifest: Manifest, named: NamedSet, taken: Container[tuple[str, str]]) -> tuple[str, str]:
    """Return the configuration and split under which a set's rows are read with the package datasets.

    Sets that differ in their split alone share a configuration. If another set has that split already, such as the
    data set before it grew, the set gets a configuration of its own.

    Parameters
    ----------
    manifest : Manifest
    named : NamedSet
        Its newest name.
    taken : container of (str, str)
        Configurations and splits of other sets.
    """
    name = named.name
    same = digest({**{k: v for k, v in name.written.items() if k != "split"}, "encoder": manifest.encoder_id})
    words = (name.model, name.dataset.rstrip("/").rpartition("/")[2], name.tap)
    config = "-".join([*(word for word in map(_word, words) if word), same[:8]])
    split = re.sub(r"\W+", "_", name.split, flags=re.ASCII).strip("_") or "split"
    if split == "all":  # a word of the package datasets: all splits
        split = "full"
    if (config, split) in taken:
        config = f"{config}-{manifest.set[:8]}"
    return config, split


def data_files(config: str, split: str, count: int) -> list[str]:
    """Return the paths of the files with a set's rows."""
    return [f"data/{config}/{split}-{i:05d}-of-{count:05d}.parquet" for i in range(count)]


def replaced_files(index: HubIndex, sets: Iterable[str]) -> set[str]:
    """Return the paths of the rows of some sets."""
    return {shard.path for s in sets if s in index.sets for shard in index.sets[s].shards}


def _word(text: str) -> str:
    """Return a text as part of a configuration's name, which is also a folder's."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:_LONGEST_WORD].strip("-.")
