"""A cache of sealed objects on this machine: what a remote store gave is not fetched again.

Objects are named by their sha256, so that nothing ever becomes stale, and stores that share an object share its copy.
Processes need no lock between them: an object appears whole, by a rename, and may vanish at any time, which whoever
looks for it takes for a miss. How recently an object was used is its modification time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...canonical import canonical_json
from ...errors import Corrupt, NotFound, Unavailable
from ..chunks import CRC_BYTES, ObjectRecord, Part, check_chunk, corrupt, encode_chunk
from ..sample_index import cache_folder
from .backend import Backend, ObjectDetails, ObjectInfo
from .known import cache_size
from .local import fill_from_file

DEFAULT_SIZE = 20 * 2**30

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = ".tmp-"
_ABANDONED_SECONDS = 3600.0
_ROOM = 0.9  # of the size, which is left after making room, so that it need not be made for every object
_SLACK = 0.05  # of the size, which a process writes before it looks anew at what others have written

_log = logging.getLogger("cryoprobe")


def objects_folder() -> Path:
    """Return where objects are cached: ``$CRYOPROBE_CACHE_DIR``, else ``objects`` in the folder for local state."""
    explicit = os.environ.get("CRYOPROBE_CACHE_DIR")
    return Path(explicit).expanduser() if explicit else cache_folder() / "objects"


class Usage(NamedTuple):
    """What a cache holds."""

    objects: int
    bytes: int


class CacheState(NamedTuple):
    """The cache of this machine: where it is, its size in bytes, and what it holds."""

    folder: str
    size: int
    objects: int
    bytes: int


class _Entry(NamedTuple):
    used: float
    size: int
    path: Path


class ObjectCache:
    """Sealed objects in a folder, by their sha256, the most recently used ones up to a size.

    Parameters
    ----------
    folder : Path
        Made when the first object is kept.
    size : int
        Bytes. Each process that writes may exceed it by a twentieth, as it does not see at once what others write.

    Guarantees
    ----------
    What `read` gives is verified by its crc32c, and what `keep` is given was verified by its sha256. Whatever fails on
    the cache's own disk is no error: it is as good as empty.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        self._lock = threading.Lock()
        self._usable = True
        self._held: int | None = None  # bytes that were there at the last look, and that we have written since
        self._unseen = 0  # bytes that we have written since

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectCache, (self.folder, self.size)

    def read(self, record: ObjectRecord, parts: Sequence[Part]) -> bool:
        """Read an object into `parts`, verified; return whether it was there. A damaged copy is removed."""
        if (path := self._path(record)) is None:
            return False
        try:
            size = fill_from_file(path, parts)
            check_chunk(parts, size, record, key=path.name, url=str(self.folder))
        except OSError:  # not there, evicted this instant, or a disk that fails
            return False
        except Corrupt:
            with suppress(OSError):
                path.unlink()
            return False
        with suppress(OSError):
            os.utime(path)
        return True

    def keep(self, record: ObjectRecord, parts: Sequence[Part]) -> None:
        """Keep an object that is whole, and make room for it. If that fails, it is said once, and given up."""
        if (path := self._path(record)) is not None:
            self._write(path, parts)

    def recall(self, about: str) -> dict[str, list[str]]:
        """Return what `remember` was told last about something; nothing where that is gone or damaged."""
        path = self._note(about)
        try:
            data = path.read_bytes()
            if len(data) < CRC_BYTES or encode_chunk(np.frombuffer(data[:-CRC_BYTES], np.uint8)) != data:
                return {}
            os.utime(path)
        except OSError:
            return {}
        found: dict[str, list[str]] = json.loads(data[:-CRC_BYTES])
        return found

    def remember(self, about: str, values: Mapping[str, Sequence[str]]) -> None:
        """Keep a few texts for each of many keys, as one more object."""
        data = encode_chunk(np.frombuffer(canonical_json(values), np.uint8))
        self._write(self._note(about), [np.frombuffer(data, np.uint8)])

    def _note(self, about: str) -> Path:
        name = hashlib.sha256(about.encode()).hexdigest()
        return self.folder / name[:2] / name

    def _write(self, path: Path, parts: Sequence[Part]) -> None:
        size = sum(len(part) for part in parts)
        if not self._usable or size > self.size:
            return
        try:
            self._make_room(size)
            temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with temporary.open("xb", buffering=0) as file:
                    for part in parts:
                        view = part.data
                        while view:  # an unbuffered write may take only part
                            view = view[file.write(view) :]
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as e:
            with self._lock:
                first, self._usable = self._usable, False
            if first:
                _log.warning(
                    "The cache %s cannot be written (%s): reading goes on without it.", self.folder, e.strerror or e
                )

    def usage(self) -> Usage:
        """Count objects and bytes, unfinished ones included. Raises OSError."""
        sizes = [entry.size for entry in self._entries()]
        return Usage(len(sizes), sum(sizes))

    def clear(self) -> Usage:
        """Remove every object; return what that was. Raises OSError."""
        removed = [entry.size for entry in self._entries() if _remove(entry.path)]
        with self._lock:
            self._held = None
        return Usage(len(removed), sum(removed))

    def _path(self, record: ObjectRecord) -> Path | None:
        sha256 = record.sha256
        return self.folder / sha256[:2] / sha256 if _SHA256.fullmatch(sha256) else None

    def _entries(self) -> Iterator[_Entry]:
        """Yield what is in the folder; only what is named as this module names things."""
        with suppress(FileNotFoundError):
            folders = [f for f in os.scandir(self.folder) if len(f.name) == 2 and f.is_dir(follow_symlinks=False)]
            for folder in folders:
                for file in os.scandir(folder):
                    if _SHA256.fullmatch(file.name) or file.name.startswith(_TEMPORARY):
                        with suppress(FileNotFoundError):
                            stat = file.stat(follow_symlinks=False)
                            yield _Entry(stat.st_mtime, stat.st_size, Path(file.path))

    def _make_room(self, size: int) -> None:
        """Remove what was used least recently, where `size` more bytes would not fit."""
        with self._lock:
            if self._held is None or self._unseen > _SLACK * self.size:
                self._held, self._unseen = sum(entry.size for entry in self._entries()), 0
            self._held += size
            self._unseen += size
            if self._held <= self.size:
                return
            entries = sorted(self._entries())
            self._held, self._unseen = sum(entry.size for entry in entries) + size, size
            abandoned = time.time() - _ABANDONED_SECONDS
            target = max(_ROOM * self.size, size) if self._held > self.size else self.size
            for used, held, path in entries:
                if self._held <= target:
                    break
                if path.name.startswith(_TEMPORARY) and used > abandoned:
                    continue  # somebody is just writing it
                if _remove(path):
                    self._held -= held


