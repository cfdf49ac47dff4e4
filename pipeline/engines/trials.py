"""The trials of `probe` on a Ray cluster: a task for each, which loads its rows itself; the caller stores the results.

A task that is lost is given to the cluster again by us, as often as any other; Ray is asked to retry nothing.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ...errors import CryoprobeError, Unavailable
from ..options import EngineOptions
from ..trials.key import TrialKey
from ..trials.plan import TrialPlan
from ..trials.run import RunTrial
from .caller import Caller
from .cluster import connected
from .trial_task import RowsWanted, run_on_node

_POLL_SECONDS = 1.0
_MOST_LOSSES = 3
"""Of one trial: what is lost each time is not lost by chance."""
_FETCH_SECONDS = 60.0
"""For a result that is there."""


class _Flight(NamedTuple):
    """A trial that the cluster has, and since when."""

    key: TrialKey
    since: float


def run_on_ray(
    wanted: RowsWanted, plan: TrialPlan, keys: Sequence[TrialKey], options: EngineOptions, note: Callable[[str], None]
) -> Iterator[tuple[TrialKey, RunTrial]]:
    """Run trials on a Ray cluster, and yield each as soon as it is done.

    Parameters
    ----------
    wanted : RowsWanted
    plan, keys
    options : EngineOptions
    note : callable

    Raises
    ------
    CryoprobeError
        What a trial ended with.
    Unavailable
        If one was lost too often.
    """
    with connected(options, takes_gpus=False) as cluster:
        ray, caller = cluster.ray, Caller()
        task = ray.remote(run_on_node).options(**cluster.resources, max_retries=0)
        most = min(cluster.worker_count(), len(keys))
        note(f"Ray: at most {most} trial{'s' * (most > 1)} at once, each with {cluster.described}")
        waiting, flights, losses = deque(keys), dict[Any, _Flight](), Counter[str]()
        try:
            while waiting or flights:
                while waiting and len(flights) < most:
                    key = waiting.popleft()
                    flights[task.remote(caller, wanted, plan, key)] = _Flight(key, time.monotonic())
                ended, _ = ray.wait([*flights], num_returns=1, timeout=_POLL_SECONDS)
                for ref in ended:
                    key = flights.pop(ref).key
                    try:
                        done = ray.get(ref, timeout=_FETCH_SECONDS)
                    except ray.exceptions.RayTaskError:
                        raise  # an error of the trial's own, which it would have again
                    except ray.exceptions.RayError as e:
                        _count_loss(key, losses, type(e).__name__, note)
                        waiting.append(key)
                        continue
                    if isinstance(done, CryoprobeError):
                        raise done
                    yield key, done
                for ref in [ref for ref, flight in flights.items() if _is_stuck(flight, options.stuck_seconds)]:
                    key = flights.pop(ref).key
                    ray.cancel(ref, force=True)
                    _count_loss(key, losses, f"not done after {options.stuck_seconds} seconds", note)
                    waiting.append(key)
        finally:
            with suppress(Exception):  # Ray may be gone
                for ref in flights:
                    ray.cancel(ref, force=True)


def _is_stuck(flight: _Flight, stuck_seconds: int | None) -> bool:
    return stuck_seconds is not None and time.monotonic() - flight.since > stuck_seconds


def _count_loss(key: TrialKey, losses: Counter[str], why: str, note: Callable[[str], None]) -> None:
    losses[key.id] += 1
    if losses[key.id] > _MOST_LOSSES:
        raise Unavailable(
            f"The trial {key.id[:12]} was lost {losses[key.id]} times on the Ray cluster, at last: {why}.",
            hint="Run the same command again to go on: the trials that are done are kept.",
            key="engine",
        )
    note(f"trial {key.id[:12]} was lost ({why}) and runs again ({losses[key.id]} of at most {_MOST_LOSSES})")
