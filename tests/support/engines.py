"""What starts the processes of an extraction, each behind the same call: the conformance test runs them all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cryoprobe
from support import logged_encoder
from support.forking import CONTEXT

BATCH, UNIT = 8, 32
OPTIONS: dict[str, Any] = {"batch_size": BATCH, "unit_rows": UNIT, "workers": 1}
_MOST_STARTS = 4
_RANKS = 4


@dataclass(frozen=True)
class Run:
    """One extraction.

    Parameters
    ----------
    folder : Path
        The working folder of all workers, with the log; the store is in it.
    data : Path
    address : str
        Of a Ray cluster, for the engine that needs one.
    """

    folder: Path
    data: Path
    address: str = ""

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def extract(self, **options: Any) -> list[cryoprobe.ExtractedSet]:
        return cryoprobe.extract(logged_encoder.NAME, f"folder:{self.data}", self.store, **OPTIONS, **options)


def serial(run: Run) -> None:
    """One process; if it dies, the same command again."""
    _until_done(run, lambda: [_started(run)])


def two_processes(run: Run) -> None:
    """The same command twice."""
    _until_done(run, lambda: [_started(run) for _ in range(2)])


def rank_4(run: Run) -> None:
    """The same command four times, each with its rank."""
    _until_done(run, lambda: [_started(run, rank=f"{i}/{_RANKS}") for i in range(_RANKS)])


def ray(run: Run) -> None:
    """Two workers on a Ray cluster; the dead and the hung are replaced without an operator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run.folder)
        run.extract(engine="ray", address=run.address, worker_count=2, stuck_seconds=15)


ENGINES: dict[str, Callable[[Run], None]] = {
    "serial": serial,
    "two processes": two_processes,
    "rank 4": rank_4,
    "ray": ray,
}


@contextmanager
def ray_cluster(cpus: int, folder: Path) -> Iterator[Any]:
    """Start a Ray cluster of one node on this machine; its workers have a cache in `folder`, and find our tests."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    tests = str(Path(__file__).resolve().parent.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYOPROBE_CACHE", str(folder / "cache"))
        patch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # A node that is gone counts as dead after some seconds, not a quarter of a minute; a busy one does not.
        patch.setenv("RAY_health_check_period_ms", "1000")
        patch.setenv("RAY_health_check_timeout_ms", "60000")
        cluster = Cluster(initialize_head=True, head_node_args=node(cpus))
        try:
            yield cluster
        finally:
            cluster.shutdown()


def node(cpus: int) -> dict[str, Any]:
    """Return what a small node of a cluster is made with."""
    return {"num_cpus": cpus, "object_store_memory": 80 * 2**20, "include_dashboard": False}


def _started(run: Run, **options: Any) -> Any:
    process = CONTEXT.Process(target=_extract, args=(run, options))
    process.start()
    return process


def _extract(run: Run, options: dict[str, Any]) -> None:
    os.chdir(run.folder)
    os.environ["CRYOPROBE_CACHE"] = str(run.folder / f"cache-{os.getpid()}")
    run.extract(**options)


def _until_done(run: Run, start: Callable[[], list[Any]]) -> None:
    """Do what an operator does: end what hangs, and start what died again, until every process ends well."""
    for _ in range(_MOST_STARTS):
        processes = start()
        while any(process.is_alive() for process in processes):
            hung = {*logged_encoder.hung(run.folder)}
            for process in processes:
                if process.pid in hung:
                    process.kill()  # nothing, where it has ended
            time.sleep(0.02)
        if all(process.exitcode == 0 for process in processes):
            return
    raise AssertionError([process.exitcode for process in processes])
