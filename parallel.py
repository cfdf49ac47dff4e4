"""Work in threads, in order and in bounded memory: storage and files take as long to answer one request as several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 8

_IN_FLIGHT = 256 * 2**20
"""Bytes of objects that are held at once, unless a single one is larger."""


def ordered_map(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for every item, in order, computed in `pool`; what one raises is raised in its place.

    Parameters
    ----------
    pool : Executor
    function : callable
    items : iterable
        Taken from as they are needed, in the caller's thread.
    window : int
        How many are at work or done at most, with the one that is asked for: what bounds the memory of large results.
    """
    pending: deque[Future[Result]] = deque()
    source = iter(items)
    try:
        pending.extend(pool.submit(function, item) for item in islice(source, window))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(source, 1))
    finally:
        for future in pending:
            future.cancel()


def prefetched(pool: Executor, items: Iterator[Item]) -> Generator[Item, None, None]:
    """Yield `items`, which are made in `pool`, one while the one before is used.

    Parameters
    ----------
    pool : Executor
        Of one thread.
    items : iterator
    """

    def following() -> list[Item]:
        return list(islice(items, 1))

    pending = pool.submit(following)
    try:
        while found := pending.result():
            pending = pool.submit(following)
            yield found[0]
    finally:
        pending.cancel()


def wait_until_ended(futures: Iterable[Future[Result]]) -> None:
    """Wait until each has a result, has failed or was cancelled.

    `concurrent.futures.wait` waits for ever for one that is cancelled meanwhile before it was begun, as by
    ``shutdown(cancel_futures=True)``.
    """
    for future in futures:
        with suppress(CancelledError):
            future.exception()


def each(
    function: Callable[[Item], Result], items: Iterable[Item], at_once: int = AT_ONCE, *, ahead: int | None = None
) -> Generator[Result, None, None]:
    """Do the same in threads of its own, `at_once` at most.

    Parameters
    ----------
    function, items
        See `ordered_map`.
    at_once : int
        How many are at work at most.
    ahead : int, optional
        How many are at work, or done and waiting to be taken, beside the one that is asked for. Twice as many as are at
        work by default.
    """
    with ThreadPoolExecutor(at_once, thread_name_prefix="cryoprobe-each") as pool:
        yield from ordered_map(pool, function, items, 1 + (2 * at_once if ahead is None else ahead))


def run_each(function: Callable[[Item], object], items: Collection[Item], at_once: int = AT_ONCE) -> None:
    """Call ``function(item)`` for every item, several at work; a single one needs no thread."""
    if len(items) > 1:
        for _ in each(function, items, min(at_once, len(items)), ahead=len(items)):
            pass
    else:
        for item in items:
            function(item)


def within_memory(sizes: Iterable[int]) -> int:
    """Return how many objects of these sizes in bytes can be at work at once without much memory."""
    return max(1, min(AT_ONCE, _IN_FLIGHT // (2 * max(sizes, default=1) + 1)))