class CachedBackend(Backend):
    """A backend whose sealed chunks are read through a cache; everything else is asked of the storage itself.

    Names, trials, claims, listings and seals can appear or change, and are never cached.

    Parameters
    ----------
    origin : Backend
    cache : ObjectCache
    """

    def __init__(self, origin: Backend, cache: ObjectCache) -> None:
        self.origin = origin
        self.cache = cache
        self.url = origin.url
        self.unproven = origin.unproven
        self.remote = origin.remote
        self.near = origin.near

    def read_sealed(self, key: str, record: ObjectRecord, parts: Sequence[Part]) -> None:
        """Read a sealed chunk from the cache, or fetch it, verify it by size and sha256, and keep it."""
        if self.cache.read(record, parts):
            return
        try:
            size = self.origin.fill(key, parts)
        except NotFound:
            raise corrupt(key, self.url, "is missing", f"{record.size} bytes", "no object") from None
        check_chunk(parts, size, record, key=key, url=self.url)
        found = hashlib.sha256()
        for part in parts:
            found.update(part.data)
        if found.hexdigest() != record.sha256:
            expected = f"sha256 {record.sha256[:16]}…"
            raise corrupt(key, self.url, "is not what was sealed", expected, f"sha256 {found.hexdigest()[:16]}…")
        self.cache.keep(record, parts)

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        return self.origin.get(key, limit)

    def fill(self, key: str, parts: Sequence[Part]) -> int:  # noqa: D102
        return self.origin.fill(key, parts)

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        self.origin.put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        return self.origin.put_if_absent(key, data)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        return self.origin.list(prefix)

    def keys(self, prefix: str = "") -> Iterator[str]:  # noqa: D102
        return self.origin.keys(prefix)

    def versions(self, prefix: str) -> Mapping[str, str] | None:  # noqa: D102
        return self.origin.versions(prefix)

    def read_all(self, prefix: str, limit: int) -> Iterator[tuple[str, bytes]]:
        """Yield key and content of every object whose key starts with `prefix`, ordered by key.

        They are listed anew each time. What was read before is not read again where the listing says that it is the
        same: the only way in which what can change is cached.
        """
        versions = self.origin.versions(prefix)
        if versions is None:
            yield from self.origin.read_all(prefix, limit)
            return
        about = f"{self.url}/{prefix}"
        known = self.cache.recall(about)
        current = {key: known[key] for key in versions if key in known and known[key][0] == versions[key]}
        changed = sorted(versions.keys() - current.keys())
        for key, data in self.origin.read_several(changed, limit):
            current[key] = [versions[key], data.decode("latin-1")]
        if changed or len(known) != len(current):
            self.cache.remember(about, current)
        for key in sorted(current):
            yield key, current[key][1].encode("latin-1")

    def any_key(self) -> str | None:  # noqa: D102
        return self.origin.any_key()

    def delete(self, key: str) -> None:  # noqa: D102
        self.origin.delete(key)

    def copy(self, source: str, target: str) -> None:  # noqa: D102
        self.origin.copy(source, target)

    def copy_from(self, other: Backend, key: str) -> bool:  # noqa: D102
        return self.origin.copy_from(other.origin if isinstance(other, CachedBackend) else other, key)

    def exists(self, key: str) -> bool:  # noqa: D102
        return self.origin.exists(key)

    def inspect(self, prefix: str = "") -> Iterator[ObjectDetails]:  # noqa: D102
        return self.origin.inspect(prefix)

    def leftovers(self) -> Iterator[ObjectDetails]:  # noqa: D102
        return self.origin.leftovers()

    def discard(self, leftover: ObjectDetails) -> None:  # noqa: D102
        self.origin.discard(leftover)


