"""Extractions in processes of their own, small enough to be killed often."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import cryoprobe
from cryoprobe.stores.writing import claims
from support.forking import CONTEXT
from support.killing import Instant, Operations


class Announce(cryoprobe.Reporter):
    """Tells the parent that the work on a split begins, and has the process killed at an instant from then on."""

    def __init__(self, parent: Connection, instant: Instant | None) -> None:
        self._parent = parent
        self._instant = instant
        self.operations: Operations | None = None

    def begin(self, title: str, total: int) -> None:
        self._parent.send("begin")
        if self._instant is not None:
            self.operations = Operations(self._instant)


class Extraction:
    """An extraction that runs in another process.

    Parameters
    ----------
    data : Path
    store : Path or str
    unit_rows : int
    instant : Instant, optional
        When it is killed, counted from its begin.
    silence_seconds : float, optional
        How long a claim of somebody else may stay unchanged.
    """

    def __init__(
        self,
        data: Path,
        store: Path | str,
        unit_rows: int,
        instant: Instant | None = None,
        silence_seconds: float | None = None,
    ) -> None:
        self._answers, child = CONTEXT.Pipe(duplex=False)
        # What leads to a bucket; the server that forks the process was started in another environment.
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        arguments = (str(data), str(store), unit_rows, child, environment, instant, silence_seconds)
        self.process = CONTEXT.Process(target=_extract, args=arguments)
        self.process.start()
        child.close()

    def wait_for_begin(self) -> None:
        assert self._answers.recv() == "begin"

    def has_answered(self) -> bool:
        """Return whether there is something to be received."""
        return self._answers.poll()

    def summary(self) -> dict[str, Any]:
        """Wait for the end; return what `extract` did."""
        answer = self._answers.recv()
        while answer == "begin":
            answer = self._answers.recv()
        self.process.join()
        assert self.process.exitcode == 0
        return dict(answer)


def _extract(
    data: str,
    store: str,
    unit_rows: int,
    parent: Connection,
    environment: dict[str, str],
    instant: Instant | None,
    silence_seconds: float | None,
) -> None:
    os.environ.update(environment)
    if silence_seconds is not None:
        claims.Claims.__init__.__defaults__ = (claims.HEARTBEAT_SECONDS, silence_seconds)
    torch.set_num_threads(1)
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    announce = Announce(parent, instant)
    sets = cryoprobe.extract(
        encoder, f"folder:{data}", store, unit_rows=unit_rows, batch_size=4, workers=1, reporter=announce
    )
    if announce.operations is not None:
        announce.operations.finish()
    parent.send(cryoprobe.summary(sets))
