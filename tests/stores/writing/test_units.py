"""Units: written once, sealed once, adopted by whoever comes later."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.store_data import DIM, ENCODER_ID, flip, keys, make_rows, sample_ids, write_units

from cryoprobe.canonical import canonical_json
from cryoprobe.errors import Corrupt, CryoprobeError
from cryoprobe.id_arrays import sample_array
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.unit_seal import UnitSeal, read_unit_seal
from cryoprobe.stores.keys import unit_id, unit_seal_key
from cryoprobe.stores.writing.row_index import RowIndex
from cryoprobe.stores.writing.units import Rows, write_unit

IDS = sample_ids(5)
UNIT = unit_id(ENCODER_ID, IDS)
SEAL_KEY = unit_seal_key(ENCODER_ID, UNIT)


def read_all(backend: Backend, seal: UnitSeal) -> Rows:
    return Rows(*(seal.read(backend, name) for name in ("samples", "embeddings", "norms")))


def assert_equal_rows(one: Rows, other: Rows) -> None:
    for name in ("samples", "embeddings", "norms"):
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_sealed_is_read_back(backend: Backend, dtype: str) -> None:
    rows = make_rows(IDS, dtype)
    sealed = write_unit(backend, ENCODER_ID, UNIT, rows)
    found = read_unit_seal(backend, ENCODER_ID, UNIT)
    assert found == sealed
    assert (found.rows, found.dim, found.dtype, found.unit, found.encoder) == (5, DIM, dtype, UNIT, ENCODER_ID)
    assert_equal_rows(read_all(backend, found), rows)


def test_a_unit_is_three_objects_and_a_seal_that_describes_them(backend: Backend) -> None:
    seal = write_unit(backend, ENCODER_ID, UNIT, make_rows(IDS))
    assert set(keys(backend)) == {SEAL_KEY, *(seal.key(n) for n in ("embeddings", "norms", "samples"))}
    for name, record in seal.objects.items():
        data = backend.get(seal.key(name))
        assert (record.size, record.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_what_is_not_sealed_is_none(backend: Backend) -> None:
    assert read_unit_seal(backend, ENCODER_ID, UNIT) is None


def test_objects_without_a_seal_are_no_unit(backend: Backend) -> None:
    seal = write_unit(backend, ENCODER_ID, UNIT, make_rows(IDS))
    backend.delete(SEAL_KEY)
    assert read_unit_seal(backend, ENCODER_ID, UNIT) is None
    assert RowIndex(backend, ENCODER_ID).missing(IDS) == IDS
    again = write_unit(backend, ENCODER_ID, UNIT, make_rows(IDS))
    assert again.attempt != seal.attempt
    assert_equal_rows(read_all(backend, again), make_rows(IDS))


def test_the_second_writer_adopts_the_first_ones_rows_and_removes_its_own(backend: Backend) -> None:
    first = write_unit(backend, ENCODER_ID, UNIT, make_rows(IDS))
    before = keys(backend)
    rows = make_rows(IDS)
    other = replace(rows, embeddings=-rows.embeddings)
    assert write_unit(backend, ENCODER_ID, UNIT, other) == first
    assert keys(backend) == before
    assert_equal_rows(read_all(backend, first), rows)


def test_eight_writers_at_once_end_with_one_unit(backend: Backend) -> None:
    rows = make_rows(IDS)
    barrier = threading.Barrier(8)

    def write(i: int) -> UnitSeal:
        mine = replace(rows, norms=rows.norms + i)
        barrier.wait()
        return write_unit(backend, ENCODER_ID, UNIT, mine)

    with ThreadPoolExecutor(8) as pool:
        seals = list(pool.map(write, range(8)))
    assert len({s.attempt for s in seals}) == 1
    assert set(keys(backend)) == {SEAL_KEY, *(seals[0].key(n) for n in ("embeddings", "norms", "samples"))}
    shift = seals[0].read(backend, "norms")[0] - rows.norms[0]
    np.testing.assert_allclose(seals[0].read(backend, "norms"), rows.norms + round(float(shift)), rtol=1e-6)


def test_a_unit_may_have_fewer_rows_than_it_was_cut_for(backend: Backend) -> None:
    write_unit(backend, ENCODER_ID, UNIT, make_rows(IDS[:3]))
    index = RowIndex(backend, ENCODER_ID)
    assert index.missing(IDS) == IDS[3:]


def test_a_units_id_is_made_of_its_samples_in_order_and_the_encoder() -> None:
    assert unit_id(ENCODER_ID, IDS) == hashlib.sha256(bytes.fromhex(ENCODER_ID) + b"".join(IDS)).hexdigest()
    others = [IDS[::-1], IDS[:-1], [*IDS, IDS[0]]]
    assert len({UNIT, *(unit_id(ENCODER_ID, o) for o in others), unit_id("00" * 32, IDS)}) == 5


def test_sample_ids_become_an_array_and_come_back() -> None:
    assert [row.tobytes() for row in sample_array(IDS)] == IDS
    assert sample_array([]).shape == (0, 32)


@pytest.mark.parametrize("array", ["embeddings", "norms", "samples"])
@pytest.mark.parametrize("damage", ["missing", "flipped", "short"])
def test_damaged_rows_are_named(backend: Backend, array: str, damage: str) -> None:
    seal = write_unit(backend, ENCODER_ID, UNIT, make_rows(IDS))
    key = seal.key(array)
    data = backend.get(key)
    if damage == "missing":
        backend.delete(key)
    else:
        backend.put(key, flip(data, 77) if damage == "flipped" else data[:-1])
    with pytest.raises(Corrupt) as caught:
        seal.read(backend, array)  # type: ignore[arg-type]
    assert caught.value.key == key


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'"seal"', b"[" * 100_000])
def test_what_is_no_seal_is_corrupt(backend: Backend, content: bytes) -> None:
    backend.put(SEAL_KEY, content)
    with pytest.raises(Corrupt, match="unit-seals") as caught:
        read_unit_seal(backend, ENCODER_ID, UNIT)
    assert caught.value.key == SEAL_KEY


def test_the_seal_of_another_unit_is_corrupt(backend: Backend) -> None:
    mine, other = write_units(backend, sample_ids(10), 5)
    key = unit_seal_key(ENCODER_ID, mine.unit)
    backend.put(key, backend.get(unit_seal_key(ENCODER_ID, other.unit)))
    with pytest.raises(Corrupt) as caught:
        read_unit_seal(backend, ENCODER_ID, mine.unit)
    assert caught.value.key == key


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_any_changed_byte_of_a_seal_is_noticed(at: int, byte: int) -> None:
    backend = MemoryBackend()
    write_unit(backend, ENCODER_ID, UNIT, make_rows(IDS))
    data = bytearray(backend.get(SEAL_KEY))
    at %= len(data)
    if data[at] == byte:
        return
    data[at] = byte
    backend.put(SEAL_KEY, data)
    with pytest.raises(Corrupt) as caught:
        read_unit_seal(backend, ENCODER_ID, UNIT)
    assert caught.value.key == SEAL_KEY


def test_a_damaged_seal_stops_an_extraction_rather_than_being_written_over(backend: Backend) -> None:
    write_unit(backend, ENCODER_ID, UNIT, make_rows(IDS))
    damaged = json.loads(backend.get(SEAL_KEY))
    damaged["rows"] = 4
    backend.put(SEAL_KEY, canonical_json(damaged))
    before = backend.get(SEAL_KEY)
    with pytest.raises(CryoprobeError, match=SEAL_KEY):
        write_unit(backend, ENCODER_ID, UNIT, make_rows(IDS))
    assert backend.get(SEAL_KEY) == before
