"""A Ray cluster: reaching it, or starting one on this machine, and how many workers it has room for.

Of Ray only its core is used, and of that only processes: actors and tasks that are never restarted by Ray. Nothing but
names, options and results goes through its object store.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ...errors import BadInput, NotFound, Unavailable
from ..options import EngineOptions

_CONNECT_SECONDS = 10.0
_OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Of a cluster on this machine: nothing of ours is kept there, and Ray wants at least 75 MiB."""
_RAY_CLIENT_PORT = 10001


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Parameters
    ----------
    ray : module
    options : EngineOptions
    gpus, cpus : float
        Of one worker.
    """

    ray: ModuleType
    options: EngineOptions
    gpus: float
    cpus: int

    @property
    def resources(self) -> dict[str, Any]:
        """What Ray is asked for, for one worker. Ray restarts nothing: what a dead one was at may be done by then."""
        return {"num_gpus": self.gpus, "num_cpus": self.cpus, "scheduling_strategy": "SPREAD"}

    @property
    def described(self) -> str:
        """What one worker needs, in words."""
        return f"{self.cpus} CPU{'s' * (self.cpus > 1)}" + (f" and {self.gpus:g} GPU" if self.gpus else "")

    def worker_count(self) -> int:
        """Return how many workers are asked for, or fit.

        Raises
        ------
        BadInput
            If none fits, and none is asked for: a cluster may grow when it is asked.
        """
        if self.options.worker_count is not None:
            return self.options.worker_count
        count = sum(map(self._room, _nodes(self.ray)))
        if not count:
            have = "; ".join(f"{n.get('CPU', 0):g} CPUs, {n.get('GPU', 0):g} GPUs" for n in _nodes(self.ray))
            raise BadInput(
                f"No node of the Ray cluster has room for a worker of {self.described}: they have {have or 'nothing'}.",
                hint="Lower --cpus-per-worker or --gpus-per-worker; or give --worker-count, if the cluster will grow.",
                key="worker-count",
            )
        return count

    def _room(self, node: dict[str, float]) -> int:
        by_cpus = node.get("CPU", 0) // self.cpus
        return int(min(by_cpus, node.get("GPU", 0) // self.gpus) if self.gpus else by_cpus)


@contextmanager
def connected(options: EngineOptions, *, takes_gpus: bool) -> Iterator[Cluster]:
    """Connect to the cluster of the options; a program that is connected already stays so.

    Parameters
    ----------
    options : EngineOptions
    takes_gpus : bool
        Whether a worker has a GPU by default, if the cluster has any.

    Raises
    ------
    NotFound
        If Ray is not installed.
    Unavailable
        If there is no cluster at the address.
    """
    ray = _imported()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, options.address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        nodes = _nodes(ray)
        gpus = options.gpus_per_worker
        if gpus is None:
            gpus = 1 if takes_gpus and any(node.get("GPU", 0) for node in nodes) else 0
        yield Cluster(ray, options, gpus, options.cpus_per_worker or _share_of_cpus(nodes, gpus))
    finally:
        if ours:
            ray.shutdown()


def _share_of_cpus(nodes: Sequence[Mapping[str, float]], gpus: float) -> int:
    """Return how many CPUs a worker gets with so many GPUs, on the node where that are the fewest; 1 without GPUs.

    Examples
    --------
    >>> _share_of_cpus([{"CPU": 32, "GPU": 4}, {"CPU": 16, "GPU": 1}, {"CPU": 4}], gpus=1)
    8
    """
    shares = [int(node.get("CPU", 0) * gpus / node["GPU"]) for node in nodes if node.get("GPU", 0) >= gpus > 0]
    return max(1, min(shares, default=1))


def _imported() -> ModuleType:
    # Ray reports to its makers, and prints the deaths of workers to standard output, unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
    except ImportError:
        raise NotFound("Ray is not installed.", hint="Install it: pip install 'cryoprobe[ray]'", key="engine") from None
    return ray  # type: ignore[no-any-return]


def _connect(ray: ModuleType, address: str) -> None:
    if address not in ("local", "auto"):
        _check_listening(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        quiet |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, **quiet)
    except (ImportError, ConnectionError, RuntimeError, ValueError, OSError) as e:
        if "ray[client]" in str(e):
            raise NotFound(
                f"The client of Ray that {address} needs is not installed.",
                hint="Install it: pip install 'ray[client]'; or, on a machine of the cluster, give HOST:PORT or auto.",
                key="address",
            ) from None
        raise _not_there(address, _first_line(e)) from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)  # Ray takes it, and our commands answer it themselves


def _check_listening(address: str) -> None:
    """Refuse an address where nothing listens, which Ray would try for minutes."""
    place = address.removeprefix("ray://")
    host, colon, port = place.rpartition(":")
    if not colon and address.startswith("ray://"):
        host, port = place, str(_RAY_CLIENT_PORT)
    if not host or not port.isdecimal():
        raise BadInput(
            f"{address} is not the address of a Ray cluster.",
            hint="Give HOST:PORT, ray://HOST:PORT, or auto on a machine of the cluster.",
            key="address",
        )
    try:
        answers = _speaks_grpc(host.strip("[]"), int(port))
    except (OSError, OverflowError) as e:
        raise _not_there(address, getattr(e, "strerror", None) or str(e)) from None
    if not answers:
        raise _not_there(address, "what listens there is something else")


def _speaks_grpc(host: str, port: int) -> bool:
    """Return whether a server answers as Ray's do: the first frame of HTTP/2 is one of settings (RFC 9113, 3.4)."""
    with socket.create_connection((host, port), timeout=_CONNECT_SECONDS) as server:
        if os.environ.get("RAY_USE_TLS", "0") == "1":
            return True
        server.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        head = server.recv(9, socket.MSG_WAITALL)
        return len(head) == 9 and head[3] == 4


def _not_there(address: str, why: str) -> Unavailable:
    where = "on this machine" if address in ("auto", "local") else f"at {address}"
    return Unavailable(
        f"There is no Ray cluster {where}: {why.rstrip('.')}.",
        hint="Start one (ray start --head), correct --address, or leave it out for a cluster of this machine alone.",
        key="address",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _nodes(ray: ModuleType) -> list[dict[str, float]]:
    """Return what each node that is alive has."""
    return [node.get("Resources", {}) for node in ray.nodes() if node.get("Alive")]
