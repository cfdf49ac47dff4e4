"""Saved probes: they predict as their estimators do, say what they are, and a bad file is refused with one message."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

import cryoprobe
from cryoprobe.canonical import digest
from cryoprobe.checksummed import dump_document
from cryoprobe.pipeline.probes.build import for_task
from cryoprobe.pipeline.probes.closed_form.centroids import NearestMeanProbe
from cryoprobe.pipeline.probes.closed_form.discriminant import LDAProbe
from cryoprobe.pipeline.probes.closed_form.few_shot_ridge import FewShotRidgeProbe
from cryoprobe.pipeline.probes.closed_form.ridge import RidgeProbe
from cryoprobe.pipeline.probes.gradient.mlp import MLPProbe
from cryoprobe.pipeline.probes.gradient.sgd import SGDProbe
from cryoprobe.pipeline.probes.knn.neighbours import KNNProbe
from cryoprobe.pipeline.probes.logistic import LogisticProbe
from cryoprobe.pipeline.saved import check_savable, check_writable, load_probe, save_probe
from cryoprobe.pipeline.tasks import MULTI_LABEL, SINGLE_LABEL

D = 12
CLASSES = ["ash", "birch", "cedar", "dogwood"]
SPEC = {"architecture": "test", "tap": "pooled"}
TRIAL = {
    "trial": "f" * 64,
    "protocol": "plain",
    "probe": "logreg",
    "params": {"max_iter": 50},
    "chosen": {"C": 10.0},
    "metrics": {"top1": 0.75, "confusion": [[1, 0], [0, 1]]},
    "dataset": "folder:/d",
    "name": {"model": "timm:m", "dataset": "folder:/d", "split": "train", "tap": "pooled"},
    "train": "a" * 64,
    "test": {"fraction": 0.2},
    "rows": {"train": 80, "test": 20, "val": 0},
    "created": 1_700_000_000_000,
    "versions": {"cryoprobe": "0.1.0"},
}

LINEAR: list[Any] = [
    LogisticProbe(C=10.0),
    LogisticRegression(C=10.0, max_iter=500),
    RidgeProbe(),
    FewShotRidgeProbe(alpha=1.0),
    NearestMeanProbe(),
    NearestMeanProbe("euclidean"),
    LDAProbe(),
    SGDProbe(epochs=5),
    RidgeClassifier(),
    LinearSVC(),
    Perceptron(),
    LogisticRegression(fit_intercept=False),
    SGDClassifier(loss="log_loss", random_state=0),
    LinearDiscriminantAnalysis(),
    make_pipeline(StandardScaler(), LogisticRegression()),
    make_pipeline(Normalizer(), StandardScaler(with_mean=False), LogisticProbe()),
    make_pipeline("passthrough", StandardScaler(with_std=False), RidgeClassifier()),
]
OTHERS: list[Any] = [
    MLPProbe(hidden=8, epochs=5),
    make_pipeline(StandardScaler(), MLPProbe(hidden=8, epochs=5)),
    KNNProbe(5),
    KNNProbe(500, weights="softmax"),
    KNNProbe(3, metric="euclidean"),
    make_pipeline(StandardScaler(), KNNProbe(5)),
]
PROBABILITIES = (LogisticProbe, LogisticRegression, LDAProbe, SGDProbe, SGDClassifier, LinearDiscriminantAnalysis)


def rows(n: int = 120, classes: int = 4, seed: int = 0) -> tuple[Any, Any]:
    """Return rows of unit norm, float32, and a class for each, without one class in the middle of the list."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.standard_normal((n, D)) + 1.5 * np.random.default_rng(99).standard_normal((classes, D))[y]
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y


def flags(x: Any, seed: int = 0) -> Any:
    """Return flags [n, 4] that can be learnt, of which one is never set."""
    direction = np.random.default_rng(seed).standard_normal((D, 4))
    y = (x @ direction > 0.2).astype(np.int64)
    y[:, 2] = 0
    return y


