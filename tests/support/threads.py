"""Several threads that begin together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def at_once(n: int, call: Callable[[int], object]) -> list[object]:
    """Call ``call(0) … call(n - 1)`` from n threads that start together."""
    barrier = threading.Barrier(n)

    def run(i: int) -> object:
        barrier.wait()
        return call(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))
