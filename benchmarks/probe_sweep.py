"""Our logistic regression against scikit-learn's, interleaved in one run, on the same features and threads.

    python benchmarks/probe_sweep.py --store STORE --json

STORE holds the quickstart encoder's features of Fashion-MNIST's first 30,000 training images:

    cryoprobe extract --model quickstart:efficientnet_lite0 --dataset idx:/usr/share/datasets/fashion-mnist \
        --split train --limit 30000 --image-size 112 --store STORE

Parts: ``ten`` (ten C values), ``grid`` (the CLIP paper's 97 penalties against scikit-learn's one fit at C = 31.6),
``wide`` (100 classes x 512 dimensions x 50,000 rows, synthetic, power-law spectrum, as hard as CIFAR-100 is for the
encoder that gives it this shape: 80 % of held-out rows are told) and ``separable`` (the same, with centres twice as far
apart: all are told, and scikit-learn needs few iterations). Both sides get float32 features.
Objectives are evaluated in float64 for both by the same function. The features are loaded before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

import cryoprobe
from cryoprobe.pipeline.probes.logistic import Path, fit_path

Array = npt.NDArray[Any]
TEN = np.logspace(-1.5, 3, 10)
GRID = 10.0 ** (np.arange(-48, 49) / 8)


def objective(x: Array, y: Array, coef: Array, intercept: Array, C: float) -> float:
    """Return Σ loss + ‖W‖² / (2 C) in float64."""
    coef = coef.astype(np.float64)
    total = 0.5 / C * float(np.square(coef).sum())
    for start in range(0, len(y), 8192):
        z = x[start : start + 8192].astype(np.float64) @ coef.T + intercept
        total += float((logsumexp(z, axis=1) - z[np.arange(len(z)), y[start : start + 8192]]).sum())
    return total


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds it took, and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def sweep(name: str, x: Array, y: Array, cs: Array, repeats: int) -> tuple[dict[str, Any], Path]:
    """Fit every C with scikit-learn, and all with ours every so often in between; return figures and our last fit."""
    ours: list[float] = []
    path: Path | None = None
    theirs = []
    models = []
    after = {round((i + 1) * len(cs) / repeats) - 1 for i in range(repeats)}
    for i, C in enumerate(cs):
        seconds, model = timed(partial(LogisticRegression(C=C, max_iter=1000).fit, x, y))
        theirs.append(seconds)
        models.append(model)
        if i in after:
            seconds, path = timed(lambda: fit_path(x, y, 1 / cs))
            ours.append(seconds)
    assert path is not None
    print(f"\n{name}: scikit-learn against ours, {len(x):,} x {x.shape[1]:,}, {len(np.unique(y))} classes")
    print(
        f"{'C':>10} {'seconds':>8} {'iter':>5} {'objective':>14} | {'objective':>14} {'passes':>6} {'products':>8} done"
    )
    lower = []
    for i, (C, model) in enumerate(zip(cs, models, strict=True)):
        a = objective(x, y, model.coef_, model.intercept_, C)
        b = objective(x, y, path.coef[i], path.intercept[i], C)
        lower.append(b <= a)
        print(
            f"{C:10.4g} {theirs[i]:8.1f} {int(model.n_iter_[0]):5d} {a:14.3f} | {b:14.3f} {path.passes[i]:6d} "
            f"{path.products[i]:8d} {bool(path.converged[i])}"
        )
    median = statistics.median(ours)
    k = path.coef.shape[1]
    # A pass and a product are two matrix products each.
    flop = 4.0 * x.size * k * float(path.passes.sum() + path.products.sum())
    print(f"scikit-learn {sum(theirs):.1f} s; ours {[round(s, 2) for s in ours]} s; ratio {sum(theirs) / median:.1f}")
    figures = {
        "sklearn_s": round(sum(theirs), 2),
        "sklearn_each_s": [round(s, 2) for s in theirs],
        "ours_s": [round(s, 2) for s in ours],
        "ratio": round(sum(theirs) / median, 1),
        "objective_no_higher": all(lower),
        "converged": int(path.converged.sum()),
        "gflops_upper": round(flop / median / 1e9),
    }
    return figures, path


def long_grid(x: Array, y: Array, repeats: int) -> dict[str, Any]:
    """Fit the whole grid, and scikit-learn's one penalty."""
    ours, theirs = [], []
    for _ in range(repeats):
        theirs.append(timed(lambda: LogisticRegression(C=10**1.5, max_iter=1000).fit(x, y))[0])
        seconds, path = timed(lambda: fit_path(x, y, GRID))
        ours.append(seconds)
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"\n97 penalties {ours} s against one fit {theirs} s; ratio {ratio:.2f}; {path.converged.sum()} converged")
    return {
        "one_fit_s": [round(s, 2) for s in theirs],
        "grid_s": [round(s, 2) for s in ours],
        "ratio": round(ratio, 3),
        "converged": int(path.converged.sum()),
        "not_converged_lambda": [float(v) for v in path.lambdas[~path.converged]],
    }


