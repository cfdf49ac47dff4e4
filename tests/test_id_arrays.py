"""Sample ids as arrays amount to the same as sample ids one by one."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryoprobe.id_arrays import distinct_ids, repeats, sample_array
from cryoprobe.stores.keys import unit_id

# Some agree in the first 8 bytes.
UNIVERSE = [hashlib.sha256(bytes([i])).digest() for i in range(6)]
UNIVERSE += [UNIVERSE[0][:8] + i[8:] for i in UNIVERSE[1:4]]
IDS = st.lists(st.sampled_from(UNIVERSE), max_size=20)


@given(IDS)
def test_an_array_of_ids_has_them_in_order(ids: list[bytes]) -> None:
    found = sample_array(ids)
    assert found.shape == (len(ids), 32)
    assert [row.tobytes() for row in found] == ids
    assert sample_array(found) is found


@given(IDS)
def test_repeats_are_those_of_a_dictionary(ids: list[bytes]) -> None:
    first: dict[bytes, int] = {}
    again = [(row, first[i]) for row, i in enumerate(ids) if first.setdefault(i, row) != row]
    found = repeats(sample_array(ids))
    assert list(zip(found.rows.tolist(), found.first.tolist(), strict=True)) == again
    assert distinct_ids(ids) == len(set(ids))


@given(IDS)
def test_a_unit_has_one_id_however_its_samples_are_given(ids: list[bytes]) -> None:
    expected = hashlib.sha256(bytes.fromhex("ab" * 32) + b"".join(ids)).hexdigest()
    wide = np.repeat(sample_array(ids), 2, axis=1)[:, ::2]  # not contiguous
    assert unit_id("ab" * 32, ids) == unit_id("ab" * 32, sample_array(ids)) == unit_id("ab" * 32, wide) == expected
