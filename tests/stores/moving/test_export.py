"""Exported files hold what the set holds, read by the libraries that people read them with."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data import put_set

import cryoprobe
from cryoprobe.errors import BadInput, Corrupt, NotFound
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.store import Store

ROWS, D = 50, 7
CLASSES = ["cat", "ключ", 'a "quoted" name']


@pytest.fixture(params=["classes", "flags"])
def feature_set(store: Store, request: pytest.FixtureRequest) -> FeatureSet:
    """Return a set of several chunks, the last one not full."""
    rng = np.random.default_rng(0)
    x = (30 * rng.normal(size=(ROWS, D))).astype(np.float32)
    labels = np.arange(ROWS) % 3
    if request.param == "flags":
        labels = rng.integers(0, 2, (ROWS, 3)).astype(np.uint8)
    return put_set(store, x, labels, classes=CLASSES, split="train", chunk_rows=16)


def arrays(feature_set: FeatureSet, raw: bool) -> dict[str, Any]:
    x, y = feature_set.load(dtype="float32" if raw else "float16", raw=raw)
    return {"embeddings": x, "labels": y, "norms": feature_set.norms(), "samples": feature_set.sample_ids()}


def check_metadata(found: dict[str, Any], feature_set: FeatureSet, raw: bool) -> None:
    assert found["classes"] == CLASSES
    assert found["encoder"] == feature_set.manifest.encoder
    assert found["dataset"] == feature_set.manifest.dataset
    assert (found["set"], found["encoder_id"]) == (feature_set.id, feature_set.encoder_id)
    assert found["features"] == ("raw" if raw else "unit")
    assert [n["split"] for n in found["names"]] == ["train"]


def check_texts(texts: dict[str, str], feature_set: FeatureSet, raw: bool) -> None:
    """Check metadata of which what is no text is JSON."""
    plain = {"set", "features", "encoder_id", "dataset_id", "split"}
    check_metadata({k: v if k in plain else json.loads(v) for k, v in texts.items()}, feature_set, raw)


@pytest.mark.parametrize("raw", [False, True])
class TestFormats:
    def test_npz(self, store: Store, feature_set: FeatureSet, tmp_path: Path, raw: bool) -> None:
        done = cryoprobe.export_set(store, feature_set.id[:10], tmp_path / "set.npz", raw=raw)
        assert (done.format, done.rows, done.dim) == ("npz", ROWS, D)
        assert done.bytes == (tmp_path / "set.npz").stat().st_size
        found = np.load(tmp_path / "set.npz", allow_pickle=False)
        for name, array in arrays(feature_set, raw).items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
        assert found["classes"].tolist() == CLASSES
        check_metadata(json.loads(str(found["metadata"])), feature_set, raw)

    def test_safetensors(self, store: Store, feature_set: FeatureSet, tmp_path: Path, raw: bool) -> None:
        from safetensors import safe_open

        cryoprobe.export_set(store, feature_set.id, tmp_path / "set.safetensors", raw=raw)
        with safe_open(tmp_path / "set.safetensors", framework="numpy") as file:
            assert set(file.keys()) == {"embeddings", "labels", "norms", "samples"}
            for name, array in arrays(feature_set, raw).items():
                np.testing.assert_array_equal(file.get_tensor(name), array)
                assert file.get_tensor(name).dtype == array.dtype
            texts = file.metadata()
        check_texts(texts, feature_set, raw)

    def test_parquet(self, store: Store, feature_set: FeatureSet, tmp_path: Path, raw: bool) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        cryoprobe.export_set(store, feature_set.id, tmp_path / "set.parquet", raw=raw)
        table = parquet.read_table(tmp_path / "set.parquet")
        x, y = feature_set.load(raw=raw)
        np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), x)
        np.testing.assert_array_equal(table["norm"].to_numpy(), feature_set.norms())
        assert table["sample"].to_pylist() == [s.tobytes().hex() for s in feature_set.sample_ids()]
        if feature_set.multilabel:
            np.testing.assert_array_equal(np.stack(table["labels"].to_numpy()), y)
        else:
            np.testing.assert_array_equal(table["label"].to_numpy(), y)
            assert table["class"].to_pylist() == [CLASSES[i] for i in y]
        texts = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
        check_texts(texts, feature_set, raw)


def test_a_file_of_that_name_stays_where_the_set_is_damaged(
    store: Store, feature_set: FeatureSet, tmp_path: Path
) -> None:
    m = feature_set.manifest
    store.backend.delete(f"{m.folder}/embeddings/c/{(m.rows - 1) // m.chunk_rows}/0")
    for form in ("npz", "safetensors", "parquet", "zip"):
        file = tmp_path / f"set.{form}"
        file.write_text("mine")
        with pytest.raises(Corrupt, match="embeddings/c"):
            cryoprobe.export_set(store, m.set, file)
        assert file.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".tmp")] == []


def test_what_cannot_be_exported(store: Store, feature_set: FeatureSet, tmp_path: Path) -> None:
    export = cryoprobe.export_set
    with pytest.raises(BadInput, match=r"\.npz, \.safetensors, \.parquet, \.zip"):
        export(store, feature_set.id, tmp_path / "set.csv")
    with pytest.raises(BadInput, match="as it is stored"):
        export(store, feature_set.id, tmp_path / "set.zip", raw=True)
    with pytest.raises(BadInput, match="There is no format"):
        export(store, feature_set.id, tmp_path / "set.npz", form="csv")  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        export(store, "0123", tmp_path / "set.npz")
    with pytest.raises(BadInput, match="no folder"):
        export(store, feature_set.id, tmp_path / "absent" / "set.npz")
    assert not list(tmp_path.glob("*.npz"))


def test_parquet_without_pyarrow_says_what_to_install(
    store: Store, feature_set: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadInput, match=r"cryoprobe\[parquet\]"):
        cryoprobe.export_set(store, feature_set.id, tmp_path / "set.parquet")
    assert not (tmp_path / "set.parquet").exists()