def saved(estimator: Any, path: Path, *, multilabel: bool = False, **fields: Any) -> cryoprobe.SavedProbe:
    save_probe(path, estimator, encoder=SPEC, classes=CLASSES, multilabel=multilabel, **fields)
    return load_probe(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    x, y = rows()
    saved(LogisticProbe().fit(x, y), tmp_path / "probe.safetensors", trial=TRIAL)
    return tmp_path / "probe.safetensors"


def assert_same(probe: cryoprobe.SavedProbe, estimator: Any, x: Any) -> None:
    """Compare with the estimator in float64, so that only formulas can differ; and its labels as it gives them."""
    known = np.array([CLASSES.index(c) for c in probe.classes])
    labels = probe.predict(x)
    if probe.header.multilabel:
        np.testing.assert_array_equal(labels, estimator.predict(x))
    else:
        np.testing.assert_array_equal(known[labels], estimator.predict(x))
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_allclose(probe.probabilities(x), estimator.predict_proba(x.astype(np.float64)), atol=1e-6)
        np.testing.assert_allclose(probe.probabilities(x), estimator.predict_proba(x), atol=1e-4)
        assert probe.measure == "probability"
    else:
        expected = estimator.decision_function(x.astype(np.float64))
        scores = probe.outputs(x)[1]
        if expected.ndim == 1 and probe.tensors["weight"].shape[0] == 2:
            scores = scores[:, 1:] - scores[:, :1]
        elif expected.ndim == 1:
            scores = scores[:, 1:]
        elif str(estimator) == "NearestMeanProbe(metric='euclidean')":  # without what all classes share
            expected = expected + np.square(x.astype(np.float64)).sum(axis=1, keepdims=True) / 2
        np.testing.assert_allclose(scores, expected.reshape(scores.shape), rtol=1e-6, atol=1e-6)
        assert probe.probabilities(x) is None
        assert probe.measure == "score"


@pytest.mark.parametrize("estimator", LINEAR + OTHERS, ids=lambda e: str(e).replace("\n", "").replace(" ", ""))
@pytest.mark.parametrize("classes", [2, 4])
def test_a_saved_probe_predicts_as_its_estimator(estimator: Any, classes: int, tmp_path: Path) -> None:
    x, y = rows(classes=classes)
    check_savable(estimator, SINGLE_LABEL)
    estimator.fit(x, y)
    probe = saved(estimator, tmp_path / "p")
    assert_same(probe, estimator, rows(seed=1)[0])


@pytest.mark.parametrize(
    "estimator", [*(e for e in LINEAR if "SGDP" not in str(e)), SGDProbe(epochs=5), KNNProbe(5), KNNProbe(4)], ids=str
)
def test_so_does_one_of_several_labels(estimator: Any, tmp_path: Path) -> None:
    x, _ = rows()
    check_savable(estimator, MULTI_LABEL)
    fitted = for_task(estimator, MULTI_LABEL).fit(x, flags(x))
    probe = saved(fitted, tmp_path / "p", multilabel=True)
    assert probe.predict(x).dtype == np.uint8
    assert_same(probe, fitted, rows(seed=1)[0])


def test_a_flag_that_every_row_has_is_certain(tmp_path: Path) -> None:
    x, _ = rows()
    y = flags(x)
    y[:, 3] = 1
    for inner in (LogisticRegression(), LinearSVC()):
        fitted = OneVsRestClassifier(inner).fit(x, y)
        probe = saved(fitted, tmp_path / "p", multilabel=True)
        assert_same(probe, fitted, x)
        assert probe.predict(x)[:, 2:].tolist() == [[0, 1]] * len(x)


def test_one_vs_rest_of_single_labels_is_normalised(tmp_path: Path) -> None:
    x, y = rows()
    fitted = OneVsRestClassifier(make_pipeline(StandardScaler(), LogisticRegression())).fit(x, y)
    probe = saved(fitted, tmp_path / "p")
    assert probe.header.probability == "normalised-sigmoid"
    assert_same(probe, fitted, x)


def test_classes_without_a_training_row_are_left_out(tmp_path: Path) -> None:
    x, y = rows(classes=3)
    y[y == 1] = 3
    probe = saved(LogisticProbe().fit(x, y), tmp_path / "p")
    assert probe.classes == ("ash", "cedar", "dogwood")
    assert [probe.classes[i] for i in probe.predict(x)] == [CLASSES[i] for i in LogisticProbe().fit(x, y).predict(x)]


def test_the_header_says_what_the_probe_is(file: Path) -> None:
    header = load_probe(file).header
    assert (header.kind, header.probability, header.features, header.dim) == ("linear", "softmax", "unit", D)
    assert header.encoder.id == digest(SPEC)
    assert header.encoder.name is not None
    assert header.encoder.name.model == "timm:m"
    assert header.metrics == {"top1": 0.75}  # numbers only: a confusion matrix can outgrow the probe
    assert header.chosen == {"C": 10.0}
    assert (header.trial, header.test) == ("f" * 64, {"fraction": 0.2})


def test_the_file_is_plain_safetensors_with_a_json_header(file: Path) -> None:
    tensors = load_file(file)
    assert {name: t.shape for name, t in tensors.items()} == {"weight": (4, D), "intercept": (4,)}
    x, _ = rows(seed=1)
    probe = load_probe(file)
    np.testing.assert_array_equal((x @ tensors["weight"].T + tensors["intercept"]).argmax(1), probe.predict(x))
    assert json.loads(metadata(file))["classes"] == CLASSES


def test_loading_and_predicting_need_neither_torch_nor_scikit_learn(file: Path) -> None:
    code = (
        "import sys, numpy as np, cryoprobe\n"
        f"print(cryoprobe.load_probe({str(file)!r}).predict(np.ones((2, {D}), np.float32)))\n"
        "print([m for m in ('torch', 'sklearn', 'zarr') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(),
        SVC(kernel="linear"),
        KNeighborsClassifier(),
        SGDClassifier(loss="modified_huber"),
        make_pipeline(PCA(2), LogisticRegression()),
        make_pipeline(Normalizer("l1"), LogisticRegression()),
        OneVsRestClassifier(KNNProbe()),
        OneVsRestClassifier(MLPProbe()),
    ],
    ids=lambda e: str(e).replace("\n", ""),
)
def test_what_cannot_be_saved_is_refused_before_it_is_fitted(estimator: Any) -> None:
    with pytest.raises(cryoprobe.BadInput, match=r"cannot be saved.*\n.*can be saved: logreg"):
        check_savable(estimator, SINGLE_LABEL)


