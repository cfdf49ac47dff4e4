"""What is shown of the work of several workers: each of their notes once, and one bar for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from ...progress import Reporter
from .extract_worker import Counts


class Display:
    """Shows on one reporter what several workers report.

    Parameters
    ----------
    reporter : Reporter
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._said: set[str] = set()
        self._shown: Counts | None = None

    def tell(self, notes: Sequence[str]) -> None:
        """Pass notes on that nobody has made yet."""
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                self._reporter.note(note)

    def show(self, counts: Sequence[Counts]) -> None:
        """Show what all have done of the split that the first one is at; it does not go back."""
        if not counts:
            return
        title = counts[0].title
        of_split = [c for c in counts if c.title == title]
        if self._shown is None or self._shown.title != title:
            self.end()
            self._reporter.begin(title, counts[0].total)
            self._shown = Counts(title, counts[0].total)
        before = self._shown
        encoded = max(before.encoded, sum(c.encoded for c in of_split))
        failed = max(before.failed, *(c.failed for c in of_split))
        # What a worker reused may be what another one has encoded.
        reached = max(c.encoded + c.reused + c.failed for c in of_split)
        reused = max(before.reused, reached - encoded - failed)
        now = Counts(title, before.total, encoded, reused, failed)
        if now != before:
            self._reporter.advance(
                encoded=encoded - before.encoded, reused=reused - before.reused, failed=failed - before.failed
            )
            self._shown = now

    def end(self) -> None:
        """End the bar, if one is shown."""
        if self._shown is not None:
            self._reporter.end()
            self._shown = None
