"""Names of the objects in a store, ids made of ids, and the format marker.

=====================================================  =========================================================
``cryoprobe.json``                                     format marker and version
``units/<encoder>/<unit>/<attempt>/<array>``           rows that were encoded together, one object per array
``unit-seals/<encoder>/<unit>.json``                   which attempt is the unit, with sizes and hashes
``claims/<encoder>/<unit or set>.<generation>.json``   who is at work on it now: advice, never truth
``sets/<set>/<attempt>/…``                             a feature set: a plain zarr v3 group
``manifests/<encoder>/<set>.json``                     the seal of a set: its attempt, every object with its hash
``names/<set>.<digest>.json``                          what people call a set
``trials/<trial>.json``                                the result of one probe
``pins/<set>.json``                                    a set that must not be removed
``origins/…``                                          what came from elsewhere, see `stores.origins`
``gc/…``                                               what is being removed and collected
``quarantine/<digits>/<key>``                          a damaged object that `repair` has replaced
=====================================================  =========================================================
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ..canonical import digest, plain_json
from ..errors import BadInput, Corrupt, Incompatible, NotFound
from .backends.backend import Backend

SMALL = 1 << 20
"""Bytes that a marker, name, claim or unit's seal may have: some hundred times what they do have."""

LARGE = 32 << 20
"""Bytes that a manifest or trial may have. A manifest has some 160 for each object: it suffices for 70,000 chunks."""

_MOST_PARTS = 8_000_000  # values and containers, each of which takes memory and time
_DEEPEST = 32

FORMAT = "cryoprobe-store"
FORMAT_VERSION = 1
MARKER = "cryoprobe.json"

KNOWN_FEATURES: frozenset[str] = frozenset()
"""What a marker may require of a reader beyond version 1: nothing yet."""


def new_attempt() -> str:
    """Return a name that no other writer will choose."""
    return secrets.token_hex(6)


def set_id(encoder_id: str, dataset_id: str) -> str:
    """Return the id of the feature set of one encoder on one data set."""
    return digest({"dataset": dataset_id, "encoder": encoder_id})


def unit_id(encoder_id: str, sample_ids: Sequence[bytes]) -> str:
    """Return the id of the rows of `sample_ids` (32 bytes each), in that order, by one encoder.

    sha256 over the 32 bytes of the encoder id and the sample ids one after another.
    """
    h = hashlib.sha256(bytes.fromhex(encoder_id))
    for sample_id in sample_ids:
        h.update(sample_id)
    return h.hexdigest()


def unit_folder(encoder_id: str, unit: str, attempt: str) -> str:
    """Return the folder of one attempt at a unit."""
    return f"units/{encoder_id}/{unit}/{attempt}"


def unit_seal_key(encoder_id: str, unit: str) -> str:
    """Return the key of a unit's seal."""
    return f"unit-seals/{encoder_id}/{unit}.json"


def set_folder(set_: str, attempt: str) -> str:
    """Return the folder of one attempt at a set: the zarr group."""
    return f"sets/{set_}/{attempt}"


def manifest_key(encoder_id: str, set_: str) -> str:
    """Return the key of a set's manifest."""
    return f"manifests/{encoder_id}/{set_}.json"


def stem(key: str) -> str:
    """Return the last segment of `key` without its ending: the id in a seal's or manifest's key."""
    return key.rpartition("/")[2].partition(".")[0]


def read_json(backend: Backend, key: str, limit: int = SMALL) -> Any:
    """Return a JSON object of the store, parsed.

    Raises
    ------
    NotFound
        If there is none.
    Corrupt
        If it has more than `limit` bytes, is not JSON, or nested deeper than anything that a store holds.
    """
    return parse_json(backend.get(key, limit), key, backend.url)


def read_sealed(backend: Backend, key: str, what: str, hint: str, limit: int = SMALL) -> dict[str, Any]:
    """Return what `dump_seal` was given, with its checksum.

    Parameters
    ----------
    backend : Backend
    key : str
    what, hint : str
        What the object is, and what to do where it is damaged: for the message.
    limit : int
        How many bytes it may have.

    Raises
    ------
    NotFound
        If there is none.
    Corrupt
        If it is not, byte for byte, what was written.
    """
    data = backend.get(key, limit)
    content = parse_json(data, key, backend.url)
    if not isinstance(content, dict):
        problem = "it is not an object"
    elif not _is_as_written(content, data):
        problem = "it is not JSON as it is written"
    elif not is_whole(content, data):
        problem = "its checksum does not agree with its content"
    else:
        return content
    raise damaged(backend, key, what, problem, hint)


def damaged(backend: Backend, key: str, what: str, problem: str, hint: str) -> Corrupt:
    """Return the error for a JSON object that is not what was written."""
    return Corrupt(f"The {what} {key} in {backend.url} is damaged: {problem}.", hint=hint, key=key)


def first_problem(e: ValidationError) -> str:
    """Return the first thing that a model found wrong, in a line."""
    first = e.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:200]}: {first['msg'][:200]}"


def parse_json(data: bytes, key: str, url: str) -> Any:
    """Return what was read of the object `key` in the store at `url`, parsed; raise `Corrupt` as `read_json` does."""
    try:
        if _parts(data) > _MOST_PARTS:
            raise ValueError("it has too many parts")
        content = _DECODER.decode(data.decode())
        if data.count(b"[") + data.count(b"{") > _DEEPEST:  # with fewer it cannot be too deep
            _check_depth(content)
    except (ValueError, RecursionError, MemoryError) as e:
        raise Corrupt(
            f"{key} in {url} is not JSON ({str(e)[:200] or type(e).__name__}).",
            hint=f"Put it right from whole copies: cryoprobe repair --store {url}",
            key=key,
        ) from None
    return content


