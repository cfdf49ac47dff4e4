"""Rows whose values follow from their sample ids, sets made of them, and ways to damage what is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cryoprobe.canonical import digest
from cryoprobe.id_arrays import sample_array
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.manifest import Manifest
from cryoprobe.stores.format.unit_seal import UnitSeal
from cryoprobe.stores.keys import unit_id
from cryoprobe.stores.writing.row_index import RowIndex
from cryoprobe.stores.writing.sets import SetContent, seal_set
from cryoprobe.stores.writing.units import Rows, write_unit

DIM = 6
ENCODER = {"family": "test", "weights": "0" * 64}
ENCODER_ID = digest(ENCODER)
CLASSES = ("cat", "dog", "owl")


def sample_ids(n: int, seed: int = 0) -> list[bytes]:
    """Return n sample ids; other seeds have others."""
    return [hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(n)]


def make_rows(ids: Sequence[bytes], dtype: str = "float16", dim: int = DIM) -> Rows:
    """Return the rows of `ids`: the same id always has the same row, and no two ids have equal ones."""
    raw = np.stack([np.random.default_rng(list(i)).normal(size=dim) for i in ids]).astype(np.float32) * 7
    norms = np.linalg.norm(raw, axis=1).astype(np.float32)
    return Rows(sample_array(ids), (raw / norms[:, None]).astype(dtype), norms)


def write_units(backend: Backend, ids: Sequence[bytes], unit_rows: int, dtype: str = "float16") -> list[UnitSeal]:
    """Seal `ids` as units of `unit_rows` rows."""
    parts = [ids[i : i + unit_rows] for i in range(0, len(ids), unit_rows)]
    return [write_unit(backend, ENCODER_ID, unit_id(ENCODER_ID, p), make_rows(p, dtype)) for p in parts]


def class_labels(n: int) -> npt.NDArray[np.int64]:
    return np.arange(n, dtype=np.int64) * 7 % len(CLASSES)


def dataset_of(
    ids: Sequence[bytes], labels: npt.NDArray[Any], split: str = "test", classes: Sequence[str] = CLASSES
) -> dict[str, Any]:
    """Return a data set's identity, as the pipeline writes it."""
    samples = hashlib.sha256(b"".join(ids) + labels.tobytes()).hexdigest()
    return {
        "samples": samples,
        "rows": len(ids),
        "classes": list(classes),
        "split": split,
        "multilabel": labels.ndim == 2,
    }


def seal(
    backend: Backend,
    ids: Sequence[bytes],
    *,
    chunk_rows: int = 8,
    labels: npt.NDArray[Any] | None = None,
    split: str = "test",
    **options: Any,
) -> tuple[Manifest, bool]:
    """Seal a set of rows that the store has."""
    labels = class_labels(len(ids)) if labels is None else labels
    return seal_set(
        backend,
        RowIndex(backend, ENCODER_ID),
        SetContent(
            encoder=ENCODER,
            dataset=dataset_of(ids, labels, split),
            ids=ids,
            labels=labels,
            chunk_rows=chunk_rows,
            **{"failed": (), "provenance": {}, **options},
        ),
    )


def sealed_set(
    backend: Backend, ids: Sequence[bytes], *, chunk_rows: int = 8, dtype: str = "float16", **options: Any
) -> FeatureSet:
    """Write the units of `ids` and the set made of them."""
    write_units(backend, ids, chunk_rows, dtype)
    return FeatureSet(backend, seal(backend, ids, chunk_rows=chunk_rows, **options)[0])


def keys(backend: Backend, prefix: str = "") -> list[str]:
    return [info.key for info in backend.list(prefix)]


def overwrite(root: Path, key: str, data: bytes) -> None:
    """Change one object behind the store's back, and only that one: its other hard links keep the old bytes."""
    path = root / key
    path.unlink()
    path.write_bytes(data)


def flip(data: bytes, bit: int) -> bytes:
    """Return `data` with one bit turned over."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def files(root: Path) -> set[str]:
    """Return every file below `root`, temporary ones included."""
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