def test_a_network_of_several_labels_is_refused_before_it_is_fitted() -> None:
    check_savable(MLPProbe(), SINGLE_LABEL)
    with pytest.raises(cryoprobe.BadInput, match="one network a class"):
        check_savable(MLPProbe(), MULTI_LABEL)


def test_an_estimator_that_has_not_been_fitted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(cryoprobe.BadInput, match="not been fitted"):
        saved(LogisticProbe(), tmp_path / "p")


def test_an_estimator_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    class Tempered(LogisticRegression):  # type: ignore[misc]
        def predict_proba(self, X: Any) -> Any:
            return super().predict_proba(X) * 0.9 + 0.025

    x, y = rows()
    with pytest.raises(cryoprobe.BadInput, match="does not compute what its weights say"):
        saved(Tempered().fit(x, y), tmp_path / "p")
    assert not list(tmp_path.iterdir())


def test_labels_that_are_no_places_in_the_list_of_classes_are_refused(tmp_path: Path) -> None:
    x, y = rows()
    with pytest.raises(cryoprobe.BadInput, match="places in the list"):
        saved(LogisticProbe().fit(x, y + 1), tmp_path / "p")
    with pytest.raises(cryoprobe.BadInput, match="places in the list"):
        saved(LogisticProbe().fit(x, np.array(CLASSES)[y]), tmp_path / "p")


