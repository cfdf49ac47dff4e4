"""Many trials: one after the other, or in processes; each is yielded as soon as it is done."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from types import FrameType

from ..stopping import taking, terminate
from .key import TrialKey
from .plan import TrialPlan
from .rows import TrialRows
from .run import RunTrial, run_trial

_WORTH_PROCESSES = 8
"""Trials from which starting processes pays: each takes some seconds to import what it needs."""

SMALL_ROWS = 20_000
"""Training rows up to which a fit leaves most of several cores idle, so that several fits at once are faster."""


def run_all(
    rows: TrialRows,
    plan: TrialPlan,
    keys: Sequence[TrialKey],
    *,
    jobs: int | None,
    progress: Callable[[str], None],
) -> Iterator[tuple[TrialKey, RunTrial]]:
    """Run trials, and yield each as soon as it is done: in processes where there are many small ones.

    Parameters
    ----------
    rows : TrialRows
        Loaded once; processes share the memory of its features.
    plan, keys
    jobs : int, optional
        Processes; by default one for each core where that is likely to pay, else none beside this one.
    progress : callable
    """
    with noticing_interrupts() as check:
        for done in _run_all(rows, plan, keys, jobs, progress):
            yield done
            check()


@contextmanager
def noticing_interrupts() -> Iterator[Callable[[], None]]:
    """Yield a check that raises KeyboardInterrupt after a Ctrl-C that was swallowed, and `Terminated` after a SIGTERM.

    Python raises them wherever the main thread is. In a destructor or a callback, or within a library that catches
    everything, they get lost, and hours of trials would go on.
    """
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}
    met: list[tuple[int, FrameType | None]] = []

    def handler(number: int, frame: FrameType | None) -> None:
        met.append((number, frame))
        usual[signal.Signals(number)](number, frame)

    def check() -> None:
        for number, frame in met:
            usual[signal.Signals(number)](number, frame)

    with taking({number: [how] for number, how in usual.items()}, handler):
        yield check


def _run_all(
    rows: TrialRows, plan: TrialPlan, keys: Sequence[TrialKey], jobs: int | None, progress: Callable[[str], None]
) -> Iterator[tuple[TrialKey, RunTrial]]:
    count = _processes(rows, keys) if jobs is None else jobs
    if count <= 1 or rows.streamed or len(keys) < 2:
        for key in keys:
            yield key, run_trial(rows, plan, key, progress)
        return
    from joblib import Parallel, delayed, parallel_config

    threads = max(1, (os.cpu_count() or 1) // count)
    # Large arrays are mapped into memory once, and not copied to each process.
    with parallel_config(backend="loky", inner_max_num_threads=threads):
        pool = Parallel(n_jobs=count, return_as="generator_unordered", max_nbytes="1M", mmap_mode="r")
        yield from pool(delayed(partial(_in_process, os.getpid(), rows, plan))(key) for key in keys)


def _in_process(parent: int, rows: TrialRows, plan: TrialPlan, key: TrialKey) -> tuple[TrialKey, RunTrial]:
    import torch

    _begin_process(parent)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    done = run_trial(rows, plan, key, lambda line: None)
    # What goes back to the process that asked: not the estimator, and the predictions only as they are kept.
    return key, done._replace(outcome=None)


@cache
def _begin_process(parent: int) -> None:
    """End this process soon after the one that started it: if that is killed, it cannot say so.

    Ctrl-C reaches the processes of a terminal alike. It is the parent's to answer, in one line; each of the others
    would print a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="cryoprobe-watch", daemon=True).start()


def _processes(rows: TrialRows, keys: Sequence[TrialKey]) -> int:
    small = all(key.draw.shots is not None for key in keys) or rows.train_rows <= SMALL_ROWS
    return (os.cpu_count() or 1) if small and len(keys) >= _WORTH_PROCESSES else 1
