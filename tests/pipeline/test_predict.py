"""Prediction: new images go through the encoder exactly as the training images did, and through no other encoder."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.pipeline.probes.knn.neighbours import KNNProbe
from cryoprobe.pipeline.probes.logistic import LogisticProbe
from cryoprobe.stores.feature_set import FeatureSet

Train = Callable[..., tuple[Path, FeatureSet, Any]]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute in one thread: with another number of them sums are rounded otherwise, and so are stored features."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_images(tmp_path / "data", {"a": 14, "b": 13, "c": 12})
    return tmp_path / "data"


@pytest.fixture
def train(encoder: Encoder, images: Path, store: Path, tmp_path: Path) -> Train:
    """Return a function that extracts the images, fits an estimator on the stored features and saves it."""

    def trained(
        estimator: Any = None,
        *,
        raw: bool = False,
        source: Encoder | str = encoder,
        data: str = f"folder:{images}",
        **options: Any,
    ) -> tuple[Path, FeatureSet, Any]:
        (made,) = cryoprobe.extract(source, data, store, batch_size=8, **options)
        features = cryoprobe.open_store(store).open(made.set)
        fitted = (estimator or LogisticProbe(C=100.0)).fit(*features.load(raw=raw))
        path = tmp_path / "probe.safetensors"
        cryoprobe.save_probe(
            path,
            fitted,
            encoder=features.manifest.encoder,
            classes=features.classes,
            multilabel=features.multilabel,
            features="raw" if raw else "unit",
            trial={"name": features.manifest.provenance.name, "metrics": {"top1": 0.5}},
        )
        return path, features, fitted

    return trained


def predicted(probe: Path, *paths: Path, **options: Any) -> list[cryoprobe.Predicted]:
    return list(cryoprobe.predict(probe, paths, batch_size=8, **options))


class Notes(cryoprobe.Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.done = 0

    def advance(self, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:
        self.done += encoded + failed

    def note(self, message: str) -> None:
        self.said.append(message)


class Rows(cryoprobe.SavedProbe):
    """Keeps the features that it is asked about."""

    seen: list[Any]

    def outputs(self, x: Any) -> Any:
        self.seen.append(x)
        return super().outputs(x)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("raw", [False, True])
def test_features_of_the_training_images_are_those_in_the_store(
    train: Train, images: Path, raw: bool, dtype: str
) -> None:
    path, features, _ = train(raw=raw, stored_dtype=dtype)
    loaded = cryoprobe.load_probe(path)
    probe = Rows(loaded.header, loaded.tensors)
    probe.seen = []
    list(cryoprobe.predict(probe, images, batch_size=8))
    np.testing.assert_array_equal(np.concatenate(probe.seen), features.load(raw=raw)[0])


@pytest.mark.parametrize("estimator", [LogisticProbe(C=100.0), RidgeClassifier(), KNNProbe(3)], ids=str)
def test_predictions_of_the_training_images_are_the_estimators(train: Train, images: Path, estimator: Any) -> None:
    path, features, fitted = train(estimator)
    found = predicted(path, images)
    x, y = features.load()
    assert [p.path for p in found] == sorted(images.rglob("*.png"))
    assert [p.labels for p in found] == [(features.classes[i],) for i in fitted.predict(x)]
    assert np.mean([p.labels[0] == features.classes[i] for p, i in zip(found, y, strict=True)]) > 0.9
    values = np.stack([p.values for p in found])
    if hasattr(fitted, "predict_proba"):
        np.testing.assert_allclose(values, fitted.predict_proba(x.astype(np.float64)), atol=1e-6)
        assert {p.measure for p in found} == {"probability"}
    else:
        assert {p.measure for p in found} == {"score"}


def test_several_labels_each_have_their_probability(train: Train, images: Path) -> None:
    files = sorted(images.rglob("*.png"))
    lines = [f"{f},{f.parent.name}{'|even' if i % 2 else ''}" for i, f in enumerate(files)]
    (images.parent / "t.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    from sklearn.linear_model import LogisticRegression

    path, features, fitted = train(
        OneVsRestClassifier(LogisticRegression(C=1e4)), data=f"csv:{images.parent / 't.csv'}"
    )
    found = predicted(path, *files)
    for flags, p in zip(fitted.predict(features.load()[0]), found, strict=True):
        assert p.labels == tuple(np.array(features.classes)[flags == 1])
        assert all(value > 0.5 for _, value in p.of_labels())


def test_the_batch_size_does_not_change_predictions(train: Train, images: Path) -> None:
    path, _, _ = train()
    one = list(cryoprobe.predict(path, images, batch_size=1, workers=3))
    many = list(cryoprobe.predict(path, images, batch_size=100))
    assert [p.labels for p in one] == [p.labels for p in many]
    np.testing.assert_allclose([p.values for p in one], [p.values for p in many], atol=1e-2)


def test_files_come_as_named_and_folders_sorted_without_hidden_ones(train: Train, images: Path) -> None:
    path, _, _ = train()
    (images / ".hidden").write_text("no image")
    (images / "a" / "Thumbs.db").write_text("no image")
    first, second = images / "c" / "0-001.png", images / "a" / "0-002.png"
    found = predicted(path, first, images / "b", second, first)
    assert [p.path for p in found] == [first, *sorted((images / "b").iterdir()), second, first]


def test_the_best_classes_come_first(train: Train, images: Path) -> None:
    path, _, _ = train()
    p = predicted(path, images / "b" / "0-000.png")[0]
    best = p.top(2)
    assert best[0][0] == p.labels[0]
    assert best[0][1] == p.values.max() > best[1][1]
    assert len(p.top(10)) == 3


# The encoder


def test_another_encoder_is_refused_by_its_id(train: Train, images: Path) -> None:
    path, _, _ = train()
    other = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32, seed=1)
    with pytest.raises(cryoprobe.Conflict, match="not the encoder that the probe was trained on") as refused:
        cryoprobe.predict(path, images, model=other)
    assert "They differ in weights (" in str(refused.value)
    assert refused.value.exit_code == 7
    assert refused.value.expected == cryoprobe.load_probe(path).header.encoder.id


def test_a_name_that_means_another_encoder_is_refused(train: Train, images: Path) -> None:
    path, _, _ = train()
    with pytest.raises(cryoprobe.Conflict, match=r"architecture \(test_vit → test_efficientnet\)"):
        cryoprobe.predict(path, images, model="timm:test_efficientnet")


def test_an_encoder_that_reads_another_tap_is_refused(train: Train, images: Path) -> None:
    path, _, _ = train()
    other = cryoprobe.load_encoder("timm:test_vit", taps=["cls"], untrained=True, image_size=32)
    with pytest.raises(cryoprobe.Conflict, match="tap pooled"):
        cryoprobe.predict(path, images, model=other)


def test_size_and_tap_are_found_again_from_the_file(train: Train, images: Path) -> None:
    path, _, _ = train(source="timm:test_vit", untrained=True, seed=3, image_size=48, taps=["patch_mean"])
    name = cryoprobe.load_probe(path).header.encoder.name
    assert name is not None
    assert (name.seed, name.image_size, name.tap) == (3, 48, "patch_mean")
    assert len(predicted(path, images)) == 39


def test_a_checkpoint_is_asked_for_again(train: Train, images: Path, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(5)
    weights = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), weights)
    path, _, _ = train(source="timm:test_vit", checkpoint=weights)
    with pytest.raises(cryoprobe.BadInput, match="--checkpoint FILE"):
        cryoprobe.predict(path, images)
    moved = weights.rename(tmp_path / "moved.safetensors")
    assert len(predicted(path, images, checkpoint=moved)) == 39
    torch.manual_seed(6)
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), moved)
    with pytest.raises(cryoprobe.Conflict, match="weights"):
        cryoprobe.predict(path, images, checkpoint=moved)


def test_the_key_of_the_first_checkpoint_file_is_a_hint(train: Train, images: Path, tmp_path: Path) -> None:
    import timm

    made = [timm.create_model("test_vit", num_classes=0).state_dict() for _ in range(2)]
    two, flat, other = (tmp_path / f"{name}.pt" for name in ("two", "flat", "other"))
    torch.save({"student": made[0], "teacher": made[1]}, two)
    torch.save(made[0], flat)
    torch.save(made[1], other)
    path, _, _ = train(source="timm:test_vit", checkpoint=two, checkpoint_key="student")
    expected = [p.labels for p in predicted(path, images, checkpoint=two)]
    assert [p.labels for p in predicted(path, images, checkpoint=flat)] == expected
    with pytest.raises(cryoprobe.Conflict, match="weights"):
        cryoprobe.predict(path, images, checkpoint=other)
    with pytest.raises(cryoprobe.BadInput, match="student"):
        cryoprobe.predict(path, images, checkpoint=flat, checkpoint_key="student")


def test_one_image_is_not_several(train: Train, images: Path, store: Path, encoder: Encoder) -> None:
    path, _, _ = train()
    notes = Notes()
    predicted(path, next(images.rglob("*.png")), store=store, reporter=notes, model=encoder)
    assert notes.said == ["1 of 1 image is in the store, and not encoded"]


# Bad images and paths


def test_bad_images_are_named_after_the_good_ones_were_predicted(train: Train, images: Path) -> None:
    path, _, _ = train()
    (images / "a" / "cut.png").write_bytes((images / "a" / "0-000.png").read_bytes()[:60])
    (images / "b" / "text.png").write_text("no image")
    found: list[cryoprobe.Predicted] = []
    with pytest.raises(cryoprobe.BadInput, match="2 images cannot be used; 1 is tolerated") as refused:
        found.extend(cryoprobe.predict(path, images, max_bad=1))
    assert "cut.png: " in str(refused.value)
    assert "text.png: is not an image" in str(refused.value)
    assert "--max-bad 2" in str(refused.value)


def test_where_no_image_can_be_used_tolerating_them_is_not_offered(train: Train, images: Path) -> None:
    path, _, _ = train()
    (images / "text").mkdir()
    for i in range(3):
        (images / "text" / f"{i}.png").write_text("no image")
    with pytest.raises(cryoprobe.BadInput, match="None of the 3 images can be used") as refused:
        list(cryoprobe.predict(path, images / "text"))
    assert "--max-bad" not in str(refused.value)


def test_files_that_are_no_images_by_their_ending_are_left_out_of_a_folder(train: Train, images: Path) -> None:
    path, _, _ = train()
    (images / "a" / "notes.txt").write_text("about these")
    notes = Notes()
    assert len(predicted(path, images / "a", reporter=notes)) == len(list((images / "a").glob("*.png")))
    assert "1 file (.txt 1), such as notes.txt" in notes.said[0]


def test_tolerated_images_are_left_out_and_named(train: Train, images: Path) -> None:
    path, _, _ = train()
    (images / "a" / "cut.png").write_bytes(b"")
    (images / "b" / "gone.png").symlink_to(images / "nowhere")
    notes = Notes()
    assert len(predicted(path, images, max_bad=2, reporter=notes)) == 39
    assert sorted(n.partition("data")[2] for n in notes.said) == [
        f"{os.sep}a{os.sep}cut.png: is empty (0 bytes)",
        f"{os.sep}b{os.sep}gone.png: cannot be read: No such file or directory",
    ]
    assert notes.done == 41


def test_images_above_a_limit_that_is_given_are_bad(train: Train, images: Path) -> None:
    path, *_ = train()
    first = sorted(images.rglob("*.png"))[0]
    assert len(predicted(path, first, max_pixels=33 * 33)) == 1  # as large as it is resized
    with pytest.raises(cryoprobe.BadInput, match=r"24 x 24 pixels, the limit is 575: .*--max-pixels"):
        predicted(path, first, max_pixels=24 * 24 - 1)


def test_an_image_whose_embedding_is_not_finite_is_bad(train: Train, images: Path, encoder: Encoder) -> None:
    class Odd:
        """Breaks on dark images."""

        def __getattr__(self, name: str) -> Any:
            return getattr(encoder, name)

        def encode(self, batch: torch.Tensor) -> Any:
            dark = batch.mean(dim=(1, 2, 3)) < -0.9
            return {t: torch.where(dark[:, None], torch.nan, v) for t, v in encoder.encode(batch).items()}

    path, _, _ = train()
    from PIL import Image

    Image.new("RGB", (24, 24)).save(images / "a" / "black.png")
    notes = Notes()
    found = list(cryoprobe.predict(path, images, model=Odd(), max_bad=1, reporter=notes))  # type: ignore[arg-type]
    assert len(found) == 39
    assert "black.png: the encoder's output is zero or not finite" in notes.said[0]


def test_paths_that_are_not_there_are_refused_before_anything_is_encoded(train: Train, images: Path) -> None:
    path, _, _ = train()
    with pytest.raises(cryoprobe.NotFound, match="nowhere"):
        cryoprobe.predict(path, [images, images / "nowhere"])
    (images / "empty").mkdir()
    with pytest.raises(cryoprobe.BadInput, match="has no images"):
        cryoprobe.predict(path, images / "empty")
    with pytest.raises(cryoprobe.BadInput, match="no images"):
        cryoprobe.predict(path, [])
    with pytest.raises(cryoprobe.BadInput, match="--batch-size"):
        cryoprobe.predict(path, images, batch_size=0)


# Running


def test_results_come_while_later_images_are_still_unread(train: Train, images: Path) -> None:
    path, _, _ = train()
    late = images / "z"
    shutil.copytree(images / "a", late)
    found = cryoprobe.predict(path, images, batch_size=2, workers=1)
    next(found)
    shutil.rmtree(late)  # had all been read ahead, this would do nothing
    with pytest.raises(cryoprobe.BadInput, match="14 images cannot be used"):
        list(found)


def test_whoever_stops_early_leaves_no_threads(train: Train, images: Path) -> None:
    path, _, _ = train()
    found = cryoprobe.predict(path, images, batch_size=2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name.startswith("cryoprobe-load"):
            thread.join(timeout=10)
            assert not thread.is_alive()


def test_the_header_survives_as_json(train: Train) -> None:
    path, features, _ = train()
    header = cryoprobe.load_probe(path).header
    again = type(header).model_validate(json.loads(header.model_dump_json()))
    assert again == header
    assert header.encoder.id == features.encoder_id


class TestRowsOfAStore:
    def test_images_that_are_there_are_not_encoded(
        self, train: Train, images: Path, store: Path, tmp_path: Path
    ) -> None:
        path, features, _ = train()
        write_images(tmp_path / "new", {"a": 5}, seed=9)
        shutil.copy(next(images.rglob("*.png")), tmp_path / "new" / "a" / "0-copy.png")  # another name, the same bytes
        notes = Notes()
        without = predicted(path, images, tmp_path / "new")
        found = predicted(path, images, tmp_path / "new", store=store, reporter=notes)
        assert notes.said == [f"{len(features) + 1} of {len(features) + 6} images are in the store, and not encoded"]
        assert notes.done == 5
        assert [p.path for p in found] == [p.path for p in without]
        assert [p.labels for p in found] == [p.labels for p in without]
        np.testing.assert_allclose([p.values for p in found], [p.values for p in without], atol=1e-3)

    def test_the_encoder_is_not_loaded_if_all_are_there(
        self, train: Train, images: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, features, fitted = train(raw=True)
        monkeypatch.setattr("cryoprobe.pipeline.encoder_of_probe.load_encoder", None)
        found = predicted(path, images, store=store)
        expected = fitted.predict(features.load(raw=True)[0])
        assert [p.labels for p in found] == [(features.classes[i],) for i in expected]

    def test_rows_of_another_encoder_do_not_count(
        self, train: Train, images: Path, store: Path, tmp_path: Path
    ) -> None:
        path, _, _ = train()
        other = cryoprobe.load_encoder("timm:test_vit", untrained=True, seed=1, image_size=32)
        cryoprobe.extract(other, f"folder:{images}", tmp_path / "other", progress=False)
        notes = Notes()
        assert len(predicted(path, images, store=tmp_path / "other", reporter=notes)) == notes.done == 39
        assert notes.said == ["0 of 39 images are in the store, and not encoded"]

    def test_an_image_that_is_none_fails_as_without_a_store(self, train: Train, images: Path, store: Path) -> None:
        path, _, _ = train()
        (images / "a" / "0-none.png").write_bytes(b"none")
        with pytest.raises(cryoprobe.BadInput, match="1 image cannot be used"):
            predicted(path, images, store=store)
        assert len(predicted(path, images, store=store, max_bad=1)) == 39

    def test_a_probe_on_added_embeddings_encodes_nothing(self, tmp_path: Path, images: Path) -> None:
        x = np.random.default_rng(0).normal(size=(20, 4))
        np.savez(tmp_path / "x.npz", embeddings=x, labels=[0, 1] * 10)
        cryoprobe.add(tmp_path / "x.npz", tmp_path / "s", model="mine", dataset="d", progress=False)
        saved = tmp_path / "added.safetensors"
        cryoprobe.probe(tmp_path / "s", model="mine", dataset="d", C=1.0, save=saved, progress=False)
        with pytest.raises(cryoprobe.BadInput, match="embeddings called mine, which were added"):
            cryoprobe.predict(saved, images)
