"""A live table of a suite on standard error, or in a notebook: a row for each cell, and the task that is at work."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .amounts import count
from .printable import one_line, plain
from .progress import Unit
from .progress_bar import Counts
from .suite_progress import FINISHED, CellState, SuiteReporter

_STYLES = {"waiting": "dim", "encoding": "cyan", "probing": "cyan", "stored": "green", "done": "green", "failed": "red"}
_OTHER_LINES = 8
"""Of a terminal: the head of the table, what is below it, and a few that were there before."""


class LiveTable(SuiteReporter):
    """A row for each cell: what became of it, its score, its seconds; below it images/s and the time left.

    Of more cells than fit the terminal those around the one at work are shown.

    Parameters
    ----------
    console : rich.console.Console, optional
        Standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._states: list[CellState] = []
        self._task: _Task | None = None
        self._pace = Pace()

    def cells(self, states: Sequence[CellState]) -> None:  # noqa: D102
        self._states = list(states)
        self._pace = Pace()
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            transient=True,
            redirect_stdout=False,  # rich would print a command's results to standard error
        )
        self._live.start()

    def cell(self, number: int, state: CellState) -> None:  # noqa: D102
        self._states[number] = state
        self._pace.told(state)

    def close(self) -> None:  # noqa: D102
        if self._live is not None:
            self._live.stop()
            self._live = None

    def begin(self, title: str, total: int, unit: Unit = "samples") -> None:  # noqa: D102
        self._task = _Task(title, total, unit)

    def advance(self, n: int = 0, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:  # noqa: D102
        if self._task is not None:
            self._task.counts.add(encoded, reused, failed)
            self._task.done += n + encoded + reused + failed

    def end(self) -> None:  # noqa: D102
        self._task = None

    def note(self, message: str) -> None:  # noqa: D102
        self._console.print(plain(message), style="dim", markup=False, highlight=False)

    def _render(self) -> RenderableType:
        rows = max(3, self._console.size.height - _OTHER_LINES)
        first = window([state.status for state in self._states], rows)
        table = Table(box=None, pad_edge=False, show_edge=False)
        for head in ("model", "data set", "protocol"):  # these give way on a narrow terminal
            table.add_column(head)
        table.add_column("", no_wrap=True, width=8)
        table.add_column("score", no_wrap=True, overflow="ellipsis", width=16 if self._console.width < 100 else 26)
        table.add_column("s", justify="right", no_wrap=True, width=6)
        for state in self._states[first : first + rows]:
            seconds = f"{state.seconds:.1f}" if state.status in FINISHED else ""
            what = state.what.removeprefix("protocol ")
            cells = (short(state.model), short(state.dataset), what, state.status, state.score)
            style = _STYLES[state.status]
            texts = [Text(one_line(cell), style=style, no_wrap=True, overflow="ellipsis") for cell in cells]
            table.add_row(*texts, Text(seconds, style=style))
        return Group(table, Text(self._below(len(self._states) - rows), style="bold"))

    def _below(self, hidden: int) -> str:
        finished = sum(state.status in FINISHED for state in self._states)
        failed = sum(state.status == "failed" for state in self._states)
        parts = [f"{finished} of {count(len(self._states), 'cell')}"]
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{hidden} not shown"] if hidden > 0 else []
        parts += [self._task.text] if self._task is not None else []
        left = self._pace.left(len(self._states) - finished)
        return " · ".join([*parts, *([f"about {duration(left)} left"] if left is not None else [])])


class _Task:
    """A long task within the suite."""

    def __init__(self, title: str, total: int, unit: Unit) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.counts = Counts()
        self.done = 0

    @property
    def text(self) -> str:
        """How far it is, and how fast."""
        counts = f" · {self.counts}" if self.unit == "samples" else ""
        return f"{one_line(self.title)} {self.done:,}/{self.total:,}{counts}"


class Pace:
    """How long the cells that are left will take: as long as those that were not answered from the store."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._stored = 0
        self._run = 0

    def told(self, state: CellState) -> None:
        """Take in what became of a cell."""
        self._stored += state.status == "stored"
        self._run += state.status in ("done", "failed")

    def left(self, cells: int) -> float | None:
        """Return the seconds that so many cells take; None before the first one was run."""
        if not self._run or not cells:
            return None
        return (time.monotonic() - self._started) / self._run * cells


def window(statuses: Sequence[str], rows: int) -> int:
    """Return the first of so many rows that are shown: the one at work is in the middle.

    Examples
    --------
    >>> window(["done"] * 50 + ["probing"] + ["waiting"] * 49, 10)
    45
    >>> window(["probing", "waiting"], 10)
    0
    """
    at = next((i for i, status in enumerate(statuses) if status in ("encoding", "probing")), len(statuses))
    return max(0, min(at - rows // 2, len(statuses) - rows))


def short(name: str) -> str:
    """Return a name with the last part alone of a path that is in it.

    Examples
    --------
    >>> short("idx:/usr/share/datasets/fashion-mnist"), short("timm:resnet50.a1_in1k")
    ('idx:…/fashion-mnist', 'timm:resnet50.a1_in1k')
    """
    kind, colon, rest = name.partition(":/")
    return f"{kind}:…/{rest.rstrip('/').rpartition('/')[2]}" if colon and "/" in rest.strip("/") else name


def duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> duration(42), duration(90), duration(7300)
    ('42 s', '2 min', '2.0 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
