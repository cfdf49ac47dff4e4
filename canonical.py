"""Canonical JSON (RFC 8785) and the hashes made of it: one value, one byte string, one identity in any language.

What is stored is written by `plain_json`, which keeps 1.0 and 1 apart, so that whoever reads it has the types again.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import rfc8785

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

_NUMBER = re.compile(rb"[:,\[][-\d](?:\d*[.e]|\d{15})")
"""Where Python's own encoder may have written a number in another way: a float, or an integer beyond 2^53."""

_RARE = re.compile(rb"[\xf0-\xf4]")
"""Where it may have sorted keys in another order: characters beyond U+FFFF."""

_EXACT, _LARGEST = 2**53, 2**1023
"""Up to here a double holds every integer; and, about, any."""


def canonical_json(value: Any) -> bytes:
    r"""Return the one JSON encoding of `value` that hashes are made of, by RFC 8785.

    Keys are sorted by their UTF-16 code units, separators are minimal, the text is UTF-8, and numbers are written as
    JavaScript writes the double that they are: 1.0 is 1.

    Parameters
    ----------
    value : dict, list, tuple, str, int, float, bool or None
        Keys of dicts are strings.

    Raises
    ------
    ValueError
        If a number is NaN, infinite, or an integer that no double holds, or a text is no Unicode.
    TypeError
        If `value` holds something that JSON cannot.

    References
    ----------
    RFC 8785, JSON Canonicalization Scheme, 2020.

    Examples
    --------
    >>> canonical_json({"b": [1.0, 1e-7, True], "a": "ü"})
    b'{"a":"\xc3\xbc","b":[1,1e-7,true]}'
    """
    data = plain_json(value)  # in C
    differs = isinstance(value, int | float) or _NUMBER.search(data) or (not data.isascii() and _RARE.search(data))
    return rfc8785.dumps(_in_doubles(value)) if differs else data


def plain_json(value: Any) -> bytes:
    """Return JSON as documents are stored: keys sorted by code point, no white space, UTF-8, floats with their point.

    Raises
    ------
    ValueError, TypeError
        As `canonical_json`.

    Examples
    --------
    >>> plain_json({"b": [1.0, 1], "a": None})
    b'{"a":null,"b":[1.0,1]}'
    """
    return _ENCODER.encode(value).encode()


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of `value`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _in_doubles(value: Any) -> Any:
    """Return a value whose large integers are the doubles that they are read as."""
    if isinstance(value, dict):
        return {key: _in_doubles(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_in_doubles(v) for v in value]
    if isinstance(value, int) and abs(value) >= _EXACT:
        double = float(value) if abs(value) < _LARGEST else math.inf
        if double != value and (double == math.inf or rfc8785.dumps(double) != str(value).encode()):
            raise ValueError(f"{str(value)[:40]} is an integer that JSON cannot keep: it is not a double")
        return double
    return value
