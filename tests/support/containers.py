"""The same images in every container that a data set can lie in."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat")


class Sample(NamedTuple):
    label: str
    name: str
    raw: bytes


def samples(n: int, side: int = 24, seed: int = 0) -> list[Sample]:
    """Return JPEG images, by class and name as a folder orders them."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8)).save(out, "JPEG")
        made.append(Sample(CLASSES[i % 3], f"{seed}-{i:05d}", out.getvalue()))
    return sorted(made)


def add(tar: tarfile.TarFile, name: str, raw: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(raw)
    tar.addfile(info, io.BytesIO(raw))


def as_folder(root: Path, found: Iterable[Sample]) -> None:
    for label, name, raw in found:
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{name}.jpg").write_bytes(raw)


def as_tar(path: Path, members: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, raw in members.items() if isinstance(members, Mapping) else members:
            add(tar, name, raw)
    return path


def as_shards(root: Path, found: Sequence[Sample], split: str, per_shard: int = 20) -> list[Path]:
    made = []
    for number, start in enumerate(range(0, len(found), per_shard)):
        members = {}
        for label, name, raw in found[start : start + per_shard]:
            members[f"{label}/{name}.cls"] = label.encode()
            members[f"{label}/{name}.jpg"] = raw
        made.append(as_tar(root / f"{split}-{number:03d}.tar", members))
    return made


def as_parquet(path: Path, found: Sequence[Sample], row_group_size: int = 16, **more: Sequence[object]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": [s.raw for s in found], "label": [s.label for s in found], **more})
    pq.write_table(table, path, row_group_size=row_group_size)


def as_hub_parquet(path: Path, found: Sequence[Sample]) -> None:
    """Write parquet as the Hub keeps it: without the package datasets, to see that its form is understood."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    table = pa.table(
        {
            "image": pa.array([{"bytes": s.raw, "path": f"{s.name}.jpg"} for s in found]),
            "label": pa.array([CLASSES.index(s.label) for s in found]),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=100)


def age(*roots: Path) -> None:
    """Let files look as if they had been written a minute ago, so far as that can be: then they are trusted.

    What cannot be set back is the date of the last change of their dates, so wait for that.
    """
    for root in roots:
        for path in (root, *root.rglob("*")):
            if path.is_file():
                os.utime(path, (time.time() - 60,) * 2)
    time.sleep(2.1)
