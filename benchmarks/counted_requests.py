"""Requests to a bucket, counted and timed at the client: a wrapper of obstore's stores, for benchmarks.

    requests = Requests()
    with counted(requests):
        store = cryoprobe.open_store("s3://bucket/features")

A listing counts its pages of a thousand. What the client repeats by itself is not seen.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PAGE = 1000


@dataclass
class Requests:
    """What was asked of a bucket: how often and for how long, by kind and by the first segment of the key.

    Attributes
    ----------
    number, seconds : mapping of str
        By what it was, such as ``PUT claims``.
    last_unit : float
        When the last unit was sealed, by `time.perf_counter`.
    """

    number: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    last_unit: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, key: str | None, began: float, number: int = 1) -> None:
        """Count requests of one kind that took until now."""
        what = f"{kind} {(key or '').partition('/')[0] or 'all'}"
        ended = time.perf_counter()
        with self._lock:
            self.number[what] += number
            self.seconds[what] += ended - began
            if number and what == "PUT-IF-ABSENT unit-seals":
                self.last_unit = ended


class CountingClient:
    """One of obstore's stores, whose requests are counted."""

    def __init__(self, client: Any, requests: Requests) -> None:
        self._client, self._requests = client, requests

    def get(self, key: str) -> Any:
        """Ask for an object; its content is waited for later."""
        began = time.perf_counter()
        try:
            return CountingBody(self._client.get(key), key, self._requests)
        finally:
            self._requests.add("GET", key, began)

    def put(self, key: str, data: bytes, **options: Any) -> Any:
        """Write one."""
        kind = "PUT-IF-ABSENT" if options.get("mode") == "create" else "PUT"
        return self._counted(kind, key, lambda: self._client.put(key, data, **options))

    def head(self, key: str) -> Any:
        """Ask whether there is one."""
        return self._counted("HEAD", key, lambda: self._client.head(key))

    def delete(self, key: str) -> Any:
        """Delete one."""
        return self._counted("DELETE", key, lambda: self._client.delete(key))

    def copy(self, source: str, target: str) -> Any:
        """Let the storage copy one."""
        return self._counted("COPY", target, lambda: self._client.copy(source, target))

    def list(self, prefix: str | None = None, *, chunk_size: int = PAGE) -> Iterator[Any]:
        """Yield the pages of a listing."""
        began = time.perf_counter()
        listed = 0
        try:
            for page in self._client.list(prefix, chunk_size=chunk_size):
                listed += len(page)
                yield page
        finally:
            self._requests.add("LIST", prefix, began, 1 + max(0, listed - 1) // PAGE)

    def _counted(self, kind: str, key: str, ask: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            return ask()
        finally:
            self._requests.add(kind, key, began)


class CountingBody:
    """An answer whose content takes time too."""

    def __init__(self, answer: Any, key: str, requests: Requests) -> None:
        self.meta, self._answer, self._key, self._requests = answer.meta, answer, key, requests

    def bytes(self) -> Any:
        """Return the content."""
        began = time.perf_counter()
        try:
            return self._answer.bytes()
        finally:
            self._requests.add("GET", self._key, began, 0)

    def stream(self, **options: Any) -> Iterator[Any]:
        """Yield the content block by block."""
        began = time.perf_counter()
        try:
            yield from self._answer.stream(**options)
        finally:
            self._requests.add("GET", self._key, began, 0)


@contextmanager
def counted(requests: Requests) -> Iterator[None]:
    """Count what stores ask for that are opened as long as the context lasts."""
    from cryoprobe.stores.backends import objects

    connect = objects.connect
    objects.connect = lambda *a, **k: CountingClient(connect(*a, **k), requests)
    try:
        yield
    finally:
        objects.connect = connect
