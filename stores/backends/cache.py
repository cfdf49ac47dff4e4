"""Reading a remote store through a cache on this machine: what it gave is not fetched again.

Objects are named by their sha256, so that nothing ever becomes stale, and stores that share an object share its copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ...errors import Unavailable
from ...folders import objects_folder
from ..chunks import Checksum, ObjectRecord, Part, corrupt
from ..local.config import cache_size
from .backend import Backend, ObjectDetails, ObjectInfo
from .object_cache import ObjectCache, Usage

DEFAULT_SIZE = 20 * 2**30


class CacheState(NamedTuple):
    """The cache of this machine: where it is, its size in bytes, and what it holds."""

    folder: str
    size: int
    objects: int
    bytes: int


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

    def read_chunk(self, key: str, record: ObjectRecord, parts: Sequence[Part]) -> None:
        """Read a sealed chunk from the cache, or fetch it, verify it by size and sha256, and keep it."""
        if self.cache.read(record, parts):
            return
        with self.cache.arrival(record) as arrival:
            self.origin.read_chunk_uncached(key, record, parts, arrival)
            if arrival.sha256 != record.sha256:
                expected = f"sha256 {record.sha256[:16]}…"
                raise corrupt(key, self.url, "is not what was sealed", expected, f"sha256 {arrival.sha256[:16]}…")
            arrival.publish()

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        return self.origin.get(key, limit)

    def read_into(self, key: str, parts: Sequence[Part], checksum: Checksum) -> int:  # noqa: D102
        return self.origin.read_into(key, parts, checksum)

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

    def any_key(self, prefix: str = "") -> str | None:  # noqa: D102
        return self.origin.any_key(prefix)

    def delete(self, key: str) -> None:  # noqa: D102
        self.origin.delete(key)

    def copy(self, source: str, target: str) -> None:  # noqa: D102
        self.origin.copy(source, target)

    def copy_from(self, other: Backend, key: str, *, link: bool = False) -> bool:  # noqa: D102
        return self.origin.copy_from(other.origin if isinstance(other, CachedBackend) else other, key, link=link)

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
