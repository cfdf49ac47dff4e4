"""The five verbs that a store needs of its storage, and what each guarantees.

Everything above this contract works on a disk, on NFS and on S3 alike, because nothing more is asked for: no rename
across the store, no lock, no compare-and-swap. Objects are written whole or not at all, and almost all of them are
never written twice.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ...errors import BadInput, Corrupt, NotFound
from ...parallel import each
from ..chunks import Checksum, ObjectRecord, Part, check_chunk, corrupt, scatter

_KEY = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")
_LONGEST_KEY = 512
_LONGEST_SEGMENT = 255  # of a file name on all common file systems


class ObjectInfo(NamedTuple):
    """What a listing says of one object: its key, and its size in bytes."""

    key: str
    size: int


class ObjectDetails(NamedTuple):
    """What the storage knows of one object.

    Parameters
    ----------
    key : str
    size : int
        In bytes.
    modified : float or None
        When it was last written, in seconds since 1970 by the storage's own clock; None where that is not told.
    file : tuple of int or None
        Equal for objects that share their bytes on a disk; None where each has bytes of its own.
    """

    key: str
    size: int
    modified: float | None = None
    file: tuple[int, int] | None = None


def is_key(key: str) -> bool:
    """Return whether `key` is a plain relative name, which cannot leave the store's folder."""
    return (
        len(key) <= _LONGEST_KEY
        and _KEY.fullmatch(key) is not None
        and (len(key) <= _LONGEST_SEGMENT or max(map(len, key.split("/"))) <= _LONGEST_SEGMENT)
    )


