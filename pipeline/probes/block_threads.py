"""Threads that each work through whole blocks of rows, with results handed back in the order of the blocks.

Torch would share every single product out among its threads and wait for the slowest at each; on a machine that others
use too, those waits cost more than the arithmetic. Here a block stays on one core, and in its cache, for all that is
done with it. Results come in order, so a sum over blocks does not depend on which thread was faster.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

    from ..rank_group import RankGroup

Item = TypeVar("Item")
Result = TypeVar("Result")


class BlockThreads:
    """A context manager that holds `threads` workers.

    While it is open, torch uses one thread in the caller too.

    Parameters
    ----------
    threads : int
    workers : bool
        With False, no thread is started, and everything runs in the caller: for work too small to share out, and on
        a GPU, where there is one queue.
    ranks : RankGroup, optional
        Other processes that do the same with other rows: sums are over theirs too.
    """

    def __init__(self, threads: int, *, workers: bool = True, ranks: RankGroup | None = None) -> None:
        self.threads = threads if workers else 1
        self.ranks = ranks
        self._pool: ThreadPoolExecutor | None = None
        self._before = 1

    def __enter__(self) -> BlockThreads:
        import torch

        self._before = torch.get_num_threads()
        if self.threads > 1:
            self._pool = ThreadPoolExecutor(self.threads, "cryoprobe-solve", initializer=_one_thread_each)
            for started in [self._pool.submit(time.sleep, 0.001) for _ in range(self.threads)]:
                started.result()
        # The caller's own small operations between passes are not worth a second thread, and its waits.
        torch.set_num_threads(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import torch

        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        torch.set_num_threads(self._before)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield ``work(item)`` in the order of `items`, which are drawn while earlier ones are worked on.

        At most two items a thread are held at a time, so a stream is never read far ahead.
        """
        if self._pool is None:
            yield from map(work, items)
            return
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(self._pool.submit(work, item))
            del item
            while len(waiting) > 2 * self.threads - 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def summed(
        self,
        work: Callable[[Item], tuple[torch.Tensor, ...]],
        items: Iterable[Item],
        totals: tuple[torch.Tensor, ...],
        *,
        about: torch.Tensor | None = None,
    ) -> None:
        """Add the results of ``work(item)`` to `totals`, in place: those of all items, of all ranks.

        Parameters
        ----------
        work : callable
        items : iterable
        totals : tuple of tensor
            Zeros.
        about : tensor, optional
            See `RankGroup.add`.
        """
        for parts in self.map(work, items):
            for total, part in zip(totals, parts, strict=True):
                total += part
        if self.ranks is not None:
            self.ranks.add(*totals, about=about)

    def matmul(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return a @ b, a shared out by its first axis."""
        import torch

        parts = a.chunk(max(1, self.threads))
        return torch.cat(list(self.map(lambda part: part @ b, parts)))


def _one_thread_each() -> None:
    import torch

    torch.get_num_threads()  # makes torch read its setting for this thread now, and not after it was set to 1
    torch.set_num_threads(1)
