"""How much memory a fit may take, where a call bounds that of the whole process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import BadInput


def available(memory: int) -> int:
    """Return what is left of so many bytes beside what this process takes already, torch included."""
    import torch  # noqa: F401 - so that its memory is counted

    statm = Path("/proc/self/statm")  # Linux; elsewhere the peak so far
    if statm.exists():
        resident = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    else:
        import resource

        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return max(memory - resident, 1)


@contextmanager
def explained(memory: int | None, left: int | None) -> Iterator[None]:
    """State a fit's need of memory as what the whole process needs.

    Parameters
    ----------
    memory : int or None
        Bytes that the process may take.
    left : int or None
        Bytes of them that were left to a fit; see `available`.
    """
    try:
        yield
    except BadInput as e:
        if e.key != "fit-memory" or memory is None or left is None or not isinstance(e.expected, int):
            raise
        taken = memory - left
        raise BadInput(
            f"--memory leaves {left / 2**20:.0f} MiB to a fit, beside what this process takes already.",
            hint=f"Give at least {(taken + e.expected) / 2**20 + 32:.0f} MiB.",
            key="memory",
        ) from None
