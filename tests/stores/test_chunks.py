"""Chunks are zarr's own, byte for byte; what is no chunk of a set is told from what is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from support.store_data import flip
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from cryoprobe.errors import Corrupt
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.chunks import (
    ArraySpec,
    Checksum,
    ObjectRecord,
    aligned,
    encode_chunk,
    record_of,
    scatter,
    zarr_documents,
)
from cryoprobe.stores.format.chunk_reading import read_chunk, read_chunk_into

DTYPES = ["float16", "float32", "uint8", "int64"]


def random_rows(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    rng = np.random.default_rng(sum(shape))
    return rng.normal(size=shape).astype(dtype) if dtype.startswith("f") else rng.integers(0, 100, shape).astype(dtype)


def written_by_zarr(rows: npt.NDArray[Any], chunk_rows: int) -> list[bytes]:
    """Return the chunks that zarr makes of `rows`."""
    store = MemoryStore()
    array = zarr.create_array(
        store,
        shape=rows.shape,
        dtype=rows.dtype,
        chunks=(chunk_rows, *rows.shape[1:]),
        fill_value=np.nan if rows.dtype.kind == "f" else 0,
        filters=None,
        compressors=[Crc32cCodec()],
        config={"write_empty_chunks": True},
    )
    array[:] = rows

    async def get(key: str) -> bytes:
        buffer = await store.get(key, default_buffer_prototype())
        assert buffer is not None
        return buffer.to_bytes()

    tail = "/0" * (rows.ndim - 1)
    return [asyncio.run(get(f"c/{i}{tail}")) for i in range(-(-len(rows) // chunk_rows))]


def decode(
    data: bytes, record: ObjectRecord, dtype: str, shape: tuple[int, ...], *, url: str = "u"
) -> npt.NDArray[Any]:
    """Read `data` as the chunk ``sets/x/c/0`` of a store at `url`."""
    backend = MemoryBackend()
    backend.url = url
    backend.put("sets/x/c/0", data)
    return read_chunk(backend, "sets/x/c/0", record, dtype, shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (7, 5), (7, 1)])
@pytest.mark.parametrize("chunk_rows", [7, 4, 1])
def test_a_chunk_is_what_zarr_writes(dtype: str, shape: tuple[int, ...], chunk_rows: int) -> None:
    rows = random_rows(shape, dtype)
    made = [encode_chunk(rows[i : i + chunk_rows], chunk_rows) for i in range(0, 7, chunk_rows)]
    assert made == written_by_zarr(rows, chunk_rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_edge_chunk_is_padded_with_the_fill_value(dtype: str) -> None:
    rows = random_rows((3, 4), dtype)
    data = encode_chunk(rows, 5)
    padded = decode(data, record_of(data, chunk=True), dtype, (5, 4))
    np.testing.assert_array_equal(padded[:3], rows)
    assert (np.isnan(padded[3:]) if dtype.startswith("f") else padded[3:] == 0).all()


@pytest.mark.parametrize(
    "rows",
    [
        np.arange(12, dtype=">i8").reshape(4, 3),
        np.asfortranarray(np.arange(12, dtype="int64").reshape(4, 3)),
        np.arange(48, dtype="int64").reshape(8, 6)[::2, ::2],
    ],
    ids=["big-endian", "Fortran order", "strided"],
)
def test_a_chunk_does_not_depend_on_how_the_rows_lie_in_memory(rows: npt.NDArray[np.int64]) -> None:
    assert encode_chunk(rows) == encode_chunk(np.array(rows.tolist(), "<i8"))


@given(
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(st.integers(1, 9)) | st.tuples(st.integers(1, 9), st.integers(1, 5)),
    longer=st.integers(0, 4),
)
def test_decoding_undoes_encoding(dtype: str, shape: tuple[int, ...], longer: int) -> None:
    rows = random_rows(shape, dtype)
    length = shape[0] + longer
    data = encode_chunk(rows, length)
    record = record_of(data, chunk=True)
    decoded = decode(data, record, dtype, (length, *shape[1:]))
    assert decoded.dtype == np.dtype(dtype)
    assert decoded[: shape[0]].tobytes() == rows.tobytes()
    assert record.size == len(data)
    assert record.crc32c == google_crc32c.value(data[:-4])


def test_a_checksum_forgets_what_came_before_it_began_again() -> None:
    checksum, parts = Checksum(), [np.empty(8, np.uint8)]

    def broken() -> Iterator[bytes]:
        yield b"12345"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        scatter(broken(), parts, checksum)
    assert scatter([b"1234", b"", b"5678"], parts, checksum) == 8
    assert checksum.value == google_crc32c.value(b"12345678")
    assert parts[0].tobytes() == b"12345678"


class TestDamage:
    ROWS = random_rows((4, 3), "float16")
    DATA = encode_chunk(ROWS)
    RECORD = record_of(DATA, chunk=True)

    def decode(self, data: bytes, **options: Any) -> npt.NDArray[Any]:
        return decode(data, **{"record": self.RECORD, "dtype": "float16", "shape": (4, 3), "url": "here", **options})

    def test_what_is_whole_is_read(self) -> None:
        np.testing.assert_array_equal(self.decode(self.DATA), self.ROWS)

    @pytest.mark.parametrize("bit", range(len(DATA) * 8))
    def test_any_flipped_bit_fails_the_checksum(self, bit: int) -> None:
        with pytest.raises(Corrupt, match="sets/x/c/0 in here fails its crc32c") as caught:
            self.decode(flip(self.DATA, bit))
        assert caught.value.key == "sets/x/c/0"
        assert caught.value.expected != caught.value.found

    @pytest.mark.parametrize("length", range(len(DATA)))
    def test_any_shorter_object_has_the_wrong_size(self, length: int) -> None:
        with pytest.raises(Corrupt, match="has the wrong size: expected 28 bytes, found") as caught:
            self.decode(self.DATA[:length])
        assert caught.value.found == f"{length} bytes"

    def test_a_longer_object_has_the_wrong_size(self) -> None:
        with pytest.raises(Corrupt, match="has the wrong size"):
            self.decode(self.DATA + b"\0")

    def test_zeros_are_no_chunk(self) -> None:
        with pytest.raises(Corrupt, match="crc32c"):
            self.decode(bytes(len(self.DATA)))

    def test_a_whole_chunk_of_other_rows_is_told_from_the_sealed_one(self) -> None:
        with pytest.raises(Corrupt, match="is not the chunk that was sealed") as caught:
            self.decode(encode_chunk(self.ROWS[::-1]))
        assert str(self.RECORD.crc32c) not in str(caught.value)
        assert f"{self.RECORD.crc32c:08x}" in str(caught.value)

    def test_a_seal_of_another_shape_does_not_fit(self) -> None:
        with pytest.raises(Corrupt, match="has the wrong size"):
            self.decode(self.DATA, shape=(4, 4))

    @pytest.mark.parametrize("rows", [1, 3, 4])
    def test_the_first_rows_are_read_to_where_they_are_wanted_and_the_whole_chunk_is_verified(self, rows: int) -> None:
        backend = MemoryBackend()
        backend.put("c/0", self.DATA)
        x = np.zeros((6, 3), np.float16)
        read_chunk_into(backend, "c/0", self.RECORD, x[2 : 2 + rows], 4)
        np.testing.assert_array_equal(x[2 : 2 + rows], self.ROWS[:rows])
        assert not x[:2].any()
        assert not x[2 + rows :].any()
        backend.put("c/0", flip(self.DATA, 8 * 23))  # in the last row
        with pytest.raises(Corrupt, match="fails its crc32c"):
            read_chunk_into(backend, "c/0", self.RECORD, x[2 : 2 + rows], 4)

    def test_a_missing_chunk_is_corrupt_because_the_seal_says_that_it_is_there(self) -> None:
        with pytest.raises(Corrupt, match=r"sets/x/c/0 .*is missing") as caught:
            read_chunk(MemoryBackend(), "sets/x/c/0", self.RECORD, "float16", (4, 3))
        assert caught.value.key == "sets/x/c/0"
        assert "cryoprobe verify --data" in str(caught.value)

    def test_a_chunk_is_read_from_any_storage(self, backend: Backend) -> None:
        backend.put("c/0", self.DATA)
        np.testing.assert_array_equal(read_chunk(backend, "c/0", self.RECORD, "float16", (4, 3)), self.ROWS)


@pytest.mark.parametrize("shape", [(1,), (7, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_that_are_read_into_begin_on_a_cache_line(shape: tuple[int, ...], dtype: str) -> None:
    arrays = [aligned(shape, dtype) for _ in range(8)]
    assert {a.ctypes.data % 64 for a in arrays} == {0}
    assert all(a.shape == shape and a.dtype == dtype and a.flags.c_contiguous for a in arrays)


def test_zarr_opens_the_documents_and_reads_the_chunks(tmp_path: Path) -> None:
    arrays = {
        "x": ArraySpec((7, 3), "float16", 4, ("sample", "feature")),
        "y": ArraySpec((7,), "int64", 7, ("sample",)),
        "z": ArraySpec((7, 32), "uint8", 4, ("sample", "byte")),
    }
    documents = zarr_documents(arrays, {"rows": 7, "classes": ["cat", "ö"]})
    assert set(documents) == {"zarr.json", "x/zarr.json", "y/zarr.json", "z/zarr.json"}
    values = {name: random_rows(spec.shape, spec.dtype) for name, spec in arrays.items()}
    for key, document in documents.items():
        assert json.loads(document)["zarr_format"] == 3
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(document)
    for name, rows in values.items():
        for i, start in enumerate(range(0, 7, arrays[name].chunk_rows)):
            path = tmp_path.joinpath(name, "c", str(i), *["0"] * (rows.ndim - 1))
            path.parent.mkdir(exist_ok=True, parents=True)
            length = arrays[name].chunk_rows
            path.write_bytes(encode_chunk(rows[start : start + length], length))
    group = zarr.open_group(tmp_path, mode="r")
    assert group.attrs.asdict() == {"rows": 7, "classes": ["cat", "ö"]}
    assert sorted(group.array_keys()) == sorted(arrays)
    for name, spec in arrays.items():
        np.testing.assert_array_equal(group[name][:], values[name])
        assert group[name].dtype == spec.dtype
        assert group[name].chunks == (spec.chunk_rows, *spec.shape[1:])
        assert group[name].metadata.dimension_names == spec.dimensions
        assert (np.isnan(group[name].fill_value)) if name == "x" else group[name].fill_value == 0


def test_zarr_too_refuses_a_chunk_with_a_flipped_bit(tmp_path: Path) -> None:
    for key, document in zarr_documents({"x": ArraySpec((4, 3), "float16", 4, ("a", "b"))}, {}).items():
        (tmp_path / key).parent.mkdir(exist_ok=True)
        (tmp_path / key).write_bytes(document)
    (tmp_path / "x/c/0").mkdir(parents=True)
    (tmp_path / "x/c/0/0").write_bytes(flip(TestDamage.DATA, 3))
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_group(tmp_path, mode="r")["x"][:]
