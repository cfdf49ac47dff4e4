"""Ctrl-C and SIGTERM that end a run between two steps, never within one: what a step has made is not lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..errors import Terminated


def terminate(number: int, frame: FrameType | None) -> None:
    """Raise `Terminated`: what the command line makes of SIGTERM."""
    raise Terminated


class Interrupts:
    """Takes SIGINT and SIGTERM while it is entered, and holds them back within `held`.

    It does so in the main thread alone, and only where nobody else has taken them: SIGINT if it raises
    KeyboardInterrupt, as Python arranges it, and SIGTERM if it would end the process, or is taken by `terminate`. A
    second signal is not held back: storage may hang.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._held = False
        self._waiting: int | None = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            usual: dict[int, list[Any]] = {
                signal.SIGINT: [signal.default_int_handler],
                signal.SIGTERM: [signal.SIG_DFL, terminate],
            }
            for number, handlers in usual.items():
                if signal.getsignal(number) in handlers:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no signal in until the end of this block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            number, self._waiting = self._waiting, None
            if number is not None:
                _raise(number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held and self._waiting is None:
            self._waiting = number
        else:
            self._waiting = None
            _raise(number)


def _raise(number: int) -> None:
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
