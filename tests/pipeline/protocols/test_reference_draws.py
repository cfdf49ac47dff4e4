"""Rows as references draw them: each reference's calls written out, on the same labels in the same order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from cryoprobe.pipeline.protocols.dinov2 import random_holdout
from cryoprobe.pipeline.protocols.draws import draw_as_coop, draw_as_mteb
from cryoprobe.pipeline.protocols.vtab import last_tenth

LABELS = np.random.default_rng(1).integers(0, 7, 400)
VAL = np.random.default_rng(2).integers(0, 7, 120)
FLAGS = (np.random.default_rng(3).random((300, 5)) < 0.2).astype(np.uint8)


@pytest.mark.parametrize("seed", [1, 2, 10])
@pytest.mark.parametrize("shots", [1, 4, 16])
def test_coop_draws_train_and_then_validation_in_one_go(shots: int, seed: int) -> None:
    np.random.seed(seed)
    train, val = (
        np.concatenate([np.random.choice(np.where(labels == c)[0], size=k, replace=False) for c in np.unique(LABELS)])
        for labels, k in ((LABELS, shots), (VAL, min(shots, 4)))
    )
    drawn, chosen_on = draw_as_coop(LABELS, shots, seed, min(shots, 4), VAL)
    np.testing.assert_array_equal(drawn, train)
    np.testing.assert_array_equal(chosen_on, val)


def test_coop_without_a_validation_set_takes_other_rows_of_train() -> None:
    drawn, further = draw_as_coop(LABELS, 4, 1, 4)
    np.testing.assert_array_equal(drawn, draw_as_coop(LABELS, 4, 1, 4, VAL)[0])
    assert not set(drawn) & set(further)
    assert Counter(LABELS[further]) == Counter({c: 4 for c in range(7)})


def test_coop_takes_a_class_whole_that_has_too_few_rows() -> None:
    labels = np.array([0] * 9 + [1] * 2)
    drawn, further = draw_as_coop(labels, 4, 1, 4)
    assert Counter(labels[drawn]) == {0: 4, 1: 2}
    assert Counter(labels[further]) == {0: 4}


def test_drawing_leaves_the_global_generator_alone() -> None:
    np.random.seed(5)
    before = np.random.get_state()[1]
    draw_as_coop(LABELS, 4, 1, 4, VAL)
    draw_as_mteb(LABELS, 4, 1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_mteb_goes_on_shuffling_one_list() -> None:
    order = list(range(len(LABELS)))
    for experiment in range(7):
        np.random.RandomState(42).shuffle(order)
        counts, taken = Counter[int](), []
        for row in order:
            if counts[LABELS[row]] < 16:
                taken.append(row)
                counts[LABELS[row]] += 1
        np.testing.assert_array_equal(draw_as_mteb(LABELS, 16, experiment)[0], taken)


def test_mteb_draws_rows_with_several_labels_by_one_generator() -> None:
    rng = np.random.default_rng(42)  # as AbsTaskImageMultilabelClassification
    labels = [np.flatnonzero(row).tolist() for row in FLAGS]
    for experiment in range(5):
        order = np.arange(len(labels))
        rng.shuffle(order)
        counts, taken = Counter[int](), []
        for row in order:
            if any(counts[label] < 8 for label in labels[row]):
                taken.append(row)
                counts.update(labels[row])
        np.testing.assert_array_equal(draw_as_mteb(FLAGS, 8, experiment)[0], taken)


@pytest.mark.parametrize("n", [10, 1000, 1016, 1019])
def test_dinov2_holds_out_the_first_tenth_of_a_torch_permutation(n: int) -> None:
    torch.manual_seed(0)  # as dinov2/eval/log_regression.py
    order = torch.randperm(n)
    keep, held = random_holdout(np.zeros(n, int), 0.1, 0)
    np.testing.assert_array_equal(held, np.sort(order[: n // 10]))
    np.testing.assert_array_equal(keep, np.sort(order[n // 10 :]))


@pytest.mark.parametrize("n", [10, 1000, 1005, 1016, 99_999])
def test_vtab_s_last_tenth_begins_where_tfds_cuts(n: int) -> None:
    keep, held = last_tenth(np.arange(n) % 3, 0.1, 0)
    np.testing.assert_array_equal(keep, np.arange(90 * n // 100))
    np.testing.assert_array_equal(held, np.arange(90 * n // 100, n))
