"""How fast the quickstart encoder is on a CPU, by batch size, with and without giving memory back to the kernel.

    python benchmarks/encode_cpu.py [--images 512] [--repeats 3] [--json]

Each measurement is a process of its own (the allocator's setting stays for good), all of them children of this one,
interleaved. Images are random: what is timed is the forward pass, float32 at 224 x 224, on all cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

BATCHES = (4, 32, 128)


def measure(batch: int, keep: bool, images: int) -> None:
    """Print images per second."""
    import torch

    from cryoprobe.pipeline.encoders import allocator, load_encoder

    if keep:  # as `extract` does
        allocator.keep_freed_memory()
    encoder = load_encoder("quickstart:efficientnet_lite0")
    x = torch.randn(batch, 3, 224, 224)
    encoder.encode(x)
    started = time.perf_counter()
    for _ in range(images // batch):
        encoder.encode(x)
    print(images // batch * batch / (time.perf_counter() - started))


def main() -> None:
    """Run every variant `--repeats` times, interleaved, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        measure(int(arguments.child[0]), arguments.child[1] == "keep", arguments.images)
        return
    variants = [(batch, keep) for batch in BATCHES for keep in ("give-back", "keep")]
    found: dict[tuple[int, str], list[float]] = {v: [] for v in variants}
    for _ in range(arguments.repeats):
        for batch, keep in variants:
            command = [sys.executable, __file__, "--images", str(arguments.images), "--child", str(batch), keep]
            found[batch, keep].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    medians = {v: statistics.median(speeds) for v, speeds in found.items()}
    if not arguments.json:
        print("batch  images/s, memory given back  images/s, kept  ratio")
        for batch in BATCHES:
            back, kept = medians[batch, "give-back"], medians[batch, "keep"]
            print(f"{batch:5}  {back:27.1f}  {kept:14.1f}  {kept / back:5.2f}")
    result = {f"{keep}_{batch}": round(speed, 1) for (batch, keep), speed in medians.items()}
    print(json.dumps({**result, "ratio_32": round(medians[32, "keep"] / medians[32, "give-back"], 2)}))


if __name__ == "__main__":
    main()
