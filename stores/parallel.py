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


def each(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int | None = None
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for every item, in order, several at work; what one raises is raised in its place.

    Parameters
    ----------
    function : callable
    items : iterable
    ahead : int, optional
        How many are at work, or done and waiting to be taken, beside the one that is asked for: what bounds the memory
        of large results. By default there is no such bound, and eight are at work.
    """
    with ThreadPoolExecutor(ahead or AT_ONCE, thread_name_prefix="cryoprobe-store") as pool:
        if ahead is None:
            yield from pool.map(function, items)
            return
        left = iter(items)
        window: deque[Future[Result]] = deque(pool.submit(function, item) for item in islice(left, ahead + 1))
        try:
            while window:
                first = window.popleft()
                yield first.result()
                window.extend(pool.submit(function, item) for item in islice(left, 1))
        finally:
            for future in window:
                future.cancel()
