"""Other readers of zarr (tensorstore, xarray, zarrs) take a sealed set for one, and give the values that we give."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from support.store_data import flip, overwrite, sample_ids, sealed_set

from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.feature_set import FeatureSet

FLAGS = np.array([[i % 2, i % 3 == 0, 1] for i in range(21)], np.uint8)


def by_tensorstore(path: str, name: str) -> npt.NDArray[Any]:
    tensorstore = pytest.importorskip("tensorstore", reason="tensorstore is not installed: pip install '.[dev]'")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/{name}/"}}
    return np.asarray(tensorstore.open(spec).result().read().result())


def by_xarray(path: str, name: str) -> npt.NDArray[Any]:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed: pip install '.[dev]'")
    with xarray.open_zarr(path, consolidated=False) as group:
        assert group["embeddings"].dims == ("sample", "feature")
        return np.asarray(group[name])


def by_zarrs(path: str, name: str) -> npt.NDArray[Any]:
    pytest.importorskip("zarrs", reason="zarrs is not installed: pip install '.[dev]'")
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}), warnings.catch_warnings():
        warnings.simplefilter("error")  # it warns where it leaves an array to zarr-python
        array: Any = zarr.open_group(path, mode="r")[name]
        assert type(array.async_array.codec_pipeline).__module__.startswith("zarrs")
        return np.asarray(array[:])


READERS = {"tensorstore": by_tensorstore, "xarray": by_xarray, "zarrs": by_zarrs}


@pytest.fixture(params=["float16", "float32", "flags", "one chunk"])
def found(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureSet:
    """Return a set of 21 rows, in chunks of 8 or one of its own length."""
    form: str = request.param
    return sealed_set(
        LocalBackend(tmp_path),
        sample_ids(21),
        chunk_rows=64 if form == "one chunk" else 8,
        dtype="float32" if form == "float32" else "float16",
        labels=FLAGS if form == "flags" else None,
    )


@pytest.mark.parametrize("reader", READERS)
def test_other_readers_give_the_same_values(reader: str, found: FeatureSet) -> None:
    read = READERS[reader]
    embeddings, labels = found.load()
    assert read(found.path, "embeddings").dtype == found.manifest.dtype
    np.testing.assert_array_equal(read(found.path, "embeddings").astype(np.float32), embeddings)
    np.testing.assert_array_equal(read(found.path, "norms"), found.norms())
    np.testing.assert_array_equal(read(found.path, "labels"), labels)
    np.testing.assert_array_equal(read(found.path, "samples"), found.sample_ids())
    assert read(found.path, "labels").dtype == labels.dtype


@pytest.mark.parametrize("reader", READERS)
def test_other_readers_notice_a_damaged_chunk(reader: str, tmp_path: Path) -> None:
    found = sealed_set(LocalBackend(tmp_path), sample_ids(21))
    READERS[reader](found.path, "embeddings")
    chunk = next(tmp_path.glob("sets/*/*/embeddings/c/1/0"))
    overwrite(tmp_path, chunk.relative_to(tmp_path).as_posix(), flip(chunk.read_bytes(), 77))
    with pytest.raises(Exception, match=r"(?i)checksum|crc32c|digest"):
        READERS[reader](found.path, "embeddings")
