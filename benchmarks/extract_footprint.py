"""What an extraction reads and holds: bytes from the disk beside those of the images, and memory by how many there are.

    python benchmarks/extract_footprint.py [--small]     # ten minutes

Bytes are those that the kernel brought from the disk for the process (`/proc/self/io`), with a cold cache: nothing of
the images is in the page cache, and if less comes from the disk than they hold, that is said. The disk is read by whole
pages, so what the files take up there is printed too. Memory is the most that the process ever held (`VmHWM`), at
10,000 and at 100,000 images and at a tenth of the smaller; encoder and images are small, so that what grows with the
images would show.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from gpu_encoders import make_jpegs
from PIL import Image

RUN = """
import json, sys
from pathlib import Path
import zarr
import cryoprobe

def io():
    return dict((line.split(":")[0], int(line.split(":")[1])) for line in open("/proc/self/io"))

encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
data, store = sys.argv[1:]
before = io()
(found,) = cryoprobe.extract(encoder, f"folder:{data}", store, progress=False)
after = io()
(most,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(json.dumps({"rows": found.rows, "read": after["read_bytes"] - before["read_bytes"],
                  "calls": after["rchar"] - before["rchar"], "mib": int(most) / 1024}))
"""


def main() -> None:
    """Measure both, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="Fewer images, to see that it runs.")
    parser.add_argument("--folder", type=Path, help="Where to make the files: on a disk.")
    asked = parser.parse_args()
    large, sizes = (100, (100, 1_000)) if asked.small else (2_000, (1_000, 10_000, 100_000))
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="cryoprobe-footprint-") as made:
        folder = Path(made)
        bytes_read(folder, large)
        first = None
        for n in sizes:
            add_small(folder / "small" / "train" / "all", n)
            found = extract(folder, folder / "small")
            first = found["mib"] if n == sizes[-2] else first
            print(f"{n:,} images: {found['mib']:,.0f} MiB at most")
        print(f"from {sizes[-2]:,} to {sizes[-1]:,} images: {found['mib'] / first:.3f} times")


def bytes_read(folder: Path, n: int) -> None:
    """Print what is read of images that are not in the page cache."""
    data = folder / "large"
    files = make_jpegs(data, n)
    os.sync()
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    size = sum(path.stat().st_size for path in files)
    pages = sum(-(-path.stat().st_size // 4096) * 4096 for path in files)
    found = extract(folder, data)
    print(f"{n:,} JPEGs of {size / n / 1000:,.0f} kB, {size:,} bytes; in whole pages {pages / size:.3f} times that")
    if found["read"] < size:
        print("  the page cache was not empty, or the files are not on a disk: what follows is too little")
    print(f"  from the disk {found['read'] / size:.3f} times, {found['read'] / pages:.3f} of the whole pages")
    print(f"  by read calls {found['calls'] / size:.3f} times, with every other file that was opened")


def add_small(folder: Path, n: int) -> None:
    """Make images until there are n, each other than all others."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for i in range(len(list(folder.iterdir())), n):
        coarse[0, :8] = np.frombuffer(i.to_bytes(24, "big"), np.uint8).reshape(8, 3)
        Image.fromarray(coarse).resize((64, 64)).save(folder / f"{i:06}.png", compress_level=1)


def extract(folder: Path, data: Path) -> dict[str, Any]:
    """Extract in a process of its own, into a store of its own; return what it took."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        environment = {**os.environ, "CRYOPROBE_CACHE": str(Path(place) / "cache")}
        words = [sys.executable, "-c", RUN, str(data), str(Path(place) / "store")]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
