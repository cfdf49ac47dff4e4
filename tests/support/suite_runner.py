"""Suites in processes of their own, small enough to be killed often."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import cryoprobe
from support.forking import CONTEXT
from support.killing import Instant, Operations


class Announce(cryoprobe.SuiteReporter):
    """Has the process killed at an instant, counted from where the suite begins."""

    def __init__(self, instant: Instant | None) -> None:
        self._instant = instant
        self.operations: Operations | None = None

    def cells(self, states: Sequence[cryoprobe.CellState]) -> None:
        self.operations = Operations(self._instant)


class SuiteProcess:
    """A suite that runs in another process.

    Parameters
    ----------
    suite : dict
    store : Path
    instant : Instant, optional
        When it is killed.
    """

    def __init__(self, suite: dict[str, Any], store: Path, instant: Instant | None = None) -> None:
        self._answers, child = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=_run, args=(suite, str(store), child, instant))
        self.process.start()
        child.close()

    def finish(self) -> tuple[dict[str, Any], int]:
        """Wait for the end; return what the suite did, and in how many operations on storage."""
        found: tuple[dict[str, Any], int] = self._answers.recv()
        self.process.join()
        assert self.process.exitcode == 0
        return found


def _run(suite: dict[str, Any], store: str, parent: Connection, instant: Instant | None) -> None:
    torch.set_num_threads(1)
    announce = Announce(instant)
    run = cryoprobe.run_suite(suite, store, reporter=announce)
    assert announce.operations is not None
    announce.operations.finish()
    parent.send((run.document, announce.operations.count))
