"""Ends this process at a chosen operation on storage: at the same one however fast the machine is."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from typing import Any, NamedTuple

from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.objects import ObjectBackend

_VERBS = ("get", "fill", "put", "put_if_absent", "list", "keys", "inspect", "delete", "copy", "copy_from", "exists")


class Instant(NamedTuple):
    """When a process is killed.

    Parameters
    ----------
    operation : int
        Number of the operation on storage, counted from `Operations`; the process is killed when it begins, or
    seconds : float
        later: in the midst of it, or of one that follows.
    """

    operation: int
    seconds: float = 0.0


class Operations:
    """Counts the operations on storage of this process from now on, and kills it by SIGKILL at an instant.

    Parameters
    ----------
    instant : Instant, optional
    """

    def __init__(self, instant: Instant | None = None) -> None:
        self.count = 0
        self._instant = instant
        self._lock = threading.Lock()
        self._killer: threading.Thread | None = None
        for backend in (LocalBackend, ObjectBackend):
            for verb in _VERBS:
                if verb in vars(backend):
                    setattr(backend, verb, self._counted(getattr(backend, verb)))

    def finish(self) -> None:
        """Call at the end of the job: if its operation has come, the process is killed now at the latest."""
        if self._killer is not None:
            self._killer.join()

    def _counted(self, verb: Any) -> Any:
        @functools.wraps(verb)
        def counted(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self.count += 1
                if self._instant is not None and self.count == self._instant.operation:
                    self._kill(self._instant.seconds)
            return verb(*arguments, **options)

        return counted

    def _kill(self, seconds: float) -> None:
        if not seconds:
            os.kill(os.getpid(), signal.SIGKILL)
        self._killer = threading.Thread(target=lambda: (time.sleep(seconds), os.kill(os.getpid(), signal.SIGKILL)))
        self._killer.start()
