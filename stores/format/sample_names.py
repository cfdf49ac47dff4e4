"""What the sample of each row of a set is called: lists beside the set, outside of its identity.

One content can be extracted from several places, so a set can be given several lists; the one that was written last
counts, and takes the place of the others. `Lists` alone decides which that is, and whether it is the store's own.
A list is an object ``sample-names/<set>/<milliseconds>.<sha256>.jsonl.gz``: gzip of lines that are JSON strings, the id
of the set and then the names, with the sha256 of those lines. It vouches for itself, is bounded by the rows of its set,
and is read line by line, so that nothing is made of what cannot be a list. Where it came from is recorded as of names
of sets: see `stores.format.origins`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from ...errors import BadInput, Corrupt, NotFound
from ..backends.backend import Backend
from ..keys import sample_names_folder
from .manifest import Manifest
from .names import is_future
from .origins import Marks, origin_of, trust

SAMPLE_NAMES = "sample-names/"

_KEY = re.compile(r"sample-names/([0-9a-f]{64})/([0-9]{1,16})\.([0-9a-f]{64})\.jsonl\.gz")
_MOST_BYTES = 1 << 30
_ROW_BYTES, _FREE_BYTES = 1024, 1 << 16
"""So many bytes a list may have for each row, on average, and beside."""
_LINE_BYTES = 1 << 14
"""Of one name as JSON, with the end of its line."""
_GZIP = 31  # zlib's word for a gzip header and the largest window
_LEVEL = 5  # as small as the default to within 5 %, in half the time
_LINES = 4096
"""Names that are made at once."""
_TRIES = 3

_encode = json.JSONEncoder(ensure_ascii=False).encode
_decode = json.JSONDecoder().decode


class ListKey(NamedTuple):
    """The parts of a list's key, and the bytes of the object if it was listed."""

    set: str
    written: int
    sha256: str
    size: int = 0

    @property
    def key(self) -> str:
        """The key."""
        return f"{sample_names_folder(self.set)}{self.written}.{self.sha256}.jsonl.gz"


def parse_key(key: str, size: int = 0) -> ListKey | None:
    """Return the parts of a key; None for one that is not a list's."""
    found = _KEY.fullmatch(key)
    return None if found is None else ListKey(found[1], int(found[2]), found[3], size)


def list_keys(backend: Backend, prefix: str = SAMPLE_NAMES) -> Iterator[ListKey]:
    """Yield the keys of all lists of a store, or of one set by its folder."""
    yield from (parts for o in backend.list(prefix) if (parts := parse_key(o.key, o.size)) is not None)


class Lists:
    """The lists that a store has, by one listing: which of them count.

    A date in the future has no effect, and neither has a list that is not trusted where there is one that is, or where
    the set is trusted. Of the others the latest counts.

    Parameters
    ----------
    backend : Backend
    set_ : str, optional
        Its lists alone.
    """

    def __init__(self, backend: Backend, set_: str | None = None) -> None:
        prefix = SAMPLE_NAMES if set_ is None else sample_names_folder(set_)
        self._backend = backend
        self._all: defaultdict[str, list[ListKey]] = defaultdict(list)
        for parts in list_keys(backend, prefix):
            self._all[parts.set].append(parts)
        marks = Marks(backend, prefix) if self._all else None
        self._foreign = {k for found in self._all.values() for k in found if marks and marks.of(k.key, k.sha256)}

    def own(self, set_: str) -> ListKey | None:
        """Return the latest of a set's lists that are trusted."""
        return _latest(k for k in self._all[set_] if k not in self._foreign)

    def counting(self, set_: str, key: str, checksum: str) -> ListKey | None:
        """Return the list of a set that counts; `key` and `checksum` are of its manifest."""
        found = self.own(set_) or _latest(self._all[set_])
        if found in self._foreign and origin_of(self._backend, key, checksum) is None:
            return None
        return found

    def lacks(self, arriving: ListKey, sealed: Manifest | None, *, own: bool) -> bool:
        """Return whether a list of another store would count here; one that is not trusted replaces nothing.

        Parameters
        ----------
        arriving : ListKey
        sealed : Manifest or None
            What this store has of its set.
        own : bool
            Whether it arrives as this store's own.
        """
        if own:
            mine = self.own(arriving.set)
            return mine is None or (mine.sha256 != arriving.sha256 and mine[:3] < arriving[:3])
        if sealed is None:
            return True
        foreign = origin_of(self._backend, sealed.key, sealed.checksum) is not None
        return foreign and self.counting(arriving.set, sealed.key, sealed.checksum) is None

    def replace(self, by: ListKey, data: bytes, manifest_key: str) -> bool:
        """Write a list as the store's own, then delete those of its set that were found.

        Returns
        -------
        bool
            Whether it stays: not if the set was removed meanwhile.
        """
        self._backend.put(by.key, data)
        trust(self._backend, by.key, by.sha256)
        if not kept(self._backend, by.key, manifest_key):
            return False
        for key in {k.key for k in self._all[by.set]} - {by.key}:
            self._backend.delete(key)
        return True


def _latest(lists: Iterator[ListKey] | Sequence[ListKey]) -> ListKey | None:
    return max((k for k in lists if not is_future(k.written)), default=None)


