"""What the machine multiplies fast, and so in which type and layout the curvature is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_WORTH_BFLOAT16 = 1 << 21
"""Entries of the features from which the coarser type pays: it halves the time of 2,000 rows of 1,280, not of 1,000."""

_OF_FREE_MEMORY = 0.7
"""The rest is for intermediate results, which `problem` does not count, and for gaps between allocations."""


def has_tiles() -> bool:
    """Return whether the processor has matrix units for bfloat16 (AMX)."""
    import torch

    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def has_bfloat16(device: torch.device) -> bool:
    """Return whether products in bfloat16 are faster than in float32.

    On a CPU: where it has instructions for them. Measured with AVX512_BF16 on one core of an EPYC, blocks of 2,048 rows
    of 1,280, 100 and 10 columns: 190 and 130 GFLOP/s against 77 and 22 in float32.
    """
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and (has_tiles() or bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()))


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a fit may take on a GPU: most of what is free. None on a CPU, where callers decide."""
    import torch

    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_OF_FREE_MEMORY * (free + unused))


def fast_type(entries: int, device: torch.device, exact: torch.dtype) -> torch.dtype:
    """Return the type to measure curvature in, for so many entries of features whose gradient is in `exact`."""
    import torch

    if entries < _WORTH_BFLOAT16:
        return exact
    if exact == torch.float64 or not has_bfloat16(device):
        return torch.float32
    return torch.bfloat16
