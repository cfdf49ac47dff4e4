"""Few-shot and label-efficiency draws: from labels and seed alone."""

import numpy as np
import pytest

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import draw_fraction, draw_shots

LABELS = np.random.default_rng(0).integers(0, 7, 500)
FLAGS = (np.random.default_rng(1).random((300, 5)) < 0.2).astype(np.uint8)


def test_every_class_gives_its_shots_and_the_further_rows_are_others() -> None:
    first, further = draw_shots(LABELS, 5, seed=3, then=4)
    assert np.bincount(LABELS[first]).tolist() == [5] * 7
    assert np.bincount(LABELS[further]).tolist() == [4] * 7
    assert not set(first) & set(further)


def test_a_class_with_fewer_rows_gives_what_it_has() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    first, further = draw_shots(labels, 2, seed=0, then=2)
    assert np.bincount(labels[first]).tolist() == [2, 1, 2]
    assert labels[further].tolist() == [0]


def test_shots_are_big_visions_permutations() -> None:
    rng = np.random.default_rng(2)
    expected = [rng.permutation(np.flatnonzero(c == LABELS))[:5] for c in range(7)]
    np.testing.assert_array_equal(draw_shots(LABELS, 5, seed=2)[0], np.concatenate(expected))


@pytest.mark.parametrize("labels", [LABELS, FLAGS])
def test_smaller_draws_are_parts_of_larger_ones(labels: np.ndarray) -> None:
    one, five = (set(draw_shots(labels, k, seed=1)[0]) for k in (1, 5))
    assert one < five
    small, large = (set(draw_fraction(labels, f, seed=1)) for f in (0.05, 0.5))
    assert small < large


@pytest.mark.parametrize("labels", [LABELS, FLAGS])
def test_a_draw_depends_on_its_seed_and_on_no_global_state(labels: np.ndarray) -> None:
    np.random.seed(0)
    before = draw_shots(labels, 3, seed=4)[0], draw_fraction(labels, 0.1, seed=4)
    np.random.seed(1)
    after = draw_shots(labels, 3, seed=4)[0], draw_fraction(labels, 0.1, seed=4)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(before[0], draw_shots(labels, 3, seed=5)[0])
    assert not np.array_equal(before[1], draw_fraction(labels, 0.1, seed=5))


def test_every_flag_is_taken_as_often_as_asked_and_no_row_in_vain() -> None:
    rows, further = draw_shots(FLAGS, 8, seed=0, then=2)
    assert (FLAGS[rows].sum(axis=0) >= 8).all()
    assert len(rows) <= 5 * 8
    assert (FLAGS[further].sum(axis=0) >= 2).all()
    assert not set(rows) & set(further)


def test_a_fraction_is_a_share_of_every_class_and_at_least_a_row() -> None:
    labels = np.repeat(np.arange(4), [1, 10, 100, 1000])
    drawn = draw_fraction(labels, 0.1, seed=0)
    assert np.bincount(labels[drawn]).tolist() == [1, 1, 10, 100]
    assert (np.diff(drawn) > 0).all()
    assert len(draw_fraction(labels, 1.0, seed=0)) == len(labels)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(BadInput, match="fraction"):
        draw_fraction(LABELS, fraction, seed=0)
