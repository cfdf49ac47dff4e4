"""The threads that decode and preprocess images."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


def loading_threads(threads: int) -> ThreadPoolExecutor:
    """Return threads in each of which torch computes on one core.

    Else every transform on tensors starts as many threads as there are cores, in each of these; and OpenMP, with more
    threads than cores, no longer lets those of the encoder wait for each other awake: on two cores it took a sixth
    longer (`benchmarks/extract.py`).

    Parameters
    ----------
    threads : int

    Examples
    --------
    >>> import torch
    >>> with loading_threads(2) as pool:
    ...     pool.submit(torch.get_num_threads).result()
    1
    """
    name = "cryoprobe-load"
    if "torch" not in sys.modules:  # nothing is preprocessed then
        return ThreadPoolExecutor(threads, name)
    from threadpoolctl import ThreadpoolController

    return ThreadPoolExecutor(threads, name, initializer=partial(_on_one_core, ThreadpoolController()))


def _on_one_core(libraries: ThreadpoolController) -> None:
    import torch

    torch.get_num_threads()  # lets torch read the setting of the process for this thread now, and not later
    # Not by torch.set_num_threads: that is for every thread which is started afterwards.
    libraries.limit(limits=1, user_api="openmp")
