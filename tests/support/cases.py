"""Small inputs that once gave wrong results, known by a name: each has its test where the part is tested."""

from __future__ import annotations

import re
from pathlib import Path


def files_that_test(case: str) -> list[Path]:
    """Return the test files that have a test of a case, by its name or as a parameter."""
    named = re.compile(rf"^ *def test_{case}|^@pytest.*parametrize.*\"{case}\"", re.MULTILINE)
    return [path for path in Path(__file__).parents[1].rglob("test_*.py") if named.search(path.read_text())]
