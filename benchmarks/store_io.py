"""How fast features are read: against `np.load`, against plain parallel gets from a bucket, and listings.

    python benchmarks/store_io.py --folder /tmp/store-io --json

Writes a synthetic feature set of about --gb GB (float16, rows of 1,024) to a store in --folder, and the same array with
`np.save`; copies the set to a bucket of a SeaweedFS server that is started on this machine (loopback, its files below
--folder too); and makes a store of --sets named sets. Then, --repeats times, in turn, with the page cache warm:

- `np.load` of the array; `FeatureSet.load` of the set as float16, every crc32c checked;
- from the bucket: eight threads that get the same objects by obstore; the same, that also take their sha256 and write
  them to files, block by block as they come; `load` without a cache (crc32c checked); `load` through an empty cache
  (sha256 checked too, and kept on disk); `load` through the full cache;
- (before each of these more memory than it uses is written and freed, so that none is the first to use it);
- from opening the store in the bucket, through an empty cache, to the first batch of 256 rows; and to the last;
- `Store.names` of the store of many sets, and `cryoprobe ls` on it as a process of its own.

Times are medians in seconds. A ratio is that of the two medians: above 1, we are faster.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import cryoprobe
from cryoprobe.canonical import digest
from cryoprobe.checksummed import dump_document
from cryoprobe.id_arrays import sample_array
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.names import Name, NamedSet
from cryoprobe.stores.keys import manifest_key, unit_id
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.units import Rows, write_unit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.servers import ACCESS, BUCKET, s3_server

D, CHUNK = 1024, 4096
READERS = 8


def make_set(folder: Path, n: int) -> FeatureSet:
    """Seal n random rows, and save the same array as ``x.npy``; or open what an earlier run made."""
    store = cryoprobe.open_store(folder / "store", create=True)
    for key in store.set_ids():
        if (found := store.open(key)).rows == n and (folder / "x.npy").exists():
            return found
    encoder = {"architecture": "random", "tap": "none"}
    index = store.rows_of(digest(encoder))
    ids = [hashlib.sha256(i.to_bytes(8, "little")).digest() for i in range(n)]
    saved = np.empty((n, D), np.float16)
    rng = np.random.default_rng(0)
    for start in range(0, n, CHUNK):
        part = ids[start : start + CHUNK]
        x = rng.standard_normal((len(part), D), dtype=np.float32)
        norms = np.linalg.norm(x, axis=1)
        rows = Rows(sample_array(part), (x / norms[:, None]).astype(np.float16), norms)
        saved[start : start + CHUNK] = rows.embeddings
        index.add(write_unit(store.backend, index.encoder_id, unit_id(index.encoder_id, part), rows))
    np.save(folder / "x.npy", saved)
    del saved
    labels = np.arange(n, dtype=np.int64) % 100
    dataset = {"rows": n, "classes": [str(i) for i in range(100)], "split": "train", "multilabel": False}
    return store.seal(index, encoder=encoder, dataset=dataset, ids=ids, labels=labels)[0]


def make_names(folder: Path, sets: int) -> Path:
    """Make a store of many named sets, of which there are the manifests' and names' objects only."""
    root = folder / f"many-{sets}"
    if (root / "done").exists():
        return root
    store = cryoprobe.open_store(root, create=True)
    (root / "names").mkdir(exist_ok=True)
    for i in range(sets):
        encoder, set_ = digest({"encoder": i % 50}), digest({"set": i})
        name = Name(model=f"timm:model_{i % 50}", dataset=f"folder:/data/{i // 50}", split="train", tap="pooled")
        named = NamedSet(name=name, set=set_, encoder=encoder, rows=1000, dim=768, failed=0, size=10**6, named=i + 1)
        content = named.model_dump(mode="json", exclude={"below"})
        key = f"names/{set_}.{digest(name.model_dump(mode='json'))[:16]}.json"
        for path, data in ((key, dump_document(content)), (manifest_key(encoder, set_), b"{}")):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
    assert len(store.set_ids()) == sets
    (root / "done").touch()
    return root


def upload(source: Store, target: Store, prefixes: tuple[str, ...]) -> None:
    """Copy objects that the other store lacks."""
    there = set(target.backend.keys())
    keys = [k for p in prefixes for k in source.backend.keys(p) if k not in there]
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(lambda key: target.backend.put(key, source.backend.get(key)), keys))


def main() -> None:
    """Make the data, measure in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--sets", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    n = int(arguments.gb * 1e9) // (2 * D * CHUNK) * CHUNK
    local = make_set(folder, n)
    many = make_names(folder, arguments.sets)
    os.environ["CRYOPROBE_CACHE"] = str(folder / "cache")
    bucket = folder / "bucket"
    shutil.rmtree(bucket, ignore_errors=True)
    bucket.mkdir()
    with s3_server(bucket) as endpoint:
        os.environ.update({**ACCESS, "AWS_ENDPOINT_URL": endpoint})
        place = f"s3://{BUCKET}/features"
        upload(
            cryoprobe.open_store(folder / "store"), cryoprobe.open_store(place, create=True), ("sets/", "manifests/")
        )
        result = measure(folder, local, place, many, arguments.repeats)
    print_result(result)
    if arguments.json:
        print(json.dumps(result))


