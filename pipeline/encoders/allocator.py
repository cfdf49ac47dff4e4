"""The C library's allocator, told to keep what one forward pass frees for the next.

A forward pass on the CPU allocates activations of tens of megabytes and frees them at once. glibc gives blocks of that
size back to the kernel each time, and each new one costs page faults and zeroing: for a small convolutional net that
was more than half of the time (`benchmarks/encode_cpu.py`).
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP = 1 << 30
"""Blocks up to 1 GiB come from the heap, and up to as much free heap is kept."""


def keep_freed_memory() -> bool:
    """Let this process reuse freed blocks; return whether that could be arranged (glibc only).

    It concerns the whole process and stays. `release_memory` gives back what is free at that moment.
    """
    libc = _glibc()
    if libc is None:
        return False
    return bool(libc.mallopt(_M_MMAP_THRESHOLD, _KEEP)) and bool(libc.mallopt(_M_TRIM_THRESHOLD, _KEEP))


def release_memory() -> None:
    """Give free heap back to the kernel, when encoding is over."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None  # musl has no mallopt
