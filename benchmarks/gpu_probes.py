"""Probes for `gpu.py`, at ImageNet's size: a path of logistic regressions on the device, and nearest neighbours."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_sizes import Sizes

from cryoprobe.pipeline.probes.knn.neighbours import KNNProbe
from cryoprobe.pipeline.probes.logistic import fit_path

_QUERIES_TIMED = 512


class OutOfTime(Exception):
    """A fit has taken more than its budget."""


def features(sizes: Sizes, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit rows like an encoder's, float32 [n, d], and labels [n], on the device.

    Classes lie around centres, directions have a power-law spectrum, and a tenth of the labels is wrong.
    """
    generator = torch.Generator(sizes.device).manual_seed(0)
    make = {"generator": generator, "device": sizes.device}
    scale = torch.arange(1, sizes.dim + 1, device=sizes.device, dtype=torch.float32) ** -0.5
    centres = torch.randn(sizes.classes, sizes.dim, **make) * scale
    y = torch.randint(sizes.classes, (rows,), **make)
    x = torch.empty(rows, sizes.dim, device=sizes.device)
    for start in range(0, rows, 65536):
        part = y[start : start + 65536]
        x[start : start + 65536] = 0.7 * centres[part] + torch.randn(len(part), sizes.dim, **make) * scale
    wrong = torch.rand(rows, **make) < 0.1
    y[wrong] = torch.randint(sizes.classes, (int(wrong.sum()),), **make)
    return torch.nn.functional.normalize(x, dim=1), y


def logistic(sizes: Sizes, _: Path) -> dict[str, Any]:
    """Fit one C, then the grid of DINOv2's evaluation, C from 1e-6 to 1e5; halve the rows until memory is enough."""
    rows = sizes.rows
    while True:
        try:
            return _fit(sizes, rows)
        except torch.cuda.OutOfMemoryError as error:
            if rows < 2 * sizes.classes:
                raise
            print(f"logistic: {rows} rows do not fit: {error}".split(". ")[0], file=sys.stderr, flush=True)
        torch.cuda.empty_cache()  # here: the error held on to the rows
        rows //= 2


def _fit(sizes: Sizes, rows: int) -> dict[str, Any]:
    x, y = features(sizes, rows)
    found: dict[str, Any] = {"rows": rows, "dim": sizes.dim, "classes": sizes.classes}
    for label, grid in (("one_C", np.ones(1)), ("grid", np.logspace(-6, 5, sizes.penalties))):
        begin = time.perf_counter()
        last = [""]

        def report(line: str, label: str = label, begin: float = begin, last: list[str] = last) -> None:
            last[0] = line
            taken = time.perf_counter() - begin
            print(f"{label} {taken:6.1f} s: {line}", file=sys.stderr, flush=True)
            if taken > sizes.budget:
                raise OutOfTime

        if x.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            path = fit_path(x, y, 1 / grid, report=report)
        except OutOfTime:
            found[label] = {"penalties": len(grid), "out_of_time_s": sizes.budget, "last": last[0]}
            continue
        found[label] = {
            "penalties": len(grid),
            "seconds": round(time.perf_counter() - begin, 2),
            "converged": int(path.converged.sum()),
            "passes": int(path.passes.max()),
            "products": int(path.products.max()),
            "worst_gap": float(path.gap[path.converged].max(initial=0.0)),
        }
        if x.device.type == "cuda":
            found[label]["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
        print(f"{label}: {found[label]}", file=sys.stderr, flush=True)
    return found


def knn(sizes: Sizes, _: Path) -> dict[str, Any]:
    """Return queries a second of exact 20 nearest neighbours: ours, on the CPU, and products with top-k on the device.

    The second is what the device could do: in float32 alone it does not settle near ties as ours does.
    """
    x, y = features(sizes, sizes.rows)
    queries = min(sizes.queries, _QUERIES_TIMED)
    asked = x[:queries] + 0.01
    probe = KNNProbe(20).fit(x.cpu().numpy(), y.cpu().numpy())
    begin = time.perf_counter()
    probe.predict(asked.cpu().numpy())
    ours = queries / (time.perf_counter() - begin)
    begin, many = time.perf_counter(), 0
    while time.perf_counter() - begin < sizes.seconds:
        (asked @ x.T).topk(20).indices.cpu()
        many += queries
    rate = many / (time.perf_counter() - begin)
    return {
        "rows": sizes.rows,
        "queries_per_s": round(ours, 1),
        "seconds_for_all": round(sizes.queries / ours, 1),
        "device_limit_queries_per_s": round(rate, 1),
    }
