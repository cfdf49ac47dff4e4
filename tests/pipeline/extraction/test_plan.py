"""`plan_extraction` says what `extract` then does, and writes nothing to the store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.cli import run
from support.data import write_images

import cryoprobe
from cryoprobe import BadInput, ExtractionPlan, PlannedSet
from cryoprobe.pipeline.encoders import Encoder


class Notes(cryoprobe.Reporter):
    """Keeps what is worth knowing."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder of 8 images, two of which are the same."""
    first, *_ = write_images(tmp_path / "data" / "train", {"a": 4, "b": 4})
    shutil.copy(first, tmp_path / "data" / "train" / "b" / "same.png")
    return tmp_path / "data"


def plan(encoder: Encoder, data: Path, store: Path | cryoprobe.Store, **options: object) -> ExtractionPlan:
    return cryoprobe.plan_extraction(encoder, f"folder:{data}", store, progress=False, **options)  # type: ignore[arg-type]


def extract(encoder: Encoder, data: Path, store: Path | cryoprobe.Store, **options: object) -> None:
    cryoprobe.extract(encoder, f"folder:{data}", store, progress=False, **options)  # type: ignore[arg-type]


def contents(store: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in store.rglob("*") if file.is_file()}


def only(found: ExtractionPlan) -> PlannedSet:
    (planned,) = found.sets
    return planned


def test_of_a_store_that_is_not_there_everything_is_to_be_encoded_and_it_is_not_made(
    encoder: Encoder, data: Path, store: Path
) -> None:
    found = only(plan(encoder, data, store))
    assert (found.samples, found.encode, found.duplicates, found.there, found.read) == (9, 8, 1, 0, 9)
    assert (found.sealed, found.unreadable, found.seconds) == (False, 0, None)
    assert not store.exists()
    extract(encoder, data, store)
    opened = cryoprobe.open_store(store)
    (named,) = opened.names()
    assert named.set == found.set
    held = opened.open(named.set)
    assert found.bytes == held.rows * (held.dim * 2 + 4 + 32 + 8)


def test_nothing_is_written_to_a_store_that_is_there_and_what_it_has_is_counted(
    encoder: Encoder, data: Path, store: Path
) -> None:
    extract(encoder, data, store)
    write_images(data / "train", {"c": 3}, seed=9)
    before = contents(store)
    found = only(plan(encoder, data, store))
    assert (found.samples, found.there, found.encode, found.duplicates) == (12, 8, 3, 1)
    assert contents(store) == before
    extract(encoder, data, store)
    done = only(plan(encoder, data, store))
    assert (done.encode, done.sealed, done.seconds, done.set) == (0, True, 0.0, found.set)


def test_rows_of_a_store_that_is_read_too_are_told_apart(
    encoder: Encoder, data: Path, store: Path, tmp_path: Path
) -> None:
    extract(encoder, data, store)
    layered = cryoprobe.open_store(tmp_path / "own", sources=[store], trust=True)
    found = only(plan(encoder, data, layered))
    assert (found.there, found.elsewhere, found.encode) == (0, 8, 0)
    assert not (tmp_path / "own" / "cryoprobe.json").exists()


def test_a_file_that_cannot_be_read_is_counted_and_the_id_is_not_known(
    encoder: Encoder, data: Path, store: Path
) -> None:
    (data / "train" / "a" / "gone.png").symlink_to(data / "nowhere")
    found = only(plan(encoder, data, store))
    assert (found.samples, found.unreadable, found.set) == (10, 1, None)


