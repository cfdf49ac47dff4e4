"""Many small requests at once: a distant storage takes as long to answer one as to answer several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AT_ONCE = 8


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order, several at work; what one raises is raised in its place."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cryoprobe-store") as pool:
        yield from pool.map(function, items)
