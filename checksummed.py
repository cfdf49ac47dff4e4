"""JSON documents that carry a checksum of their own content: how they are written, and whether one is intact.

Manifests, seals, names and trials of a store are such documents, and the headers of saved probes. Reading one from a
store, with messages that say where it is, is in `stores.format.documents`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeGuard

from .canonical import digest, plain_json
from .errors import BadInput

LARGE = 32 << 20
"""Bytes that a manifest or trial may have. A manifest has some 160 for each object: it suffices for 70,000 chunks."""

MOST_PARTS = 8_000_000
"""Values and containers that a document may have: each takes memory and time."""


def dump_document(content: Mapping[str, Any], limit: int = LARGE) -> bytes:
    """Return a JSON object as it is stored: with a checksum of its own content.

    Raises
    ------
    BadInput
        If it would be larger than a reader takes.
    """
    data = plain_json({**content, "checksum": digest(content)})
    if len(data) > limit or parts_in(data) > MOST_PARTS:
        raise BadInput(
            f"A JSON object of {len(data):,} bytes is more than a store holds ({limit:,}).",
            hint="Of a very large data set, make larger chunks (--unit-rows), or several splits.",
        )
    return data


def checksum_holds(content: object, data: bytes | None = None) -> TypeGuard[dict[str, Any]]:
    """Return whether what was parsed of a document is what `dump_document` was given: its checksum agrees.

    Parameters
    ----------
    content : object
        Any JSON value.
    data : bytes, optional
        What it was parsed from. Without floats, the checksum is that of these bytes without itself, which spares making
        them anew.

    Examples
    --------
    >>> import json
    >>> content = json.loads(dump_document({"rows": 3}))
    >>> checksum_holds(content), checksum_holds({**content, "rows": 4})
    (True, False)
    """
    if not isinstance(content, dict):
        return False
    checksum = content.get("checksum")
    if data is not None and isinstance(checksum, str):
        member = f'"checksum":"{checksum}"'.encode("utf-8", "replace")
        for separated in (member + b",", b"," + member):
            if data.count(separated) == 1 and hashlib.sha256(data.replace(separated, b"")).hexdigest() == checksum:
                return True
    if data is not None and not is_as_written(content, data):
        return False
    try:
        found = digest({k: v for k, v in content.items() if k != "checksum"})
    except (ValueError, RecursionError):
        return False
    return bool(checksum == found)


def is_as_written(content: Mapping[str, Any], data: bytes) -> bool:
    """Return whether `data` is the JSON that `dump_document` writes for `content`, its checksum included."""
    try:
        return plain_json(content) == data
    except (ValueError, RecursionError):  # a number that a changed byte made infinite, say
        return False


def parts_in(data: bytes) -> int:
    """Return at least how many values and containers JSON has."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")
