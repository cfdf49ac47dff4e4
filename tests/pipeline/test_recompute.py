"""Stored rows encoded again with today's libraries: what agrees, what differs, and what cannot be told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from support.cli import run
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline import recompute
from cryoprobe.pipeline.datasets.pixel_limit import at_most

OPTIONS = {"untrained": True, "image_size": 32}


@pytest.fixture
def data(tmp_path: Path) -> str:
    write_images(tmp_path / "data", {"a": 30, "b": 30})
    return f"folder:{tmp_path / 'data'}"


@pytest.fixture
def extracted(store: Path, data: str) -> cryoprobe.ExtractedSet:
    (only,) = cryoprobe.extract("timm:test_vit", data, store, **OPTIONS)  # type: ignore[arg-type]
    return only


def only(store: Path, **options: object) -> cryoprobe.Recomputed:
    (found,) = cryoprobe.recompute(store, **options)  # type: ignore[arg-type]
    return found


def test_rows_that_were_encoded_here_agree(store: Path, extracted: cryoprobe.ExtractedSet) -> None:
    found = only(store, share=0.1)
    assert (found.set, found.rows) == (extracted.set, 60)
    assert found.comparison is not None
    assert (found.comparison.rows, found.comparison.differing) == (6, 0)
    assert found.comparison.largest < 1e-3
    assert not found.remark
    assert not found.differs


def test_so_they_do_where_images_were_added_and_removed(
    store: Path, data: str, extracted: cryoprobe.ExtractedSet, tmp_path: Path
) -> None:
    (extra,) = write_images(tmp_path / "data", {"a": 1}, seed=9)
    extra.rename(extra.with_name("!first.png"))
    for file in sorted((tmp_path / "data" / "b").iterdir())[:10]:
        file.unlink()
    found = only(store, share=1.0)
    assert found.comparison is not None
    assert (found.comparison.rows, found.comparison.differing) == (50, 0)
    shutil.rmtree(tmp_path / "data" / "a")
    shutil.rmtree(tmp_path / "data" / "b")
    write_images(tmp_path / "data", {"c": 3, "d": 3}, seed=5)
    found = only(store)
    assert found.comparison is None
    assert "none of the 1 image to be encoded is among the files" in found.remark


def test_a_library_that_has_drifted_is_told(
    store: Path, extracted: cryoprobe.ExtractedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drifted(*arguments: Any, **options: Any) -> Any:
        encoder = cryoprobe.load_encoder(*arguments, **options)
        original = encoder.encode
        encoder.encode = lambda batch: {tap: x + 0.1 for tap, x in original(batch).items()}  # type: ignore[method-assign]
        return encoder

    monkeypatch.setattr(recompute, "load_encoder", drifted)
    found = only(store, share=0.1)
    assert found.differs
    assert found.comparison is not None
    assert found.comparison.differing == 6
    assert found.remark.startswith("6 of 6 stored rows that were encoded again differ")
    assert "differ" in run("verify", "--store", store, "--recompute", "5%", code=7).stderr


def test_weights_of_a_file_are_asked_for(store: Path, data: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.pt")
    cryoprobe.extract("timm:test_vit", data, store, checkpoint=tmp_path / "w.pt", image_size=32)
    assert "--checkpoint FILE" in only(store).remark
    found = only(store, checkpoint=tmp_path / "w.pt")
    assert found.comparison is not None
    assert found.comparison.differing == 0
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.pt")
    assert "is another encoder now: weights" in only(store, checkpoint=tmp_path / "w.pt").remark


def test_of_several_names_the_one_counts_whose_file_is_given(store: Path, data: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    weights, other = timm.create_model("test_vit").state_dict(), timm.create_model("test_vit").state_dict()
    torch.save(weights, tmp_path / "plain.pt")
    torch.save({"student": other, "teacher": weights}, tmp_path / "two.pt")
    (first,) = cryoprobe.extract("timm:test_vit", data, store, checkpoint=tmp_path / "plain.pt", image_size=32)
    options = {"checkpoint": tmp_path / "two.pt", "checkpoint_key": "teacher", "image_size": 32}
    (again,) = cryoprobe.extract("timm:test_vit", data, store, **options)  # type: ignore[arg-type]
    assert first.set == again.set
    for file in ("plain.pt", "two.pt"):
        found = only(store, checkpoint=tmp_path / file)
        assert found.comparison is not None
        assert found.comparison.differing == 0


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_is_a_part(store: Path, extracted: cryoprobe.ExtractedSet, share: float) -> None:
    with pytest.raises(cryoprobe.BadInput, match="share"):
        cryoprobe.recompute(store, share=share)


def test_on_the_command_line(store: Path, extracted: cryoprobe.ExtractedSet) -> None:
    done = run("verify", "--store", store, "--recompute", "5%")
    assert "3 rows" in done.stdout
    told = json.loads(run("verify", extracted.set[:8], "--store", store, "--recompute", "5%", "--json").stdout)
    assert told["recomputed"][0]["comparison"]["differing"] == 0


def test_what_a_strangers_set_names_is_loaded_only_if_it_is_asked_for(
    store: Path, extracted: cryoprobe.ExtractedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loads(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a model or data that a stranger names was loaded")

    mine = tmp_path / "mine"
    cryoprobe.pull(mine, store, progress=False)
    with monkeypatch.context() as nothing:
        nothing.setattr(recompute, "load_encoder", loads)
        nothing.setattr(recompute, "load_dataset", loads)
        found = only(mine)
    assert (found.set, found.comparison) == (extracted.set, None)
    assert str(store) in found.remark
    assert "not trusted" in found.remark
    assert only(mine, sets=[extracted.set]).comparison is not None
    cryoprobe.pull(mine, store, trust=True, progress=False)
    assert only(mine).comparison is not None


def test_what_is_above_the_limit_of_pixels_is_said(store: Path, extracted: cryoprobe.ExtractedSet) -> None:
    with at_most(100):
        found = only(store, share=0.1)
    assert found.comparison is None
    assert found.remark.startswith("6 images of more pixels")


def test_a_name_whose_files_are_here_is_taken(store: Path, data: str, tmp_path: Path) -> None:
    (first,) = cryoprobe.extract("timm:test_vit", data, store, as_name="pets", **OPTIONS)  # type: ignore[arg-type]
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    (again,) = cryoprobe.extract("timm:test_vit", f"folder:{tmp_path / 'copy'}", store, **OPTIONS)  # type: ignore[arg-type]
    assert first.set == again.set
    shutil.rmtree(tmp_path / "data")
    found = only(store)
    assert found.comparison is not None
    assert found.comparison.differing == 0
