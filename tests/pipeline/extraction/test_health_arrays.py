"""Findings on arrays of sample ids are those that a dictionary of all ids gives."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoprobe.id_arrays import repeats, sample_array
from cryoprobe.pipeline.extraction.content import Called
from cryoprobe.pipeline.extraction.findings import RepeatedImages
from cryoprobe.pipeline.extraction.health import find_repeated, find_shared
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.keys import unit_id
from cryoprobe.stores.writing.row_index import RowIndex
from cryoprobe.stores.writing.units import Rows, write_unit

ENCODER = "ab" * 32
SAMPLES = [hashlib.sha256(bytes([i])).digest() for i in range(12)]
ROWS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 1)), min_size=1, max_size=24)


def repeated(ids: list[bytes], labels: np.ndarray) -> RepeatedImages:
    """What a dictionary of all ids finds."""
    first: dict[bytes, int] = {}
    again: dict[bytes, list[int]] = {}
    for row, sample_id in enumerate(ids):
        if (before := first.setdefault(sample_id, row)) != row:
            again.setdefault(sample_id, [before]).append(row)
    groups = list(again.values())
    differing = [group for group in groups if (labels[group] != labels[group[0]]).any()]
    example: tuple[int, ...] = ()
    if differing:
        one, *others = differing[0]
        example = one, next(row for row in others if (labels[row] != labels[one]).any())
    elif groups:
        example = groups[0][0], groups[0][1]
    return RepeatedImages(
        of=len(ids), repeated=len(ids) - len(first), contradicted=sum(map(len, differing)), example=example
    )


@settings(max_examples=300)
@given(rows=ROWS, flags=st.booleans())
def test_repeated_images_are_those_that_a_dictionary_finds(rows: list[tuple[int, int]], flags: bool) -> None:
    ids, labels = [SAMPLES[i] for i, _ in rows], np.array([label for _, label in rows])
    labels = np.stack([labels, 1 - labels], axis=1).astype(np.uint8) if flags else labels
    assert find_repeated(repeats(sample_array(ids)), labels) == repeated(ids, labels)


@pytest.fixture(scope="module")
def index() -> RowIndex:
    """Samples of which several have one embedding: 0 to 3, and 4 and 5."""
    backend, kinds = MemoryBackend(), [0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7]
    rows = Rows(sample_array(SAMPLES), np.eye(8, dtype=np.float16)[kinds], np.ones(12, np.float32))
    write_unit(backend, ENCODER, unit_id(ENCODER, SAMPLES), rows)
    return RowIndex(backend, ENCODER)


@given(picks=st.lists(st.integers(0, 11), min_size=1, max_size=24))
def test_shared_embeddings_are_those_of_different_images(index: RowIndex, picks: list[int]) -> None:
    ids = [SAMPLES[i] for i in picks]
    found = find_shared(index, ids, repeats(ids))
    different = list(dict.fromkeys(picks))
    counts = Counter(index.gather([SAMPLES[i]]).embeddings.tobytes() for i in different)
    assert found.of == len(different)
    assert found.largest == max(counts.values())
    assert found.shared == sum(n for n in counts.values() if n > 1)
    if found.largest > 1:
        one, other = found.example
        assert picks.index(picks[one]) == one < other == picks.index(picks[other])
        assert (index.gather([ids[one]]).embeddings == index.gather([ids[other]]).embeddings).all()
    else:
        assert found.example == ()


def test_names_are_made_when_they_are_asked_for() -> None:
    names = Called(10**12, "row {}".format)
    assert len(names) == 10**12
    assert (names[7], names[-1], names[2:4]) == ("row 7", "row 999999999999", ["row 2", "row 3"])
    assert next(iter(names)) == "row 0"
    with pytest.raises(IndexError):
        names[10**12]
