"""Probing from a store: which sets are taken, what is held out, what is cached, and what is said about it."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from support.data import put_set, write_images

import cryoprobe
from cryoprobe.errors import BadInput, Conflict, NotFound, ReadOnly
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.pipeline.probes import stratified_holdout
from cryoprobe.pipeline.trials.find_sets import as_fraction
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.store import Store

CLASSES = ("ant", "bee", "cat")
LATER = time.time_ns() // 1_000_000 + 3_600_000
BY_NAME: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/d"}


def rows(n: int, seed: int, classes: int = 3, d: int = 16) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return x [n, d] around one centre a class, and y [n]."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return np.eye(classes, d)[y] + rng.normal(0, 0.4, (n, d)), y


@pytest.fixture
def opened(store: Path) -> Store:
    return cryoprobe.open_store(store, create=True)


@pytest.fixture
def split(opened: Store) -> Store:
    """Return a store with splits train and test."""
    for name, n, seed in (("train", 150, 0), ("test", 60, 1)):
        put_set(opened, *rows(n, seed), classes=CLASSES, split=name)
    return opened


def test_the_metrics_are_those_of_scikit_learn_on_the_loaded_features(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, C=[3.0])
    (x, y), (test_x, test_y) = (split.open(result[part]).load() for part in ("train", "test"))
    reference = LogisticRegression(C=3.0, tol=1e-7, max_iter=1000).fit(x.astype(np.float64), y)
    assert result["metrics"]["top1"] == reference.score(test_x, test_y)
    assert result["chosen"] == {"C": 3.0}
    assert result["curve"] == []
    assert result["val"] is None
    assert result["rows"] == {"train": 150, "test": 60, "val": 0}
    assert result["splits"] == {"train": "train", "test": "test", "val": None}
    assert (result["protocol"], result["tap"], result["untrained"]) == ("plain", "pooled", False)


def test_the_same_trial_again_answers_from_the_store(split: Store) -> None:
    first = cryoprobe.probe(split, **BY_NAME, C=[1.0, 10.0], seed=3)
    again = cryoprobe.probe(split.url, **BY_NAME, C=[10.0, 1.0], seed=3)
    assert (first["cached"], again["cached"]) == (False, True)
    same = {"trial", "metrics", "curve", "chosen", "created", "test_in_train"}
    assert {k: first[k] for k in same} == {k: again[k] for k in same}
    stored = json.loads(Path(split.url, "trials", f"{first['trial']}.json").read_text())
    assert stored["metrics"] == first["metrics"]
    for changed in ({"seed": 4}, {"C": [1.0]}, {"choose_by": "top1"}, {"probe": "knn", "C": []}, {"val_split": "0.2"}):
        assert not cryoprobe.probe(split, **{**BY_NAME, "C": [1.0, 10.0], "seed": 3, **changed})["cached"]
    assert len(cryoprobe.results(split)) == 6


def test_ids_and_names_are_the_same_trial(split: Store) -> None:
    by_name = cryoprobe.probe(split, **BY_NAME, C=[1.0])
    by_id = cryoprobe.probe(split, train=by_name["train"][:12], test=by_name["test"], C=[1.0])
    assert by_id["cached"]


def test_c_is_chosen_on_a_stratified_part_of_train_and_the_probe_is_refitted_on_both(split: Store) -> None:
    result = cryoprobe.probe(split, **BY_NAME, C=[0.01, 1.0, 100.0], val_split="0.2", seed=5)
    assert result["rows"] == {"train": 120, "test": 60, "val": 30}
    assert [point["C"] for point in result["curve"]] == [0.01, 1.0, 100.0]
    x, y = split.open(result["train"]).load()
    test_x, test_y = split.open(result["test"]).load()
    keep, held = stratified_holdout(y, 0.2, 5)
    for point in result["curve"]:
        fitted = LogisticRegression(C=point["C"], tol=1e-7, max_iter=1000).fit(x[keep].astype(np.float64), y[keep])
        assert point["top1"] == fitted.score(x[held], y[held])
    order = np.concatenate([keep, held])
    refit = LogisticRegression(C=result["chosen"]["C"], tol=1e-7, max_iter=1000)
    refit.fit(x[order].astype(np.float64), y[order])
    assert result["metrics"]["top1"] == refit.score(test_x, test_y)


def test_a_named_validation_split_chooses(split: Store) -> None:
    put_set(split, *rows(45, 2), classes=CLASSES, split="val")
    result = cryoprobe.probe(split, **BY_NAME, C=[0.1, 10.0], val_split="val")
    assert result["rows"] == {"train": 150, "test": 60, "val": 45}
    assert result["splits"]["val"] == "val"
    assert result["val"] == split.find(split="val")[0].set


def test_a_data_set_without_splits_gives_a_fifth_for_testing(opened: Store) -> None:
    put_set(opened, *rows(150, 0), classes=CLASSES, split="all")
    result = cryoprobe.probe(opened, **BY_NAME, C=[1.0])
    assert result["rows"] == {"train": 120, "test": 30, "val": 0}
    assert result["splits"] == {"train": "all", "test": 0.2, "val": None}
    assert result["test"] == {"fraction": 0.2, "seed": 0}
    assert any("a fifth of folder:/d, which has no splits, is held out" in note for note in result["notes"])
    by_id = cryoprobe.probe(opened, train=result["train"], C=[1.0])
    assert any("is held out as the test; another share: --test 0.2" in note for note in by_id["notes"])
    other = cryoprobe.probe(opened, **BY_NAME, C=[1.0], test_split="0.5", seed=1)
    assert other["rows"] == {"train": 75, "test": 75, "val": 0}
    assert other["notes"] == []
    assert np.sum(other["metrics"]["confusion"]) == 75


def test_choosing_after_holding_out_takes_validation_rows_from_what_remains(opened: Store) -> None:
    put_set(opened, *rows(150, 0), classes=CLASSES, split="all")
    result = cryoprobe.probe(opened, **BY_NAME, C=[1.0, 10.0])
    assert result["rows"] == {"train": 108, "test": 30, "val": 12}


def test_classes_are_matched_by_name(opened: Store) -> None:
    x, y = rows(150, 0)
    test_x, test_y = rows(60, 1)
    put_set(opened, x, y, classes=CLASSES, split="train")
    straight = put_set(opened, test_x, test_y, classes=CLASSES, split="test")
    renumbered = put_set(
        opened, test_x, np.array([2, 0, 1])[test_y], classes=("bee", "cat", "ant"), split="test", dataset="folder:/e"
    )
    train = opened.find(split="train")[0].set
    one, other = (cryoprobe.probe(opened, train=train, test=s.id, C=[1.0]) for s in (straight, renumbered))
    assert one["metrics"] == other["metrics"]
    assert one["metrics"]["top1"] > 0.8


def test_a_class_that_only_test_has_counts_as_wrong_and_is_told(opened: Store) -> None:
    put_set(opened, *rows(150, 0), classes=CLASSES, split="train")
    put_set(opened, *rows(40, 1, classes=4), classes=(*CLASSES, "dog"), split="test")
    result = cryoprobe.probe(opened, **BY_NAME, C=[1.0])
    assert result["classes"] == [*CLASSES, "dog"]
    assert result["metrics"]["top1"] <= 0.75
    assert any("cannot be predicted" in w for w in result["warnings"])


def test_multi_label_sets_are_probed_and_matched_by_name(opened: Store) -> None:
    def flags(n: int, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, (n, 3)).astype(np.uint8)
        return y @ np.eye(3, 16) + rng.normal(0, 0.3, (n, 16)), y

    put_set(opened, *flags(120, 0), classes=CLASSES, split="train")
    x, y = flags(60, 1)
    put_set(opened, x, y[:, [2, 0, 1]], classes=("cat", "ant", "bee"), split="test")
    result = cryoprobe.probe(opened, **BY_NAME, C=[1.0, 10.0])
    assert result["metrics"]["map"] > 0.8
    assert result["chosen_by"] == "map"


def test_test_images_that_stand_in_train_are_counted(opened: Store) -> None:
    x, y = rows(150, 0)
    test_x, test_y = rows(60, 1)
    test_x[:7], test_y[:7] = x[10:17], y[10:17]
    put_set(opened, x, y, classes=CLASSES, split="train")
    put_set(opened, test_x, test_y, classes=CLASSES, split="test")
    result = cryoprobe.probe(opened, **BY_NAME, C=[1.0])
    assert result["test_in_train"] == 7
    assert "7 of 60 test images stand in the training data too" in result["warnings"]
    assert not any("very embedding" in warning for warning in result["warnings"])  # said already
    assert cryoprobe.probe(opened, **BY_NAME, C=[1.0])["test_in_train"] == 7  # with a cached result too


@pytest.mark.parametrize("options", [{}, {"val_split": 0.2, "C": [1.0, 2.0]}, {"protocol": "dinov2-knn", "C": ()}])
def test_test_rows_with_the_embedding_of_a_training_row_are_warned_of(opened: Store, options: dict[str, Any]) -> None:
    x, y = rows(150, 0)
    test_x, test_y = rows(60, 1)
    test_x[:7], test_y[:7] = x[10:17], y[10:17]
    ids = [bytes([3, i]) + bytes(30) for i in range(60)]
    ids[0] = hashlib.sha256(np.ascontiguousarray(x)[10].tobytes()).digest()  # the same file as in train
    put_set(opened, x, y, classes=CLASSES, split="train")
    put_set(opened, test_x, test_y, classes=CLASSES, split="test", ids=ids)
    result = cryoprobe.probe(opened, **{**BY_NAME, "C": [1.0], **options})
    assert result["test_in_train"] == 1
    (warning,) = [warning for warning in result["warnings"] if "very embedding" in warning]
    assert warning.startswith("6 of 60 test rows have the very embedding of a training row, though the files differ")


def test_validation_images_count_as_training_data(split: Store) -> None:
    test_x, test_y = rows(60, 1)
    put_set(split, test_x[:9], test_y[:9], classes=CLASSES, split="val")
    assert cryoprobe.probe(split, **BY_NAME, C=[1.0, 10.0], val_split="val")["test_in_train"] == 9
    assert cryoprobe.probe(split, **BY_NAME, C=[1.0], val_split="val")["test_in_train"] == 0  # nothing was chosen


def test_sets_of_two_encoders_are_never_combined(split: Store) -> None:
    other = put_set(split, *rows(150, 0), classes=CLASSES, split="train", encoder="another", named=LATER)
    with pytest.raises(Conflict, match="two different encoders") as caught:
        cryoprobe.probe(split, **BY_NAME, C=[1.0])
    assert "cryoprobe extract" in str(caught.value)
    with pytest.raises(Conflict):
        cryoprobe.probe(split, train=other.id, test=split.find(split="test")[0].set, C=[1.0])


def test_the_newest_test_set_of_the_same_encoder_is_taken(split: Store) -> None:
    train = put_set(split, *rows(150, 0), classes=CLASSES, split="train", encoder="another", named=LATER)
    test = put_set(split, *rows(60, 1), classes=CLASSES, split="test", encoder="another", named=1)
    result = cryoprobe.probe(split, **BY_NAME, C=[1.0])
    assert (result["train"], result["test"]) == (train.id, test.id)


def test_of_several_taps_the_default_or_the_asked_one_is_taken(opened: Store) -> None:
    for tap in ("pooled", "cls"):
        for name, n, seed in (("train", 90, 0), ("test", 30, 1)):
            put_set(opened, *rows(n, seed), classes=CLASSES, split=name, tap=tap)
    assert cryoprobe.probe(opened, **BY_NAME, C=[1.0])["tap"] == "pooled"
    assert cryoprobe.probe(opened, **BY_NAME, C=[1.0], tap="cls")["tap"] == "cls"


def test_features_that_are_missing_come_with_the_exact_command(split: Store) -> None:
    with pytest.raises(NotFound) as caught:
        cryoprobe.probe(split, model="timm:m", dataset="folder:/other", tap="cls", image_size=64)
    assert (
        f"cryoprobe extract --model timm:m --dataset folder:/other --store {split.url} --tap cls --image-size 64"
    ) in str(caught.value)
    with pytest.raises(NotFound) as caught:
        cryoprobe.probe(split, **BY_NAME, test_split="val")
    assert "If the data set has 'val', make them:" in str(caught.value)  # it is not here to be asked
    assert "--split val" in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"limit": 501}, "--limit 501"),
        ({"image_size": 224}, "--image-size 224"),
        ({"tap": "cls", "limit": 500}, "--tap cls --limit 500"),
        ({"untrained": True}, "--untrained"),
    ],
)
def test_features_with_other_options_are_told_by_their_options(opened: Store, asked: dict[str, Any], said: str) -> None:
    for limit in (500, 600):
        put_set(opened, *rows(limit // 10, 0), classes=CLASSES, split="train", limit=limit, limit_seed=0)
    put_set(opened, *rows(30, 1), classes=CLASSES, split="test", limit=600, limit_seed=0)
    with pytest.raises(NotFound) as caught:
        cryoprobe.probe(opened, **BY_NAME, **asked)
    message = str(caught.value)
    assert f"no features of timm:m on folder:/d with {said}. It has" in message
    assert "--tap pooled --limit 500 (train)" in message
    assert "--tap pooled --limit 600 (test, train)" in message
    command = next(line for line in message.splitlines() if "cryoprobe extract" in line)
    assert command.endswith(f" --store {opened.url} {said}")


def test_a_command_does_not_mix_random_weights_with_a_checkpoint(opened: Store, tmp_path: Path) -> None:
    put_set(opened, *rows(30, 0), classes=CLASSES, split="train", untrained=True, seed=3)
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    with pytest.raises(NotFound) as caught:
        cryoprobe.probe(opened, **BY_NAME, checkpoint=tmp_path / "w.safetensors")
    command = next(line for line in str(caught.value).splitlines() if "cryoprobe extract" in line)
    assert command.endswith(f"--checkpoint {tmp_path}/w.safetensors")
    assert "--tap pooled --untrained --seed 3 (train)" in str(caught.value)


def suggested(opened: Store, **asked: Any) -> str:
    """Return the command that a look-up suggests, without what all have."""
    with pytest.raises(NotFound) as caught:
        cryoprobe.probe(opened, **{**BY_NAME, **asked})
    command = next(line for line in str(caught.value).splitlines() if "cryoprobe extract" in line)
    return command.partition(f"--store {opened.url}")[2].strip()


def test_a_suggested_command_has_only_what_was_asked_for(opened: Store, tmp_path: Path) -> None:
    options = {"checkpoint": "0" * 64, "checkpoint_key": "student", "resize": 64, "crop": 48}
    put_set(opened, *rows(30, 0), classes=CLASSES, split="train", **options)
    (flat := tmp_path / "flat.pt").write_bytes(b"weights")
    assert suggested(opened, checkpoint=flat) == f"--checkpoint {flat}"
    assert suggested(opened, tap="cls") == "--tap cls"
    assert suggested(opened, untrained=True, resize=32) == "--resize 32 --untrained"


def test_a_command_for_a_lacking_split_has_the_options_of_the_only_extraction(opened: Store) -> None:
    put_set(opened, *rows(30, 0), classes=CLASSES, split="train", tap="cls", resize=64)
    assert suggested(opened) == "--split test --tap cls --resize 64"
    put_set(opened, *rows(30, 1), classes=CLASSES, split="train", tap="cls")
    assert suggested(opened, tap="cls") == "--split test --tap cls"


def test_taps_with_a_comma_are_told_how_they_are_read_as_one(split: Store) -> None:
    with pytest.raises(BadInput, match=r"Write cls\+patch_mean to read these as one"):
        cryoprobe.probe(split, **BY_NAME, tap="cls, patch_mean")


def test_a_split_that_was_extracted_with_other_options_is_told(opened: Store) -> None:
    for tap, names in (("pooled", ["train"]), ("cls", ["train", "test"])):
        for name in names:
            put_set(opened, *rows(30, 0), classes=CLASSES, split=name, tap=tap)
    with pytest.raises(NotFound) as caught:
        cryoprobe.probe(opened, **BY_NAME)
    assert "with --tap pooled, split 'test'. It has: train." in str(caught.value)
    assert "With other options it has:\n  --tap cls (test)" in str(caught.value)


def test_a_split_that_the_data_set_does_not_have_is_not_to_be_extracted(opened: Store, tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_images(tmp_path / "d" / name, {"a": 1, "b": 1})
        put_set(opened, *rows(30, 0), classes=CLASSES, split=name, dataset=f"folder:{tmp_path}/d")
    asked = {"model": "timm:m", "dataset": f"folder:{tmp_path}/d"}
    with pytest.raises(NotFound) as caught:
        cryoprobe.probe(opened, **asked, test_split="foo")
    assert "has no split 'foo'; it has: train, test" in str(caught.value)
    assert "cryoprobe extract" not in str(caught.value)
    write_images(tmp_path / "d" / "val", {"a": 1, "b": 1})
    with pytest.raises(NotFound, match=r"(?s)\nMake them:.*--split val"):
        cryoprobe.probe(opened, **asked, test_split="val")


def test_an_id_of_digits_is_no_number(opened: Store) -> None:
    train = put_set(opened, *rows(60, 0), classes=CLASSES, split="train")
    tests = (put_set(opened, *rows(30, seed), classes=CLASSES, split="test") for seed in range(1, 100))
    test = next(s for s in tests if s.id[:2].isdigit() and s.id[:2] != train.id[:2])
    digits = next(test.id[:n] for n in range(2, 65) if sum(i.startswith(test.id[:n]) for i in opened.set_ids()) == 1)
    assert cryoprobe.probe(opened, train=train.id, test=digits, C=[1.0])["test"] == test.id
    for text in ("0716", "12e4", "1", "0", "07", "nan", "inf", "train"):
        assert as_fraction(text) is None
    assert [as_fraction(text) for text in ("0.2", ".5", "1e-1")] == [0.2, 0.5, 0.1]
    for wrong in ("1.5", "-0.1", "0.0"):
        with pytest.raises(BadInput, match="nor a fraction between 0 and 1"):
            cryoprobe.probe(opened, train=train.id, test=wrong, C=[1.0])


def test_a_split_may_be_called_by_a_number(split: Store) -> None:
    five = put_set(split, *rows(30, 5), classes=CLASSES, split="5")
    assert cryoprobe.probe(split, **BY_NAME, C=[1.0], test_split="5")["test"] == five.id


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"model": "timm:m"},
        {**BY_NAME, "train": "ff"},
        {**BY_NAME, "val_split": "1.5"},
        {**BY_NAME, "test_split": "0"},
        {**BY_NAME, "C": [-1.0]},
        {**BY_NAME, "choose_by": "luck"},
        {**BY_NAME, "probe": "forest"},
        {**BY_NAME, "params": {"depth": 3}},
        {"model": "timm:m", "dataset": "nonsense"},
    ],
)
def test_bad_requests_are_refused_and_leave_no_trial(split: Store, arguments: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        cryoprobe.probe(split, **arguments)
    assert cryoprobe.results(split) == []


def test_results_are_ordered_by_data_set_model_and_time(split: Store) -> None:
    for c in (3.0, 1.0, 2.0):
        cryoprobe.probe(split, **BY_NAME, C=[c])
    assert [t["chosen"]["C"] for t in cryoprobe.results(split)] == [3.0, 1.0, 2.0]


def test_results_are_filtered_as_sets_are(split: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for model, dataset in (("timm:m", "folder:/e"), ("timm:other", f"csv:{tmp_path}/a.csv")):
        for name in ("train", "test"):
            put_set(
                split, *rows(30, len(name)), classes=CLASSES, split=name, model=model, dataset=dataset, encoder=model
            )
        cryoprobe.probe(split, model=model, dataset=dataset, C=[1.0])

    def models(**filters: str) -> list[str]:
        return [trial["model"] for trial in cryoprobe.results(split, **filters)]

    assert models() == ["timm:other", "timm:m"]
    assert models(model="timm:m") == ["timm:m"]
    assert models(model="timm:o*") == ["timm:other"]
    assert models(dataset="csv:a.csv") == models(dataset="csv:*") == ["timm:other"]
    assert models(model="timm:m", dataset="csv:a.csv") == models(dataset="a.csv") == []


class Frozen(LocalBackend):
    """A store that somebody else may write."""

    def put(self, key: str, data: bytes) -> None:
        raise ReadOnly(f"The store {self.url} cannot be written.")

    def put_if_absent(self, key: str, data: bytes) -> bool:
        raise ReadOnly(f"The store {self.url} cannot be written.")


def test_a_store_that_cannot_be_written_still_gives_results(split: Store) -> None:
    read_only = Store(Frozen(Path(split.url)))
    result = cryoprobe.probe(read_only, **BY_NAME, C=[1.0])
    (note,) = (note for note in result["notes"] if "could not be stored" in note)
    assert f"--store FOLDER --from {split.url}" in note
    assert cryoprobe.results(split) == []
    own = cryoprobe.open_store(Path(split.url).with_name("own"), sources=[split.url], trust=True)
    assert cryoprobe.probe(own, **BY_NAME, C=[1.0])["notes"] == []
    assert cryoprobe.probe(split, **BY_NAME, C=[1.0])["metrics"] == result["metrics"]
    assert cryoprobe.probe(read_only, **BY_NAME, C=[1.0])["cached"]


def test_extracting_what_is_there_writes_nothing(tmp_path: Path, store: Path, encoder: Encoder) -> None:
    write_images(tmp_path / "data", {"a": 3, "b": 3})
    data = f"folder:{tmp_path / 'data'}"
    (first,) = cryoprobe.extract(encoder, data, store)
    (again,) = cryoprobe.extract(encoder, data, Store(Frozen(store)))
    assert (again.set, again.encoded) == (first.set, 0)


def test_a_probe_of_ones_own_that_was_edited_is_run_again(
    split: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "my_probes.py"
    monkeypatch.syspath_prepend(tmp_path)

    def run(k: int) -> dict[str, Any]:
        text = (
            f"from sklearn.neighbors import KNeighborsClassifier\ndef mine():\n    return KNeighborsClassifier({k})\n"
        )
        module.write_text(text)
        sys.modules.pop("my_probes", None)
        importlib.invalidate_caches()
        return cryoprobe.probe(split, **BY_NAME, probe="my_probes.mine")

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert [run(3)["cached"], run(3)["cached"], run(40)["cached"]] == [False, True, False]


def test_nothing_is_chosen_or_scored_on_the_rows_that_must_not_be_seen(split: Store) -> None:
    for wrong in ({"val_split": "test"}, {"val_split": "train"}, {"test_split": "train"}):
        with pytest.raises(BadInput, match="set is the"):
            cryoprobe.probe(split, **BY_NAME, C=[1.0, 10.0], **wrong)
    ids = {n.name.split: n.set for n in split.names()}
    with pytest.raises(BadInput, match="set is the"):
        cryoprobe.probe(split, train=ids["train"], test=ids["test"], val_split=ids["test"], C=[1.0, 10.0])


def test_validation_images_that_stand_in_train_are_told(split: Store) -> None:
    x, y = rows(150, 0)
    put_set(split, x[:20], y[:20], classes=CLASSES, split="val")
    result = cryoprobe.probe(split, **BY_NAME, C=[1.0, 10.0], val_split="val")
    assert "20 of 20 validation images stand in train too" in result["warnings"]


def test_random_weights_are_taken_only_where_they_are_asked_for(split: Store) -> None:
    for name, n, seed in (("train", 150, 0), ("test", 60, 1)):
        put_set(split, *rows(n, seed), classes=CLASSES, split=name, encoder="r", untrained=True, seed=0, named=LATER)
    trained = cryoprobe.probe(split, **BY_NAME, C=[1.0])
    assert not trained["untrained"]
    assert trained["notes"] == []
    assert cryoprobe.probe(split, **BY_NAME, C=[1.0], untrained=True)["untrained"]
    for n in split.find(untrained=False):
        split.backend.delete(n.key)
    with pytest.raises(NotFound, match="--untrained"):
        cryoprobe.probe(split, **BY_NAME, C=[1.0])


def test_an_option_that_is_not_given_means_its_default(split: Store) -> None:
    for name, n, seed in (("train", 150, 0), ("test", 60, 1)):
        put_set(split, *rows(n, seed), classes=CLASSES, split=name, encoder="64", image_size=64, named=LATER)
    usual = cryoprobe.probe(split, **BY_NAME, C=[1.0])
    assert (usual["notes"], usual["name"]["image_size"]) == ([], None)
    assert cryoprobe.probe(split, **BY_NAME, C=[1.0], image_size=64)["name"]["image_size"] == 64


def test_the_only_extraction_that_fits_is_used_and_said(opened: Store) -> None:
    for name, n, seed in (("train", 90, 0), ("test", 30, 1)):
        put_set(opened, *rows(n, seed), classes=CLASSES, split=name, limit=n, limit_seed=0, tap="cls", image_size=64)
        put_set(opened, *rows(n, seed), classes=CLASSES, split=name, encoder="r", untrained=True, seed=0, tap="cls")
    notes = cryoprobe.probe(opened, **BY_NAME, C=[1.0])["notes"]
    assert any("the only one is used (--tap cls)" in note for note in notes)
    assert any("the only one is used (--image-size 64, --limit 90)" in note for note in notes)


@pytest.mark.parametrize("option", [{"tap": "cls"}, {"limit": 80}, {"precision": "bf16"}, {"seed": 1}])
def test_several_extractions_of_which_none_is_the_default_are_a_conflict_that_lists_them(
    opened: Store, option: dict[str, Any]
) -> None:
    other = {"tap": "patch_mean"} if "tap" in option else {"image_size": 64}
    for which, options in enumerate((option, other)):
        for name, n, seed in (("train", 80, 0), ("test", 30, 1)):
            put_set(opened, *rows(n, seed), classes=CLASSES, split=name, encoder=str(which), **options)
    with pytest.raises(Conflict, match="Several extractions") as caught:
        cryoprobe.probe(opened, **BY_NAME, C=[1.0])
    said = str(caught.value)
    (name, value), (other_name, other_value) = (*option.items(), *other.items())
    assert f"--{name.replace('_', '-')} {value}" in said
    assert f"--{other_name.replace('_', '-')} {other_value}" in said
    assert all(n.set[:12] in said for n in opened.names() if "tap" in option or n.name.split == "train")
    given = {k: v for k, v in other.items() if k in ("tap", "image_size")}
    assert cryoprobe.probe(opened, **BY_NAME, **given, C=[1.0])["trial"]


def test_several_contents_of_one_name_are_not_chosen_between_silently(split: Store) -> None:
    old = split.find(split="train")[0]
    grown = put_set(split, *rows(180, 0), classes=CLASSES, split="train", named=LATER)
    with pytest.raises(Conflict, match=r"folder:/d \(train\) is the name of 2 contents") as caught:
        cryoprobe.probe(split, **BY_NAME, C=[1.0])
    test = split.find(split="test")[0].set
    for made in (old.set, grown.id):
        assert f"--train {made[:12]} --test {test[:12]}" in str(caught.value)


def test_a_test_set_of_the_train_sets_options_goes_before_a_newer_one(split: Store) -> None:
    x, y = rows(60, 1)
    put_set(split, x[:6], y[:6], classes=CLASSES, split="test", limit=6, limit_seed=0, named=LATER)
    put_set(split, *rows(30, 0), classes=CLASSES, split="train", limit=30, limit_seed=0, named=LATER + 1)
    assert cryoprobe.probe(split, **BY_NAME, C=[1.0])["rows"] == {"train": 150, "test": 60, "val": 0}
    split.backend.delete(next(n.key for n in split.find(split="train") if n.name.limit is None))
    result = cryoprobe.probe(split, **BY_NAME, C=[1.0])  # none of its limit: the one with the default options
    assert result["rows"] == {"train": 30, "test": 60, "val": 0}
    assert any("extracted with" in note for note in result["notes"])


def test_the_command_for_a_missing_split_has_the_options_of_the_splits_that_are_there(opened: Store) -> None:
    put_set(opened, *rows(90, 0), classes=CLASSES, split="train", untrained=True, seed=3, image_size=32)
    with pytest.raises(NotFound) as caught:
        cryoprobe.probe(opened, **BY_NAME, untrained=True)
    assert "--split test --image-size 32 --untrained --seed 3" in str(caught.value)
    with pytest.raises(NotFound) as caught:
        cryoprobe.probe(opened, **BY_NAME)
    assert "with trained weights. It has" in str(caught.value)
    assert "--untrained" not in str(caught.value).splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        {**BY_NAME, "test": "ff"},
        {**BY_NAME, "train_split": "0.5"},
        {"train": "SET", "train_split": "train"},
        {"train": "SET", "tap": "cls"},
        {"train": "SET", "test": "0.2", "test_split": "0.5"},
    ],
)
def test_options_that_would_be_ignored_are_refused(split: Store, arguments: dict[str, Any]) -> None:
    if arguments.get("train") == "SET":
        arguments = {**arguments, "train": split.find(split="train")[0].set}
    with pytest.raises(BadInput):
        cryoprobe.probe(split, **arguments, C=[1.0])


def test_a_train_set_by_id_may_be_held_out_from(split: Store) -> None:
    train = split.find(split="train")[0].set
    for options in ({"test": "0.4"}, {"test_split": "0.4"}):
        assert cryoprobe.probe(split, train=train, C=1.0, **options)["rows"]["test"] == 60
