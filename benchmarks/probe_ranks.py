"""Rows shared out among two ranks: what travels between them, the time of a pass, and whether the result is the same.

    python benchmarks/probe_ranks.py --folder /tmp/ranks --json

Writes a synthetic set of --gib GiB (float32, rows of 1,024, --classes classes) as a plain file, and fits three values
of C to it, read block by block: by one process with one thread, by one with two, and by two ranks of one thread each
that meet on this machine. Times of a pass (objective and gradient of the three) are medians of 5. All times are medians
over the repeats, and those of a processor (`_cpu_s`) are the first rank's. The ranks meet over loopback: the figures
tell what travels and what sharing costs, and nothing of a network. Nearest neighbours of 2,048 queries are searched in
the first --neighbours rows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

D = 1024
BLOCK = 4096
LAMBDAS = [10.0, 1.0, 0.1]
QUERIES = 2048
WAYS = (("one_thread", 1, 1), ("two_threads", 2, 1), ("two_ranks", 1, 2))
SECONDS = ("seconds", "fit_cpu_s", "pass_s", "pass_cpu_s", "knn_s")


def write(folder: Path, n: int, classes: int) -> None:
    """Write the features and labels, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    file, labels = folder / "x.f32", folder / f"y{classes}.npy"
    if file.exists() and file.stat().st_size == 4 * n * D and labels.exists():
        return
    rng = np.random.default_rng(0)
    scale = np.arange(1, D + 1, dtype=np.float32) ** -0.5
    centres = rng.standard_normal((classes, D), dtype=np.float32) * scale
    y = rng.integers(0, classes, n)
    with file.open("wb") as out:
        for start in range(0, n, BLOCK):
            part = y[start : start + BLOCK]
            x = centres[part] + rng.standard_normal((len(part), D), dtype=np.float32) * scale
            (x / np.linalg.norm(x, axis=1, keepdims=True)).tofile(out)
    np.save(labels, y)


def run(arguments: argparse.Namespace, threads: int, index: int, of: int, port: int, queue: Any) -> None:
    """Fit as one of several ranks, or alone; the first puts what came of it on the queue."""
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": str(threads)})
    import torch
    from threadpoolctl import threadpool_limits

    from cryoprobe.pipeline.probes.block_threads import BlockThreads
    from cryoprobe.pipeline.probes.logistic import fit_path
    from cryoprobe.pipeline.probes.logistic.objective import Models, Point, evaluate
    from cryoprobe.pipeline.probes.logistic.rows import Shard, StreamRows
    from cryoprobe.pipeline.probes.logistic.targets import heads_to_fit
    from cryoprobe.pipeline.rank_group import RankGroup
    from cryoprobe.pipeline.ranks import Rank

    torch.set_num_threads(threads)
    rank = Rank(index, of)
    group = RankGroup(rank) if of > 1 else None
    y = np.load(arguments.folder / f"y{arguments.classes}.npy")
    n = len(y)
    held = rank.share(n, BLOCK)

    def read() -> Iterator[Any]:
        with (arguments.folder / "x.f32").open("rb") as file:
            file.seek(4 * D * held.start)
            for start in range(held.start, held.stop, BLOCK):
                yield np.fromfile(file, np.float32, min(BLOCK, held.stop - start) * D).reshape(-1, D)

    shard = None if group is None else Shard(group, torch.arange(held.start, held.stop))
    rows = StreamRows(read, n, D, torch.device("cpu"), shard)
    start, cpu = time.perf_counter(), time.process_time()
    path = fit_path(rows, y, LAMBDAS, memory=arguments.memory << 20)
    seconds, fit_cpu = time.perf_counter() - start, time.process_time() - cpu
    found: dict[str, Any] = {
        "seconds": round(seconds, 2),
        "fit_cpu_s": round(fit_cpu, 2),
        "objective": path.objective.tolist(),
        "gap": path.gap.tolist(),
        "passes": path.passes.tolist(),
        "products": path.products.tolist(),
        "converged": path.converged.tolist(),
    }
    if group is not None:
        found["fit_bytes_given"], found["fit_sums"] = dict(group.given), group.sums
    weighted = heads_to_fit(rows, y, None).weighted
    assert weighted is not None
    mine = weighted if shard is None else weighted.rows(shard.held)
    models = Models(torch.tensor(LAMBDAS, dtype=torch.float64), torch.zeros(3, dtype=torch.int64))
    point = Point(torch.from_numpy(path.coef), torch.from_numpy(path.intercept))
    before, passes = (0 if group is None else group.given["added"]), []
    cpu = time.process_time()
    with BlockThreads(threads, ranks=group) as pool:
        for _ in range(5):
            begin = time.perf_counter()
            evaluate(rows.blocks(), mine, models, point, dtype=torch.float32, scale=1.0, pool=pool)
            passes.append(time.perf_counter() - begin)
    found["pass_s"] = round(statistics.median(passes), 3)
    found["pass_cpu_s"] = round((time.process_time() - cpu) / 5, 3)
    if group is not None:
        found["pass_bytes_added"] = (group.given["added"] - before) // 5
    with threadpool_limits(threads, "blas"):
        found |= search(arguments, y, rank, group)
    if index == 0:
        queue.put(found)


