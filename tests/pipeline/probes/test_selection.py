import numpy as np
import pytest

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes import stratified_holdout
from cryoprobe.pipeline.probes.selection import choose
from cryoprobe.pipeline.probes.sklearn_calls import Fitted
from cryoprobe.pipeline.tasks import ValidationScores


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_a_holdout_is_a_partition_with_every_class_left_in_train(fraction: float) -> None:
    labels = np.repeat(np.arange(7), [1, 2, 3, 10, 50, 100, 1]).astype(np.int64)
    labels = np.random.default_rng(0).permutation(labels)
    keep, held = stratified_holdout(labels, fraction, seed=1)
    assert keep.dtype == held.dtype == np.int64
    np.testing.assert_array_equal(np.sort(np.concatenate([keep, held])), np.arange(labels.size))
    assert (np.diff(keep) > 0).all()
    assert (np.diff(held) > 0).all()
    assert set(labels[keep]) == set(range(7))
    assert not {0, 6} & set(labels[held])


def test_classes_give_their_share_to_within_one_row_and_the_total_is_exact() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 1003)
    _, held = stratified_holdout(labels, 0.2, seed=0)
    assert held.size == round(0.2 * 1003)
    counts, given = np.bincount(labels, minlength=10), np.bincount(labels[held], minlength=10)
    assert (np.abs(given - 0.2 * counts) < 1).all()


def test_in_few_shot_data_the_classes_that_give_a_row_are_drawn() -> None:
    labels = np.repeat(np.arange(10), 3)  # every class has 0.6 of a row to give
    drawn = [tuple(labels[stratified_holdout(labels, 0.2, seed)[1]]) for seed in range(5)]
    assert all(len(set(classes)) == 6 for classes in drawn)
    assert len(set(drawn)) > 1


def test_a_holdout_depends_on_its_seed_and_on_no_global_state() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 200)
    np.random.seed(0)
    first = stratified_holdout(labels, 0.3, seed=3)[1]
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    np.random.seed(99)
    np.testing.assert_array_equal(first, stratified_holdout(labels, 0.3, seed=3)[1])
    assert not np.array_equal(first, stratified_holdout(labels, 0.3, seed=4)[1])
    np.random.seed(0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_of_multilabel_rows_every_flag_gives_its_share(fraction: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    flags = (rng.random((1000, 12)) < np.geomspace(0.005, 0.5, 12)).astype(np.uint8)
    keep, held = stratified_holdout(flags, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([keep, held])), np.arange(1000))
    assert held.size == round(1000 * fraction)
    assert (np.abs(flags[held].sum(axis=0) - fraction * flags.sum(axis=0)) < 3).all()
    bare = ~flags.any(axis=1)
    assert abs(bare[held].sum() - fraction * bare.sum()) < 3
    other = stratified_holdout(flags, fraction, seed + 1)[1]
    assert not np.array_equal(held, other)
    np.testing.assert_array_equal(held, stratified_holdout(flags, fraction, seed)[1])


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_a_flag_keeps_a_row_to_train_on(fraction: float) -> None:
    flags = np.zeros((60, 8), np.uint8)
    for flag, rows in enumerate([1, 1, 2, 2, 3, 5, 10, 40]):
        flags[np.random.default_rng(flag).permutation(60)[:rows], flag] = 1
    keep, held = stratified_holdout(flags, fraction, seed=0)
    assert flags[keep].any(axis=0).all()
    assert held.size == round(60 * fraction)


def test_multilabel_rows_without_any_flag_are_held_out_by_number() -> None:
    keep, held = stratified_holdout(np.zeros((50, 4), np.uint8), 0.3, seed=0)
    assert (keep.size, held.size) == (35, 15)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_zero_and_one_is_refused(fraction: float) -> None:
    with pytest.raises(BadInput, match="fraction"):
        stratified_holdout(np.zeros(10, dtype=np.int64), fraction, seed=0)


@pytest.mark.parametrize("labels", [np.arange(5), np.zeros(0, dtype=np.int64), np.ones((1, 3), dtype=np.uint8)])
def test_rows_that_cannot_be_spared_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(BadInput, match="nothing can be held out"):
        stratified_holdout(labels, 0.5, seed=0)


def fit_nothing(c: float) -> Fitted:
    return Fitted(estimator=c, converged=c < 10, iterations=int(c), seconds=0.5, warnings=())


def test_among_equal_scores_the_smallest_c_is_chosen_and_the_whole_curve_is_kept() -> None:
    table = {0.1: 0.5, 1.0: 0.9, 10.0: 0.9, 100.0: 0.7}
    lines: list[str] = []
    best, criterion, curve = choose(
        "C", tuple(table), fit_nothing, lambda f: ValidationScores(top1=table[f.estimator]), progress=lines.append
    )
    assert (best, criterion) == (1.0, "top1")
    assert [(p["C"], p["top1"], p["map"]) for p in curve] == [(c, s, None) for c, s in table.items()]
    assert [p["converged"] for p in curve] == [True, True, False, False]
    assert curve[2]["iterations"] == 10
    assert len(lines) == 4
    assert "not converged" in lines[3]


def test_choosing_without_a_score_is_refused() -> None:
    with pytest.raises(BadInput, match="no score"):
        choose("C", (1.0, 2.0), fit_nothing, lambda fitted: ValidationScores())


def test_of_two_scores_the_preferred_one_chooses_where_every_fit_has_it() -> None:
    scores = {1.0: ValidationScores(nll=0.3, top1=0.9), 2.0: ValidationScores(nll=0.2, top1=0.8)}

    def score(fitted: Fitted) -> ValidationScores:
        return scores[fitted.estimator]

    assert choose("C", (1.0, 2.0), fit_nothing, score)[:2] == (2.0, "nll")
    assert choose("C", (1.0, 2.0), fit_nothing, score, prefer="top1")[:2] == (1.0, "top1")
    scores[2.0] = ValidationScores(top1=0.8)
    assert choose("C", (1.0, 2.0), fit_nothing, score)[:2] == (1.0, "top1")
