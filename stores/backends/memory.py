"""A backend in memory: the contract in its plainest form, for tests and for trying things out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from ...errors import NotFound
from .backend import Backend, ObjectDetails, ObjectInfo, check_key, check_prefix, too_large


class MemoryBackend(Backend):
    """Objects in a dictionary, for one process.

    Parameters
    ----------
    clock : callable
        Tells the time at which an object is written, in seconds since 1970.
    """

    near = True

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.url = f"memory://{id(self):x}"
        self._objects: dict[str, bytes] = {}
        self._written: dict[str, float] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        try:
            data = self._objects[check_key(key)]
        except KeyError:
            raise NotFound(f"There is no object {key} in {self.url}.", key=key) from None
        if limit is not None and len(data) > limit:
            raise too_large(key, self.url, limit, len(data))
        return data

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        self._objects[check_key(key)] = bytes(data)
        self._written[key] = self._clock()

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        with self._lock:
            if check_key(key) in self._objects:
                return False
            self.put(key, data)
            return True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        check_prefix(prefix)
        for key, data in sorted(self._objects.copy().items()):
            if key.startswith(prefix):
                yield ObjectInfo(key, len(data))

    def inspect(self, prefix: str = "") -> Iterator[ObjectDetails]:  # noqa: D102
        for key, size in self.list(prefix):
            yield ObjectDetails(key, size, self._written.get(key))

    def delete(self, key: str) -> None:  # noqa: D102
        self._objects.pop(check_key(key), None)
