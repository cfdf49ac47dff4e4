"""The marker of a store: its format, its version, and whether its storage keeps writers apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...errors import Incompatible, NotFound, ReadOnly
from ..backends.backend import Backend
from ..backends.environment import POLICY_HINT
from ..keys import new_attempt
from .documents import read_json

FORMAT = "cryoprobe-store"
FORMAT_VERSION = 1
MARKER = "cryoprobe.json"

KNOWN_FEATURES: frozenset[str] = frozenset()
"""What a marker may require of a reader beyond version 1: nothing yet."""


def write_marker(backend: Backend) -> None:
    """Make `backend` a store, unless it is one.

    Storage that is unproven is tried out, once, and the marker says so.

    Raises
    ------
    Incompatible
        If the storage overwrites where it should write only if absent: writers would then overwrite each other's seals.
        Or if it does not list what it has just written.
    ReadOnly
        If it refuses to overwrite or to copy, which a store needs too.
    """
    made = not backend.exists(MARKER) and backend.put_if_absent(MARKER, marker_document())
    if backend.unproven and not _is_proven(backend):
        try:
            _try_out(backend)
        except (Incompatible, ReadOnly):
            if made:
                backend.delete(MARKER)
            raise
        backend.put(MARKER, marker_document({**read_json(backend, MARKER), "conditional_put": True}))


def marker_document(more: Mapping[str, Any] | None = None) -> bytes:
    """Return the object that says that there is a store, and what more is known of it."""
    return json.dumps({"format": FORMAT, "version": FORMAT_VERSION, **(more or {})}).encode() + b"\n"


def _is_proven(backend: Backend) -> bool:
    check_marker(backend)  # never write to something that is not a store of ours
    return read_json(backend, MARKER).get("conditional_put") is True


def _try_out(backend: Backend) -> None:
    """Raise unless the storage does what writers rely on: put if absent, list after write, overwrite, copy."""
    tried = f"claims/{new_attempt()}"  # advice: should it be left behind, nobody minds
    copied = f"sets/{new_attempt()}"  # where sets are put together; not the name of an object of a set
    backend.put_if_absent(tried, b"first")
    overwritten = backend.put_if_absent(tried, b"second")
    kept = backend.get(tried)
    listed = tried in backend.keys("claims/")
    refused = _refused(backend, tried, copied)
    for key in (tried, copied):
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
    if not listed:
        raise Incompatible(
            f"The storage of {backend.url} does not list an object that it has just written: writers would not see "
            "each other, and gc could delete what is being sealed.",
            hint="Keep the store on storage whose listings are strongly consistent (docs/scale.md), or in a folder.",
            key=backend.url,
            expected="a listing with the object",
            found="one without it",
        )
    if refused is not None:
        raise ReadOnly(
            f"The store {backend.url} cannot be written: the storage takes conditional writes and refuses {refused}.",
            hint=POLICY_HINT,
            key=backend.url,
        )


def _refused(backend: Backend, tried: str, copied: str) -> str | None:
    """Return which write the storage refuses of those without a condition; None if it refuses none."""
    try:
        backend.put(tried, b"third")
    except ReadOnly:
        return "all others"
    try:
        backend.copy(tried, copied)
    except ReadOnly:
        return "copies"
    return None


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
