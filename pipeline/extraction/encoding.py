"""The stage that encodes: batches go to the devices, a few ahead, and come back in the order in which they went.

Each device has a thread of its own, which starts the next batch while the one before is computed. A CPU by itself needs
none: whoever takes a batch computes it, in his own thread. That is for glibc's sake, whose heap alone, not the arenas
of further threads, keeps the memory of one batch for the next (`allocator`): elsewhere a small net is half as fast.

A batch for which a device has not the memory is halved, and so are all that follow.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from ..encoders.base import Encoder
from ..encoders.embedding import start_encoding
from ..passing import is_out_of_memory
from ..specs import Tap
from .profile import Profile

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Wait = Callable[[], Mapping[Tap, "torch.Tensor"]]

_AHEAD = 2
"""Batches that a device has at most before it, beside the one that it computes."""


class BatchSize:
    """Images in a batch, as far as devices have the memory.

    Parameters
    ----------
    images : int
    note : callable
        Is told when it has to become smaller.
    """

    def __init__(self, images: int, note: Callable[[str], None]) -> None:
        self.images = images
        self._note = note
        self._lock = threading.Lock()

    def halve(self, failed: int) -> None:
        """Take half of what failed, unless it is smaller already."""
        with self._lock:
            if self.images > failed // 2:
                self.images = failed // 2
                self._note(f"Out of memory with {failed} images in a batch: going on with {self.images}.")


@dataclass
class _Started(Generic[Item]):
    """A batch on its way."""

    items: Sequence[Item]
    result: Future[Sequence[Wait]] | None
    """None if it is computed when it is taken."""


class EncodingStage(Generic[Item]):
    """Encodes batches of items.

    Parameters
    ----------
    encoders : sequence of Encoder
        The same encoder on each device.
    image : callable
        Gives the preprocessed image of an item, [3, h, w].
    batch_size : BatchSize
    profile : Profile

    Attributes
    ----------
    idle : Event
        Cleared while a CPU computes. Who decodes waits for it: where both take turns, neither keeps the other waiting
        at the end of every layer.
    """

    def __init__(
        self,
        encoders: Sequence[Encoder],
        image: Callable[[Item], torch.Tensor],
        batch_size: BatchSize,
        profile: Profile,
    ) -> None:
        self._image = image
        self._batch_size = batch_size
        self._profile = profile
        self._idle: SimpleQueue[Encoder] = SimpleQueue()
        for encoder in encoders:
            self._idle.put(encoder)
        self._is_inline = len(encoders) == 1 and str(encoders[0].device) == "cpu"
        self._most = 1 if self._is_inline else (1 + _AHEAD) * len(encoders)
        self._threads = ThreadPoolExecutor(len(encoders), thread_name_prefix="cryoprobe-encode")
        self._started: deque[_Started[Item]] = deque()
        self.idle = threading.Event()
        self.idle.set()

    @property
    def is_full(self) -> bool:
        """Whether a result is to be taken before another batch is put."""
        return len(self._started) >= self._most

    @property
    def is_ready(self) -> bool:
        """Whether the oldest batch can be taken at once."""
        return bool(self._started) and (result := self._started[0].result) is not None and result.done()

    def __len__(self) -> int:
        return len(self._started)

    def put(self, items: Sequence[Item]) -> None:
        """Let a batch be encoded."""
        self._started.append(_Started(items, None if self._is_inline else self._threads.submit(self._start, items)))

    def wait(self) -> None:
        """Wait until the oldest batch has been started, or has failed."""
        if (result := self._started[0].result) is not None:
            wait([result])

    def take(self) -> tuple[Sequence[Item], Mapping[Tap, torch.Tensor]]:
        """Wait for the oldest batch; return its items and their features, float32 [n, d] by tap."""
        started = self._started.popleft()
        waits = self._compute(started.items) if started.result is None else started.result.result()
        return started.items, _joined([finish() for finish in waits])

    def _compute(self, items: Sequence[Item]) -> Sequence[Wait]:
        self.idle.clear()
        try:
            return self._start(items)
        finally:
            self.idle.set()

    def abandon(self) -> None:
        """Encode no more than what has begun; `take` then gives that alone."""
        self._started = deque(s for s in self._started if s.result is not None and not s.result.cancel())

    def close(self) -> None:
        """End the threads; what they are at is given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self, items: Sequence[Item]) -> Sequence[Wait]:
        """Start a batch on a device that has time; by halves if it is too large."""
        encoder = self._idle.get()
        try:
            with self._profile.measured("encode", len(items)):
                return [start_encoding(encoder, [self._image(item) for item in items])]
        except RuntimeError as error:
            if not is_out_of_memory(error) or len(items) == 1:
                raise
        finally:
            self._idle.put(encoder)
        return self._halves(items)  # here, where nothing of the failed batch is held any more

    def _halves(self, items: Sequence[Item]) -> Sequence[Wait]:
        self._batch_size.halve(len(items))
        middle = len(items) // 2
        return [*self._start(items[:middle]), *self._start(items[middle:])]


def _joined(parts: Sequence[Mapping[Tap, torch.Tensor]]) -> Mapping[Tap, torch.Tensor]:
    if len(parts) == 1:
        return parts[0]
    import torch

    return {tap: torch.cat([part[tap] for part in parts]) for tap in parts[0]}
