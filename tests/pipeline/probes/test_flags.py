"""Multi-label data: the same result wherever a constant flag stands, and a saved probe that repeats its trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.data import put_set

import cryoprobe
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.metrics import multilabel_metrics
from cryoprobe.pipeline.probes import LabelledFeatures, ProbeRequest, run_probe
from cryoprobe.pipeline.saved import load_probe, save_probe

N_FLAGS, D = 5, 16
ONE_VALUE = {"sgd": "learning_rate", "ridge": "alpha", "logreg": "C"}
PROBES = (
    "logreg",
    "knn",
    "ridge",
    "few-shot-ridge",
    "nearest-mean",
    "lda",
    "sgd",
    "mlp",
    "sklearn.linear_model.LogisticRegression",
    "sklearn.linear_model.RidgeClassifier",
    "sklearn.linear_model.SGDClassifier",
    "sklearn.svm.LinearSVC",
    "sklearn.naive_bayes.GaussianNB",
    "sklearn.neighbors.KNeighborsClassifier",
    "sklearn.neighbors.NearestCentroid",
    "sklearn.ensemble.RandomForestClassifier",
    "sklearn.neural_network.MLPClassifier",
)
SAVED = ("logreg", "knn", "ridge", "few-shot-ridge", "nearest-mean", "lda", "sgd", *PROBES[8:12])


def draw(n: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    planes = np.random.default_rng(99).normal(size=(D, N_FLAGS))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32), (x @ planes + 0.2 * rng.normal(size=(n, N_FLAGS)) > 0.5).astype(np.uint8)


def with_constant(part: LabelledFeatures, place: int, value: int) -> LabelledFeatures:
    return LabelledFeatures(part.x, np.insert(part.y, place, value, axis=1))


def request(probe: str) -> ProbeRequest:
    given: dict[str, Any] = {"params": {ONE_VALUE[probe]: 1.0}} if probe in ONE_VALUE else {}
    if probe in ("mlp", "sgd"):
        given.setdefault("params", {})["epochs"] = 10
    return ProbeRequest(probe=probe, **given)


@pytest.mark.parametrize("value", [0, 1], ids=["never", "always"])
@pytest.mark.parametrize("probe", PROBES)
def test_ovr_constant_first(probe: str, value: int) -> None:
    """Flags are fitted as if those that are constant in training were not there."""
    train, test = LabelledFeatures(*draw(200, 0)), LabelledFeatures(*draw(100, 1))
    without = run_probe(request(probe), train, None, test, N_FLAGS)
    expected = without.estimator.predict(test.matrix)
    for place in (0, 2, N_FLAGS):
        parts = (with_constant(train, place, value), None, with_constant(test, place, value))
        done = run_probe(request(probe), *parts, N_FLAGS + 1)
        found = done.estimator.predict(test.matrix)
        np.testing.assert_array_equal(np.delete(found, place, axis=1), expected)
        assert (found[:, place] == value).all()
        assert done.metrics["subset_accuracy"] == without.metrics["subset_accuracy"]
        if value == 0:
            assert done.metrics["map"] == without.metrics["map"]


@pytest.mark.parametrize("probe", SAVED)
@pytest.mark.parametrize("place", [0, N_FLAGS])
def test_a_saved_probe_repeats_the_numbers_of_its_trial(tmp_path: Path, probe: str, place: int) -> None:
    store = cryoprobe.open_store(tmp_path / "store", create=True)
    names = list(np.insert(np.array([f"f{i}" for i in range(N_FLAGS)], dtype=object), place, "never"))
    for split, n, seed in (("train", 150, 0), ("test", 100, 1)):
        x, y = draw(n, seed)
        put_set(store, x, np.insert(y, place, 0, axis=1), classes=names, split=split)
    asked = request(probe)
    params = {**asked.params, **({asked.tune: asked.grid[0]} if asked.grid else {})}
    if probe == "knn":
        params["k"] = 5
    file = tmp_path / "probe.safetensors"
    result = cryoprobe.probe(store, model="timm:m", dataset="folder:/d", probe=probe, params=params, save=file)
    x, y = store.open(result["test"]).load()
    saved = cryoprobe.load_probe(file)
    again = multilabel_metrics(y, saved.raw_outputs(x), saved.predict(x).astype(np.uint8), ranking=True)
    assert again == {name: result["metrics"][name] for name in again}


@pytest.mark.parametrize("probe", ["logreg", "lda", "ridge", "sklearn.linear_model.LogisticRegression"])
def test_a_saved_probe_decides_as_its_trial_did_also_on_the_border_of_two_classes(tmp_path: Path, probe: str) -> None:
    """Float32 would decide many of these rows otherwise than float64, in which a saved probe computes."""
    x, flags = draw(200, 0)
    train = LabelledFeatures(x, flags[:, 0].astype(np.int64))
    asked = request(probe)
    fitted = run_probe(asked, train, None, train, 2).estimator
    rows = draw(3000, 1)[0].astype(np.float64)
    rows -= np.outer(rows @ fitted.coef_[0] + fitted.intercept_[0], fitted.coef_[0]) / np.square(fitted.coef_).sum()
    border = LabelledFeatures(rows.astype(np.float32), np.arange(3000) % 2)
    done = run_probe(asked, train, None, border, 2)
    file = tmp_path / "probe.safetensors"
    encoder = {"architecture": "encoder", "tap": "pooled"}
    save_probe(file, done.estimator, encoder=encoder, classes=["a", "b"], multilabel=False)
    predicted = load_probe(file).predict(border.matrix)
    assert float(np.mean(predicted == border.y)) == done.metrics["top1"]
    assert 0 < predicted.mean() < 1


def test_flags_of_which_none_varies_are_refused() -> None:
    x, _ = draw(20, 0)
    same = LabelledFeatures(x, np.tile(np.array([0, 1, 1], np.uint8), (20, 1)))
    for probe in ("logreg", "knn", "lda"):
        with pytest.raises(BadInput, match="no flag is set in some train rows and not in others"):
            run_probe(request(probe), same, None, same, 3)


def test_a_flag_that_every_training_row_has_is_told() -> None:
    train, test = LabelledFeatures(*draw(100, 0)), LabelledFeatures(*draw(50, 1))
    done = run_probe(request("ridge"), with_constant(train, 0, 1), None, with_constant(test, 0, 1), N_FLAGS + 1)
    assert "1 of 6 flags are set in every train row: they are predicted always" in done.warnings


def test_one_flag_that_varies_is_enough() -> None:
    x, y = draw(100, 0)
    flags = np.stack([np.zeros(100, np.uint8), y[:, 0]], axis=1)
    for probe in PROBES:
        done = run_probe(request(probe), LabelledFeatures(x, flags), None, LabelledFeatures(x, flags), 2)
        assert done.metrics["subset_accuracy"] > 0.5
