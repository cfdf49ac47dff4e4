import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.datasets import Split, limit_split, load_dataset
from cryoprobe.pipeline.datasets.splits import ArraySplit, FileSplit


def rows(labels: Any, classes: int | None = None) -> ArraySplit:
    """Make a split of 1 x 1 images, each of which says which row it is."""
    labels = np.asarray(labels)
    count = classes or (labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=0)) + 1)
    images = np.stack((*np.divmod(np.arange(len(labels)), 256), np.zeros(len(labels), int)), 1).astype(np.uint8)
    images = images.reshape(-1, 1, 1, 3)
    names = tuple(f"c{i}" for i in range(count))
    return ArraySplit("train", names, labels.astype(np.uint8 if labels.ndim == 2 else np.int64), images)


def chosen(split: Split) -> list[int]:
    pixels = [np.asarray(split.decode(split.read(i)))[0, 0].astype(int) for i in range(len(split))]
    return [int(256 * pixel[0] + pixel[1]) for pixel in pixels]


def counts(split: Split) -> list[int]:
    return np.bincount(split.labels, minlength=len(split.classes)).tolist()


def test_a_subset_is_as_even_as_the_classes_allow() -> None:
    split = rows(np.repeat([0, 1, 2], 100))
    assert counts(limit_split(split, 30)) == [10, 10, 10]
    assert sorted(counts(limit_split(split, 31))) == [10, 10, 11]
    assert sorted(counts(limit_split(split, 32))) == [10, 11, 11]


def test_a_class_that_runs_out_leaves_its_share_to_the_others() -> None:
    split = rows(np.repeat([0, 1, 2], [2, 50, 5]))
    assert counts(limit_split(split, 6)) == [2, 2, 2]
    assert counts(limit_split(split, 12)) == [2, 5, 5]
    assert counts(limit_split(split, 20)) == [2, 13, 5]
    assert counts(limit_split(split, 56)) == [2, 49, 5]


def test_fewer_samples_than_classes_are_of_different_classes_not_of_the_first_ones() -> None:
    split = rows(np.repeat(np.arange(10), 20))
    served = np.zeros(10, int)
    for seed in range(40):
        drawn = counts(limit_split(split, 3, seed))
        assert sorted(drawn) == [0] * 7 + [1] * 3
        served += drawn
    assert served.min() > 3


def test_a_class_without_samples_takes_no_share() -> None:
    split = rows([0, 0, 0, 2, 2, 2], classes=4)
    subset = limit_split(split, 4)
    assert counts(subset) == [2, 0, 2, 0]
    assert subset.classes == ("c0", "c1", "c2", "c3")


def test_the_same_seed_draws_the_same_and_another_seed_another() -> None:
    split = rows(np.repeat([0, 1], 200))
    assert chosen(limit_split(split, 20, seed=3)) == chosen(limit_split(split, 20, seed=3))
    assert chosen(limit_split(split, 20)) == chosen(limit_split(split, 20, seed=0))
    assert len({tuple(chosen(limit_split(split, 20, seed))) for seed in range(10)}) == 10


def test_what_a_seed_draws_is_fixed() -> None:
    # A store has features of such subsets: another draw in a later version would not find them.
    assert chosen(limit_split(rows(np.arange(60) % 3), 7, seed=0)) == [4, 8, 16, 20, 27, 34, 42]


def test_the_draw_neither_uses_nor_moves_numpys_global_state() -> None:
    split = rows(np.repeat([0, 1], 50))
    np.random.seed(1)
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    one = chosen(limit_split(split, 10))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    np.random.seed(2)
    assert chosen(limit_split(split, 10)) == one


def test_the_order_of_the_split_is_kept() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 300)
    drawn = chosen(limit_split(rows(labels), 40))
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 40


def test_within_a_class_the_draw_is_random_and_reaches_every_sample() -> None:
    split = rows(np.repeat([0, 1], 10))
    hits = np.bincount([i for seed in range(200) for i in chosen(limit_split(split, 4, seed))], minlength=20)
    assert hits.sum() == 800
    assert hits.min() > 15
    assert hits.max() < 75


@pytest.mark.parametrize("limit", [7, 8, 10**9])
def test_a_limit_that_is_no_limit_gives_the_split_itself(limit: int) -> None:
    split = rows([0, 1, 0, 1, 1, 1, 0])
    assert limit_split(split, limit) is split


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(BadInput, match=f"--limit must be 1 or more, not {limit}"):
        limit_split(rows([0, 1]), limit)


def test_of_an_empty_split_nothing_is_drawn() -> None:
    split = rows(np.zeros(0, int), classes=2)
    assert limit_split(split, 5) is split


def test_multi_label_data_are_drawn_at_random() -> None:
    flags = np.random.default_rng(0).integers(0, 2, (200, 4))
    subset = limit_split(rows(flags), 50)
    drawn = chosen(subset)
    assert len(drawn) == 50
    assert drawn == sorted(set(drawn))
    np.testing.assert_array_equal(subset.labels, flags[drawn])
    assert subset.labels.dtype == np.uint8
    assert chosen(limit_split(rows(flags), 50, seed=1)) != drawn


def test_a_subset_speaks_of_its_samples_as_the_whole_split_does(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path in paths:
        path.write_bytes(path.name.encode())
    whole = FileSplit("test", ("a", "b"), np.arange(20) % 2, paths, tmp_path, (tmp_path,))
    subset = limit_split(whole, 6)
    assert (subset.name, subset.classes) == ("test", ("a", "b"))
    for i in range(6):
        path = subset.path(i)
        assert path is not None
        assert subset.describe(i) == path.name
        assert subset.read(i) == path.name.encode()
        assert subset.labels[i] == int(path.stem) % 2
    # Any change of the whole may change what is drawn.
    assert subset.sources == whole.sources


def test_a_subset_of_a_real_data_set_has_the_ids_that_its_samples_have_there() -> None:
    whole = load_dataset("sklearn:digits").split("all")
    subset = limit_split(whole, 100)
    assert counts(subset) == [10] * 10
    ids = [hashlib.sha256(whole.read(i)).digest() for i in range(len(whole))]
    positions = [ids.index(hashlib.sha256(subset.read(i)).digest()) for i in range(100)]
    assert positions == sorted(positions)
    np.testing.assert_array_equal(whole.labels[positions], subset.labels)


LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=80)


@settings(max_examples=200, deadline=None)
@given(LABELS, st.integers(1, 90), st.integers(0, 2**32))
def test_a_subset_is_always_distinct_ordered_and_balanced(labels: list[int], limit: int, seed: int) -> None:
    whole = rows(labels, classes=7)
    subset = limit_split(whole, limit, seed)
    drawn = chosen(subset)
    assert len(drawn) == min(limit, len(labels))
    assert drawn == sorted(set(drawn))
    assert subset.labels.tolist() == [labels[i] for i in drawn]
    # Even: a class has fewer than another, by more than one, only if it has no more to give.
    taken, there = counts(subset), counts(whole)
    for mine, all_ in zip(taken, there, strict=True):
        assert mine >= max(taken) - 1 or mine == all_


@settings(max_examples=100, deadline=None)
@given(LABELS, st.integers(1, 40), st.integers(0, 100))
def test_class_names_have_no_part_in_the_draw(labels: list[int], limit: int, seed: int) -> None:
    one, other = rows(labels, classes=7), rows(labels, classes=7)
    renamed = ArraySplit("x", tuple("gfedcba"), other.labels, other.images)
    assert chosen(limit_split(one, limit, seed)) == chosen(limit_split(renamed, limit, seed))
