"""What a large extraction costs: GPU hours, objects, bytes, requests and money. Prints the table of docs/scale.md.

    python benchmarks/costs.py
    python benchmarks/costs.py --images 400e6 --dim 1024 --rate 2639

Requests of a unit are those that `benchmarks/writers.py` counted of one writer (the last line of its measurements).
They hold for units of 4,096 rows; heartbeats of claims are in them for an encoder of 320 images a second, and a faster
one has fewer. Not counted: reading the images, names of samples, `gc`, and traffic out of the region.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEASURED = Path(__file__).resolve().parents[1] / "docs" / "measurements" / "2026-11-27-writers.jsonl"

UNIT_ROWS = 4096
_ROW_BYTES = 4 + 32 + 8
"""Beside the embedding: its norm, the sample id, and the label, which units have not."""

_LABEL_ROWS = 2**20
"""Labels in a chunk."""

_FEW = 8
"""Other objects of a set: five documents of zarr, the manifest, a name, and the names of its samples."""

_MANIFEST_BYTES = 460
"""Of a manifest for each chunk: three records and the id of a unit, in JSON."""

MANIFEST_LIMIT = 32 * 2**20
"""Larger manifests are refused, see docs/store-format.md."""

DECODED_A_SECOND = 3_095.5
"""JPEGs of 500 x 375 by 16 processes on 16 cores (docs/decisions/2026-11-27-gpu.md)."""

WRITES = ("PUT", "PUT-IF-ABSENT", "COPY", "LIST")
READS = ("GET", "HEAD")

WRITE_DOLLARS, READ_DOLLARS = 0.005 / 1000, 0.0004 / 1000
"""Of one request to S3 Standard in us-east-1; those that delete are free."""

_TIERS = ((50e12, 0.023e-9), (500e12, 0.022e-9), (float("inf"), 0.021e-9))
"""Up to so many bytes, dollars a byte and month."""


@dataclass(frozen=True)
class UnitRequests:
    """Requests that a unit takes, from claiming its images to its place in a sealed set.

    Parameters
    ----------
    writes : float
        Those that are charged as PUT: PUT, COPY and LIST.
    reads : float
        GET and HEAD.
    """

    writes: float
    reads: float


@dataclass(frozen=True)
class Costs:
    """What a data set costs with one encoder at one tap.

    Parameters
    ----------
    images, dim : int
    rate : float
        Images a second of the encoder alone, on one GPU.
    requests : UnitRequests

    Examples
    --------
    >>> costs = Costs(100_000_000, 768, 3000, UnitRequests(writes=18, reads=9))
    >>> costs.units, costs.objects, costs.objects_after_gc
    (24415, 171009, 73349)
    >>> round(costs.gpu_hours, 2), round(costs.set_bytes / 1e9), round(costs.request_dollars, 2)
    (9.26, 158, 2.29)
    >>> round(costs.month_dollars, 2), costs.sets
    (3.63, 1)
    """

    images: int
    dim: int
    rate: float
    requests: UnitRequests

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU that never waits; of n GPUs an n-th each."""
        return self.images / self.rate / 3600

    @property
    def fed_gpu_hours(self) -> float:
        """Hours of one GPU that 16 cores feed with JPEGs of 500 x 375."""
        return self.images / min(self.rate, DECODED_A_SECOND) / 3600

    @property
    def units(self) -> int:
        """Units, and chunks of the set."""
        return -(-self.images // UNIT_ROWS)

    @property
    def objects(self) -> int:
        """Objects when the set is sealed: of units three and a seal, of the set three a chunk, labels and documents."""
        return 4 * self.units + self.objects_after_gc

    @property
    def objects_after_gc(self) -> int:
        """Objects of the set alone, when `gc` has taken the units."""
        labels = -(-self.images // _LABEL_ROWS)
        return 3 * self.units + labels + _FEW * self.sets

    @property
    def set_bytes(self) -> int:
        """Bytes of the set; as many again until `gc` has taken the units, because a bucket copies."""
        return self.images * (2 * self.dim + _ROW_BYTES) + self.manifest_bytes

    @property
    def manifest_bytes(self) -> int:
        """Bytes of the manifest."""
        return _MANIFEST_BYTES * self.units

    @property
    def sets(self) -> int:
        """Into how many sets the data must be cut, so that each manifest is within the limit."""
        return -(-self.manifest_bytes // MANIFEST_LIMIT)

    @property
    def writes(self) -> float:
        """Requests that are charged as PUT."""
        return self.units * self.requests.writes

    @property
    def reads(self) -> float:
        """Requests that are charged as GET."""
        return self.units * self.requests.reads

    @property
    def request_dollars(self) -> float:
        """Price of all requests."""
        return self.writes * WRITE_DOLLARS + self.reads * READ_DOLLARS

    @property
    def month_dollars(self) -> float:
        """Price of a month of keeping the set."""
        price, below = 0.0, 0.0
        for limit, dollars in _TIERS:
            price += max(0.0, min(self.set_bytes, limit) - below) * dollars
            below = limit
        return price


def measured(path: Path = MEASURED) -> UnitRequests:
    """Return the requests of a unit as they were counted of one writer."""
    last = json.loads(path.read_text().splitlines()[-1])
    requests: dict[str, int] = last["one"]["requests"]
    writes, reads = (
        sum(n for what, n in requests.items() if what.split()[0] in kinds) / int(last["units"])
        for kinds in (WRITES, READS)
    )
    return UnitRequests(writes, reads)


CASES = (("ViT-B/16 bf16, 768", 768, 10_187.7), ("ViT-L/14 bf16, 1024", 1024, 2_639.2))
"""Encoder and width, and images a second on one H200 (docs/decisions/2026-11-27-gpu.md)."""

SIZES = (1_281_167, 100_000_000, 5_000_000_000)


def rows(cases: list[Costs]) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of the table, a column for each case."""
    yield "images", [f"{c.images:,}" for c in cases]
    yield "GPU hours, encoder alone", [f"{c.gpu_hours:,.2f}" for c in cases]
    yield "GPU hours, fed by 16 cores", [f"{c.fed_gpu_hours:,.2f}" for c in cases]
    yield "units", [f"{c.units:,}" for c in cases]
    yield "objects when sealed", [f"{c.objects:,}" for c in cases]
    yield "objects after `gc`", [f"{c.objects_after_gc:,}" for c in cases]
    yield "GB of the set", [f"{c.set_bytes / 1e9:,.1f}" for c in cases]
    yield "GB until `gc`", [f"{(2 * c.set_bytes - 8 * c.images) / 1e9:,.1f}" for c in cases]
    yield "PUT, COPY and LIST", [f"{c.writes:,.0f}" for c in cases]
    yield "GET and HEAD", [f"{c.reads:,.0f}" for c in cases]
    yield "dollars for requests", [f"{c.request_dollars:,.2f}" for c in cases]
    yield "dollars a month for the set", [f"{c.month_dollars:,.2f}" for c in cases]
    yield "MB of the manifest", [f"{c.manifest_bytes / 1e6:,.1f}" for c in cases]
    yield "sets that it must be cut into", [f"{c.sets}" for c in cases]


def table(name: str, cases: list[Costs]) -> str:
    """Return a table in Markdown."""
    head = f"| {name} |" + " |" * len(cases)
    lines = [f"| {what} | {' | '.join(values)} |" for what, values in rows(cases)]
    return "\n".join([head, "| --- |" + " ---: |" * len(cases), *lines])


def main() -> None:
    """Print a table for each encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=float, help="of one data set, instead of the usual three")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--rate", type=float, default=3000.0, help="images a second of the encoder")
    asked = parser.parse_args()
    requests = measured()
    print(f"requests of a unit: {requests.writes:.1f} PUT, COPY and LIST, {requests.reads:.1f} GET and HEAD\n")
    if asked.images:
        print(table(f"{asked.dim}", [Costs(int(asked.images), asked.dim, asked.rate, requests)]))
        return
    for name, dim, rate in CASES:
        print(table(name, [Costs(images, dim, rate, requests) for images in SIZES]) + "\n")


if __name__ == "__main__":
    main()
