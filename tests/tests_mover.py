"""Transfers in processes of their own, forked from one that has imported what they need, so that many can be killed.

    python tests_mover.py

reads a line of JSON for each transfer, and answers with lines: its process, ``begin`` when objects begin to travel,
``done``, and, when it is asked for by another line, how the process ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import cryoprobe
from cryoprobe.stores.backends import objects  # noqa: F401  imported once, for all
from cryoprobe.stores.moving import transfer  # noqa: F401


class Mover:
    """Runs transfers, one at a time, and kills them."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()

    def kill(self, verb: str, store: str, other: str, after: float) -> bool:
        """Kill a transfer `after` seconds from when objects begin to travel; return whether it was still at it."""
        self._send(json.dumps([verb, store, other]))
        process = int(self._line())
        said = self._line()
        assert said in ("begin", "done"), said
        if said == "begin":
            time.sleep(after)
        os.kill(process, signal.SIGKILL)
        self._send("wait")
        while not (said := self._line()).startswith("ended"):
            assert said == "done", said
        return said == f"ended {-signal.SIGKILL}"

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
    def begin_bytes(self, title: str, total: int) -> None:
        _say("begin")


def _serve() -> None:
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if not child:
            try:
                _say(os.getpid())
                verb, *places = json.loads(line)
                move: Any = getattr(cryoprobe, verb)
                move(*places, units=True, reporter=_Announce())
                _say("done")
            except BaseException as e:
                _say(repr(e))
            finally:
                os._exit(0)
        sys.stdin.readline()  # until it has been killed, its number must not be given to another process
        _, status = os.waitpid(child, 0)
        _say("ended", os.waitstatus_to_exitcode(status))


def _say(*words: object) -> None:
    print(*words, flush=True)


if __name__ == "__main__":
    _serve()
