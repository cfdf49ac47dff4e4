"""The table of rows is a dictionary from sample ids to the first row that was taken in, whatever the sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.store_data import sample_ids

from cryoprobe.id_arrays import sample_array
from cryoprobe.stores.writing.row_table import RowTable

# Some of them agree in the first 8 bytes, which the table is sorted by.
UNIVERSE = [*sample_ids(24), *(bytes(8) + i[8:] for i in sample_ids(6))]
PICKS = st.lists(st.integers(0, len(UNIVERSE) - 1), max_size=12)
STEPS = st.lists(st.one_of(PICKS, st.integers(0, 5)), max_size=12)


def ids_of(picks: list[int]) -> np.ndarray:
    return sample_array([UNIVERSE[i] for i in picks])


@settings(max_examples=200)
@given(steps=STEPS, cut=st.integers(1, 5), asked=PICKS)
def test_it_equals_a_dictionary(steps: list[list[int] | int], cut: int, asked: list[int]) -> None:
    table, rows = RowTable(), []  # (sample, source, row), in the order in which they were taken in
    for source, step in enumerate(steps):
        if isinstance(step, int):
            table.remove(step)
            rows = [row for row in rows if row[1] != step]
        else:
            for first in range(0, len(step), cut):
                table.insert(source, ids_of(step[first : first + cut]), first)
            rows += [(sample, source, row) for row, sample in enumerate(step)]
    expected = {sample: (source, row) for sample, source, row in reversed(rows)}
    assert len(table) == len(rows)
    everything = list(range(len(UNIVERSE)))
    for picks in (asked, everything):
        at = table.find(ids_of(picks))
        there = at >= 0
        assert there.tolist() == [pick in expected for pick in picks]
        found = [tuple(pair) for pair in table.where(at[there]).tolist()]
        assert found == [expected[pick] for pick in picks if pick in expected]
        assert table.find([UNIVERSE[pick] for pick in picks]).tolist() == at.tolist()


def test_many_small_sources_make_few_runs() -> None:
    table, ids = RowTable(), sample_array(sample_ids(1000))
    for source in range(1000):
        table.insert(source, ids[source : source + 1])
    assert len(table._runs) <= 10
    np.testing.assert_array_equal(table.where(table.find(ids)), np.stack([np.arange(1000), np.zeros(1000)], axis=1))
