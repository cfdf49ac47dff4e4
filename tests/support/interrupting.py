"""Storage that a test can stop at any operation: to end the process there, or to let somebody else go first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from cryoprobe.stores.backends.backend import Backend, ObjectDetails, ObjectInfo


class Stop(BaseException):
    """The process ends here, as far as the store can tell."""


class Interrupting(Backend):
    """What one process sees of shared storage.

    Parameters
    ----------
    shared : Backend
    crash_at : int, optional
        Number of the write that ends the process.
    after : bool
        Whether that write is done first.
    pause_at : int, optional
        Number of the operation before which `meanwhile` is called, once.
    meanwhile : callable, optional
    """

    def __init__(
        self,
        shared: Backend,
        *,
        crash_at: int | None = None,
        after: bool = False,
        pause_at: int | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        self.url = shared.url
        self.shared = shared
        self.writes = 0
        self.operations = 0
        self._counting = threading.Lock()
        self._crash_at = crash_at
        self._after = after
        self._pause_at = pause_at
        self._meanwhile = meanwhile

    def get(self, key: str, limit: int | None = None) -> bytes:
        self._look()
        return self.shared.get(key, limit)

    def exists(self, key: str) -> bool:
        self._look()
        return self.shared.exists(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._look()
        return iter(list(self.shared.list(prefix)))

    def inspect(self, prefix: str = "") -> Iterator[ObjectDetails]:
        self._look()
        return iter(list(self.shared.inspect(prefix)))

    def put(self, key: str, data: bytes) -> None:
        self._write(lambda: self.shared.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return bool(self._write(lambda: self.shared.put_if_absent(key, data)))

    def delete(self, key: str) -> None:
        self._write(lambda: self.shared.delete(key))

    def copy(self, source: str, target: str) -> None:
        self._write(lambda: self.shared.copy(source, target))

    def _look(self) -> None:
        if self._crash_at is not None and self.writes >= self._crash_at:
            raise Stop  # nothing is done after the end
        with self._counting:  # several threads read at once
            self.operations += 1
            now = self.operations == self._pause_at
        if now and self._meanwhile is not None:
            self._meanwhile()

    def _write(self, verb: Callable[[], object]) -> object:
        self._look()
        self.writes += 1
        if self.writes == self._crash_at and not self._after:
            raise Stop
        result = verb()
        if self.writes == self._crash_at:
            raise Stop
        return result
