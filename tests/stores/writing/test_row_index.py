"""The row index knows every row that the store has, wherever it lies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.store_data import ENCODER_ID, flip, make_rows, sample_ids, seal, write_units

from cryoprobe.errors import Corrupt
from cryoprobe.id_arrays import sample_array
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.keys import unit_id
from cryoprobe.stores.writing.row_index import RowIndex
from cryoprobe.stores.writing.units import Rows, write_unit

UNIVERSE = sample_ids(24)
PICKS = st.lists(st.integers(0, 23), min_size=1, max_size=12)


def assert_rows_of(rows: Rows, ids: list[bytes]) -> None:
    expected = make_rows(ids)
    for name in ("samples", "embeddings", "norms"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(expected, name))


def check(index: RowIndex, known: set[int], asked: list[int]) -> None:
    """Hold an index against the set of samples that it must know."""
    ids = [UNIVERSE[i] for i in asked]
    assert [at >= 0 for at in index.find(ids)] == [i in known for i in asked]
    assert index.missing(ids) == [UNIVERSE[i] for i in asked if i not in known]
    there = [UNIVERSE[i] for i in asked if i in known]
    if there:
        assert_rows_of(index.gather(there), there)
    if len(there) < len(ids):
        with pytest.raises(KeyError):
            index.gather(ids)


@settings(max_examples=60)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["unit", "set"]), PICKS, st.integers(1, 7)), max_size=7),
    asked=PICKS,
)
def test_it_equals_a_dictionary_of_all_that_was_sealed(
    steps: list[tuple[str, list[int], int]], asked: list[int]
) -> None:
    backend = MemoryBackend()
    watching = RowIndex(backend, ENCODER_ID)
    known: set[int] = set()
    for kind, picks, chunk_rows in steps:
        before = set(known)
        if kind == "unit":
            write_units(backend, [UNIVERSE[i] for i in dict.fromkeys(picks)], chunk_rows)
            known.update(picks)
        elif members := [UNIVERSE[i] for i in picks if i in known]:  # a set may have a sample more than once
            seal(backend, members, chunk_rows=chunk_rows)
        check(watching, before, asked)
        watching.refresh()
        check(watching, known, asked)
    check(RowIndex(backend, ENCODER_ID), known, asked)
    check(RowIndex(backend, ENCODER_ID), known, list(range(24)))


def test_an_empty_store_has_no_rows(backend: Backend) -> None:
    index = RowIndex(backend, ENCODER_ID)
    assert len(index) == 0
    assert index.find(UNIVERSE).tolist() == [-1] * 24
    assert index.missing(UNIVERSE) == UNIVERSE
    assert index.find([]).tolist() == []
    assert index.missing([]) == []


def test_rows_of_another_encoder_are_not_rows(backend: Backend) -> None:
    write_units(backend, UNIVERSE, 8)
    seal(backend, UNIVERSE)
    assert RowIndex(backend, "ab" * 32).missing(UNIVERSE) == UNIVERSE


def test_rows_of_sets_are_found_when_the_units_are_gone(backend: Backend) -> None:
    write_units(backend, UNIVERSE, 5)
    seal(backend, UNIVERSE, chunk_rows=7)
    for prefix in ("units/", "unit-seals/"):
        for info in list(backend.list(prefix)):
            backend.delete(info.key)
    index = RowIndex(backend, ENCODER_ID)
    backwards = UNIVERSE[::-1]
    assert_rows_of(index.gather(backwards), backwards)


def test_refresh_shows_what_others_have_sealed(backend: Backend) -> None:
    index = RowIndex(backend, ENCODER_ID)
    write_units(backend, UNIVERSE[:6], 3)
    assert index.missing(UNIVERSE) == UNIVERSE
    index.refresh()
    assert index.missing(UNIVERSE) == UNIVERSE[6:]
    assert len(index) == 6
    index.refresh()
    assert len(index) == 6


def test_a_unit_that_a_set_holds_whole_is_not_counted_again(backend: Backend) -> None:
    write_units(backend, UNIVERSE[:6], 3)
    seal(backend, UNIVERSE[:6], chunk_rows=3)
    assert len(RowIndex(backend, ENCODER_ID)) == 6


def test_a_unit_that_is_added_is_known_without_a_refresh(backend: Backend) -> None:
    index = RowIndex(backend, ENCODER_ID)
    (sealed,) = write_units(backend, UNIVERSE[:4], 4)
    index.add(sealed)
    assert_rows_of(index.gather(UNIVERSE[:4]), UNIVERSE[:4])
    assert index.unit(sealed.unit) == sealed


def test_a_unit_is_found_by_its_id_even_if_somebody_has_sealed_it_since(backend: Backend) -> None:
    index = RowIndex(backend, ENCODER_ID)
    unit = unit_id(ENCODER_ID, UNIVERSE[:4])
    assert index.unit(unit) is None
    sealed = write_unit(backend, ENCODER_ID, unit, make_rows(UNIVERSE[:4]))
    assert index.unit(unit) == sealed


@pytest.mark.parametrize("array", ["embeddings", "norms"])
def test_a_row_from_a_damaged_chunk_is_not_gathered(backend: Backend, array: str) -> None:
    seals = write_units(backend, UNIVERSE, 8)
    key = seals[1].key(array)
    backend.put(key, flip(backend.get(key), 5))
    index = RowIndex(backend, ENCODER_ID)
    assert_rows_of(index.gather(UNIVERSE[:8]), UNIVERSE[:8])
    with pytest.raises(Corrupt) as caught:
        index.gather(UNIVERSE[6:10])
    assert caught.value.key == key


def test_damaged_sample_ids_are_noticed_when_the_index_is_made(backend: Backend) -> None:
    seals = write_units(backend, UNIVERSE, 8)
    key = seals[2].key("samples")
    backend.put(key, flip(backend.get(key), 5))
    with pytest.raises(Corrupt) as caught:
        RowIndex(backend, ENCODER_ID)
    assert caught.value.key == key


def test_sources_count_each_sample_once(backend: Backend) -> None:
    write_units(backend, UNIVERSE, 8)
    index = RowIndex(backend, ENCODER_ID)
    asked = [*UNIVERSE[:8], *UNIVERSE[8:11], *UNIVERSE[8:10], b"\0" * 32]
    assert [source.rows for source in index.sources(asked)] == [8, 3]
    assert [source.rows for source in index.sources(sample_array(asked))] == [8, 3]
    assert index.sources([]) == []
