"""Running many trials: what becomes of Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import Any

import pytest

from cryoprobe.errors import Terminated
from cryoprobe.pipeline.stopping import terminate
from cryoprobe.pipeline.trials.pool import noticing_interrupts


def press(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)  # until it is raised


@pytest.mark.parametrize(
    ("number", "usual", "error"),
    [(signal.SIGINT, signal.default_int_handler, KeyboardInterrupt), (signal.SIGTERM, terminate, Terminated)],
)
def test_an_interrupt_that_somebody_swallowed_is_raised_again(
    number: int, usual: Any, error: type[BaseException]
) -> None:
    before = signal.signal(number, usual)
    try:
        with noticing_interrupts() as check:
            check()
            with suppress(error):
                press(number)
            with pytest.raises(error):
                check()
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)


def test_an_interrupt_is_raised_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), noticing_interrupts():
        press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_callers_own_stays() -> None:
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        with noticing_interrupts() as check:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            check()
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT]
