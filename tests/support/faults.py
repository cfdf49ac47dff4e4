"""A bad network between us and a real S3 server: every n-th request goes wrong in a way that is fixed beforehand."""

from __future__ import annotations

import http.client
import itertools
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from support.servers import serving

Fault = Literal["500", "503", "reset", "pause", "stall", "cut", "lost", "silent"]
"""What happens to a request.

``500``, ``503``: that answer, and the request does not reach the server. ``silent``: no answer, nor does it reach the
server. ``reset``: the connection is reset before the request reaches the server. ``pause``: half of the answer, then
silence for a moment, then the rest. ``stall``: half of the answer, and no more. ``cut``: half of the answer, then the
end. ``lost``: the server does it, and the connection is reset before it answers.
"""

PAUSE_SECONDS = 0.2


class Request(NamedTuple):
    """What is asked: the count of the request, its method, its path, and whether it is a conditional PUT."""

    number: int
    method: str
    path: str
    conditional: bool


class Network:
    """Decides about every request; keeps count of what it did.

    Attributes
    ----------
    decide : callable
        Gives the fault of a request, or None for none.
    done : Counter
        How often each fault was made, ``requests`` for all requests.
    """

    def __init__(self) -> None:
        self.decide: Callable[[Request], Fault | None] = lambda _: None
        self.done: Counter[str] = Counter()
        self.ending = threading.Event()
        self.count = itertools.count()


def sometimes(fault: Fault, share: float, seed: int = 0) -> Callable[[Request], Fault | None]:
    """Return what lets a share of the requests go wrong, by their count: the same ones each time."""

    def decide(request: Request) -> Fault | None:
        if fault == "lost" and request.method not in ("PUT", "DELETE"):
            return None
        return fault if random.Random(f"{seed} {request.number}").random() < share else None

    return decide


@contextmanager
def bad_network(endpoint: str) -> Iterator[tuple[Network, str]]:
    """Put a proxy before a server; yield what decides about its faults, and its address."""
    network = Network()
    host = urlsplit(endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(next(network.count), self.command, self.path, "If-None-Match" in self.headers)
            fault = network.decide(request)
            network.done.update(["requests", *([fault] if fault else [])])
            if fault in ("500", "503"):
                self.send_response(int(fault))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault == "reset":
                self._reset()
                return
            if fault == "silent":
                network.ending.wait()
                self.close_connection = True
                return
            connection = http.client.HTTPConnection(host, timeout=60)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # Host too, which is signed
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if fault == "lost":
                self._reset()
                return
            self._answer(answer, content, fault)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815

        def _answer(self, answer: http.client.HTTPResponse, content: bytes, fault: Fault | None) -> None:
            self.send_response(answer.status)
            length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(content))
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            half = len(content) // 2 if fault in ("pause", "stall", "cut") else len(content)
            self.wfile.write(content[:half])
            if fault == "pause":
                network.ending.wait(PAUSE_SECONDS)
                self.wfile.write(content[half:])
            elif fault == "stall":
                network.ending.wait()
                self.close_connection = True
            elif fault == "cut":
                self.close_connection = True

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the client has given up
                self.close_connection = True

    with serving(Handler) as address:
        try:
            yield network, address
        finally:
            network.ending.set()
