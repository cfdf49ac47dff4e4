"""Which reporter receives the progress of a call: a bar, the caller's own, or one that shows nothing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from .progress import Reporter


def reporter_for(progress: bool, reporter: Reporter | None) -> Reporter:
    """Return the reporter that the parameters `progress` and `reporter` of a public function ask for.

    Parameters
    ----------
    progress : bool
        Show a bar if a person can see it: if standard error is a terminal, or in a notebook with ipywidgets.
    reporter : Reporter, optional
        Is told instead.
    """
    if reporter is not None:
        return reporter
    if progress and is_watched():
        from .progress_bar import Bar

        return Bar()
    return Reporter()


def is_watched() -> bool:
    """Return whether a person can see progress."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return terminal or ("ipykernel" in sys.modules and find_spec("ipywidgets") is not None)
