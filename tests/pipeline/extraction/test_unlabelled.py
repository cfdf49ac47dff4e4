"""Images without labels: all of a folder, at any depth, as a set that every reader takes and no probe does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file
from support.cli import run
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline.encoders import Encoder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with images at its top and deeper, and a file that is not an image."""
    write_images(tmp_path / "photos", {".": 2, "2024/may": 3, "train/cat": 1})
    (tmp_path / "photos" / "notes.txt").write_text("hello")
    return tmp_path / "photos"


def test_all_images_are_taken_without_classes(encoder: Encoder, store: Path, photos: Path) -> None:
    (done,) = cryoprobe.extract(encoder, f"folder:{photos}", store, unlabelled=True)
    found = cryoprobe.open_store(store).open(done.set)
    assert (done.split, done.rows, done.encoded) == ("unlabelled", 6, 6)
    assert found.unlabelled
    assert found.classes == ()
    x, y = found.load()
    assert x.shape == (6, 64)
    assert y.dtype == np.int64
    assert (y == -1).all()
    (again,) = cryoprobe.extract(encoder, f"folder:{photos}", store, unlabelled=True)
    assert (again.set, again.encoded) == (done.set, 0)
    (some,) = cryoprobe.extract(encoder, f"folder:{photos}", store, unlabelled=True, limit=4)
    assert (some.rows, some.encoded) == (4, 0)


def test_rows_are_shared_with_labelled_sets_of_the_same_images(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "photos", {"cat": 3, "dog": 3})
    cryoprobe.extract(encoder, f"folder:{tmp_path / 'photos'}", store, unlabelled=True)
    (labelled,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'photos'}", store)
    assert (labelled.split, labelled.encoded, labelled.reused) == ("all", 0, 6)


def test_exports_have_no_class(encoder: Encoder, store: Path, photos: Path, tmp_path: Path) -> None:
    (done,) = cryoprobe.extract(encoder, f"folder:{photos}", store, unlabelled=True)
    opened = cryoprobe.open_store(store)
    for ending in ("npz", "safetensors", "parquet", "zip"):
        cryoprobe.export_set(opened, done.set, tmp_path / f"x.{ending}")
    assert (np.load(tmp_path / "x.npz")["labels"] == -1).all()
    assert len(np.load(tmp_path / "x.npz")["classes"]) == 0
    assert (load_file(tmp_path / "x.safetensors")["labels"] == -1).all()
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert table["class"].null_count == table.num_rows == 6
    other = cryoprobe.open_store(tmp_path / "other", create=True)
    cryoprobe.import_set(other, tmp_path / "x.zip")
    assert other.open(done.set).unlabelled


def test_the_command_line_takes_and_refuses_them(store: Path, photos: Path) -> None:
    words = ["--model", "timm:test_vit", "--untrained", "--image-size", "32", "--store", store]
    words += ["--dataset", f"folder:{photos}"]
    done = run("extract", *words, "--unlabelled", "--json")
    assert "is read as 6 images without labels" in done.stderr
    assert "notes.txt" in done.stderr
    assert json.loads(done.stdout)["sets"][0]["split"] == "unlabelled"
    assert "unlabelled" in run("ls", "--store", store).stdout
    assert "has no labels" in run("probe", *words, code=2).stderr
    assert (
        "--unlabelled is for folder:PATH"
        in run("extract", *words[:-2], "--dataset", "sklearn:digits", "--unlabelled", code=2).stderr
    )
    assert "--layout has no effect" in run("extract", *words, "--unlabelled", "--layout", "class", code=2).stderr


def test_a_folder_without_images_is_refused(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(cryoprobe.BadInput, match="has no images"):
        cryoprobe.extract(encoder, f"folder:{tmp_path / 'empty'}", store, unlabelled=True)
