"""What an extraction costs that finds everything, or nearly everything, in the store: whole processes, as people wait.

    python benchmarks/extract_hit.py            # 60,000 files; 600 new ones among them; 1,000,000 files. Half an hour.
    python benchmarks/extract_hit.py --small    # 2,000; 20; 10,000

The files are made on the spot, a hundred bytes each, and the store is filled with made-up rows for them, so that no
image has to be encoded for it. The new ones are images, and the encoder (timm's test ViT at 32 pixels) takes some
hundreds of them a second. Printed are medians of wall and processor time, memory, and what listing and stat alone take.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import cryoprobe
from cryoprobe.stores.local.sample_index import SampleIndex, now_ns
from cryoprobe.stores.store import Rows

MODEL = ("--model", "timm:test_vit", "--untrained", "--image-size", "32")
CLASSES = 100
PNG = b"\x89PNG\r\n\x1a\n"

RUN = """
import json, sys, time
sys.argv[0] = "cryoprobe"
from cryoprobe.cli import main
try:
    main()
except SystemExit:
    pass
(most,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({"cpu": time.process_time(), "mib": int(most) / 1024, "torch": "torch" in sys.modules}))
"""


def main() -> None:
    """Measure each case, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="Fewer files, to see that it runs.")
    parser.add_argument("--folder", type=Path, help="Where to make the files: a disk or a tmpfs.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--files", type=int, nargs=3, metavar=("HIT", "NEW", "MANY"))
    asked = parser.parse_args()
    hit, new, many = asked.files or ((2_000, 20, 10_000) if asked.small else (60_000, 600, 1_000_000))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="cryoprobe-hit-") as made:
        folder = Path(made)
        os.environ["CRYOPROBE_CACHE"] = str(folder / "cache")
        data, store = folder / "data", folder / "store"
        fill(data, store, 0, hit)
        report(f"{hit:,} files, all there", [extract(data, store) for _ in range(asked.repeats)], hit)
        runs = []
        for repeat in range(min(3, asked.repeats)):
            add_images(data / "new", repeat * new, new)
            runs.append(extract(data, store))
            assert runs[-1]["encoded"] == new
        report(f"{new:,} new among {hit:,}", runs, hit)
        shutil.rmtree(data)
        fill(data, store, hit, many)
        report(f"{many:,} files, all there", [extract(data, store) for _ in range(asked.repeats)], many)
        floor = statistics.median(listing_alone(data) for _ in range(3))
        print(f"listing and stat alone: {floor:.2f} s of processor, {many / floor:,.0f} files a second")


def fill(data: Path, store: Path, first: int, n: int) -> None:
    """Make files, let the sample index know them, and give the store a row for each and the set."""
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    spec, opened = encoder.spec(encoder.taps[0]), cryoprobe.open_store(store, create=True)
    for c in range(CLASSES):
        (data / f"class{c:03}").mkdir(parents=True, exist_ok=True)
    paths, ids = [], []
    for i in range(first, first + n):
        content = PNG + f"{i:092}".encode()
        paths.append(data / f"class{i % CLASSES:03}" / f"{i:08}.png")
        paths[-1].write_bytes(content)
        ids.append(hashlib.sha256(content).digest())
    time.sleep(2.1)
    index = SampleIndex()
    for start in range(0, n, 10_000):
        part = range(start, min(start + 10_000, n))
        index.record([(paths[i], index.stamp(paths[i]), ids[i]) for i in part], now_ns())
    index.close()
    for rows in made_up(sorted_ids(paths, ids)):
        opened.write_unit(spec.id, rows)
    extract(data, store, "--max-bad", "0")


def sorted_ids(paths: list[Path], ids: list[bytes]) -> list[bytes]:
    """Return the sample ids in the order in which the data set has them."""
    return [ids[i] for i in sorted(range(len(paths)), key=lambda i: os.fspath(paths[i]))]


def made_up(ids: list[bytes]) -> Iterator[Rows]:
    """Yield units of rows that no encoder made."""
    rng = np.random.default_rng(0)
    for start in range(0, len(ids), 4096):
        part = np.frombuffer(b"".join(ids[start : start + 4096]), np.uint8).reshape(-1, 32)
        x = rng.standard_normal((len(part), 64)).astype(np.float32)
        unit = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)
        yield Rows(part, unit, np.ones(len(part), np.float32))


def add_images(folder: Path, first: int, n: int) -> None:
    """Make images, each other than all others."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for i in range(first, first + n):
        pixels = np.random.default_rng(i).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:08}.png")


def extract(data: Path, store: Path, *options: str) -> dict[str, Any]:
    """Run the command in a process of its own; return what it took, and how many images it encoded."""
    words = ["extract", *MODEL, "--dataset", f"folder:{data}", "--store", str(store), "--json", *options]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - began
    *_, summary, used = done.stdout.splitlines()
    return {"wall": wall, **json.loads(used), "encoded": json.loads(summary)["encoded"]}


def report(what: str, runs: list[dict[str, Any]], files: int) -> None:
    """Print the medians of some runs."""
    wall, cpu, mib = (statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "mib"))
    torch = "with torch" if any(run["torch"] for run in runs) else "without torch"
    print(f"{what}: {wall:.2f} s, {cpu:.2f} s of processor, {mib:,.0f} MiB, {torch}; {files / cpu:,.0f} files a second")


def listing_alone(folder: Path) -> float:
    """Return how long it takes to list and stat every file below a folder."""
    began = time.process_time()
    with os.scandir(folder) as classes:
        for class_ in classes:
            with os.scandir(class_.path) as entries:
                for entry in entries:
                    entry.stat()
    return time.process_time() - began


if __name__ == "__main__":
    main()
