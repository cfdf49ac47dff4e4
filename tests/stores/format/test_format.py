"""The format as docs/store-format.md describes it: a reader written from that page alone agrees with ours."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.data import put_set

import cryoprobe


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def crc32c(data: bytes) -> int:
    """Castagnoli, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


def read(root: Path, set_id: str) -> dict[str, npt.NDArray[Any]]:
    assert json.loads((root / "cryoprobe.json").read_text()) == {"format": "cryoprobe-store", "version": 1}
    (path,) = root.glob(f"manifests/*/{set_id}.json")
    manifest = json.loads(path.read_bytes())
    assert manifest["checksum"] == digest({k: v for k, v in manifest.items() if k != "checksum"})
    assert path.parent.name == manifest["encoder_id"] == digest(manifest["encoder"])
    assert manifest["dataset_id"] == digest(manifest["dataset"])
    assert set_id == digest({"dataset": manifest["dataset_id"], "encoder": manifest["encoder_id"]})
    folder = root / "sets" / set_id / manifest["attempt"]
    for key, record in manifest["objects"].items():
        data = (folder / key).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (record["size"], record["sha256"])
    n, classes = manifest["rows"], len(manifest["dataset"]["classes"])
    flags = manifest["dataset"].get("multilabel", False)
    forms = {
        "embeddings": (manifest["dtype"], (manifest["dim"],), manifest["chunk_rows"]),
        "norms": ("float32", (), manifest["chunk_rows"]),
        "labels": ("uint8" if flags else "int64", (classes,) if flags else (), manifest["label_chunk_rows"]),
        "samples": ("uint8", (32,), manifest["chunk_rows"]),
    }
    arrays = {}
    for name, (dtype, tail, rows) in forms.items():
        parts = []
        for i in range(-(-n // rows)):
            key = f"{name}/c/{i}" + ("/0" if tail else "")
            data = (folder / key).read_bytes()
            stored = int.from_bytes(data[-4:], "little")
            assert crc32c(data[:-4]) == stored == manifest["objects"][key]["crc32c"]
            parts.append(np.frombuffer(data[:-4], np.dtype(dtype).newbyteorder("<")).reshape(rows, *tail))
        arrays[name] = np.concatenate(parts)[:n]
    return arrays


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_reader_made_from_the_documentation_agrees(multilabel: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (11, 3)).astype(np.uint8) if multilabel else np.arange(11) % 3
    store = cryoprobe.open_store(tmp_path, create=True)
    ours = put_set(store, rng.normal(size=(11, 5)), labels, classes=("a", "b", "ç"), split="train")
    arrays = read(tmp_path, ours.id)
    for found, expected in (
        (arrays["embeddings"], ours.load(dtype="float16")[0]),
        (arrays["labels"], ours.labels()),
        (arrays["norms"], ours.norms()),
        (arrays["samples"], ours.sample_ids()),
    ):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(np.linalg.norm(arrays["embeddings"].astype(np.float64), axis=1), 1, atol=2e-3)
    (unit,) = tmp_path.glob("unit-seals/*/*.json")
    seal = json.loads(unit.read_bytes())
    assert seal["checksum"] == digest({k: v for k, v in seal.items() if k != "checksum"})
    ids = b"".join(s.tobytes() for s in arrays["samples"])
    assert unit.stem == hashlib.sha256(bytes.fromhex(seal["encoder"]) + ids).hexdigest()
    (name,) = tmp_path.glob("names/*.json")
    content = json.loads(name.read_bytes())
    assert name.name == f"{ours.id}.{digest(content['name'])[:16]}.json"