def measure(folder: Path, local: FeatureSet, place: str, many: Path, repeats: int) -> dict[str, Any]:
    """Run everything in turn; return medians, their ratios, and the conditions."""
    import obstore
    from obstore.store import from_url

    plain = cryoprobe.open_store(place, cache_size=0)
    client = from_url(place, client_options={"allow_http": True})
    keys = [f"{local.manifest.folder}/{k}" for k in local.manifest.objects if k.startswith("embeddings/c/")]

    def gets() -> list[Any]:
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(lambda key: client.get(key).bytes(), keys))

    def hash_and_write(key: str) -> str:
        found = hashlib.sha256()
        with (written / key.replace("/", ".")).open("wb", buffering=0) as file:
            for block in client.get(key).stream(min_chunk_size=2**17):
                found.update(block)
                file.write(block)
        return found.hexdigest()

    def gets_kept() -> None:
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(hash_and_write, keys))

    def batches(count: int | None) -> None:
        reading = cryoprobe.open_store(place).open(local.id).batches(256, "float16")
        for number, _ in enumerate(reading, 1):
            if number == count:
                break

    def ls(*words: str) -> None:
        command = [sys.executable, "-c", "from cryoprobe.cli import main; main()", "ls", "--store", str(many), *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    written = folder / "written"
    written.mkdir(exist_ok=True)
    remote, cold = plain.open(local.id), cryoprobe.open_store(place).open(local.id)
    steps: dict[str, tuple[bool, Callable[[], object]]] = {  # whether the cache is emptied before, and what is timed
        "np_load": (False, lambda: np.load(folder / "x.npy")),
        "load": (False, lambda: local.load(dtype="float16")),
        "s3_gets": (False, gets),
        "s3_gets_hashed_and_written": (True, gets_kept),
        "s3_load_without_cache": (False, lambda: remote.load(dtype="float16")),
        "s3_load_cold_cache": (True, lambda: cold.load(dtype="float16")),
        "s3_load_warm_cache": (False, lambda: cold.load(dtype="float16")),
        "s3_first_batch": (True, lambda: batches(1)),
        "s3_all_batches": (True, lambda: batches(None)),
        "names": (False, lambda: cryoprobe.open_store(many).names()),
        "ls": (False, ls),
        "ls_json": (False, lambda: ls("--json")),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 1):
        for name, (empty, step) in steps.items():
            if empty:
                cryoprobe.clear_cache()
                for file in written.iterdir():
                    file.unlink()
            # On a virtual machine memory that was free for a while is fetched from the host, page by page: who comes
            # first would pay for it.
            np.ones(3 * 2 * D * local.rows, np.uint8)
            start = time.perf_counter()
            kept = step()
            seconds = time.perf_counter() - start
            if turn == 0 and isinstance(kept, tuple):
                np.testing.assert_array_equal(kept[0], np.load(folder / "x.npy", mmap_mode="r"))
            del kept
            if turn:  # the first turn warms up
                times[name].append(seconds)
    cryoprobe.clear_cache()
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "gb": round(2 * D * local.rows / 1e9, 3),
        "rows": local.rows,
        "repeats": repeats,
        "seconds": {name: round(value, 3) for name, value in median.items()},
        "fastest": {name: round(min(values), 3) for name, values in times.items()},
        "load_over_np_load": round(median["np_load"] / median["load"], 2),
        "s3_over_gets_without_cache": round(median["s3_gets"] / median["s3_load_without_cache"], 2),
        "s3_over_gets_cold_cache": round(median["s3_gets"] / median["s3_load_cold_cache"], 2),
        "s3_over_kept_gets_cold_cache": round(median["s3_gets_hashed_and_written"] / median["s3_load_cold_cache"], 2),
        "cpus": os.cpu_count(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "versions": {"numpy": np.__version__, "obstore": obstore.__version__, "python": sys.version.split()[0]},
    }


def print_result(result: dict[str, Any]) -> None:
    """Print the figures one a line."""
    for name, value in result["seconds"].items():
        print(f"{name:28s} {value:8.3f} s   fastest {result['fastest'][name]:8.3f} s")
    for name in (name for name in result if "_over_" in name):
        print(f"{name:30s} {result[name]:.2f}")
    print(f"{result['gb']} GB, {result['cpus']} CPUs, load average {result['load_average']}")


if __name__ == "__main__":
    main()
