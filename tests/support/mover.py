"""Transfers in processes of their own, forked from one that has imported what they need, so that many can be killed.

    python -m support.mover       # in tests/

reads a line of JSON for each transfer, and answers with lines: ``done`` and the number of its operations, and how the
process ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cryoprobe
from cryoprobe.stores.backends import objects  # noqa: F401  imported once, for all
from cryoprobe.stores.moving import transfer  # noqa: F401
from support.killing import Instant, Operations


class Mover:
    """Runs transfers, one at a time, and kills them."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "support.mover"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()

    def operations(self, verb: str, store: str, other: str) -> int:
        """Carry out a transfer; return how many operations on storage it takes once objects begin to travel."""
        said = self._run(verb, store, other, None)
        assert said.startswith("done"), said
        return int(said.removeprefix("done"))

    def kill(self, verb: str, store: str, other: str, instant: Instant) -> bool:
        """Have a transfer killed at an instant, counted from when objects travel; return whether it was still at it."""
        return self._run(verb, store, other, instant) == f"ended {-signal.SIGKILL}"

    def _run(self, verb: str, store: str, other: str, instant: Instant | None) -> str:
        """Run a transfer; return what it says at its end, or how it was ended."""
        self._send(json.dumps([verb, store, other, instant]))
        answer, ended = self._line(), ""
        if answer.startswith("ended"):
            ended = answer
        else:
            assert answer.startswith("done"), answer
            ended = self._line()
        return ended if ended != "ended 0" else answer

    def _send(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line + "\n")
        self._server.stdin.flush()

    def _line(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server of transfers is gone"
        return line.strip()


class _Announce(cryoprobe.Reporter):
    def __init__(self, instant: Instant | None) -> None:
        self.operations: Operations | None = None
        self._instant = instant

    def begin(self, title: str, total: int, unit: str = "samples") -> None:
        self.operations = self.operations or Operations(self._instant)


def _serve() -> None:
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if not child:
            try:
                verb, *places, instant = json.loads(line)
                announce = _Announce(None if instant is None else Instant(*instant))
                move: Any = getattr(cryoprobe, verb)
                move(*places, units=True, reporter=announce)
                if announce.operations is not None:
                    announce.operations.finish()
                _say("done", announce.operations.count if announce.operations is not None else 0)
            except BaseException as e:
                _say(repr(e))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        _say("ended", os.waitstatus_to_exitcode(status))


def _say(*words: object) -> None:
    print(*words, flush=True)


if __name__ == "__main__":
    _serve()