def search(arguments: argparse.Namespace, y: Any, rank: Any, group: Any) -> dict[str, Any]:
    """Return the seconds that 20 nearest neighbours of the queries take, and what identifies them."""
    import hashlib

    from cryoprobe.pipeline.probes.knn.neighbours import KNNProbe
    from cryoprobe.pipeline.probes.sharded_rows import ShardedRows

    n = min(arguments.neighbours, len(y) - QUERIES)
    every = np.memmap(arguments.folder / "x.f32", np.float32, "r").reshape(-1, D)
    share = rank.share(n)
    own, queries = np.array(every[share.start : share.stop]), np.array(every[-QUERIES:])
    rows = own if group is None else ShardedRows(own, np.arange(share.start, share.stop), n, group)
    gathered = 0 if group is None else group.given["gathered"]
    probe = KNNProbe(k=20).fit(rows, y[:n])
    begin = time.perf_counter()
    similarities, indices = probe.kneighbors(queries)
    seconds = time.perf_counter() - begin
    digest = hashlib.sha256(similarities.tobytes() + indices.tobytes()).hexdigest()
    found = {"knn_rows": n, "knn_s": round(seconds, 2), "knn_sha256": digest}
    return found if group is None else {**found, "knn_bytes_gathered": group.given["gathered"] - gathered}


def cpu_name() -> str:
    """Return what the processor is called, where the system has that in a file."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Run all three, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--memory", type=int, default=1024, help="MiB that the fit of each process may take")
    parser.add_argument("--neighbours", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3, help="of all three in turns")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    from race_machine import machine

    n = int(arguments.gib * 2**30) // (4 * D)
    write(arguments.folder, n, arguments.classes)
    result: dict[str, Any] = {
        "rows": n,
        "d": D,
        "classes": arguments.classes,
        "cores": os.cpu_count(),
        "processor": cpu_name(),
    }
    print(f"{result['processor']}, {result['cores']} cores")
    result["machine"] = machine(os.cpu_count() or 1, True)
    result["load_before"] = [round(v, 1) for v in os.getloadavg()]
    context = multiprocessing.get_context("spawn")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name, _, _ in WAYS}
    for repeat in range(arguments.repeats):  # in turns: what else the machine does changes meanwhile
        for name, threads, of in WAYS:
            queue, port = context.Queue(), 20000 + (os.getpid() + repeat) % 20000
            processes = [context.Process(target=run, args=(arguments, threads, i, of, port, queue)) for i in range(of)]
            for process in processes:
                process.start()
            runs[name].append(queue.get())
            for process in processes:
                process.join()
    for name, found in runs.items():
        seconds = {key: [one[key] for one in found] for key in SECONDS}
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        result[name] = {**found[0], **medians, "every": seconds}
        print(name, result[name], flush=True)
    one, two = result["one_thread"], result["two_ranks"]
    weights = 4 * D * arguments.classes
    result["objective_difference"] = float(np.max(np.abs(np.array(two["objective"]) / np.array(one["objective"]) - 1)))
    result["pass_bytes_over_4dc"] = round(two["pass_bytes_added"] / weights, 3)
    result["same_neighbours"] = one["knn_sha256"] == two["knn_sha256"]
    result["load_after"] = [round(v, 1) for v in os.getloadavg()]
    print(
        f"objectives differ by {result['objective_difference']:.1e}; a pass over three C adds up "
        f"{result['pass_bytes_over_4dc']} times 4 d C bytes; neighbours "
        f"{'are the same to the bit' if result['same_neighbours'] else 'DIFFER'}"
    )
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
