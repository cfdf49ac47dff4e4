"""Rows with identical features, within a part and between parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.data import put_set

import cryoprobe
from cryoprobe.pipeline.probes.labelled_features import LabelledFeatures, StoredRows
from cryoprobe.pipeline.probes.twins import known_rows


def part(x: np.ndarray) -> LabelledFeatures:  # type: ignore[type-arg]
    return LabelledFeatures(x.astype(np.float32), np.zeros(len(x), np.int64))


@pytest.mark.parametrize("d", [1, 3, 40])
@pytest.mark.parametrize("values", [2, 3, 1000])
def test_rows_of_another_part_are_found(d: int, values: int) -> None:
    rng = np.random.default_rng(d * values)
    test, train, val = (rng.integers(0, values, (n, d)).astype(np.float32) for n in (40, 90, 30))
    val[3], train[7] = test[5], test[11]
    known = {row.tobytes() for row in (*train, *val)}
    expected = [row.tobytes() in known for row in test]
    assert known_rows(part(test), [part(train), part(val)]).tolist() == expected
    assert expected[5]


def test_rows_that_agree_in_some_columns_are_not_known() -> None:
    x = np.random.default_rng(0).normal(size=(50, 200))
    other = x.copy()
    other[:, 3] += 1e-3  # not one of the columns that are looked at first
    assert not known_rows(part(x), [part(other)]).any()


def test_stored_rows_are_compared_too(tmp_path: Path) -> None:
    store = cryoprobe.open_store(tmp_path, create=True)
    x = np.random.default_rng(0).normal(size=(60, 9))
    feature_set = put_set(store, x, np.arange(60) % 2, classes=("a", "b"), split="train", chunk_rows=8)
    loaded, y = feature_set.load(raw=True)
    streamed = LabelledFeatures(StoredRows([(feature_set, None)], raw=True), y)
    test = LabelledFeatures(np.concatenate([loaded[[3, 59]], loaded[:1] + 1]), y[:3])
    assert known_rows(test, [streamed]).tolist() == [True, True, False]
    assert known_rows(streamed, [test]).nonzero()[0].tolist() == [3, 59]
