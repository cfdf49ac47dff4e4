"""Running a command in this process: what a shell would see, without importing torch anew each time."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from cryoprobe import cli


@dataclass
class Done:
    stdout: str
    stderr: str


def run(*words: str | Path, code: int = 0) -> Done:
    """Run a command, which must end with that exit code and without a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended, redirect_stdout(out), redirect_stderr(err):
        cli.app([*map(str, words)], prog_name="cryoprobe")
    assert ended.value.code == code, f"{ended.value.code}\n{out.getvalue()}\n{err.getvalue()}"
    assert "Traceback" not in err.getvalue()
    return Done(out.getvalue(), err.getvalue())
