"""Which tests take long, as measured: what `make test-fast` leaves out, beside those that are marked slow.

    make test PYTEST_ADDOPTS="--durations=0 --durations-min=0.02" > log
    python tests/support/long_tests.py log      # writes tests/long.txt, one test function a line

A function whose cases take more than a third of a second on average, or one of them more than half a second, is long.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

LIST = Path(__file__).resolve().parent.parent / "long.txt"

_MEAN_SECONDS = 1 / 3
_CASE_SECONDS = 0.5


def function_of(nodeid: str) -> str:
    """Return the id of a test without its parameters."""
    return nodeid.partition("[")[0]


def long_tests() -> frozenset[str]:
    """Return the ids of the test functions that take long."""
    return frozenset(LIST.read_text().split())


def measured(log: str) -> set[str]:
    """Return the functions that take long according to pytest's table of durations."""
    cases: dict[str, float] = defaultdict(float)
    for seconds, nodeid in re.findall(r"^(\d+\.\d+)s (?:call|setup|teardown) +(\S.*)$", log, re.MULTILINE):
        cases[nodeid] += float(seconds)
    functions: dict[str, list[float]] = defaultdict(list)
    for nodeid, taken in cases.items():
        functions[function_of(nodeid)].append(taken)
    return {f for f, t in functions.items() if sum(t) / len(t) > _MEAN_SECONDS or max(t) > _CASE_SECONDS}


if __name__ == "__main__":
    LIST.write_text("\n".join(sorted(measured(Path(sys.argv[1]).read_text()))) + "\n")
