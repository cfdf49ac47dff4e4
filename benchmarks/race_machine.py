"""What a race runs on: how fast the machine is at products and at reading memory, and which kernels do the work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_info


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds it took, and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def machine(threads: int, quick: bool) -> dict[str, Any]:
    """Measure what this machine reaches in products and in reading memory, and print what the products run on."""
    n = 1024 if quick else 4096
    found: dict[str, Any] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(n, n).to(dtype)
        seconds = min(timed(partial(torch.matmul, a, a))[0] for _ in range(5))
        found[f"gflops_{str(dtype).removeprefix('torch.')}"] = round(2 * n**3 / seconds / 1e9)
    big = torch.ones(1 << (24 if quick else 28))
    found["read_gb_per_s"] = round(big.nbytes / min(timed(big.sum)[0] for _ in range(5)) / 1e9, 1)
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    found["blas"] = [f"{p['internal_api']} {p['version']} {p.get('architecture', '')}".strip() for p in blas]
    found["flags"] = sorted(cpu_flags() & {"amx_bf16", "avx512_bf16", "avx512f", "avx2"})
    found["unset"] = os.environ.get("PROBE_SWEEP_UNSET", "")
    print(
        f"{threads} threads; float32 {found['gflops_float32']} GFLOP/s, bfloat16 {found['gflops_bfloat16']} GFLOP/s, "
        f"{found['read_gb_per_s']} GB/s from memory; {', '.join(found['flags']) or 'unknown CPU flags'}\n"
        f"BLAS of NumPy and SciPy: {'; '.join(found['blas'])}"
        + (f"; {found['unset']} unset for this run" if found["unset"] else "")
    )
    if "amx_bf16" not in found["flags"]:
        print("Matrix units (AMX): this machine has none, so there is one run, without them")
    return found


def cpu_flags() -> set[str]:
    """Return the CPU's flags, where the system has them in a file."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return set(next((line.split(":")[1].split() for line in lines if line.startswith("flags")), []))
