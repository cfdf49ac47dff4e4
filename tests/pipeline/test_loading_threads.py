"""Threads that decode compute on one core each."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from cryoprobe.pipeline.loading_threads import loading_threads

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")

THREADS = 3


@pytest.fixture(autouse=True)
def _two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _threads_after(pool: ThreadPoolExecutor) -> int:
    """Return how many threads there are more, when all of a pool's have computed on tensors."""
    before, together = _threads(), threading.Barrier(THREADS)

    def transform(_: int) -> None:
        together.wait(60)
        torch.ones(3, 512, 512).div_(255)

    with pool:
        list(pool.map(transform, range(THREADS)))
        return _threads() - before


def test_transforms_on_tensors_start_no_threads_of_their_own() -> None:
    assert _threads_after(loading_threads(THREADS)) == THREADS


def test_elsewhere_they_would() -> None:
    assert _threads_after(ThreadPoolExecutor(THREADS)) > THREADS


def test_threads_that_are_started_later_compute_on_all_cores() -> None:
    with loading_threads(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2
    assert torch.get_num_threads() == 2
