"""The benchmark that needs a GPU runs, in small, on any machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import cryoprobe

SCRIPT = Path(cryoprobe.__file__).resolve().parent / "benchmarks" / "gpu.py"


pytestmark = pytest.mark.slow


def test_every_part_runs_in_small() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--small"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["small"]
    for precision in ("fp32", "bf16"):
        assert found["pipeline"][f"test {precision}"]["images_per_s"] > 0
    assert found["logistic"]["grid"]["converged"] == found["logistic"]["grid"]["penalties"]
    assert found["agreement"]["test bf16"]["largest"] < 1e-3


def test_a_part_that_there_is_not() -> None:
    command = [sys.executable, str(SCRIPT), "--small", "--parts", "coffee"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such part: coffee" in done.stderr
