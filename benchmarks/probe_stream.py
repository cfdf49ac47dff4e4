"""A set of features that does not fit: memory that a streamed fit takes, its solution, and the time of a pass.

    python benchmarks/probe_stream.py --folder /tmp/stream --json

Writes a synthetic set of --gib GiB (float32, rows of 1,024, 10 classes, power-law spectrum) as a plain file, then fits
three values of C twice, each in a process of its own: from the file, block by block, within --memory MiB of resident
memory in all; and from memory. Times of a pass over all rows (objective and gradient of the three) are medians of 5.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

D, K = 1024, 10
BLOCK = 4096
LAMBDAS = [10.0, 1.0, 0.1]


def write(folder: Path, n: int) -> None:
    """Write the features and labels, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "x.f32"
    if file.exists() and file.stat().st_size == 4 * n * D:
        return
    rng = np.random.default_rng(0)
    scale = np.arange(1, D + 1, dtype=np.float32) ** -0.5
    centres = 0.5 * rng.standard_normal((K, D), dtype=np.float32) * scale
    y = rng.integers(0, K, n)
    with file.open("wb") as out:
        for start in range(0, n, BLOCK):
            part = y[start : start + BLOCK]
            x = centres[part] + rng.standard_normal((len(part), D), dtype=np.float32) * scale
            (x / np.linalg.norm(x, axis=1, keepdims=True)).tofile(out)
    np.save(folder / "y.npy", y)


def run(folder: Path, n: int, memory: int | None, queue: Any) -> None:
    """Fit, and put what came of it on the queue."""
    import torch

    from cryoprobe.pipeline.probes.block_threads import BlockThreads
    from cryoprobe.pipeline.probes.logistic import fit_path
    from cryoprobe.pipeline.probes.logistic.objective import Models, Point, evaluate
    from cryoprobe.pipeline.probes.logistic.rows import MatrixRows, StreamRows
    from cryoprobe.pipeline.probes.logistic.targets import heads_to_fit

    torch.set_num_threads(2)
    y = np.load(folder / "y.npy")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def read() -> Iterator[Any]:
        with (folder / "x.f32").open("rb") as file:
            while len(x := np.fromfile(file, np.float32, BLOCK * D)):
                yield x.reshape(-1, D)

    rows: Any
    if memory is None:
        rows = MatrixRows(torch.from_numpy(np.fromfile(folder / "x.f32", np.float32).reshape(n, D)))
    else:
        rows = StreamRows(read, n, D, torch.device("cpu"))
    limit = None if memory is None else int((memory - before) * 2**20)
    start = time.perf_counter()
    path = fit_path(rows, y, LAMBDAS, memory=limit)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    weighted = heads_to_fit(rows, y, None).weighted
    assert weighted is not None
    models = Models(torch.tensor(LAMBDAS, dtype=torch.float64), torch.zeros(3, dtype=torch.int64))
    point = Point(torch.from_numpy(path.coef), torch.from_numpy(path.intercept))
    passes = []
    with BlockThreads(2) as pool:
        for _ in range(5):
            begin = time.perf_counter()
            evaluate(rows.blocks(), weighted, models, point, dtype=torch.float32, scale=1.0, pool=pool)
            passes.append(time.perf_counter() - begin)
    queue.put(
        {
            "seconds": round(seconds, 2),
            "peak_rss_mib": round(peak),
            "rss_before_mib": round(before),
            "pass_s": round(statistics.median(passes), 3),
            "objective": path.objective.tolist(),
            "passes": path.passes.tolist(),
            "products": path.products.tolist(),
            "converged": path.converged.tolist(),
        }
    )


def main() -> None:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gib", type=float, default=4.0)
    parser.add_argument("--memory", type=int, default=1024, help="MiB of resident memory in all")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    n = int(arguments.gib * 2**30) // (4 * D)
    write(arguments.folder, n)
    result: dict[str, Any] = {"rows": n, "gib": arguments.gib}
    context = multiprocessing.get_context("spawn")
    for name, memory in (("streamed", arguments.memory), ("in_memory", None)):
        queue = context.Queue()
        process = context.Process(target=run, args=(arguments.folder, n, memory, queue))
        process.start()
        result[name] = queue.get()
        process.join()
        print(name, result[name], flush=True)
    a, b = result["streamed"], result["in_memory"]
    result["pass_ratio"] = round(a["pass_s"] / b["pass_s"], 2)
    result["objective_difference"] = float(np.max(np.abs(np.array(a["objective"]) / np.array(b["objective"]) - 1)))
    print(f"pass {result['pass_ratio']} times in-memory; objectives differ by {result['objective_difference']:.1e}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
