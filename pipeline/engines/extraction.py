"""`extract` on a Ray cluster: the same call in several workers, which are watched, and replaced when they die.

The store shares the work, see `stores.writing.sample_claims`, and its seals alone say what is complete. So this process
encodes nothing and decides nothing: when a worker says that all is sealed, it looks whether that is so. If it is
killed, Ray ends its workers, and the same call goes on from what is sealed.

Ray is not asked to restart anything, and never waited for without a limit: restarted actors lose calls, and `ray.get`
may wait for ever for one that is gone (Ray's issues 41029, 41258 and 45661).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import BadInput, CryoprobeError, Unavailable
from ...files import absolute
from ...progress import Reporter
from ...stores.places import StorePlaces, places_of
from ...stores.store import Store
from ..datasets import canonical_name
from ..encoders import canonical_model
from ..extraction.result import ExtractedSet
from ..options import MOST_THREADS, EngineOptions, ExtractionOptions, ExtractRunOptions
from .caller import Caller
from .cluster import Cluster, connected
from .display import Display
from .extract_worker import Ended, ExtractWorker, Job, State

STUCK_SECONDS = 900
"""As long as an extractor without progress keeps its claims."""
_ROOM_SECONDS = 900
"""So long is waited for the cluster to have room for any worker at all."""
_POLL_SECONDS = 0.3
_MOST_REPLACEMENTS = 3
"""Of one worker: what kills it each time is not a passing trouble."""
_LAST_SECONDS = 20.0
"""So long the others may still take once a worker has found everything sealed, or when they are told to stop."""
_THREADS = 3
"""Of an actor: one that works, and others that answer."""


def extract_on_ray(
    model: object,
    dataset: object,
    store: str | Path | Store,
    asked: ExtractionOptions,
    running: ExtractRunOptions,
    options: EngineOptions,
    reporter: Reporter,
) -> list[ExtractedSet]:
    """Extract in workers on a Ray cluster; see `extract`.

    Raises
    ------
    BadInput
        If the model or the data set is an object, which other machines do not have.
    CryoprobeError
        What a worker ended with, if another one would end so too.
    Unavailable
        If workers died too often.
    """
    if not isinstance(model, str) or not isinstance(dataset, str):
        what = "An encoder" if not isinstance(model, str) else "A data set"
        raise BadInput(
            f"{what} that is an object in this process cannot be used by workers on a cluster.",
            hint="Name it: MODULE:FUNCTION stands for a function that makes it, in a module that all nodes have.",
            key="engine",
        )
    started = time.monotonic()
    places = places_of(store)
    if running.rank not in (None, "auto"):
        raise BadInput("--rank is for one of several processes, and --engine ray numbers its own.", key="rank")
    with connected(options, takes_gpus=True) as cluster:
        count = cluster.worker_count()
        threads = running.workers or min(cluster.cpus, MOST_THREADS)
        running = running.model_copy(update={"workers": threads})
        job = Job(canonical_model(model), canonical_name(dataset), places, _with_absolute(asked), running, Caller())
        reporter.note(f"Ray: {count} worker{'s' * (count > 1)} of {cluster.described}")
        return _judged(places, _Crew(cluster, job, count, reporter).work(), round(time.monotonic() - started, 3))


def _with_absolute(asked: ExtractionOptions) -> ExtractionOptions:
    """Return the options with paths that mean the same in any folder."""
    paths = {name: Path(absolute(str(value), name)) for name, value in asked if isinstance(value, Path)}
    return asked.model_copy(update=paths)


def _judged(places: StorePlaces, found: Sequence[list[ExtractedSet]], seconds: float) -> list[ExtractedSet]:
    """Return what was done by all workers together, if the store has it sealed.

    Raises
    ------
    NotFound, Corrupt
    """
    store = places.open()
    for one in found[0]:
        store.open(one.set)
    done = []
    for several in zip(*found, strict=True):
        encoded = sum(one.encoded for one in several)
        checked = sum(one.checked for one in several)
        one = next((one for one in several if one.remarks), several[0])  # who sealed it has looked at it
        reused = max(0, one.rows - encoded)
        done.append(replace(one, encoded=encoded, reused=reused, checked=checked, seconds=seconds))
    return done


@dataclass
class _Worker:
    """One actor, as it is seen from here.

    Parameters
    ----------
    index : int
    actor, run : object
        Ray's handle, and its reference to the end.
    asked : object
        Reference to the answer that is waited for.
    state : State or None
        The last answer; None until the actor has started.
    heard : float
        When something new was last heard.
    """

    index: int
    actor: Any
    run: Any
    asked: Any
    heard: float
    state: State | None = None

    @property
    def where(self) -> str:
        """The node, in words."""
        return "" if self.state is None else f" on {self.state.host}"


@dataclass
class _Crew:
    """The workers of one call.

    Parameters
    ----------
    cluster : Cluster
    job : Job
    count : int
    reporter : Reporter
    """

    cluster: Cluster
    job: Job
    count: int
    reporter: Reporter
    workers: list[_Worker] = field(default_factory=list)
    replaced: dict[int, int] = field(default_factory=dict)
    last_trouble: CryoprobeError | None = None
    done: list[list[ExtractedSet]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.display = Display(self.reporter)
        self._stuck_seconds = self.cluster.options.stuck_seconds or STUCK_SECONDS
        self._actors = self.cluster.ray.remote(ExtractWorker).options(
            **self.cluster.resources, max_restarts=0, max_task_retries=0, max_concurrency=_THREADS
        )

    def work(self) -> list[list[ExtractedSet]]:
        """Return what each worker did that came to its end; at least one."""
        try:
            for index in range(self.count):
                self._start(index)
            self._watch()
        except (KeyboardInterrupt, SystemExit):
            self._stop()
            raise
        finally:
            for worker in self.workers:
                self._kill(worker)
            self.display.end()
        return self.done

    def _start(self, index: int) -> None:
        actor = self._actors.remote(self.job, index, self.count)
        self.workers.append(_Worker(index, actor, actor.run.remote(), actor.state.remote(), time.monotonic()))

    def _watch(self) -> None:
        """Return when everything is sealed, and the others had time to see that too."""
        since: float | None = None
        while self.workers:
            self._listen()
            for worker in self._ended():
                self.workers.remove(worker)
                self._take(worker)
            if self.done:
                since = since or time.monotonic()
                if time.monotonic() - since > _LAST_SECONDS:
                    return
            else:
                self._end_stuck()
        if not self.done:
            assert self.last_trouble is not None
            raise self.last_trouble

    def _ended(self) -> list[_Worker]:
        ended, _ = self.cluster.ray.wait(
            [w.run for w in self.workers], num_returns=len(self.workers), timeout=_POLL_SECONDS
        )
        return [w for w in self.workers if w.run in ended]

    def _take(self, worker: _Worker) -> None:
        """Take in how a worker ended; start another in its place if it died."""
        errors = self.cluster.ray.exceptions
        try:
            ended: Ended = self.cluster.ray.get(worker.run, timeout=_LAST_SECONDS)
        except errors.RayTaskError:
            raise  # an error in somebody's code, which another worker would meet too
        except errors.RayError as e:
            if getattr(e, "actor_init_failed", False):
                raise Unavailable(
                    f"A node of the Ray cluster cannot start a worker: {_reason(e)}.",
                    hint="Install the same version of Cryoprobe on all nodes: pip install 'cryoprobe[ray]'",
                    key="engine",
                ) from None
            if "its owner has died" in str(e):
                raise Unavailable(
                    "The Ray cluster takes the node of this process for dead, and has ended its workers.",
                    hint="Run the same command again to go on: what is sealed is kept.",
                    key="engine",
                ) from None
            self._replace(worker, _reason(e))
            return
        if ended.sets is not None:
            self.done.append(ended.sets)
        elif ended.error is None:
            self._replace(worker, "it was interrupted")
        elif isinstance(ended.error, Unavailable):  # a node may have lost what others reach
            self._replace(worker, ended.error.message, ended.error)
        elif not self.done:
            raise ended.error

    def _replace(self, worker: _Worker, reason: str, error: CryoprobeError | None = None) -> None:
        self._kill(worker)
        if self.done:
            return
        number, most = self.replaced.get(worker.index, 0) + 1, _MOST_REPLACEMENTS
        self.replaced[worker.index] = number
        what = f"Worker {worker.index + 1} of {self.count}{worker.where} ended: {reason.rstrip('.')}"
        if number <= most:
            self.reporter.note(f"{what}; another takes its place ({number} of at most {most}).")
            self._start(worker.index)
            return
        self.reporter.note(f"{what}; given up.")
        self.last_trouble = error or Unavailable(
            f"Workers on the Ray cluster ended {number} times in one place, at last: {reason.rstrip('.')}.",
            hint="Run the same command again to go on: what is sealed is kept. Ray's logs are in /tmp/ray of the node.",
            key="engine",
        )

    def _listen(self) -> None:
        """Take in what the workers say of themselves."""
        if not self.workers:
            return
        ray = self.cluster.ray
        answered, _ = ray.wait([w.asked for w in self.workers], num_returns=len(self.workers), timeout=0)
        for worker in (w for w in self.workers if w.asked in answered):
            try:
                state: State = ray.get(worker.asked, timeout=_LAST_SECONDS)
            except ray.exceptions.RayError:
                continue  # it died, which its end says too
            worker.asked = worker.actor.state.remote()
            if worker.state is None or state.events != worker.state.events:
                worker.heard = time.monotonic()
            worker.state = state
            self.display.tell(state.notes)
        self.display.show([w.state.counts for w in self.workers if w.state is not None and w.state.counts is not None])

    def _end_stuck(self) -> None:
        """Replace workers that have given no sign of life; those that wait for room on the cluster are not at work."""
        now = time.monotonic()
        working = [w for w in self.workers if w.state is not None]
        for worker in working:
            if now - worker.heard > self._stuck_seconds:
                self.workers.remove(worker)
                self._replace(worker, f"no sign of life for {self._stuck_seconds} seconds")
        if not working and self.workers and all(now - w.heard > _ROOM_SECONDS for w in self.workers):
            raise Unavailable(
                f"The Ray cluster has not started a worker of {self.cluster.described} in {_ROOM_SECONDS} seconds.",
                hint="Wait for other jobs, add nodes, or lower --cpus-per-worker or --gpus-per-worker.",
                key="engine",
            )

    def _stop(self) -> None:
        """Let the workers seal what they have encoded, and wait for that a little."""
        ray = self.cluster.ray
        for worker in self.workers:
            worker.actor.stop.remote()
        with suppress(ray.exceptions.RayError):
            started = [w.run for w in self.workers if w.state is not None]
            if started:
                ray.wait(started, num_returns=len(started), timeout=_LAST_SECONDS)

    def _kill(self, worker: _Worker) -> None:
        with suppress(Exception):  # it is dead, or Ray is
            self.cluster.ray.kill(worker.actor, no_restart=True)


def _reason(error: Exception) -> str:
    """Return why an actor died, in a few words of the many that Ray has."""
    text = str(error)
    if found := re.search(r"ModuleNotFoundError: .*", text):
        return found[0]
    if found := re.search(r"its (?:worker )?(process|node) has died", text):
        return f"its {found[1]} died"
    if "is unavailable" in text:
        return "it cannot be reached"
    return (text.strip().splitlines() or [type(error).__name__])[-1].strip()
