"""Whether eight writers to one bucket are eight times as fast as one, and what a unit costs in requests.

    python benchmarks/writers.py --folder /tmp/writers --json           # about ten minutes
    python benchmarks/writers.py --folder /tmp/writers --small          # to see that it runs

A SeaweedFS server is started on this machine (loopback, its files below --folder). One process extracts a data set
into a store in its bucket; then --writers processes extract the same data set into another store, each as on a machine
of its own: with a sample index and a cache of its own, and ``rank="i/n"`` if `extract` has that option (else they share
the work by claims alone). The images are noise of 8 x 8 pixels. The encoder sleeps for as long as a device of --rate
images a second would compute, so that two cores suffice for eight writers; units have real sizes: 4,096 rows of 768
float16. The clock starts when every process has imported everything, made its data and its encoder, and waits.

- *Efficiency* is one writer's seconds, divided by the writers, by the seconds until the last of them has returned. It
  is also given until the last unit was sealed: what comes after that is putting the set together.
- *Requests* are counted in each process at the client (obstore), by kind and by what the object is.
- *Seconds in requests* are those of all threads together; most of them pass while the encoder computes.

Seconds are to be trusted only if nothing else runs: the load average of each run is printed and kept. Counts hold.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from counted_requests import Requests, counted

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

ROWS, DIM, SIDE = 4096, 768, 8
BATCH, CLASSES = 128, 100
START_SECONDS = 300


@dataclass(frozen=True)
class Job:
    """What all writers are given.

    Parameters
    ----------
    place : str
        Of the store.
    folder : Path
        For the state of each.
    rows : int
        Images.
    rate : float
        Images a second that an encoder takes.
    writers : int
    """

    place: str
    folder: Path
    rows: int
    rate: float
    writers: int


def make_encoder(rate: float) -> Any:
    """Return an encoder that projects an image of noise, and takes as long as a device of that many images a second."""
    import numpy as np
    import torch

    import cryoprobe

    class Sleeping(torch.nn.Module):
        projection: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            made = torch.Generator().manual_seed(0)
            self.register_buffer("projection", torch.randn(3 * SIDE * SIDE, DIM, generator=made))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            began = time.perf_counter()
            y = (x.flatten(1).float() - 127.5) @ self.projection
            time.sleep(max(0.0, len(x) / rate - (time.perf_counter() - began)))
            return y

    def pixels(image: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(image))

    return cryoprobe.Encoder(Sleeping(), pixels, name="benchmark:sleeping", version="1", device="cpu")


def make_dataset(rows: int) -> Any:
    """Return images of noise, each other than all others."""
    import numpy as np

    import cryoprobe

    images = np.random.default_rng(0).integers(0, 256, (rows, SIDE, SIDE, 3), np.uint8)
    labels = np.arange(rows) % CLASSES
    return cryoprobe.Dataset((images, labels), name="benchmark:noise", split="train")


def shares(number: int, writers: int) -> dict[str, Any]:
    """Return the option that gives a writer its own share, if `extract` has it."""
    from cryoprobe.pipeline.options import ExtractRunOptions

    return {"rank": f"{number}/{writers}"} if writers > 1 and "rank" in ExtractRunOptions.model_fields else {}


def write(job: Job, number: int, start: Any, results: Any) -> None:
    """Extract in a process of its own, as one of the writers; put what it took into `results`."""
    os.environ["CRYOPROBE_CACHE"] = str(job.folder / f"state-{job.writers}-{number}")
    import torch

    import cryoprobe
    from cryoprobe.progress import Reporter

    class Notes(Reporter):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    torch.set_num_threads(1)
    requests, reporter = Requests(), Notes()
    encoder, data = make_encoder(job.rate), make_dataset(job.rows)
    with counted(requests):
        store = cryoprobe.open_store(job.place, create=True)
    start.wait(START_SECONDS)
    requests.number.clear()
    requests.seconds.clear()
    began, cpu = time.perf_counter(), time.process_time()
    (done,) = cryoprobe.extract(
        encoder,
        data,
        store,
        batch_size=BATCH,
        workers=2,
        unit_rows=ROWS,
        profile=True,
        reporter=reporter,
        **shares(number, job.writers),
    )
    results.put(
        {
            "writer": number,
            "began": began,
            "last_unit": requests.last_unit,
            "ended": time.perf_counter(),
            "cpu": time.process_time() - cpu,
            "encoded": done.encoded,
            "set": done.set,
            "requests": dict(requests.number),
            "seconds": dict(requests.seconds),
            "notes": reporter.notes,
        }
    )


@dataclass(frozen=True)
class Measured:
    """What some writers took for one data set.

    Parameters
    ----------
    writers : int
    seconds : float
        Until the last has returned.
    to_last_unit : float
        Until the last unit was sealed.
    cpu : float
        Seconds of processor of all writers.
    load : float
        Average number of processes that wanted a core in the last minute of the run, these ones included.
    encoded : int
        Images that were encoded; more than there are if some were encoded twice.
    requests, request_seconds : dict of str to float
        By kind and object, all writers together.
    """

    writers: int
    seconds: float
    to_last_unit: float
    cpu: float
    load: float
    encoded: int
    requests: dict[str, int]
    request_seconds: dict[str, float]


def run(job: Job, *, verbose: bool) -> Measured:
    """Let the writers write, each in a process; return what they took."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(job.writers), context.Queue()
    processes = [context.Process(target=write, args=(job, i, start, results)) for i in range(job.writers)]
    for process in processes:
        process.start()
    try:
        found: list[dict[str, Any]] = []
        while len(found) < len(processes):
            try:
                found.append(results.get(timeout=1))
            except Exception:
                if any(process.exitcode for process in processes):
                    raise SystemExit("A writer failed; see above.") from None
    finally:
        for process in processes:
            process.join(30)
            process.kill()
    assert len({f["set"] for f in found}) == 1
    began = min(f["began"] for f in found)
    if verbose:
        for f in sorted(found, key=lambda f: f["writer"]):
            took = f"{f['ended'] - began:.1f} s, {f['cpu']:.1f} s of processor"
            print(f"  writer {f['writer']}: {f['encoded']} images, {took}")
            for note in f["notes"]:
                print(f"    {note}")
    numbers: Counter[str] = sum((Counter(f["requests"]) for f in found), Counter())
    seconds: Counter[str] = sum((Counter(f["seconds"]) for f in found), Counter())
    return Measured(
        writers=job.writers,
        seconds=round(max(f["ended"] for f in found) - began, 2),
        to_last_unit=round(max(f["last_unit"] for f in found) - began, 2),
        cpu=round(sum(f["cpu"] for f in found), 1),
        load=round(os.getloadavg()[0], 1),
        encoded=sum(f["encoded"] for f in found),
        requests=dict(numbers),
        request_seconds={kind: round(s, 2) for kind, s in seconds.items()},
    )


