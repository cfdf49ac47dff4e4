"""What tests of several folders make their data with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import cryoprobe
from cryoprobe.canonical import digest
from cryoprobe.id_arrays import sample_array
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.names import Name, NamedSet
from cryoprobe.stores.keys import unit_id
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.units import Rows, write_unit


def write_images(root: Path, classes: dict[str, int], seed: int = 0, side: int = 24) -> list[Path]:
    """Write small PNG files ROOT/CLASS/000.png …, each with a colour of its own under noise."""
    rng = np.random.default_rng(seed)
    written = []
    for number, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        colour = np.random.default_rng(number).integers(0, 255, 3)
        for i in range(count):
            noise = rng.integers(-60, 60, (side, side, 3))
            path = root / name / f"{seed}-{i:03d}.png"
            Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path)
            written.append(path)
    return written


def put_set(
    store: Store,
    x: npt.NDArray[np.floating[Any]],
    labels: npt.NDArray[Any],
    *,
    classes: Sequence[str],
    split: str,
    encoder: str = "encoder",
    ids: Sequence[bytes] | None = None,
    named: int | None = None,
    chunk_rows: int = 4096,
    **name: Any,
) -> FeatureSet:
    """Seal features as if `encoder` had given them, and name the set; model ``timm:m``, data set ``folder:/d``."""
    ids = ids or [hashlib.sha256(row.tobytes()).digest() for row in np.ascontiguousarray(x)]
    norms = np.linalg.norm(x, axis=1)
    unit = (x / norms[:, None]).astype(np.float16)
    spec = {"architecture": encoder, "tap": name.get("tap", "pooled")}
    index = store.rows_of(digest(spec))
    if missing := index.missing(ids):
        new = [ids.index(i) for i in dict.fromkeys(missing)]
        rows = Rows(sample_array([ids[i] for i in new]), unit[new], norms[new].astype(np.float32))
        index.add(write_unit(store.backend, index.encoder_id, unit_id(index.encoder_id, [ids[i] for i in new]), rows))
    dataset = {
        "samples": digest([*(i.hex() for i in ids), labels.tolist()]),
        "rows": len(ids),
        "classes": list(classes),
        "split": split,
        "multilabel": labels.ndim == 2,
        "failed": [],
    }
    feature_set, _ = store.seal(index, encoder=spec, dataset=dataset, ids=ids, labels=labels, chunk_rows=chunk_rows)
    full = Name(**{"model": "timm:m", "dataset": "folder:/d", "split": split, "tap": "pooled", **name})
    store.name(
        NamedSet(
            name=full,
            set=feature_set.id,
            encoder=index.encoder_id,
            rows=len(ids),
            dim=x.shape[1],
            failed=0,
            size=feature_set.manifest.size,
            named=named if named is not None else time.time_ns() // 1_000_000,
        )
    )
    return feature_set


def wait_until(condition: Callable[[], object], is_alive: Callable[[], object]) -> None:
    """Wait for what a process or thread brings about; fail if it ends without."""
    while not condition():
        assert is_alive() or condition(), "it ended before what was waited for came about"
        time.sleep(0.01)


class Heard(cryoprobe.Reporter):
    """Keeps what it is told: of each task, by its title, how many were done at each step, and of how many."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[int, int]]] = {}
        self.running = ""
        self._done = self._total = 0

    def begin(self, title: str, total: int, unit: str = "samples") -> None:
        assert not self.running, "one task runs at a time"
        self.running = title
        self._done, self._total = 0, total
        self.told[title] = []

    def advance(self, n: int = 0, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:
        self._done += n + encoded + reused + failed
        self.told[self.running].append((self._done, self._total))

    def end(self) -> None:
        self.running = ""
