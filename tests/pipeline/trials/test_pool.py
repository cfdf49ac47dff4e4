"""Running many trials: what becomes of Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest

from cryoprobe.pipeline.trials.pool import noticing_interrupts


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)  # until it is raised


def test_an_interrupt_that_somebody_swallowed_is_raised_again() -> None:
    with noticing_interrupts() as check:
        check()
        with suppress(KeyboardInterrupt):
            press()
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


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
