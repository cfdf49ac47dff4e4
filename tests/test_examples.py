"""The examples run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cryoprobe

EXAMPLES = Path(cryoprobe.__file__).resolve().parent / "examples"


def test_two_people_share_a_store_in_a_bucket(s3: str) -> None:
    command = [sys.executable, str(EXAMPLES / "two_people.py"), s3]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "132 images: 12 encoded, 120 taken from the store" in done.stdout
    assert done.stdout.splitlines()[-1] == "Everything is what was written."
