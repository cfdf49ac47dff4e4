"""Many requests at once: a distant storage takes as long to answer one as to answer several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 8

_IN_FLIGHT = 256 * 2**20
"""Bytes of objects that are held at once, unless a single one is larger."""


def each(
    function: Callable[[Item], Result], items: Iterable[Item], at_once: int = AT_ONCE, *, ahead: int | None = None
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for every item, in order, several at work; what one raises is raised in its place.

    Parameters
    ----------
    function : callable
    items : iterable
        Taken from as they are needed.
    at_once : int
        How many are at work at most.
    ahead : int, optional
        How many are at work, or done and waiting to be taken, beside the one that is asked for: what bounds the memory
        of large results. Twice as many as are at work by default.
    """
    ahead = 2 * at_once if ahead is None else ahead
    with ThreadPoolExecutor(at_once, thread_name_prefix="cryoprobe-store") as pool:
        left = iter(items)
        window: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(left, ahead + 1))
        try:
            while window:
                yield window.popleft().result()
                window.extend(pool.submit(function, item) for item in islice(left, 1))
        finally:
            for future in window:
                future.cancel()


def within_memory(sizes: Iterable[int]) -> int:
    """Return how many objects of these sizes in bytes can be at work at once without much memory."""
    return max(1, min(AT_ONCE, _IN_FLIGHT // (2 * max(sizes, default=1) + 1)))