def test_a_set_without_images_that_cannot_be_decoded_is_there(encoder: Encoder, data: Path, store: Path) -> None:
    (data / "train" / "a" / "broken.png").write_bytes(b"no image")
    new = only(plan(encoder, data, store))
    assert (new.encode, new.failed, new.sealed) == (9, 0, False)
    extract(encoder, data, store, max_bad=1)
    opened = cryoprobe.open_store(store)
    (named,) = opened.names()
    heard = Notes()
    (found,) = cryoprobe.plan_extraction(encoder, f"folder:{data}", store, reporter=heard).sets
    assert (found.set, found.sealed, found.failed) == (named.set, True, 1)
    assert (found.samples, found.there, found.encode, found.images, found.duplicates) == (10, 8, 0, 0, 1)
    assert found.bytes == opened.open(named.set).rows * (named.dim * 2 + 4 + 32 + 8)
    (note,) = [note for note in heard.notes if "could not be used" in note]
    assert f"set {named.set[:12]} is there without 1 sample" in note
    assert "broken.png" in note
    assert "--max-bad 1" in note

    write_images(data / "train", {"c": 2}, seed=9)  # of other data the set is not there
    grown = only(plan(encoder, data, store))
    assert (grown.sealed, grown.failed, grown.encode) == (False, 0, 3)


def test_time_is_told_by_what_an_earlier_set_took_on_such_a_device(encoder: Encoder, data: Path, store: Path) -> None:
    write_images(data / "train", {"many": 120}, seed=3)
    extract(encoder, data, store)
    write_images(data / "train", {"more": 7}, seed=4)
    found = only(plan(encoder, data, store))
    assert found.encode == 7
    assert found.images_per_second is not None
    assert found.seconds == pytest.approx(7 / found.images_per_second, abs=0.06)


def test_the_command_prints_it_and_has_it_as_json(data: Path, store: Path) -> None:
    words = ("extract", "-m", "timm:test_vit", "--untrained", "--image-size", "32", "-d", f"folder:{data}", "-s", store)
    told = run(*words, "--dry-run")
    assert "Nothing was written to the store." in told.stderr
    assert "not known" in told.stderr
    document = json.loads(run(*words, "--dry-run", "--json").stdout)
    assert (document["encode"], document["sets"][0]["split"]) == (8, "train")
    assert not store.exists()


def test_what_extract_refuses_is_refused(encoder: Encoder, data: Path, store: Path) -> None:
    with pytest.raises(BadInput, match="--limit must be 1 or more"):
        plan(encoder, data, store, limit=0)
    heard = Notes()
    cryoprobe.plan_extraction(encoder, f"folder:{data}", store, reporter=heard)
    cryoprobe.plan_extraction(encoder, f"folder:{data}", store, reporter=heard)
    assert any("files were read, which the sample index did not know" in note for note in heard.notes)


def test_what_two_splits_share_is_counted_once_and_what_two_taps_lack_is_added_up(tmp_path: Path) -> None:
    def both(**options: object) -> list[cryoprobe.ExtractedSet]:
        return cryoprobe.extract("timm:test_vit", **options, untrained=True, image_size=32, progress=False)  # type: ignore[arg-type]

    for split in ("train", "test"):
        write_images(tmp_path / "data" / split, {"a": 5, "b": 5}, seed=1)
    asked = {"dataset": f"folder:{tmp_path / 'data'}", "store": tmp_path / "s"}
    found = cryoprobe.plan_extraction("timm:test_vit", **asked, untrained=True, image_size=32, progress=False)  # type: ignore[arg-type]
    assert found.encode == sum(e.encoded for e in both(**asked))
    assert [p.images for p in found.sets] == [found.encode, 0]

    for name, seed in (("one", 2), ("two", 3)):
        write_images(tmp_path / name, {"a": 4, "b": 4}, seed=seed)
        write_images(tmp_path / "all", {f"{name}-a": 4, f"{name}-b": 4}, seed=seed)
        both(dataset=f"folder:{tmp_path / name}", store=tmp_path / "t", taps=["cls" if name == "one" else "patch_mean"])
    asked = {"dataset": f"folder:{tmp_path / 'all'}", "store": tmp_path / "t", "taps": ["cls", "patch_mean"]}
    found = cryoprobe.plan_extraction("timm:test_vit", **asked, untrained=True, image_size=32, progress=False)  # type: ignore[arg-type]
    done = both(**asked)
    assert found.encode == done[0].encoded > max(p.encode for p in found.sets)
