"""What runs in a worker of `extract`: the same call as in one process, watched from outside and stopped from there."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from ...errors import CryoprobeError, NotFound
from ...progress import Reporter, Unit
from ...stores.places import StorePlaces
from ..extract import extract_here
from ..extraction.result import ExtractedSet
from ..options import ExtractionOptions, ExtractRunOptions
from ..ranks import Rank
from .caller import Caller


@dataclass(frozen=True)
class Job:
    """What all workers of a call are asked for.

    Parameters
    ----------
    model, dataset : str
    store : StorePlaces
    asked : ExtractionOptions
    running : ExtractRunOptions
    caller : Caller
    """

    model: str
    dataset: str
    store: StorePlaces
    asked: ExtractionOptions
    running: ExtractRunOptions
    caller: Caller


class Counts(NamedTuple):
    """How far a worker is with a split."""

    title: str
    total: int
    encoded: int = 0
    reused: int = 0
    failed: int = 0


@dataclass(frozen=True)
class State:
    """How far a worker is.

    Parameters
    ----------
    host : str
    events : int
        Grows with every sign of life.
    counts : Counts or None
        Of the split that it is at.
    notes : tuple of str
        All that it has had to say so far.
    """

    host: str
    events: int
    counts: Counts | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """How a worker ended by itself.

    Parameters
    ----------
    sets : list of ExtractedSet
        All that were asked for, which are sealed. None if it failed, or was stopped.
    error : CryoprobeError or None
    """

    sets: list[ExtractedSet] | None = None
    error: CryoprobeError | None = None


@dataclass
class _Watched(Reporter):
    """Keeps what is told for whoever asks, and ends the work when it is to stop."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: bool = False
    events: int = 0
    counts: Counts | None = None
    notes: list[str] = field(default_factory=list)

    def begin(self, title: str, total: int, unit: Unit = "samples") -> None:
        self._tell(Counts(title, total) if unit == "samples" else self.counts)

    def advance(self, n: int = 0, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:
        counts = self.counts
        if counts is not None:
            counts = Counts(
                counts.title, counts.total, counts.encoded + encoded, counts.reused + reused, counts.failed + failed
            )
        self._tell(counts)

    def end(self) -> None:
        self._tell(self.counts)

    def note(self, message: str) -> None:
        with self.lock:
            self.notes.append(message)
        self._tell(self.counts)

    def wait(self) -> None:
        self._tell(self.counts)

    def _tell(self, counts: Counts | None) -> None:
        with self.lock:
            self.events += 1
            self.counts = counts
        if self.stop:
            # What is encoded is sealed on the way out, as after a Ctrl-C, which only a main thread gets.
            raise KeyboardInterrupt


class ExtractWorker:
    """The actor. `run` takes one thread of it as long as it works; the others answer.

    Parameters
    ----------
    job : Job
    index, count : int
        Which of how many workers it is.
    """

    def __init__(self, job: Job, index: int, count: int) -> None:
        import torch  # noqa: F401  # takes seconds, of which `state` could tell nothing

        self._job = job
        self._watched = _Watched()
        self._running = job.running.model_copy(update={"rank": Rank(index, count, told_by="Ray")})

    def run(self) -> Ended:
        """Extract what nobody else does, until all is sealed."""
        job = self._job
        try:
            job.caller.stand_in()
            store = job.store.open(create=True)
            return Ended(extract_here(job.model, job.dataset, store, job.asked, self._running, self._watched))
        except NotFound as e:
            return Ended(error=job.caller.explained(e))
        except CryoprobeError as e:
            return Ended(error=e)
        except KeyboardInterrupt:
            return Ended()

    def state(self) -> State:
        """Return how far it is."""
        w = self._watched
        with w.lock:
            return State(socket.gethostname(), w.events, w.counts, tuple(w.notes))

    def stop(self) -> None:
        """Let the work end with the batch that is at work; what is encoded is sealed."""
        self._watched.stop = True
