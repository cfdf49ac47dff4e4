"""Progress of a long task, and the `Reporter` that receives it. `reporting` chooses one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

Unit = Literal["samples", "objects", "bytes"]
"""What a task counts."""

Item = TypeVar("Item")


class Reporter:
    """Receives progress; this one keeps it to itself. Sub-class it to show something.

    One task runs at a time: `begin`, any number of `advance`, `end`. Notes may come at any time.

    Examples
    --------
    >>> import cryoprobe
    >>> class Printing(cryoprobe.Reporter):
    ...     def begin(self, title, total, unit="samples"):
    ...         print(f"{title}: {total} {unit}")
    >>> with Printing().task("Copying", 3, "objects"):
    ...     pass
    Copying: 3 objects
    """

    def begin(self, title: str, total: int, unit: Unit = "samples") -> None:
        """Start a task of `total` samples, objects or bytes."""

    def advance(self, n: int = 0, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:
        """Count `n` that are done; of samples, how many were encoded, reused, or failed."""

    def end(self) -> None:
        """Finish the task, whether or not it is complete."""

    def note(self, message: str) -> None:
        """Say something worth knowing, once."""

    def wait(self) -> None:
        """Hear, from time to time, that the process lives, while nothing else is to be reported.

        It waits until somebody else's work is done, or puts a set together.
        """

    @contextmanager
    def task(self, title: str, total: int, unit: Unit = "samples") -> Iterator[None]:
        """Begin a task, and end it whatever happens; one of nothing is not shown."""
        if not total:
            yield
            return
        self.begin(title, total, unit)
        try:
            yield
        finally:
            self.end()

    def track(self, items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
        """Yield `items`, of which there are `total`, as a task that counts objects."""
        with self.task(title, total, "objects"):
            for item in items:
                self.advance(1)
                yield item