def test_features_of_another_width_or_without_numbers_are_refused(file: Path) -> None:
    probe = load_probe(file)
    with pytest.raises(cryoprobe.BadInput, match=r"\[n, 12\]"):
        probe.predict(np.ones((2, 5), np.float32))
    with pytest.raises(cryoprobe.BadInput, match="NaN"):
        probe.predict(np.full((2, D), np.nan))


# Writing


def test_a_file_is_replaced_whole_or_not_at_all(file: Path) -> None:
    before = file.read_bytes()
    x, y = rows()
    with pytest.raises(cryoprobe.BadInput):
        saved(LogisticProbe().fit(x, y + 1), file)
    assert file.read_bytes() == before
    saved(RidgeProbe().fit(x, y), file)
    assert load_probe(file).measure == "score"
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    with pytest.raises(cryoprobe.BadInput, match="no folder"):
        check_writable(tmp_path / "missing" / "p")
    with pytest.raises(cryoprobe.BadInput, match="a folder"):
        check_writable(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(cryoprobe.BadInput, match="no folder"):
        check_writable(tmp_path / "file" / "p")
    with pytest.raises(cryoprobe.BadInput, match="no ordinary file"):
        check_writable("/dev/null")
    with pytest.raises(cryoprobe.BadInput, match="not the name of a file"):
        check_writable("a\0b")


def test_a_folder_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:  # whom rights do not bind
        os.seteuid(65534)
    try:
        with pytest.raises(cryoprobe.ReadOnly, match="cannot be written"):
            check_writable(tmp_path / "p")
    finally:
        if root:
            os.seteuid(0)


# Reading what may be hostile


def metadata(file: Path) -> str:
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    text: str = json.loads(raw[8 : 8 + length])["__metadata__"]["cryoprobe"]
    return text


def forged(file: Path, tensors: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a probe file with other header fields or tensors, with checksums that agree."""
    from cryoprobe.pipeline.saved.header import tensors_digest

    tensors = {**load_file(file), **(tensors or {})}
    content = {k: v for k, v in json.loads(metadata(file)).items() if k != "checksum"}
    content |= {"tensors": tensors_digest(tensors), **changes}
    save_file(tensors, file, metadata={"cryoprobe": dump_document(content).decode()})
    return file


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, "a\0b"):
        with pytest.raises(cryoprobe.NotFound):
            load_probe(path)


def test_other_files_are_told_from_probes(file: Path) -> None:
    save_file({"weight": np.zeros(3)}, file)
    with pytest.raises(cryoprobe.BadInput, match="not a probe of Cryoprobe"):
        load_probe(file)
    for content in (b"", b"hello", b"\x80\x04K\x01.", b"\xff" * 100):
        file.write_bytes(content)
        with pytest.raises(cryoprobe.BadInput, match="not a probe file"):
            load_probe(file)


def test_a_file_cut_short_anywhere_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for length in range(0, len(whole), 37):
        file.write_bytes(whole[:length])
        with pytest.raises(cryoprobe.BadInput):
            load_probe(file)


def test_a_newer_format_asks_for_an_upgrade(file: Path) -> None:
    with pytest.raises(cryoprobe.Incompatible, match="Upgrade"):
        load_probe(forged(file, version=2, kind="telepathy"))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": np.full((4, D), np.nan)}, "NaN"),
        ({"intercept": np.array([0, 0, np.inf, 0])}, "infinite"),
        ({"weight": np.zeros((4, D - 1))}, "shape"),
        ({"weight": np.zeros((3, D)), "intercept": np.zeros(3)}, "shape"),
        ({"weight": np.zeros((0, D)), "intercept": np.zeros(0)}, "shape"),
        ({"weight": np.zeros(4 * D)}, "shape"),
        ({"weight": np.zeros((4, D), np.int64)}, "int64"),
        ({"weight": np.zeros((4, D), np.float16)}, "float16"),
        ({"extra": np.zeros(1)}, "where"),
    ],
)
def test_tensors_that_do_not_fit_the_header_are_refused(file: Path, tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(cryoprobe.Corrupt, match=message):
        load_probe(forged(file, tensors))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1"},
        {"version": None},
        {"kind": "mlp"},
        {"kind": "knn"},
        {"kind": "tree"},
        {"dim": 0},
        {"dim": D + 1},
        {"before": ["standardise"]},
        {"before": ["unit"] * 9},
        {"classes": ["one"]},
        {"classes": CLASSES[:3]},
        {"classes": CLASSES[:2]},
        {"multilabel": True},
        {"probability": "sigmoid"},
        {"probability": "votes"},
        {"neighbours": {"k": 1, "weights": "uniform", "temperature": 1.0, "metric": "cosine"}},
        {"encoder": {"id": "0" * 64, "spec": SPEC, "name": None}},
        {"encoder": None},
        {"metrics": {"top1": "high"}},
    ],
    ids=str,
)
def test_headers_that_contradict_themselves_are_refused(file: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(cryoprobe.Corrupt):
        load_probe(forged(file, **changes))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "{" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"version": 1, "params": ' + '{"a":' * 800 + "1" + "}" * 800 + "}",
        '{"version": ' + "9" * 5000 + "}",
        '{"version": 1, "dim": NaN}',
        '{"version": 1, "dim": 1e999}',
        '{"version": 1, "protocol": "\\ud800"}',
    ],
    ids=lambda t: t[:20],
)
def test_documents_that_are_no_header_are_refused(file: Path, text: str) -> None:
    save_file(load_file(file), file, metadata={"cryoprobe": text})
    with pytest.raises(cryoprobe.Corrupt):
        load_probe(file)


@pytest.mark.parametrize(
    "tensors",
    [
        {"labels": np.full(120, 9)},
        {"labels": np.full(120, -1)},
        {"labels": np.zeros(120, np.int64)},
        {"labels": np.zeros(7, np.int64)},
        {"labels": np.zeros(120)},
        {"rows": np.full((120, D), np.nan, np.float32)},
        {"rows": np.array(1.0)},
    ],
    ids=str,
)
def test_neighbours_that_do_not_fit_are_refused(tensors: dict[str, Any], tmp_path: Path) -> None:
    x, y = rows()
    saved(KNNProbe(5).fit(x, y), tmp_path / "p")
    with pytest.raises(cryoprobe.Corrupt):
        load_probe(forged(tmp_path / "p", tensors))


def test_weights_that_overflow_are_an_error_and_no_prediction(file: Path) -> None:
    probe = load_probe(forged(file, {"weight": np.full((4, D), 1e308)}))
    with pytest.raises(cryoprobe.Corrupt, match="too large"):
        probe.predict(np.ones((1, D), np.float32))


def test_a_changed_weight_is_noticed(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)
    with pytest.raises(cryoprobe.Corrupt, match="not those that its header names"):
        load_probe(file)


def test_a_header_that_promises_more_than_the_file_has_allocates_nothing(file: Path) -> None:
    huge = {"weight": {"dtype": "F64", "shape": [4, 2**60], "data_offsets": [0, 2**65]}}
    head = json.dumps(huge).encode()
    file.write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(cryoprobe.BadInput):
        load_probe(file)
    file.write_bytes(struct.pack("<Q", 2**40) + head)
    with pytest.raises(cryoprobe.BadInput):
        load_probe(file)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_ends_in_an_error_of_ours_or_changes_nothing(file: Path, data: st.DataObject) -> None:
    original = file.read_bytes()
    raw = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    changed = file.with_name("changed")
    changed.write_bytes(raw)
    expected = load_probe(file)
    try:
        found = load_probe(changed)
    except cryoprobe.CryoprobeError:
        return
    assert found.header == expected.header
    assert save(found.tensors) == save(expected.tensors)
