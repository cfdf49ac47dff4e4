"""Likely label errors: planted ones are found, folds keep copies together, and what cannot be judged is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.data import put_set

import cryoprobe
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.inspecting.out_of_fold import folds_of, out_of_fold
from cryoprobe.stores.store import Store

pytest.importorskip("cleanlab")

CLASSES = tuple("0123456789")
ROWS = 700


def digits(flipped: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return scikit-learn's digits, labels of which some are flipped, and the rows of these."""
    x, y = (part[:ROWS] for part in load_digits(return_X_y=True))
    rng = np.random.default_rng(3)
    rows = rng.permutation(len(y))[:flipped]
    labels = y.astype(np.int64).copy()
    labels[rows] = (labels[rows] + rng.integers(1, 10, flipped)) % 10
    return x.astype(np.float32) - 4.88, labels, rows


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return cryoprobe.open_store(tmp_path / "store", create=True)


def test_five_percent_of_flipped_digits_are_found(store: Store) -> None:
    x, labels, rows = digits(35)
    found = cryoprobe.label_errors(store, put_set(store, x, labels, classes=CLASSES, split="train").id)
    planted = {int(row) for row in rows}
    first = [error.row in planted for error in found[:25]]
    assert np.mean(first) >= 0.95
    assert len(planted & {error.row for error in found}) >= 28
    truth = load_digits().target
    right = [error.suggested == str(truth[error.row]) for error in found if error.row in planted]
    assert np.mean(right) > 0.9
    assert [e.score for e in found] == sorted(e.score for e in found)
    for error in found[:5]:
        assert error.given == str(labels[error.row])
        assert error.score == pytest.approx((1 + error.given_probability - error.suggested_probability) / 2, abs=1e-6)


def test_right_labels_give_few_suspects(store: Store) -> None:
    x, labels, _ = digits(0)
    found = cryoprobe.label_errors(store, put_set(store, x, labels, classes=CLASSES, split="train").id)
    assert found.found <= 0.02 * found.of
    assert found.of == len(labels)


def test_top_and_max_rows_and_the_document(store: Store) -> None:
    x, labels, _ = digits(35)
    one = put_set(store, x, labels, classes=CLASSES, split="train")
    found = cryoprobe.label_errors(store, one.id[:10], top=3, max_rows=300)
    assert (len(found), found.of, found.set) == (3, 300, one.id)
    assert found.found > 3
    assert any("300 of 700 rows were drawn" in note for note in found.notes)
    assert found.document["label_errors"][0]["row"] == found[0].row
    assert list(found.to_pandas()["row"]) == [error.row for error in found]
    assert "<script>" not in found._repr_html_()


def test_of_a_trial_its_sets_are_looked_at(store: Store) -> None:
    x, labels, _ = digits(40)
    train = put_set(store, x[:400], labels[:400], classes=CLASSES, split="train")
    test = put_set(store, x[400:], labels[400:], classes=CLASSES, split="test")
    trial = cryoprobe.probe(store, model="timm:m", dataset="folder:/d", C=1.0, progress=False).trial
    assert cryoprobe.label_errors(store, trial.trial, max_rows=200).set == train.id
    assert cryoprobe.label_errors(store, trial.trial, part="test", max_rows=200).set == test.id


def test_copies_of_an_image_are_in_one_fold() -> None:
    ids = np.random.default_rng(0).integers(0, 256, (60, 32)).astype(np.uint8)
    ids[40:] = ids[:20]
    fold = folds_of(np.arange(60) % 3, ids, folds=5, seed=1)
    assert (fold[40:] == fold[:20]).all()
    assert set(fold.tolist()) == set(range(5))


def test_probabilities_are_of_probes_that_have_not_seen_the_row() -> None:
    # Labels that are coin flips cannot be predicted from noise, unless a row was fitted on.
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 150)).astype(np.float32), rng.integers(0, 2, 200)
    ids = rng.integers(0, 256, (200, 32)).astype(np.uint8)
    found = out_of_fold(x, y, ids, folds=5, seed=0)
    assert np.abs((found.probabilities.argmax(axis=1) == y).mean() - 0.5) < 0.12
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-9)


def test_small_classes_are_left_out_and_named(store: Store) -> None:
    x, labels, _ = digits(0)
    keep = np.flatnonzero(labels < 9).tolist() + np.flatnonzero(labels == 9)[:3].tolist()
    found = cryoprobe.label_errors(store, put_set(store, x[keep], labels[keep], classes=CLASSES, split="train").id)
    assert found.of == len(keep) - 3
    assert any("3 rows of 1 class with fewer than 5 different images" in note for note in found.notes)


def test_a_class_of_copies_of_one_image_is_left_out_and_named(store: Store) -> None:
    x, labels, _ = digits(0)
    x, labels = x[labels < 9], labels[labels < 9]
    x, labels = np.concatenate([x[:200], np.repeat(x[:1] + 1, 6, 0)]), np.concatenate([labels[:200], np.full(6, 9)])
    one = put_set(store, x, labels, classes=CLASSES, split="train")
    found = cryoprobe.label_errors(store, one.id)
    assert found.of == 200
    assert any("6 rows of 1 class with fewer than 5 different images: left out" in note for note in found.notes)


def test_too_few_rows_drawn_is_the_reason_that_is_given(store: Store) -> None:
    x, labels, _ = digits(0)
    one = put_set(store, x, labels, classes=CLASSES, split="train")
    with pytest.raises(BadInput, match=r"Of the 10 rows drawn .* fewer than two classes have 5 different images"):
        cryoprobe.label_errors(store, one.id, max_rows=10)


def test_what_cannot_be_judged_is_refused(store: Store) -> None:
    x, labels, _ = digits(0)
    flags = put_set(store, x, np.eye(10, dtype=np.uint8)[labels], classes=CLASSES, split="test")
    with pytest.raises(BadInput, match="several labels a row"):
        cryoprobe.label_errors(store, flags.id)
    one = put_set(store, x[:20], np.zeros(20, np.int64), classes=CLASSES, split="train")
    with pytest.raises(BadInput, match="fewer than two classes"):
        cryoprobe.label_errors(store, one.id)
    for options in ({"top": 0}, {"folds": 1}):
        with pytest.raises(BadInput, match=next(iter(options))):
            cryoprobe.label_errors(store, one.id, **options)