def synthetic(distance: float, n: int = 60_000, d: int = 512, k: int = 100) -> tuple[Array, Array]:
    """Return unit rows with a power-law spectrum, around one centre a class, and their labels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), dtype=np.float32) * (np.arange(1, d + 1, dtype=np.float32) ** -0.5)
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    centres = 0.7 * rng.standard_normal((k, d), dtype=np.float32) * (np.arange(1, d + 1, dtype=np.float32) ** -0.5)
    y = rng.integers(0, k, n)
    x = (distance * centres[y] + x) @ axes
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def hundred_classes(name: str, distance: float, repeats: int) -> dict[str, Any]:
    """Sweep over 50,000 synthetic rows; say what share of 10,000 others the best C tells."""
    x, y = synthetic(distance)
    train, test = slice(50_000), slice(50_000, None)
    figures, path = sweep(name, x[train], y[train], TEN, repeats)
    right = [
        float(((x[test] @ coef.T + b).argmax(1) == y[test]).mean())
        for coef, b in zip(path.coef, path.intercept, strict=True)
    ]
    print(f"top-1 of held-out rows {max(right):.3f}")
    return {**figures, "held_out_top1": round(max(right), 3)}


def limits(threads: int) -> dict[str, float]:
    """Measure what this machine reaches: products in float32 and bfloat16, and reading memory."""
    n = 4096
    found: dict[str, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(n, n).to(dtype)
        seconds = min(timed(partial(torch.matmul, a, a))[0] for _ in range(5))
        found[f"gflops_{str(dtype).removeprefix('torch.')}"] = round(2 * n**3 / seconds / 1e9)
    big = torch.ones(1 << 28)
    found["read_gb_per_s"] = round(big.nbytes / min(timed(big.sum)[0] for _ in range(5)) / 1e9, 1)
    return found


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="store with the extracted features; the only set of 30,000 rows in it")
    parser.add_argument("--parts", default="ten,grid,wide,separable")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    parts = arguments.parts.split(",")
    result: dict[str, Any] = {"threads": arguments.threads}
    with threadpool_limits(arguments.threads):
        result["machine"] = limits(arguments.threads)
        if {"ten", "grid"} & set(parts):
            store = cryoprobe.open_store(arguments.store)
            sets = [store.open(set_id) for set_id in store.set_ids()]
            x, y = next(s for s in sets if s.rows == 30_000).load()
        if "ten" in parts:
            result["ten"], _ = sweep("Ten C values", x, y, TEN, arguments.repeats)
            result["ten_C_ratio"] = result["ten"]["ratio"]
        if "grid" in parts:
            result["grid"] = long_grid(x, y, 1)
            result["grid97_over_one_fit"] = result["grid"]["ratio"]
        for part, distance in (("wide", 0.24), ("separable", 0.5)):
            if part in parts:
                result[part] = hundred_classes(f"100 classes, {part}", distance, arguments.repeats)
                result[f"{part}_ratio"] = result[part]["ratio"]
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