def most_bytes(rows: int) -> int:
    """Return how many bytes the list of a set may have, unpacked."""
    return min(_MOST_BYTES, _FREE_BYTES + _ROW_BYTES * rows)


def write_sample_names(backend: Backend, manifest: Manifest, names: Sequence[str]) -> bool:
    """Write what the samples of a sealed set are called, in the order of its rows, unless that is the list that counts.

    The names are gone through twice, and not kept: in memory is only what is written, which is compressed.

    Returns
    -------
    bool
        Whether the store has them now; False if the set was removed meanwhile.

    Raises
    ------
    BadInput
        If they are not as many as rows, or larger than a reader takes.
    """
    if len(names) != manifest.rows:
        raise BadInput(f"Set {manifest.set[:12]} has {manifest.rows} rows, and {len(names)} names are given.")
    hashed, size = hashlib.sha256(), 0
    for part in _lines(manifest, names):
        size += len(part)
        if size > most_bytes(manifest.rows):
            raise _too_large("The list of all names of samples", manifest, most_bytes(manifest.rows))
        hashed.update(part)
    sha256 = hashed.hexdigest()
    lists = Lists(backend, manifest.set)
    own = lists.own(manifest.set)
    if own is not None and own.sha256 == sha256:
        return True
    # Later than any other, also if the clock of its writer was ahead of ours.
    written = max(time.time_ns() // 1_000_000, 0 if own is None else own.written + 1)
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    packed = b"".join([*map(packer.compress, _lines(manifest, names)), packer.flush()])
    return lists.replace(ListKey(manifest.set, written, sha256), packed, manifest.key)


def _lines(manifest: Manifest, names: Sequence[str]) -> Iterator[bytes]:
    """Yield the lines of a list, a few thousand at a time."""
    texts = chain([manifest.set], names)
    while block := list(islice(texts, _LINES)):
        # Half of a surrogate pair, which UTF-8 does not have, becomes the escape that JSON has for it.
        lines = [f"{_encode(text)}\n".encode("utf-8", "backslashreplace") for text in block]
        if max(map(len, lines)) > _LINE_BYTES:
            raise _too_large("The longest name of a sample", manifest, _LINE_BYTES)
        yield b"".join(lines)


def _too_large(what: str, manifest: Manifest, limit: int) -> BadInput:
    return BadInput(
        f"{what} of set {manifest.set[:12]} takes more bytes than a store holds ({limit:,}).",
        hint="Shorten the paths. The set itself is sealed.",
        key=manifest.set,
    )


def kept(backend: Backend, key: str, manifest_key: str) -> bool:
    """Delete a list that was just written if its set was removed meanwhile; return whether it stays."""
    if backend.exists(manifest_key):
        return True
    backend.delete(key)
    return False


def read_sample_names(backend: Backend, manifest: Manifest) -> list[str] | None:
    """Return what the samples of a set are called, in the order of its rows; None if no list of them counts.

    Raises
    ------
    Corrupt
        If the list is not what was written.
    """
    found = get_list(backend, manifest)
    return None if found is None else list(names_in(backend, *found, manifest.rows))


def get_list(backend: Backend, manifest: Manifest) -> tuple[ListKey, bytes] | None:
    """Return the key and the bytes of the list of a set that counts; None if there is none."""
    tries = _TRIES
    while True:
        parts = Lists(backend, manifest.set).counting(manifest.set, manifest.key, manifest.checksum)
        if parts is None:
            return None
        try:
            return parts, backend.get(parts.key, most_bytes(manifest.rows))
        except NotFound:  # another has taken its place since the listing
            tries -= 1
            if not tries:
                raise


def names_in(backend: Backend, parts: ListKey, data: bytes, rows: int) -> Iterator[str]:
    """Yield the names in the bytes of a list, which is known to be whole after the last one; holds one line at a time.

    Raises
    ------
    Corrupt
        If they are not what was written, or not as many as `rows`.
    """
    hashed, left = hashlib.sha256(), most_bytes(rows)
    try:
        with gzip.open(io.BytesIO(data)) as lines:
            for n in range(rows + 1):
                line = lines.readline(min(_LINE_BYTES, left))
                text = _decode(line.decode()) if line.endswith(b"\n") else None
                if not isinstance(text, str) or (n == 0 and text != parts.set):
                    raise ValueError(f"it does not have {rows} names of this set, or too long ones")
                hashed.update(line)
                left -= len(line)
                if n > 0:
                    yield text
            if lines.read(1):
                raise ValueError(f"it has more than {rows} names")
        if hashed.hexdigest() != parts.sha256:
            raise ValueError("its sha256 is not that of its key")
    except (ValueError, RecursionError, EOFError, OSError, zlib.error) as e:
        raise Corrupt(
            f"The names of samples {parts.key} in {backend.url} are damaged: {str(e)[:200]}.",
            hint=f"Set them aside: cryoprobe repair --store {backend.url}; extract, run again, writes them anew.",
            key=parts.key,
        ) from None


def check_list(backend: Backend, parts: ListKey, data: bytes, rows: int) -> None:
    """Raise `Corrupt` unless a list is whole; see `names_in`."""
    for _ in names_in(backend, parts, data, rows):
        pass