def _parts(data: bytes) -> int:
    """Return at least how many values and containers JSON has."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _check_depth(content: Any) -> None:
    """Refuse what is so deep that another function could run out of stack over it."""
    level = [content]
    for _ in range(_DEEPEST):
        below = (c.values() if isinstance(c, dict) else c for c in level if isinstance(c, dict | list))
        level = [part for parts in below for part in parts if isinstance(part, dict | list)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def dump_seal(content: Mapping[str, Any], limit: int = LARGE) -> bytes:
    """Return a seal or manifest as it is stored: with a checksum of its own content.

    Raises
    ------
    BadInput
        If it would be larger than a reader takes.
    """
    data = plain_json({**content, "checksum": digest(content)})
    if len(data) > limit or _parts(data) > _MOST_PARTS:
        raise BadInput(
            f"A JSON object of {len(data):,} bytes is more than a store holds ({limit:,}).",
            hint="Of a very large data set, make larger chunks (--unit-rows), or several splits.",
        )
    return data


def is_whole(content: Mapping[str, Any], data: bytes | None = None) -> bool:
    """Return whether what was parsed of a seal or manifest is what `dump_seal` was given.

    Parameters
    ----------
    content : mapping
    data : bytes, optional
        What it was parsed from. Without floats, the checksum is that of these bytes without itself, which spares making
        them anew.
    """
    checksum = content.get("checksum")
    if data is not None and isinstance(checksum, str):
        member = f'"checksum":"{checksum}"'.encode("utf-8", "replace")
        for separated in (member + b",", b"," + member):
            if data.count(separated) == 1 and hashlib.sha256(data.replace(separated, b"")).hexdigest() == checksum:
                return True
    if data is not None and not _is_as_written(content, data):
        return False
    try:
        found = digest({k: v for k, v in content.items() if k != "checksum"})
    except (ValueError, RecursionError):
        return False
    return bool(checksum == found)


def _is_as_written(content: Mapping[str, Any], data: bytes) -> bool:
    try:
        return plain_json(content) == data
    except (ValueError, RecursionError):  # a number that a changed byte made infinite, say
        return False


def write_marker(backend: Backend) -> None:
    """Make `backend` a store, unless it is one.

    On storage whose `put_if_absent` is unproven it is tried out, once, and the marker says so.

    Raises
    ------
    Incompatible
        If the storage overwrites where it should write only if absent: writers would then overwrite each other's seals.
    """
    made = not backend.exists(MARKER) and backend.put_if_absent(MARKER, marker())
    if backend.unproven and not _is_proven(backend):
        try:
            _try_out(backend)
        except Incompatible:
            if made:
                backend.delete(MARKER)
            raise
        backend.put(MARKER, marker({**read_json(backend, MARKER), "conditional_put": True}))


def marker(more: Mapping[str, Any] | None = None) -> bytes:
    """Return the object that says that there is a store, and what more is known of it."""
    return json.dumps({"format": FORMAT, "version": FORMAT_VERSION, **(more or {})}).encode() + b"\n"


def _is_proven(backend: Backend) -> bool:
    check_marker(backend)  # what is no store of ours is not written to
    return read_json(backend, MARKER).get("conditional_put") is True


def _try_out(backend: Backend) -> None:
    key = f"claims/{new_attempt()}"  # advice: should it be left behind, nobody minds
    backend.put_if_absent(key, b"first")
    overwritten = backend.put_if_absent(key, b"second")
    kept = backend.get(key)
    backend.delete(key)
    if overwritten or kept != b"first":
        raise Incompatible(
            f"The storage of {backend.url} does not honour conditional writes (If-None-Match): of two writers of one "
            "object both would win, and seal sets over each other.",
            hint="Keep the store on storage that does (Amazon S3, Google Cloud Storage, Azure, SeaweedFS, recent "
            "MinIO, Ceph …), or in a folder.",
            key=backend.url,
            expected="the first of two objects",
            found="the second",
        )


def check_marker(backend: Backend) -> None:
    """Raise unless `backend` holds a store of a version that is known here.

    Raises
    ------
    NotFound
        If there is no store.
    Incompatible
        If it is something else, or newer, or requires a feature that this version does not know.
    """
    try:
        marker = read_json(backend, MARKER)
    except NotFound as e:
        if e.key != MARKER:  # what lacks is more than the store, such as its bucket
            raise
        raise NotFound(
            f"There is no feature store at {backend.url}.",
            hint="Check the path, or make one: cryoprobe extract --model … --dataset … --store PATH",
            key=backend.url,
        ) from None
    version = marker.get("version") if isinstance(marker, dict) and marker.get("format") == FORMAT else None
    if type(version) is not int or version != FORMAT_VERSION:
        raise Incompatible(
            f"{backend.url} has store format {repr(version)[:40]}; this version of Cryoprobe knows {FORMAT_VERSION}.",
            hint="Upgrade Cryoprobe: pip install -U cryoprobe",
            key=MARKER,
            expected=FORMAT_VERSION,
            found=version,
        )
    requires = marker.get("requires", [])
    words = requires if isinstance(requires, list) else [requires]
    if unknown := [word for word in words if not (isinstance(word, str) and word in KNOWN_FEATURES)]:
        raise Incompatible(
            f"{backend.url} uses {', '.join(repr(word)[:40] for word in unknown[:8])}, which this version of Cryoprobe "
            "does not know.",
            hint="Upgrade Cryoprobe: pip install -U cryoprobe",
            key=MARKER,
            expected=sorted(KNOWN_FEATURES),
            found=requires,
        )