def check_key(key: str) -> str:
    """Return `key` if it is a plain relative name; raise `BadInput` where it could leave the store's folder."""
    if not is_key(key):
        raise BadInput(
            f"{key[:80]!r} is not an object key: segments of letters, digits, '.', '_' and '-'.", key=key[:80]
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it is empty or a key and ``/``; raise `BadInput` otherwise."""
    if prefix:
        check_key(prefix[:-1])
        if not prefix.endswith("/"):
            raise BadInput(f"{prefix[:80]!r} is not a prefix of object keys: it must end with '/'.", key=prefix[:80])
    return prefix


def too_large(key: str, url: str, limit: int, size: int) -> Corrupt:
    """Return the error for an object that has more bytes than one of its kind can have."""
    return Corrupt(
        f"{key} in {url} is too large: expected at most {limit} bytes, found {size}.",
        hint="Restore the object from a copy of the store, or delete it and run extract again.",
        key=key,
        expected=limit,
        found=size,
    )


class Backend(ABC):
    """A flat space of immutable-by-habit objects under keys such as ``sets/<id>/zarr.json``.

    Keys are relative, with ``/`` between segments; no segment starts with a dot.

    Attributes
    ----------
    url : str
        Where it is, for messages. Never holds credentials.
    unproven : bool
        Whether `put_if_absent` depends on a server that may not be up to it: it is then tried out when a store is made.
    remote : bool
        Whether what is read comes over a network, so that it is worth keeping on this machine.
    near : bool
        Whether reading an object back costs little beside sending it there again.
    """

    url: str
    unproven: bool = False
    remote: bool = False
    near: bool = False

    @abstractmethod
    def get(self, key: str, limit: int | None = None) -> bytes:
        """Return the whole object.

        Parameters
        ----------
        key : str
        limit : int, optional
            How many bytes it may have: whoever knows gives it, for a store can come from a stranger.

        Raises
        ------
        NotFound
            If there is none of that name.
        Corrupt
            If it has more than `limit` bytes.

        Guarantees
        ----------
        Never returns part of an object that `put` or `put_if_absent` wrote. Takes no memory for what is above `limit`.
        """

    def read_into(self, key: str, parts: Sequence[Part], checksum: Checksum) -> int:
        """Read the whole object into `parts`, one after another; backends override it where that spares a copy.

        `checksum` is given the same bytes in order, and told where reading starts again.

        Returns
        -------
        int
            Size of the object in bytes. Where `parts` are not as long together, they may hold anything.

        Raises
        ------
        NotFound
            If there is none of that name.
        """
        return scatter([self.get(key)], parts, checksum)

    def read_chunk(self, key: str, record: ObjectRecord, parts: Sequence[Part]) -> None:
        """Read a sealed chunk into `parts`, verified: from wherever its bytes are, since it never changes.

        Parameters
        ----------
        key : str
        record : ObjectRecord
            What the seal says of it.
        parts : sequence of Part
            As long together as the object; the last one has its last four bytes, the crc32c.

        Raises
        ------
        Corrupt
            If the object is missing, or is not the one that was sealed. `parts` may then hold anything.
        """
        self.read_chunk_uncached(key, record, parts)

    def read_chunk_uncached(
        self, key: str, record: ObjectRecord, parts: Sequence[Part], checksum: Checksum | None = None
    ) -> None:
        """Read a sealed chunk as `read_chunk` does, but from the storage itself, whatever a cache has.

        `checksum` may be one that does more with the bytes than what is needed here.
        """
        checksum = checksum or Checksum()
        try:
            size = self.read_into(key, parts, checksum)
        except NotFound:
            raise corrupt(key, self.url, "is missing", f"{record.size} bytes", "no object") from None
        check_chunk(parts, size, record, checksum, key=key, url=self.url)

    def home(self, key: str) -> str:
        """Return the URL of the storage that has, or would have, the object: where there are several."""
        del key
        return self.url

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write the object, replacing any of that name.

        Raises
        ------
        ReadOnly
            If the storage refuses. The old object, or none, is then still in place.
        Unavailable
            If it fails: the old object, or none, is then in place, or the new one where its answer was lost.

        Guarantees
        ----------
        Atomic: a reader sees the old object or the new one. Durable when it returns.
        """

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write the object unless one of that name exists; return whether this call wrote it.

        Raises
        ------
        ReadOnly, Unavailable
            As `put`.

        Guarantees
        ----------
        Of any number of concurrent callers at most one is told True, and every later `get` returns its bytes. False
        can also mean that one's own write won and its answer was lost: read before believing to have lost.
        """

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix`, which is empty or ends with ``/``, ordered by key.

        Guarantees
        ----------
        An object whose write returned before the listing began is listed. Unfinished writes never are.
        """

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that `list` does, in that order; backends override it where sizes cost something."""
        return (info.key for info in self.list(prefix))

    def versions(self, prefix: str) -> Mapping[str, str] | None:
        """Return for each key that `list` yields a text that changes when the object does, if a listing tells one.

        None where it does not.
        """
        del prefix
        return None

    def read_all(self, prefix: str, limit: int) -> Iterator[tuple[str, bytes]]:
        """Yield key and content of every object whose key starts with `prefix`, ordered by key: for small objects.

        One that is deleted meanwhile is left out, and one of more than `limit` bytes.
        """
        yield from self.read_several(self.keys(prefix), limit)

    def read_several(self, keys: Iterable[str], limit: int) -> Iterator[tuple[str, bytes]]:
        """Yield those of `keys` that there are with their content, in that order; several at once, where that helps."""

        def read(key: str) -> tuple[str, bytes] | None:
            try:
                return key, self.get(key, limit)
            except (Corrupt, NotFound):
                return None

        yield from (found for found in (each(read, keys) if self.remote else map(read, keys)) if found is not None)

    def inspect(self, prefix: str = "") -> Iterator[ObjectDetails]:
        """Yield what `list` does, with more details where the storage has them."""
        for info in self.list(prefix):
            yield ObjectDetails(info.key, info.size)

    def leftovers(self) -> Iterator[ObjectDetails]:
        """Yield what unfinished writes have left: no objects, but they take space. Some may yet be finished."""
        yield from ()

    def discard(self, leftover: ObjectDetails) -> None:
        """Remove one of `leftovers`; nothing happens where it is gone."""
        del leftover  # storage that leaves none has none to remove

    def any_key(self, prefix: str = "") -> str | None:
        """Return the key of some object that starts with `prefix`, or None where there is none."""
        return next(iter(self.keys(prefix)), None)

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object; nothing happens where there is none."""

    def copy(self, source: str, target: str) -> None:
        """Make `target` an object with the bytes of `source`; backends override it where the storage can do that.

        Raises
        ------
        NotFound
            If there is no `source`.
        """
        self.put(target, self.get(source))

    def copy_from(self, other: Backend, key: str, *, link: bool = False) -> bool:
        """Make `key` an object with the bytes that `key` has in `other`, if the storage can do that by itself.

        Parameters
        ----------
        other : Backend
        key : str
        link : bool
            Let the two objects share their bytes where the storage can do that, so that damage to one is damage to
            both. Otherwise each has its own.

        Returns
        -------
        bool
            Whether it did; if not, nothing has changed, and the bytes are to be `put`.

        Guarantees
        ----------
        As `put`: atomic and durable.
        """
        return False

    def exists(self, key: str) -> bool:
        """Return whether there is an object of that name."""
        try:
            self.get(key)
        except NotFound:
            return False
        return True
