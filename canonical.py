"""Canonical JSON and the hashes made of it: one value, one byte string, one identity.

Keys are sorted, separators are minimal, the text is UTF-8 and non-finite numbers are refused, so that another
implementation in another language can compute the same hash.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> bytes:
    """Return the one JSON encoding of `value` that hashes are made of.

    Raises
    ------
    ValueError
        If a number is NaN or infinite.
    TypeError
        If `value` holds something that JSON cannot.
    """
    return _ENCODER.encode(value).encode()


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of `value`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
