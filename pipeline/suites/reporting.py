"""Which reporter receives the progress of a suite: a live table, the caller's own, or one that shows nothing."""

from __future__ import annotations

from ...progress import Reporter
from ...reporting import is_watched
from ...suite_progress import Relay, SuiteReporter


def suite_reporter(progress: bool, reporter: Reporter | None) -> SuiteReporter:
    """Return the reporter that the parameters `progress` and `reporter` of a public function ask for."""
    if reporter is not None:
        return Relay(reporter)
    if progress and is_watched():
        from ...suite_table import LiveTable

        return Relay(LiveTable())
    return SuiteReporter()