def report(one: Measured, many: Measured, units: int) -> dict[str, float]:
    """Print both, and return the efficiency as a whole and until the last unit was sealed."""
    efficiency = {
        "whole": round(one.seconds / many.writers / many.seconds, 4),
        "to_last_unit": round(one.to_last_unit / many.writers / many.to_last_unit, 4),
    }
    for found in (one, many):
        print(
            f"{found.writers} writers: {found.seconds:.1f} s, {found.to_last_unit:.1f} s to the last unit, "
            f"{found.encoded:,} images encoded, {found.cpu:.1f} s of processor at load {found.load:.1f}, "
            f"{sum(found.requests.values()) / units:.1f} requests a unit, "
            f"{sum(found.request_seconds.values()) / units:.3f} s a unit in them"
        )
    print(f"efficiency {efficiency['whole']:.3f}, to the last unit {efficiency['to_last_unit']:.3f}")
    print(f"{'requests a unit (ms each)':32}{f'{one.writers} writer':>16}{f'{many.writers} writers':>16}")
    for kind in sorted({*one.requests, *many.requests}):
        columns = []
        for found in (one, many):
            number, seconds = found.requests.get(kind, 0), found.request_seconds.get(kind, 0.0)
            columns.append(f"{number / units:.2f} ({1000 * seconds / max(1, number):.0f})")
        print(f"{kind:32}" + "".join(f"{column:>16}" for column in columns))
    return efficiency


def processor() -> str:
    """Return what the processor calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    """Measure one writer, then several, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--units", type=int, default=40, help="units of 4,096 images in the data set")
    parser.add_argument("--rate", type=float, default=320.0, help="images a second of one encoder")
    parser.add_argument("--small", action="store_true", help="two writers, four units, in seconds")
    parser.add_argument("--verbose", action="store_true", help="print what each writer noted")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    asked = parser.parse_args()
    writers, units, rate = (2, 4, 4000.0) if asked.small else (asked.writers, asked.units, asked.rate)
    folder: Path = asked.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bucket").mkdir(parents=True)
    from support.servers import ACCESS, BUCKET, s3_server

    print(f"{processor()}, Python {platform.python_version()}")
    try:
        with s3_server(folder / "bucket") as endpoint:
            os.environ.update({**ACCESS, "AWS_ENDPOINT_URL": endpoint})
            one, many = (
                run(Job(f"s3://{BUCKET}/by-{n}", folder, units * ROWS, rate, n), verbose=asked.verbose)
                for n in (1, writers)
            )
    finally:
        shutil.rmtree(folder)
    efficiency = report(one, many, units)
    if asked.json:
        conditions = {"units": units, "rows": ROWS, "dim": DIM, "rate": rate, "rank": bool(shares(0, writers))}
        measured = {"efficiency": efficiency, "one": asdict(one), "many": asdict(many)}
        print(json.dumps({"processor": processor(), **conditions, **measured}))


if __name__ == "__main__":
    main()
