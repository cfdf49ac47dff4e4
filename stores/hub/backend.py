"""A data set of the Hub as a store: its objects are files there, or chunks that are made of the rows in them.

`HubBackend` is only read. `HubDraft` takes what a transfer writes, and keeps it until it is sent as one commit.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...errors import Corrupt, NotFound, ReadOnly
from ..backends.backend import Backend, ObjectInfo, check_key, check_prefix, too_large
from ..backends.local import LocalBackend
from ..chunks import check_object
from ..format.manifest import Manifest, read_manifest
from .index import OBJECTS, HubIndex
from .rows import ShardedRows

_CHUNK = re.compile(r"sets/([0-9a-f]{64})/[0-9a-f]{12}/(embeddings|norms|labels|samples)/c/([0-9]{1,12})(?:/0)?")
_ASK = "Ask whoever pushed it, or pull an earlier commit: hf://datasets/USER/NAME@COMMIT"
_BLOCK = 1 << 20


class Chunk(NamedTuple):
    """Which chunk an object is: of which set, which array, and which one."""

    set: str
    array: str
    number: int


def chunk_of(key: str) -> Chunk | None:
    """Return which chunk of a set's arrays an object is, by its key; None if it is none.

    Examples
    --------
    >>> chunk_of(f"sets/{'0' * 64}/{'1' * 12}/norms/c/7")[1:]
    ('norms', 7)
    >>> chunk_of("trials/1.json") is None
    True
    """
    found = _CHUNK.fullmatch(key)
    return None if found is None else Chunk(found[1], found[2], int(found[3]))


class HubBackend(Backend):
    """A commit of a data set of the Hub, to read. It may come from anybody.

    Parameters
    ----------
    url : str
    index : HubIndex
        Its list of files.
    fetch : callable
        Returns the file at a path of the data set, on this machine.
    present : frozenset of str
        Paths that the data set has.

    Guarantees
    ----------
    A file is compared with the list by size and sha256 before anything of it is used, and a chunk that is made of rows
    with its record in the manifest. So whoever changes a row, and the list with it, is still found out.
    """

    remote = True

    def __init__(self, url: str, index: HubIndex, fetch: Callable[[str], Path], present: frozenset[str]) -> None:
        self.url = url
        self.index = index
        self.present = present
        self._fetch = fetch
        self._whole: set[str] = set()
        self._sets: dict[str, tuple[Manifest, ShardedRows]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        path = OBJECTS + check_key(key)
        if (file := self.index.files.get(path)) is not None:
            if limit is not None and file.size > limit:
                raise too_large(key, self.url, limit, file.size)
            return self.file(path).read_bytes()
        chunk = chunk_of(key)
        if chunk is None or chunk.set not in self.index.sets:
            raise self._absent(key)
        manifest, rows = self._set(chunk.set)
        relative = manifest.form(chunk.array).key(chunk.array, chunk.number)
        record = manifest.objects.get(relative)
        if record is None or key != f"{manifest.folder}/{relative}":
            raise self._absent(key)
        data = rows.chunk(chunk.array, chunk.number)
        try:
            check_object(data, record, key=key, url=self.url)
        except Corrupt as e:
            raise Corrupt(
                f"{e.message}\nThe rows of set {chunk.set[:12]} in {self.url} are not those that were sealed.",
                hint=_ASK,
                key=key,
                expected=e.expected,
                found=e.found,
            ) from None
        return data

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        check_prefix(prefix)
        found = {
            path.removeprefix(OBJECTS): file.size
            for path, file in self.index.files.items()
            if path.startswith(OBJECTS + prefix) and path in self.present
        }
        for set_id in self.index.sets:
            folder = f"sets/{set_id}/"
            if folder.startswith(prefix) or prefix.startswith(folder):
                found |= {key: size for key, size in self._chunk_sizes(set_id) if key.startswith(prefix)}
        for key in sorted(found):
            yield ObjectInfo(key, found[key])

    def exists(self, key: str) -> bool:  # noqa: D102
        path = OBJECTS + check_key(key)
        if path in self.index.files:
            return path in self.present
        return "/" in key and any(info.key == key for info in self.list(f"{key.rpartition('/')[0]}/"))

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        raise self._read_only(check_key(key))

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        raise self._read_only(check_key(key))

    def delete(self, key: str) -> None:  # noqa: D102
        raise self._read_only(check_key(key))

    def file(self, path: str) -> Path:
        """Return a file of the data set on this machine, once it is what the list says.

        Raises
        ------
        Corrupt
            If it is another one, or is missing.
        """
        if path not in self.present:
            raise Corrupt(f"{path} is missing from {self.url}, whose list has it.", hint=_ASK, key=path)
        found, expected = self._fetch(path), self.index.files[path]
        if path not in self._whole:
            size, sha256 = described(found)
            if (size, sha256) != (expected.size, expected.sha256):
                raise Corrupt(
                    f"{path} in {self.url} is not the file that was pushed: expected {expected.size} bytes with sha256 "
                    f"{expected.sha256[:16]}…, found {size} with {sha256[:16]}…",
                    hint=f"{_ASK}\nIf only this machine's copy is damaged, delete it: {found}",
                    key=path,
                    expected=expected.sha256,
                    found=sha256,
                )
            self._whole.add(path)
        return found

    def _set(self, set_id: str) -> tuple[Manifest, ShardedRows]:
        with self._lock:
            if set_id not in self._sets:
                where = self.index.sets[set_id]
                manifest = read_manifest(self, where.manifest)
                shards = [(s.path, s.rows, partial(self.file, s.path)) for s in where.shards]
                if sum(shard.rows for shard in where.shards) != manifest.rows:
                    raise Corrupt(f"The files of set {set_id[:12]} in {self.url} do not have its rows.", hint=_ASK)
                self._sets[set_id] = manifest, ShardedRows(manifest, shards, self.url)
            return self._sets[set_id]

    def _chunk_sizes(self, set_id: str) -> Iterator[tuple[str, int]]:
        """Yield the chunks of a set that can be made, with their sizes: none if files of it are missing."""
        if any(shard.path not in self.present for shard in self.index.sets[set_id].shards):
            return
        manifest, _ = self._set(set_id)
        for relative, record in manifest.objects.items():
            key = f"{manifest.folder}/{relative}"
            if chunk_of(key) is not None:
                yield key, record.size

    def _absent(self, key: str) -> NotFound:
        return NotFound(f"There is no object {key} in {self.url}.", key=key)

    def _read_only(self, key: str) -> ReadOnly:
        return ReadOnly(
            f"{self.url} is not written to object by object.",
            hint=f"Send sets there: cryoprobe push {self.url}",
            key=key,
        )


class HubDraft(HubBackend):
    """The next commit of a data set: what is there, and what was written since.

    Parameters
    ----------
    there : HubBackend
        What is there.
    folder : Path
        Takes objects that are written. Chunks are not kept: they go there as rows.
    """

    def __init__(self, there: HubBackend, folder: Path) -> None:
        super().__init__(there.url, there.index, there._fetch, there.present)
        self.written = LocalBackend(folder)
        self.deleted: set[str] = set()
        self._chunks: dict[str, int] = {}

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        if key in self.deleted:
            raise self._absent(key)
        try:
            return self.written.get(key, limit)
        except NotFound:
            return super().get(key, limit)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        found = {info.key: info.size for info in super().list(prefix) if info.key not in self.deleted}
        found |= {key: size for key, size in self._chunks.items() if key.startswith(prefix)}
        found |= {info.key: info.size for info in self.written.list(prefix)}
        for key in sorted(found):
            yield ObjectInfo(key, found[key])

    def exists(self, key: str) -> bool:  # noqa: D102
        if key in self.deleted:
            return False
        return key in self._chunks or self.written.exists(key) or super().exists(key)

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        if chunk_of(key) is not None:
            self._chunks[key] = len(data)
            return
        self.written.put(key, data)
        self.deleted.discard(key)

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        if self.exists(key):
            return False
        self.put(key, data)
        return True

    def delete(self, key: str) -> None:  # noqa: D102
        self.written.delete(key)
        self._chunks.pop(key, None)
        if OBJECTS + key in self.index.files:
            self.deleted.add(key)


def described(file: Path) -> tuple[int, str]:
    """Return size and sha256 of a file."""
    size, digest = 0, hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            size += len(block)
            digest.update(block)
    return size, digest.hexdigest()
