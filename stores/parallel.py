"""Many requests at once: a distant storage takes as long to answer one as to answer several."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 8

_IN_FLIGHT = 256 * 2**20
"""Bytes of objects that are held at once, unless a single one is larger."""


def each(function: Callable[[Item], Result], items: Iterable[Item], at_once: int = AT_ONCE) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, several at work; what one raises is raised in its place.

    At most twice as many results as are at work are held until they are asked for.
    """
    with ThreadPoolExecutor(at_once, thread_name_prefix="cryoprobe-store") as pool:
        begun: deque[Future[Result]] = deque()
        try:
            for item in items:
                begun.append(pool.submit(function, item))
                if len(begun) >= 2 * at_once:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


def within_memory(sizes: Iterable[int]) -> int:
    """Return how many objects of these sizes in bytes can be at work at once without much memory."""
    return max(1, min(AT_ONCE, _IN_FLIGHT // (2 * max(sizes, default=1) + 1)))
