"""What the sample of each row of a set is called: lists beside the set, outside of its identity.

One content can be extracted from several places, so a set can have several lists; the one that was written last counts.
A list is an object ``sample-names/<set>/<milliseconds>.<sha256>.json.gz``: gzip of the JSON ``{"names": [...], "set":
...}``, with the sha256 of that JSON. It vouches for itself, and is bounded by the rows of its set. It goes where its
set goes, and is as trusted as that: see `travelling`.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ...errors import BadInput, Corrupt
from ..backends.backend import Backend
from ..keys import sample_names_folder
from .manifest import Manifest
from .origins import origin_of

SAMPLE_NAMES = "sample-names/"

_KEY = re.compile(r"sample-names/([0-9a-f]{64})/([0-9]{1,16})\.([0-9a-f]{64})\.json\.gz")
_MOST_BYTES = 1 << 30
_MOST_WRITTEN = 10**16
"""Times are below this, in milliseconds: 16 digits."""
_ROW_BYTES, _FREE_BYTES = 1024, 1 << 16
"""So many bytes a list may have for each row, on average, and beside."""
_GZIP = 31  # zlib's word for a gzip header and the largest window
_LEVEL = 5  # as small as the default to within 5 %, in half the time


class ListKey(NamedTuple):
    """The parts of a list's key."""

    set: str
    written: int
    sha256: str

    @property
    def key(self) -> str:
        """The key."""
        return f"{sample_names_folder(self.set)}{self.written}.{self.sha256}.json.gz"


def parse_key(key: str) -> ListKey | None:
    """Return the parts of a key; None for one that is not a list's."""
    found = _KEY.fullmatch(key)
    return None if found is None else ListKey(found[1], int(found[2]), found[3])


def list_keys(backend: Backend, prefix: str = SAMPLE_NAMES) -> Iterator[ListKey]:
    """Yield the keys of all lists of a store, or of one set by its folder."""
    yield from (parts for key in backend.keys(prefix) if (parts := parse_key(key)) is not None)


def most_bytes(rows: int) -> int:
    """Return how many bytes the list of a set may have, as JSON."""
    return min(_MOST_BYTES, _FREE_BYTES + _ROW_BYTES * rows)


def write_sample_names(backend: Backend, manifest: Manifest, names: Sequence[str]) -> bool:
    """Write what the samples of a sealed set are called, in the order of its rows, unless that is the list that counts.

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
    text = json.dumps({"names": list(names), "set": manifest.set}, ensure_ascii=False, separators=(",", ":"))
    # Half of a surrogate pair, which UTF-8 does not have, becomes the escape that JSON has for it.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > (limit := most_bytes(manifest.rows)):
        raise BadInput(
            f"The names of the samples of set {manifest.set[:12]} take {len(data):,} bytes, more than a store holds "
            f"({limit:,}).",
            hint="Shorten the paths. The set itself is sealed.",
            key=manifest.set,
        )
    sha256 = hashlib.sha256(data).hexdigest()
    known = sorted(list_keys(backend, sample_names_folder(manifest.set)), key=lambda k: k.written)
    if known and known[-1].sha256 == sha256:
        return True
    # Later than any other, also if their writers' clocks were ahead of ours, or they came from a stranger.
    written = max([time.time_ns() // 1_000_000, *(k.written + 1 for k in known)])
    key = ListKey(manifest.set, min(written, _MOST_WRITTEN - 1), sha256).key
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    backend.put(key, packer.compress(data) + packer.flush())
    return kept(backend, key, manifest.key)


def kept(backend: Backend, key: str, manifest_key: str) -> bool:
    """Delete a list that was just written if its set was removed meanwhile; return whether it stays."""
    if backend.exists(manifest_key):
        return True
    backend.delete(key)
    return False


def read_sample_names(backend: Backend, manifest: Manifest) -> list[str] | None:
    """Return what the samples of a set are called, in the order of its rows; None if no list of them is there.

    In a layered store, a list in a layer that is not trusted does not count for a set of a trusted one.

    Raises
    ------
    Corrupt
        If the list is not what was written.
    """
    found = sorted(list_keys(backend, sample_names_folder(manifest.set)), key=lambda k: -k.written)
    trusted = not found or origin_of(backend, manifest.key, manifest.checksum) is None
    for parts in found:
        if not trusted or origin_of(backend, parts.key, parts.sha256) is None:
            return unpacked(backend, parts, backend.get(parts.key, most_bytes(manifest.rows)), manifest.rows)
    return None


def unpacked(backend: Backend, parts: ListKey, data: bytes, rows: int) -> list[str]:
    """Return the names in the bytes of a list, which must be whole; takes no more memory than a set of `rows` may.

    Raises
    ------
    Corrupt
        If they are not what was written, or not as many as `rows`.
    """
    unpacker = zlib.decompressobj(_GZIP)
    try:
        text = unpacker.decompress(data, most_bytes(rows))
        if unpacker.unconsumed_tail or not unpacker.eof or unpacker.unused_data:
            raise ValueError("it is longer than the names of its set can be, or cut short")
        if hashlib.sha256(text).hexdigest() != parts.sha256:
            raise ValueError("its sha256 is not that of its key")
        content = json.loads(text)
        names = content.get("names") if isinstance(content, dict) and content.get("set") == parts.set else None
        if not isinstance(names, list) or len(names) != rows or not all(isinstance(name, str) for name in names):
            raise ValueError(f"it does not have {rows} names of this set")
    except (ValueError, RecursionError, zlib.error) as e:
        raise Corrupt(
            f"The names of samples {parts.key} in {backend.url} are damaged: {str(e)[:200]}.",
            hint=f"Set them aside: cryoprobe repair --store {backend.url}; extract, run again, writes them anew.",
            key=parts.key,
        ) from None
    return names


def travelling(source: Backend, target: Backend, sets: Iterable[str]) -> tuple[str, ...]:
    """Return the keys of the lists of some sets that another store lacks: what is called alike travels once."""
    wanted = set(sets)
    there = {(k.set, k.sha256) for k in list_keys(target)} if wanted else set()
    found = (k for k in list_keys(source) if k.set in wanted and is_plausible(k))
    return tuple(k.key for k in found if (k.set, k.sha256) not in there)


def is_plausible(parts: ListKey) -> bool:
    """Return whether a list of another store leaves room for one that is written after it."""
    return parts.written < _MOST_WRITTEN // 10
