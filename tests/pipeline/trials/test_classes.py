"""Classes: told apart by their place where names are shared, matched by name in any Unicode form, weighed by name."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from support.cli import run
from support.data import put_set

import cryoprobe
from cryoprobe.class_names import almost, distinct, places_of, repeated
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.probes.closed_form.ridge import RidgeProbe
from cryoprobe.pipeline.probes.logistic import LogisticProbe
from cryoprobe.stores.store import Store

NAMES = ["crane", "dog", "crane", "cat", "maillot", "maillot"]
SHOWN = ["crane", "dog", "crane (2)", "cat", "maillot", "maillot (2)"]
BY_NAME: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/d"}


def draw(n: int, seed: int, classes: int = 6) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    centres = 3 * np.random.default_rng(99).normal(size=(6, 16))
    y = np.arange(n) % classes
    return centres[y] + np.random.default_rng(seed).normal(size=(n, 16)), y


@pytest.fixture
def opened(tmp_path: Path) -> Store:
    return cryoprobe.open_store(tmp_path / "store", create=True)


def test_dup_names(opened: Store, tmp_path: Path) -> None:
    """Two classes of one name keep their own rows, columns and scores, in whatever order another split lists them."""
    x, y = draw(120, 1)
    order = np.argsort(NAMES, kind="stable")
    put_set(opened, *draw(300, 0), classes=NAMES, split="train")
    put_set(opened, x, y, classes=NAMES, split="test")
    put_set(opened, x, np.argsort(order)[y], classes=[NAMES[i] for i in order], split="test2", encoder="encoder")
    file = tmp_path / "p.safetensors"
    result = cryoprobe.probe(opened, **BY_NAME, C=100.0, save=file)
    assert result["classes"] == SHOWN
    assert result["metrics"]["top1"] == 1.0
    assert any("several classes are called crane, maillot" in line for line in result["warnings"])
    other = cryoprobe.probe(opened, **BY_NAME, C=100.0, test_split="test2")
    assert other["metrics"] == result["metrics"]

    probe = cryoprobe.load_probe(file)
    assert list(probe.classes) == SHOWN
    features, labels = opened.open(result["test"]).load()
    np.testing.assert_array_equal(probe.predict(features), labels)
    assert opened.open(result["test"]).classes == tuple(SHOWN)
    assert opened.open(result["test"]).class_names == tuple(NAMES)


def test_dup_names_of_a_probe_that_was_saved_by_hand_are_told_apart(tmp_path: Path) -> None:
    x, y = draw(60, 0)
    estimator = LogisticRegression(max_iter=500).fit(x, y)
    file = tmp_path / "p.safetensors"
    encoder = {"architecture": "encoder", "tap": "pooled"}
    cryoprobe.save_probe(file, estimator, encoder=encoder, classes=NAMES, multilabel=False)
    assert list(cryoprobe.load_probe(file).classes) == SHOWN
    assert "crane (2)" in run("predict", "--probe-file", str(file)).stdout


def test_names_are_told_apart_without_taking_one_that_is_there() -> None:
    assert distinct(["a", "a (2)", "a", "b", "a"]) == ["a", "a (2)", "a (3)", "b", "a (4)"]
    assert repeated(["a", "b", "a"]) == ["a"]
    assert places_of(["b", "a", "a", "c"], ["a", "b", "a"]) == [1, 0, 2, None]
    assert almost(" Cat") == almost("cat ")


def test_unicode_forms(opened: Store) -> None:
    """One class, written composed in train and decomposed in test."""
    names = ["café", "thé", "lait"]
    composed, decomposed = ([unicodedata.normalize(form, name) for name in names] for form in ("NFC", "NFD"))
    assert composed != decomposed
    put_set(opened, *draw(60, 0, 3), classes=composed, split="train")
    x, y = draw(30, 1, 3)
    put_set(opened, x, 2 - y, classes=decomposed[::-1], split="test")
    result = cryoprobe.probe(opened, **BY_NAME, C=100.0)
    assert result["classes"] == composed
    assert result["metrics"]["top1"] == 1.0
    assert result["warnings"] == []


def test_names_that_differ_only_in_case_or_blanks_are_two_classes_and_told(opened: Store) -> None:
    put_set(opened, *draw(60, 0, 3), classes=["Cat", "dog", "cow"], split="train")
    put_set(opened, *draw(30, 1, 3), classes=["cat ", "dog", "cow"], split="test")
    result = cryoprobe.probe(opened, **BY_NAME, C=100.0)
    assert result["classes"] == ["Cat", "dog", "cow", "cat "]
    assert any("'cat ' of test differs from 'Cat' only in case or blanks" in line for line in result["warnings"])


def test_flags_of_one_name_keep_their_columns(opened: Store) -> None:
    rng = np.random.default_rng(0)
    names = ["a", "b", "a"]
    order = [1, 0, 2]
    planes = rng.normal(size=(16, 3))
    for split, n in (("train", 200), ("test", 100)):
        x = rng.normal(size=(n, 16))
        y = (x @ planes > 0).astype(np.uint8)
        put_set(opened, x, y, classes=names, split=split)
        if split == "test":
            put_set(opened, x, y[:, order], classes=[names[i] for i in order], split="mixed")
    result = cryoprobe.probe(opened, **BY_NAME, C=10.0)
    assert result["classes"] == ["a", "b", "a (2)"]
    assert cryoprobe.probe(opened, **BY_NAME, C=10.0, test_split="mixed")["metrics"] == result["metrics"]


@pytest.mark.parametrize("probe", ["logreg", "sklearn.linear_model.LogisticRegression"])
def test_classes_are_weighed_by_name(opened: Store, probe: str) -> None:
    rng = np.random.default_rng(0)
    for split, n in (("train", 300), ("test", 90)):
        x, y = draw(n, n, 3)
        put_set(opened, x + 4 * rng.normal(size=x.shape), y, classes=["ant", "bee", "cat"], split=split)
    weighted = cryoprobe.probe(
        opened, **BY_NAME, probe=probe, C=10.0, params={"class_weight": {"bee": 50.0, "ant": 0.5}}
    )
    assert weighted["params"]["class_weight"] == {"bee": 50.0, "ant": 0.5}
    x, y = opened.open(weighted["train"]).load()
    reference = LogisticRegression(C=10.0, max_iter=5000, tol=1e-8, class_weight={0: 0.5, 1: 50.0, 2: 1.0}).fit(x, y)
    test_x, test_y = opened.open(weighted["test"]).load()
    assert weighted["metrics"]["top1"] == pytest.approx(reference.score(test_x, test_y), abs=0.03)
    plain = cryoprobe.probe(opened, **BY_NAME, probe=probe, C=10.0)
    recall = "per_class", "recall"
    bee = [result["metrics"][recall[0]][recall[1]][1] for result in (weighted, plain)]
    assert bee[0] > bee[1]


def test_class_weights_on_the_command_line_and_names_that_are_none(opened: Store, tmp_path: Path) -> None:
    for split, n in (("train", 60), ("test", 30)):
        put_set(opened, *draw(n, n, 3), classes=["ant", "bee", "cat"], split=split)
    asked = ["probe", "--store", str(tmp_path / "store"), "--model", "timm:m", "--dataset", "folder:/d", "--C", "1"]
    done = run(*asked, "--param", 'class_weight={"bee": 2, "cat": 3}', "--json")
    assert json.loads(done.stdout)["params"]["class_weight"] == {"bee": 2, "cat": 3}
    unfit: tuple[dict[str, Any], ...] = ({"bea": 2.0}, {"bee": "x"}, {"bee": -1})
    for wrong, message in zip(unfit, ("did you mean bee", "not a number", "at least 0"), strict=True):
        with pytest.raises(BadInput, match=message):
            cryoprobe.probe(opened, **BY_NAME, C=1.0, params={"class_weight": wrong})


def test_zero_weight_class() -> None:
    """A class all of whose rows weigh nothing is never predicted, and leaves the others as they would be without it."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 30)
    x = rng.normal(size=(90, 5)) + y[:, None]
    weights = (y != 1).astype(np.float64)
    ours = LogisticProbe().fit(x, y, weights).predict_proba(x)
    theirs = LogisticRegression(tol=1e-8, max_iter=5000).fit(x, y, weights).predict_proba(x)
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert ours[:, 1].max() < 1e-3
    balanced = LogisticProbe(class_weight="balanced").fit(x, y, weights).predict_proba(x)
    assert np.isfinite(balanced).all()
    assert balanced[:, 1].max() < 1e-3
    assert 1 not in RidgeProbe().fit(x, y, weights).predict(x)
    with pytest.raises(ValueError, match="non-zero"):
        LogisticProbe().fit(x, y, np.zeros(90))
