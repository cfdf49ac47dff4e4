"""The benchmark of large stores runs, in small: every step finds what the steps before it made."""

from __future__ import annotations

from pathlib import Path

from scale import STEPS, Case, run_step


def test_every_step_finds_what_was_made(tmp_path: Path) -> None:
    case = Case(tmp_path, rows=3 * 4096 + 100, sets=60, dim=1)
    found = {name: run_step(name, case) for name in STEPS}
    assert found["units"]["told"]["units"] == 4
    assert found["index"]["told"]["indexed"] == found["index_set"]["told"]["indexed"] == case.rows
    assert found["plan"]["told"]["missing"] > 0
    assert found["names"]["told"]["said"] == []
    assert found["verify"]["told"] == {"objects": 2 * (3 * 4 + 6) + 4 * 3, "damages": 0}
    assert found["sets: ls"]["told"]["lines"] > 0
    assert found["sets: verify"]["told"] == {"objects": 60 * 9, "damages": 0}
