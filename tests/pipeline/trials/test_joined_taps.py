"""``--tap cls+patch_mean``: the sets of two taps read as one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.cli import run
from support.data import put_set, write_images

import cryoprobe
from cryoprobe.errors import BadInput, Conflict, NotFound
from cryoprobe.pipeline.trials.joined_sets import JoinedSet
from cryoprobe.stores.store import Store

CLASSES = ("ant", "bee", "cat")
BY_NAME: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/d"}


@pytest.fixture
def opened(store: Path) -> Store:
    """Return a store with two taps of one encoder, of other norms, on the same rows."""
    made = cryoprobe.open_store(store, create=True)
    fill(made)
    return made


def fill(made: Store, taps: tuple[str, ...] = ("cls", "patch_mean"), *, noise: float = 0.8) -> None:
    for split, n, seed in (("train", 90, 0), ("test", 45, 1)):
        rng = np.random.default_rng(seed)
        y = np.arange(n) % 3
        ids = [bytes([seed, i]) + bytes(30) for i in range(n)]
        for tap, scale, d in (("cls", 3.0, 8), ("patch_mean", 0.5, 5)):
            x = scale * (np.eye(3, d)[y] + rng.normal(0, noise, (n, d)))
            if tap in taps:
                put_set(made, x, y, classes=CLASSES, split=split, tap=tap, ids=ids)


def both(store: Store, split: str, *, unit: bool) -> Any:
    """Return the rows that are meant, put together here, and the labels."""
    parts = [store.open(store.find(tap=tap, split=split)[0].set).load(raw=True) for tap in ("cls", "patch_mean")]
    x = np.hstack([x for x, _ in parts])
    return (x / np.linalg.norm(x, axis=1, keepdims=True) if unit else x), parts[0][1]


def test_unit_features_are_the_raw_ones_side_by_side_brought_to_unit_length(opened: Store) -> None:
    found = cryoprobe.probe(opened, **BY_NAME, tap="cls+patch_mean", C=3.0)
    (x, y), (test_x, test_y) = both(opened, "train", unit=True), both(opened, "test", unit=True)
    reference = LogisticRegression(C=3.0, tol=1e-8, max_iter=2000).fit(x, y)
    assert found["metrics"]["top1"] == reference.score(test_x, test_y)
    p = reference.predict_proba(test_x)[np.arange(len(test_y)), test_y]
    assert found["metrics"]["nll"] == pytest.approx(-np.log(p).mean(), abs=1e-4)
    assert (found["dim"], found["tap"], found["features"]) == (13, "cls+patch_mean", "unit")


def test_raw_features_are_those_of_each_tap_in_order(opened: Store) -> None:
    found = cryoprobe.probe(opened, **BY_NAME, tap="cls+patch_mean", protocol="dinov2-logreg")
    assert (found["dim"], found["features"]) == (13, "raw")
    C = found["chosen"]["C"]
    (x, y), (test_x, test_y) = both(opened, "train", unit=False), both(opened, "test", unit=False)
    reference = LogisticRegression(C=C, tol=1e-8, max_iter=5000).fit(x, y)
    assert found["metrics"]["top1"] == pytest.approx(reference.score(test_x, test_y), abs=1 / 45)


@pytest.mark.parametrize("raw", [True, False])
def test_batches_norms_and_chosen_rows_are_those_of_the_whole(opened: Store, raw: bool) -> None:
    parts = [opened.open(opened.find(tap=tap, split="train")[0].set) for tap in ("cls", "patch_mean")]
    one = JoinedSet(parts)
    x, y = one.load(raw=raw)
    np.testing.assert_allclose(x, both(opened, "train", unit=not raw)[0], rtol=1e-6)
    streamed = list(one.batches(7, raw=raw))
    np.testing.assert_array_equal(np.concatenate([block for block, _ in streamed]), x)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in streamed]), y)
    np.testing.assert_array_equal(one.load([5, 2], raw=raw)[0], x[[5, 2]])
    np.testing.assert_allclose(one.norms(), np.linalg.norm(one.load(raw=True)[0], axis=1), rtol=1e-3)
    assert (one.dim, one.rows, len(one)) == (13, 90, 90)
    np.testing.assert_array_equal(one.samples(), parts[0].samples())


def test_trials_tell_taps_apart_and_those_of_one_tap_are_what_they_were(opened: Store) -> None:
    trials = [cryoprobe.probe(opened, **BY_NAME, tap=tap, C=3.0) for tap in ("cls", "patch_mean", "cls+patch_mean")]
    trials.append(cryoprobe.probe(opened, **BY_NAME, tap="patch_mean+cls", C=3.0))
    assert len({t["trial"] for t in trials}) == 4
    cls, patches = (opened.find(tap=tap, split="train")[0].set for tap in ("cls", "patch_mean"))
    assert [t["train"] for t in trials] == [cls, patches, f"{cls}+{patches}", f"{patches}+{cls}"]
    again = cryoprobe.probe(opened, **BY_NAME, tap="cls+patch_mean", C=3.0)
    assert (again["cached"], again["trial"]) == (True, trials[2]["trial"])
    by_id = cryoprobe.probe(opened, train=again["train"], test=again["test"], C=3.0)
    assert (by_id["cached"], by_id["trial"]) == (True, trials[2]["trial"])
    assert by_id["tap"] == "cls+patch_mean"


def test_a_trial_travels_with_both_sets(opened: Store, tmp_path: Path) -> None:
    found = cryoprobe.probe(opened, **BY_NAME, tap="cls+patch_mean", C=3.0)
    cryoprobe.push(opened, tmp_path / "half", [n.set for n in opened.find(tap="cls")])
    assert cryoprobe.results(tmp_path / "half") == []
    cryoprobe.push(opened, tmp_path / "whole")
    assert [t.trial for t in cryoprobe.results(tmp_path / "whole")] == [found["trial"]]


@pytest.mark.parametrize(
    ("tap", "error", "message"),
    [
        ("cls+pooled", NotFound, "--tap pooled"),
        ("cls+cls", BadInput, "does not name several taps"),
        ("cls+", BadInput, "does not name several taps"),
    ],
)
def test_taps_that_are_not_there_are_named(opened: Store, tap: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cryoprobe.probe(opened, **BY_NAME, tap=tap)


def test_sets_of_other_rows_are_refused(opened: Store) -> None:
    x = np.random.default_rng(3).normal(size=(90, 4))
    put_set(opened, x, np.arange(90) % 3, classes=CLASSES, split="train", tap="pooled")
    put_set(opened, x[:45], np.arange(45) % 3, classes=CLASSES, split="test", tap="pooled")
    with pytest.raises(Conflict, match="have other rows, labels or classes"):
        cryoprobe.probe(opened, **BY_NAME, tap="cls+pooled")


def test_sets_of_other_encoders_are_refused(opened: Store) -> None:
    for split in ("train", "test"):
        x, y = opened.open(opened.find(tap="cls", split=split)[0].set).load()
        put_set(opened, x, y, classes=CLASSES, split=split, tap="pooled", encoder="other")
    with pytest.raises(Conflict, match="two different encoders"):
        cryoprobe.probe(opened, **BY_NAME, tap="cls+pooled")


@pytest.mark.parametrize("options", [{}, {"protocol": "dinov2-logreg"}], ids=["unit", "raw"])
def test_a_saved_probe_predicts_with_both_taps(store: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    data = tmp_path / "data"
    for split, seed in (("train", 0), ("test", 1)):
        write_images(data / split, {"a": 8, "b": 8}, seed=seed)
    named: dict[str, Any] = {"model": "timm:test_vit", "dataset": f"folder:{data}"}
    pixels: dict[str, Any] = {"resize": 40, "crop": 32, "interpolation": "bilinear", "background": "white"}
    cryoprobe.extract(store=store, **named, taps=["cls", "patch_mean"], untrained=True, **pixels)
    file = tmp_path / "probe.safetensors"
    trial = cryoprobe.probe(store, **named, tap="cls+patch_mean", untrained=True, save=file, **pixels, **options)
    probe = cryoprobe.load_probe(file)
    assert probe.header.encoder.name is not None
    assert probe.header.encoder.name.resize == 40
    found = list(cryoprobe.predict(probe, data / "test"))
    opened = cryoprobe.open_store(store)
    x, _ = both(opened, "test", unit=probe.header.features == "unit")
    labels, values = probe.outputs(x.astype(np.float32))
    assert [p.labels[0] for p in found] == [probe.classes[int(i)] for i in labels]
    np.testing.assert_allclose([p.values for p in found], values, atol=2e-3)
    assert trial["dim"] == 128
    by_id = cryoprobe.probe(store, train=trial["train"], test=trial["test"], **options)
    assert by_id["name"]["tap"] == "cls+patch_mean"


def test_a_protocol_gives_the_command_that_prepares_images_as_published(store: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split, seed in (("train", 0), ("test", 1)):
        write_images(data / split, {"a": 4, "b": 4}, seed=seed)
    named: dict[str, Any] = {"model": "timm:test_vit", "dataset": f"folder:{data}", "untrained": True}
    cryoprobe.extract(store=store, **named, image_size=32, taps=["cls", "patch_mean"])
    asked: dict[str, Any] = {"protocol": "dinov2-knn", "tap": "cls+patch_mean"}
    found = cryoprobe.probe(store, **named, **asked)
    assert any("extract --resize 256 --crop 224 --interpolation bicubic" in line for line in found.trial.remarks)
    (note,) = [note for note in found.notes if note.startswith("images as dinov2-knn prescribes: ")]
    command, _, options = note.removeprefix("images as dinov2-knn prescribes: cryoprobe ").partition("\n")
    assert options == "  and then probe with --resize 256 --crop 224 --interpolation bicubic"
    run(*shlex.split(command))
    again = cryoprobe.probe(store, **named, **asked, resize=256, crop=224, interpolation="bicubic")
    assert not any("images" in line for line in (*again.trial.remarks, *again.notes))
    assert [n.name.options for n in cryoprobe.open_store(store).find(resize=256, tap="cls", split="test")] == [
        {"resize": 256, "crop": 224, "interpolation": "bicubic", "untrained": True}
    ]


@pytest.mark.parametrize("tap", ["cls", "patch_mean"])
def test_a_result_on_a_strangers_taps_is_no_answer_once_one_is_ones_own(tmp_path: Path, tap: str) -> None:
    theirs, mine = (cryoprobe.open_store(tmp_path / name, create=True) for name in ("theirs", "mine"))
    fill(theirs, noise=9.0)
    cryoprobe.pull(mine, theirs, progress=False)
    asked: dict[str, Any] = {**BY_NAME, "tap": "cls+patch_mean", "C": 3.0}
    first = cryoprobe.probe(mine, **asked).trial
    sets = {f"{part} {one}" for part in ("train", "test") for one in str(getattr(first, part)).split("+")}
    assert first.origins.keys() == sets
    assert len(sets) == 4
    assert cryoprobe.probe(mine, **asked).cached == 1
    fill(mine, (tap,))
    again = cryoprobe.probe(mine, **asked)
    assert again.cached == 0
    assert {mine.open(key.split()[1]).manifest.encoder["tap"] for key in again.trial.origins} == {
        "cls",
        "patch_mean",
    } - {tap}
    assert sum("not trusted" in remark for remark in again.trial.remarks) == 2
    assert again.trial.metrics != first.metrics
