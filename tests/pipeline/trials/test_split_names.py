"""Which split is trained, chosen and scored on, by the names that people give to splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.data import put_set

import cryoprobe
from cryoprobe.errors import BadInput, Conflict, NotFound
from cryoprobe.pipeline.datasets.split_names import of_role, role_of

BY_NAME: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/d"}


def rows(n: int, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return np.eye(2, 8)[y] + rng.normal(0, 0.4, (n, 8)), y


def store_with(place: Path, *splits: str) -> cryoprobe.Store:
    store = cryoprobe.open_store(place, create=True)
    for seed, split in enumerate(splits):
        put_set(store, *rows(40 + seed, seed), classes=("a", "b"), split=split)
    return store


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "test"), ("train", "test", 0.1)),
        (("Training", "Testing"), ("Training", "Testing", 0.1)),
        (("TRAIN", "TEST", "VAL"), ("TRAIN", "TEST", "VAL")),
        (("train_set", "test_set", "validation_set"), ("train_set", "test_set", "validation_set")),
        (("train", "dev", "test"), ("train", "test", "dev")),
        (("train", "valid", "eval"), ("train", "eval", "valid")),
        (("train", "holdout"), ("train", "holdout", 0.1)),
        (("train", "test", "eval"), ("train", "test", 0.1)),
        (("train", "training", "test", "val", "dev"), ("train", "test", "val")),
        (("all",), ("all", 0.2, 0.1)),
    ],
)
def test_splits_are_known_by_the_names_that_people_use(
    store: Path, splits: tuple[str, ...], expected: tuple[str, str | float, str | float]
) -> None:
    result = cryoprobe.probe(store_with(store, *splits), **BY_NAME, C=[0.1, 1.0])
    assert tuple(result["splits"][part] for part in ("train", "test", "val")) == expected
    said = "\n".join(result["notes"])
    for part, split in zip(("train", "test", "val"), expected, strict=True):
        taken = f"the split {split} is taken for {part}"
        assert (taken in said) == (isinstance(split, str) and split not in (part, "all")), said


def test_a_store_without_a_test_split_says_how_to_score_on_val(store: Path) -> None:
    opened = store_with(store, "train", "val")
    with pytest.raises(NotFound, match="To score on val") as refused:
        cryoprobe.probe(opened, **BY_NAME)
    command = f"cryoprobe probe --model timm:m --dataset folder:/d --store {store} --test-split val --val-split 0.1"
    assert command in str(refused.value)
    result = cryoprobe.probe(opened, **BY_NAME, test_split="val", val_split=0.1, C=[0.1, 1.0])
    assert result["splits"] == {"train": "train", "test": "val", "val": 0.1}


def test_splits_that_differ_only_in_case_are_asked_about(store: Path) -> None:
    with pytest.raises(Conflict, match="Several splits of folder:/d may be the test split: TEST, Test"):
        cryoprobe.probe(store_with(store, "train", "Test", "TEST"), **BY_NAME)


@pytest.mark.parametrize("name", ["trains", "tested", "set", "dataset", "animals", "", "train1"])
def test_other_names_are_no_splits(name: str) -> None:
    assert role_of(name) is None


def test_the_very_name_of_a_role_goes_first() -> None:
    assert of_role("val", ["dev", "Val", "validation", "val"]) == ["val", "Val", "validation", "dev"]


def test_sets_without_labels_are_refused(store: Path) -> None:
    opened = cryoprobe.open_store(store, create=True)
    x, _ = rows(20, 0)
    bare = put_set(opened, x, np.full(20, -1), classes=(), split="unlabelled")
    with pytest.raises(BadInput, match="was extracted with --unlabelled, and has no labels") as refused:
        cryoprobe.probe(opened, **BY_NAME)
    assert "cryoprobe predict --probe-file" in str(refused.value)
    with pytest.raises(BadInput, match=f"train set {bare.id[:12]} has no labels"):
        cryoprobe.probe(opened, train=bare.id)
    train = put_set(opened, *rows(40, 1), classes=("a", "b"), split="train")
    with pytest.raises(BadInput, match=r"test set .* has no labels"):
        cryoprobe.probe(opened, train=train.id, test=bare.id)
    with pytest.raises(BadInput, match=r"test set .* has no labels"):
        cryoprobe.probe(opened, **BY_NAME, test_split="unlabelled")
