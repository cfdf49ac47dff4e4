"""Ctrl-C and SIGTERM that end a run between two steps, never within one: what a step has made is not lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..errors import Terminated


@contextmanager
def taking(
    usual: Mapping[signal.Signals, Collection[Any]], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Let `handler` take signals for as long as the context lasts.

    Only the main thread may set a handler, and one of the caller's own is left alone.

    Parameters
    ----------
    usual : mapping
        By signal: the handlers in whose place it may be taken.
    handler : callable
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in usual if is_main}
    taken = {number: now for number, now in before.items() if now in usual[number]}
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, now in taken.items():
            signal.signal(number, now)


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
        ends: list[Any] = [signal.SIG_DFL, terminate]
        usual = {signal.SIGINT: [signal.default_int_handler], signal.SIGTERM: ends}
        self._taking = taking(usual, self._handle)
        self._held = False
        self._waiting: int | None = None

    def __enter__(self) -> Interrupts:
        self._taking.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._taking.__exit__(None, None, None)

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