def cached(backend: Backend, size: int | None = None) -> Backend:
    """Return `backend`, read through this machine's cache if it is remote.

    Parameters
    ----------
    backend : Backend
    size : int, optional
        Of the cache in bytes; 0 does without. By default what the environment or a configuration file says, else
        20 GiB.
    """
    cache = _cache(size) if backend.remote else None
    return CachedBackend(backend, cache) if cache is not None and cache.size else backend


def cache_state() -> CacheState:
    """Return where this machine's cache is, how large it may be, and what it holds.

    Raises
    ------
    Unavailable
        If its folder cannot be read.
    """
    cache = _cache()
    return CacheState(str(cache.folder), cache.size, *_asked(cache, cache.usage))


def clear_cache() -> Usage:
    """Remove everything from this machine's cache, and return what that was. Readers fetch again what they need.

    Raises
    ------
    Unavailable
        If its folder cannot be read or written.
    """
    cache = _cache()
    return _asked(cache, cache.clear)


def _cache(size: int | None = None) -> ObjectCache:
    size = cache_size() if size is None else size
    return ObjectCache(objects_folder(), DEFAULT_SIZE if size is None else size)


def _asked(cache: ObjectCache, ask: Callable[[], Usage]) -> Usage:
    try:
        return ask()
    except OSError as e:
        raise Unavailable(
            f"The cache {cache.folder} cannot be used: {e.strerror or e}.",
            hint="Check its folder (CRYOPROBE_CACHE_DIR).",
            key=str(cache.folder),
        ) from e


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
