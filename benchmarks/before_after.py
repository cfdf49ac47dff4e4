"""Whether a change has made what people wait for slower: two commits in turn, on the same input.

    python benchmarks/before_after.py 4e4031b HEAD --repeats 5

Each commit is unpacked beside the other; every measurement is a process of its own, the two in turn. Printed are
medians in seconds, the ratio (above 1: the second is slower), and the processor. Takes some five minutes.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PREPARE = """
import sys, numpy as np
from pathlib import Path
from PIL import Image
rng = np.random.default_rng(0)
for split, n in (("train", 600), ("test", 200)):
    for i in range(n):
        path = Path(sys.argv[1]) / split / f"class{i % 4}" / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(path)
"""

FILL = """
import sys
import cryoprobe, numpy as np
from cryoprobe.canonical import digest
try:
    from cryoprobe.stores.format.names import Name, NamedSet
    from cryoprobe.stores.keys import unit_id
    from cryoprobe.stores.writing.units import Rows, write_unit
except ImportError:  # a commit from before 2026-11-27
    from cryoprobe.stores.layout import unit_id
    from cryoprobe.stores.names import Name, NamedSet
    from cryoprobe.stores.units import Rows, write_unit
encoder = {"family": "made", "architecture": "up", "weights": "0" * 64, "tap": "cls", "preprocessing": {"library": "x"}}
store = cryoprobe.open_store(sys.argv[1], create=True)
for i in range(300):
    n = 40_000 if i == 0 else 8
    ids = np.random.default_rng(i).integers(0, 256, (n, 32), dtype=np.uint8)
    x = np.random.default_rng(i).standard_normal((n, 256)).astype(np.float32)
    unit = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)
    keys = [row.tobytes() for row in ids]
    index = store.rows_of(digest(encoder))
    for start in range(0, n, 4096):
        part = slice(start, start + 4096)
        rows = Rows(ids[part], unit[part], np.ones(len(ids[part]), np.float32))
        index.add(write_unit(store.backend, digest(encoder), unit_id(digest(encoder), keys[part]), rows))
    spec = {"samples": f"{i:064}", "rows": n, "classes": ["a"], "split": "train"}
    found, _ = store.seal(index, encoder=encoder, dataset=spec, ids=keys, labels=np.zeros(n, np.int64))
    name = Name(model="made:up", dataset=f"folder:/d{i}", split="train", tap="cls")
    told = {"rows": n, "dim": 256, "failed": 0, "size": 1, "named": i + 1}
    store.name(NamedSet(name=name, set=found.id, encoder=found.encoder_id, **told))
print(store.find(dataset="folder:/d0")[0].set)
"""

# What is timed prints its seconds; a start-up is timed from outside.
TIMED = """
import sys, time
import cryoprobe
{before}
start = time.perf_counter()
{timed}
print(time.perf_counter() - start)
"""
ENCODER = 'encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=48)'
EXTRACT = 'cryoprobe.extract(encoder, f"folder:{sys.argv[1]}", sys.argv[2], batch_size=32, workers=2)'
PROBE = 'cryoprobe.probe(sys.argv[2], model="timm:test_vit", dataset=f"folder:{sys.argv[1]}", untrained=True, '


def run(package: Path, code: str, *arguments: str) -> str:
    """Run code with one of the two packages; return its last line."""
    environment = {**os.environ, "PYTHONPATH": str(package), "CRYOPROBE_CACHE": str(package / "cache")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=package)
    return done.stdout.strip().split("\n")[-1]


def unpacked(commit: str, folder: Path) -> Path:
    """Unpack a commit so that `cryoprobe` can be imported from the returned folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder / "cryoprobe", filter="data")
    return folder


def started(package: Path, code: str) -> float:
    """Return how long a process takes from its start to its end."""
    begin = time.perf_counter()
    run(package, code)
    return time.perf_counter() - begin


def main() -> None:
    """Measure both commits in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        packages = {c: unpacked(c, work / name) for name, c in (("before", asked.before), ("after", asked.after))}
        data = str(work / "data")
        run(packages[asked.before], PREPARE, data)
        filled = {commit: run(package, FILL, str(package / "filled")) for commit, package in packages.items()}
        times: dict[str, dict[str, list[float]]] = {}
        for repeat in range(asked.repeats):
            for commit, package in list(packages.items())[:: 1 if repeat % 2 else -1]:
                for what, seconds in measured(package, data, filled[commit], repeat).items():
                    times.setdefault(what, {}).setdefault(commit, []).append(seconds)
    print(f"{'':12}{asked.before:>12}{asked.after:>12}{'ratio':>8}")
    for what, found in times.items():
        before, after = (statistics.median(found[commit]) for commit in packages)
        print(f"{what:12}{before:12.3f}{after:12.3f}{after / before:8.2f}")


def measured(package: Path, data: str, set_: str, repeat: int) -> dict[str, float]:
    """Return the seconds of each thing that people wait for."""
    store = str(package / f"store{repeat}")
    fresh = TIMED.format(before=ENCODER, timed=EXTRACT)
    load = f"cryoprobe.open_store(sys.argv[1]).open({set_!r}).load()"
    names = "cryoprobe.open_store(sys.argv[1]).names()"
    return {
        "import": started(package, "import cryoprobe"),
        "help": started(package, "import cryoprobe.cli, sys; sys.argv[1:] = ['probe', '--help']; cryoprobe.cli.main()"),
        "extract": float(run(package, fresh, data, store)),
        "hit": float(run(package, fresh, data, store)),
        "load": float(run(package, TIMED.format(before="", timed=load), str(package / "filled"))),
        "ls": float(run(package, TIMED.format(before="", timed=names), str(package / "filled"))),
        "one probe": float(run(package, TIMED.format(before="", timed=PROBE + "C=1.0)"), data, store)),
        "sweep": float(
            run(package, TIMED.format(before="", timed=PROBE + "shots=[1, 4, 16], seeds=5, jobs=1)"), data, store)
        ),
        "answered": float(run(package, TIMED.format(before="", timed=PROBE + "C=1.0)"), data, store)),
    }


if __name__ == "__main__":
    main()
