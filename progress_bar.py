"""A progress bar on standard error, or in a notebook."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from .printable import one_line, plain
from .progress import Reporter, Unit


class Bar(Reporter):
    """A bar with the time left; of bytes also how fast, and of samples images/s and what became of them."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._counts: Counts | None = None  # of a task that counts samples

    def begin(self, title: str, total: int, unit: Unit = "samples") -> None:  # noqa: D102
        self._counts = Counts() if unit == "samples" else None
        done: list[ProgressColumn] = [MofNCompleteColumn()]
        if unit == "bytes":
            done = [DownloadColumn(binary_units=True), TransferSpeedColumn()]
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            *done,
            TimeRemainingColumn(),
            TextColumn("{task.fields[counts]}"),
            console=self._console,
            redirect_stdout=False,  # rich would print a command's results to standard error
        )
        self._progress.start()
        self._task = self._progress.add_task(one_line(title), total=total, counts="")

    def advance(self, n: int = 0, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:  # noqa: D102
        if self._progress is None:
            return
        counts = ""
        if self._counts is not None:
            self._counts.add(encoded, reused, failed)
            counts = str(self._counts)
        self._progress.update(self._task, advance=n + encoded + reused + failed, counts=counts)

    def end(self) -> None:  # noqa: D102
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def note(self, message: str) -> None:  # noqa: D102
        self._console.print(plain(message), style="dim", markup=False, highlight=False)


class Counts:
    """How many samples are done, by how, and how fast the encoder is."""

    def __init__(self) -> None:
        self.encoded = self.reused = self.failed = 0
        self._started = time.monotonic()

    def add(self, encoded: int, reused: int, failed: int) -> None:
        """Count samples that are done."""
        self.encoded += encoded
        self.reused += reused
        self.failed += failed

    def __str__(self) -> str:
        speed = self.encoded / max(time.monotonic() - self._started, 1e-9)
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{speed:.0f} images/s · {self.encoded} encoded, {self.reused} reused{failed}"
