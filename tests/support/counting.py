"""A proxy that counts: what is asked of a server, and how many bytes it answers with."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Counted:
    """What has passed so far.

    Parameters
    ----------
    url : str
        Of the proxy.
    requests : list of str
        First lines.
    received : int
        Bytes that the server sent.
    copies : int
        How many of the requests are copies, which a server makes of objects that it has.
    """

    url: str = ""
    requests: list[str] = field(default_factory=list)
    received: int = 0
    copies: int = 0

    def reads(self) -> list[str]:
        """Return the requests for contents of objects, of which a listing is none."""
        return [line for line in self.requests if line.startswith("GET ") and "list-type=" not in line]

    def listings(self) -> list[str]:
        return [line for line in self.requests if "list-type=" in line]

    def kinds(self) -> dict[str, int]:
        """Return how many requests there are of each kind, as a bill has them."""
        methods = Counter(line.split(" ", 1)[0] for line in self.requests)
        listings = len(self.listings())
        kinds = {**methods, "GET": methods["GET"] - listings, "PUT": methods["PUT"] - self.copies}
        return {kind: n for kind, n in {**kinds, "LIST": listings, "COPY": self.copies}.items() if n}

    def clear(self) -> None:
        self.requests.clear()
        self.received = self.copies = 0


@contextmanager
def counting(endpoint: str) -> Iterator[Counted]:
    """Pass on whatever comes to a server, unchanged, and count it."""
    target = urlsplit(endpoint)
    address = (str(target.hostname), target.port or 80)
    counted = Counted()
    with socket.create_server(("127.0.0.1", 0)) as server:
        counted.url = f"http://127.0.0.1:{server.getsockname()[1]}"
        threading.Thread(target=_accept, args=(server, address, counted), daemon=True).start()
        yield counted


def _accept(server: socket.socket, address: tuple[str, int], counted: Counted) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            there = socket.create_connection(address)
            threading.Thread(target=_pass_on, args=(client, there, counted, True), daemon=True).start()
            threading.Thread(target=_pass_on, args=(there, client, counted, False), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, counted: Counted, asking: bool) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if not asking:
                counted.received += len(data)
            elif data.split(b" ", 1)[0] in (b"GET", b"HEAD", b"PUT", b"POST", b"DELETE"):
                counted.requests.append(data.split(b"\r\n", 1)[0].decode())
                counted.copies += b"\r\nx-amz-copy-source:" in data.split(b"\r\n\r\n", 1)[0].lower()
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
