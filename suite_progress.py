"""Progress of a suite: of each cell what becomes of it, beside that of the long tasks within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .progress import Reporter, Unit

Status = Literal["waiting", "encoding", "probing", "stored", "done", "failed"]
"""``stored``: the store had all trials of the cell; ``done``: some were run; ``failed``: see the error."""

FINISHED: tuple[Status, ...] = ("stored", "done", "failed")


@dataclass(frozen=True)
class CellState:
    """A cell of a suite as it is shown.

    Parameters
    ----------
    model, dataset, what : str
    status : str
        See `Status`.
    score : str
        Such as ``top1 0.9321``; empty until there is one, of a failure the first line of the error.
    seconds : float
        That its trials took.
    """

    model: str
    dataset: str
    what: str
    status: Status = "waiting"
    score: str = ""
    seconds: float = 0.0


class SuiteReporter(Reporter):
    """Receives the progress of a suite; this one keeps it to itself. Sub-class it to show something."""

    def cells(self, states: Sequence[CellState]) -> None:
        """Start a suite of these cells."""

    def cell(self, number: int, state: CellState) -> None:
        """Take in what became of a cell."""

    def close(self) -> None:
        """End the suite, whether or not it is complete."""


class Relay(SuiteReporter):
    """Passes the tasks and notes of a suite on to a reporter that knows nothing of cells; each note once.

    Parameters
    ----------
    reporter : Reporter
    """

    def __init__(self, reporter: Reporter) -> None:
        self._to = reporter
        self._cells = reporter if isinstance(reporter, SuiteReporter) else SuiteReporter()
        self._said: set[str] = set()

    def begin(self, title: str, total: int, unit: Unit = "samples") -> None:  # noqa: D102
        self._to.begin(title, total, unit)

    def advance(self, n: int = 0, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:  # noqa: D102
        self._to.advance(n, encoded=encoded, reused=reused, failed=failed)

    def end(self) -> None:  # noqa: D102
        self._to.end()

    def wait(self) -> None:  # noqa: D102
        self._to.wait()

    def cells(self, states: Sequence[CellState]) -> None:  # noqa: D102
        self._cells.cells(states)

    def cell(self, number: int, state: CellState) -> None:  # noqa: D102
        self._cells.cell(number, state)

    def close(self) -> None:  # noqa: D102
        self._cells.close()

    def note(self, message: str) -> None:
        """Pass a note on that was not made yet."""
        if message not in self._said:
            self._said.add(message)
            self._to.note(message)
