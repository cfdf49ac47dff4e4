"""Reading JSON documents of a store: bounded, parsed, and with their checksum compared.

A store can come from a stranger, so no document is larger, deeper or of more parts than one of its kind can be.
"""

from __future__ import annotations

import json
from typing import Any

from ...checksummed import MOST_PARTS, checksum_holds, is_as_written, parts_in
from ...errors import Corrupt
from ..backends.backend import Backend

SMALL = 1 << 20
"""Bytes that a marker, name, claim or unit's seal may have: about 100 times their usual size."""

_DEEPEST = 32


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


def read_document(backend: Backend, key: str, what: str, hint: str, limit: int = SMALL) -> dict[str, Any]:
    """Return what `dump_document` was given, with its checksum.

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
    elif not is_as_written(content, data):
        problem = "it is not JSON as it is written"
    elif not checksum_holds(content, data):
        problem = "its checksum does not agree with its content"
    else:
        return content
    raise damaged(backend, key, what, problem, hint)


def damaged(backend: Backend, key: str, what: str, problem: str, hint: str) -> Corrupt:
    """Return the error for a JSON object that is not what was written."""
    return Corrupt(f"The {what} {key} in {backend.url} is damaged: {problem}.", hint=hint, key=key)


def parse_json(data: bytes, key: str, url: str) -> Any:
    """Return what was read of the object `key` in the store at `url`, parsed; raise `Corrupt` as `read_json` does."""
    try:
        if parts_in(data) > MOST_PARTS:
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
