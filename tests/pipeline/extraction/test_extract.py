"""Extraction: what is encoded, what is reused, what becomes of bad images, and what the store holds afterwards."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import zarr
from PIL import Image
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline.datasets.splits import FileSplit
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.pipeline.extraction import sample_ids
from cryoprobe.stores.local import sample_index


class Notes(cryoprobe.Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.counts = {"encoded": 0, "reused": 0, "failed": 0}

    def advance(self, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:
        for name, value in (("encoded", encoded), ("reused", reused), ("failed", failed)):
            self.counts[name] += value

    def note(self, message: str) -> None:
        self.said.append(message)


def extract(encoder: Encoder | str, data: str, store: Path, **options: object) -> cryoprobe.ExtractedSet:
    (only,) = cryoprobe.extract(encoder, data, store, unit_rows=16, batch_size=8, **options)  # type: ignore[arg-type]
    return only


def write_table(file: Path, rows: list[tuple[str, str]]) -> None:
    with file.open("w", newline="") as f:
        csv.writer(f).writerows([("path", "label"), *rows])


def test_rows_are_the_encoders_output_normalised_in_the_order_of_the_data(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    files = write_images(tmp_path / "data", {"a": 20, "b": 25})
    done = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert (done.rows, done.dim, done.encoded, done.reused, done.failed, done.sealed) == (45, 64, 45, 0, 0, True)

    found = cryoprobe.open_store(store).open(done.set)
    x, y = found.load()
    raw, _ = found.load(raw=True)
    with torch.inference_mode():
        images = [encoder.preprocess(Image.open(f)) for f in files]
        expected = encoder.encode(torch.stack(images))[encoder.taps[0]].numpy()
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(x, unit, atol=1e-3)  # float16 in the store
    np.testing.assert_allclose(raw, expected, rtol=5e-3, atol=5e-3)
    assert y.tolist() == [0] * 20 + [1] * 25
    assert [s.tobytes() for s in found.sample_ids()] == [hashlib.sha256(f.read_bytes()).digest() for f in files]
    assert found.classes == ("a", "b")


def test_the_set_opens_with_plain_zarr(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 25})
    done = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    found = cryoprobe.open_store(store).open(done.set)
    group = zarr.open_group(found.path, mode="r")
    x, y = found.load(dtype="float16")
    np.testing.assert_array_equal(group["embeddings"][:], x)
    np.testing.assert_array_equal(group["labels"][:], y)
    np.testing.assert_array_equal(group["norms"][:], found.norms())
    np.testing.assert_array_equal(group["samples"][:], found.sample_ids())
    assert group.attrs["classes"] == ["a", "b"]
    assert group.attrs["encoder"]["tap"] == "pooled"


def test_a_second_extraction_encodes_nothing_and_gives_the_same_set(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 25})
    first = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    again = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert (again.set, again.encoded, again.reused) == (first.set, 0, 45)


def test_a_set_that_is_sealed_but_of_which_nothing_is_left_is_encoded_again(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 25})
    first = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    before = cryoprobe.open_store(store).open(first.set).load()[0]
    shutil.rmtree(store / "sets")
    shutil.rmtree(store / "units")
    again = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert (again.set, again.encoded) == (first.set, 45)
    np.testing.assert_array_equal(cryoprobe.open_store(store).open(again.set).load()[0], before)
    assert not cryoprobe.verify(store, data=True).damages


@pytest.mark.slow
def test_a_renamed_folder_encodes_nothing(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 25})
    first = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    (tmp_path / "data").rename(tmp_path / "moved")
    again = extract(encoder, f"folder:{tmp_path / 'moved'}", store)
    assert (again.set, again.encoded) == (first.set, 0)


def test_a_corrected_label_encodes_nothing_and_gives_a_new_set(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    files = write_images(tmp_path, {"a": 20, "b": 20})
    rows = [(str(f.relative_to(tmp_path)), f.parent.name) for f in files]
    write_table(tmp_path / "t.csv", rows)
    first = extract(encoder, f"csv:{tmp_path / 't.csv'}", store)
    write_table(tmp_path / "t.csv", [(rows[0][0], "b"), *rows[1:]])
    notes = Notes()
    again = extract(encoder, f"csv:{tmp_path / 't.csv'}", store, reporter=notes)
    assert again.set != first.set
    assert (again.encoded, again.reused) == (0, 40)
    assert any("1 label changed" in n for n in notes.said)
    opened = cryoprobe.open_store(store)
    np.testing.assert_array_equal(opened.open(first.set).load()[0], opened.open(again.set).load()[0])


def test_of_a_grown_data_set_only_the_new_images_are_encoded(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 30, "b": 30})
    first = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    write_images(tmp_path / "data", {"a": 5, "b": 5}, seed=1)
    notes = Notes()
    again = extract(encoder, f"folder:{tmp_path / 'data'}", store, reporter=notes)
    assert (again.rows, again.encoded, again.reused) == (70, 10, 60)
    assert any("10 samples added" in n for n in notes.said)
    fresh = extract(encoder, f"folder:{tmp_path / 'data'}", tmp_path / "fresh")
    x, _ = cryoprobe.open_store(store).open(again.set).load()
    expected, _ = cryoprobe.open_store(tmp_path / "fresh").open(fresh.set).load()
    np.testing.assert_allclose(x, expected, atol=2e-3)
    assert first.set != again.set == fresh.set


def test_an_image_that_occurs_often_is_encoded_once(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    files = write_images(tmp_path / "data", {"a": 10, "b": 10})
    for i in range(30):  # across blocks of 16
        shutil.copy(files[3], tmp_path / "data" / "b" / f"copy-{i}.png")
    done = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert (done.rows, done.encoded, done.reused) == (50, 20, 30)


def test_two_splits_share_rows_and_class_order(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    files = write_images(tmp_path / "data" / "train", {"a": 10, "b": 10})
    (tmp_path / "data" / "test" / "b").mkdir(parents=True)
    shutil.copy(files[-1], tmp_path / "data" / "test" / "b" / "x.png")
    train, test = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert (train.split, test.split) == ("train", "test")
    assert (train.encoded, test.encoded, test.reused) == (20, 0, 1)
    assert cryoprobe.open_store(store).open(test.set).labels().tolist() == [1]
    summary = cryoprobe.summary([train, test])
    assert summary["rows"] == 21
    assert summary["encoded"] == 20
    assert len(summary["sets"]) == 2


def test_several_taps_are_filled_in_one_pass(store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 20})
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32, taps=["cls", "patch_mean"])
    images = []
    original = encoder.encode
    encoder.encode = lambda batch: images.append(len(batch)) or original(batch)  # type: ignore[method-assign]
    sets = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store, batch_size=8, unit_rows=16)
    assert [s.tap for s in sets] == ["cls", "patch_mean"]
    assert sum(images) == 40
    one, other = (cryoprobe.open_store(store).open(s.set) for s in sets)
    assert one.encoder_id != other.encoder_id
    assert not np.allclose(one.load()[0], other.load()[0])


def test_a_tap_that_is_there_already_is_kept(store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 20})
    only = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32, taps=["cls"])
    both = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32, taps=["cls", "patch_mean"])
    (first,) = cryoprobe.extract(only, f"folder:{tmp_path / 'data'}", store)
    cls, patch = cryoprobe.extract(both, f"folder:{tmp_path / 'data'}", store)
    assert cls.set == first.set != patch.set


def test_bad_images_fail_the_run_and_are_all_named(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    files = write_images(tmp_path / "data", {"a": 20, "b": 20})
    (tmp_path / "data" / "a" / "empty.png").touch()
    (tmp_path / "data" / "b" / "text.jpg").write_text("not an image")
    (tmp_path / "data" / "b" / "short.png").write_bytes(files[0].read_bytes()[:200])
    with pytest.raises(cryoprobe.BadInput) as caught:
        extract(encoder, f"folder:{tmp_path / 'data'}", store)
    for name in ("a/empty.png", "b/text.jpg", "b/short.png", "--max-bad 3"):
        assert name in str(caught.value)
    assert not cryoprobe.open_store(store).set_ids()

    notes = Notes()
    done = extract(encoder, f"folder:{tmp_path / 'data'}", store, max_bad=3, reporter=notes)
    assert (done.rows, done.encoded, done.reused, done.failed) == (40, 0, 40, 3)
    assert notes.counts == {"encoded": 0, "reused": 40, "failed": 3}
    found = cryoprobe.open_store(store).open(done.set)
    assert sorted(f.name for f in found.failed) == ["a/empty.png", "b/short.png", "b/text.jpg"]
    assert found.labels().tolist() == [0] * 20 + [1] * 20
    assert np.isfinite(found.load()[0]).all()


def test_a_mended_image_gives_a_new_set_and_costs_one_image(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    files = write_images(tmp_path / "data", {"a": 20, "b": 20})
    (tmp_path / "data" / "a" / "x.png").write_bytes(files[0].read_bytes()[:200])
    first = extract(encoder, f"folder:{tmp_path / 'data'}", store, max_bad=1)
    write_images(tmp_path / "new", {"a": 1}, seed=7)[0].rename(tmp_path / "data" / "a" / "x.png")
    again = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert (again.encoded, again.rows, again.failed) == (1, 41, 0)
    assert again.set != first.set


def test_two_samples_with_the_same_broken_bytes_both_fail(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 20})
    (tmp_path / "data" / "a" / "0.png").touch()
    (tmp_path / "data" / "b" / "zz.png").touch()
    done = extract(encoder, f"folder:{tmp_path / 'data'}", store, max_bad=2)
    assert (done.rows, done.failed) == (40, 2)


def test_a_missing_file_is_a_failed_sample(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    files = write_images(tmp_path, {"a": 5, "b": 5})
    rows = [(str(f.relative_to(tmp_path)), f.parent.name) for f in files]
    write_table(tmp_path / "t.csv", [("nowhere.png", "a"), *rows])
    with pytest.raises(cryoprobe.BadInput, match=r"nowhere\.png"):
        extract(encoder, f"csv:{tmp_path / 't.csv'}", store)
    done = extract(encoder, f"csv:{tmp_path / 't.csv'}", store, max_bad=1)
    assert (done.rows, done.failed) == (10, 1)


def test_real_world_image_modes_go_through(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    for mode in ("RGBA", "P", "L", "LA", "1"):
        rgb.convert("L" if mode == "LA" else "RGB").convert(mode).save(folder / f"{mode}.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(2000, dtype=np.uint16).reshape(40, 50)).save(folder / "16.png")
    rgb.save(folder / "animated.gif", save_all=True, append_images=[rgb.convert("L").convert("RGB")])
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(folder / "rotated.jpg", exif=exif)
    done = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert (done.rows, done.failed) == (9, 0)


def test_a_changed_checkpoint_never_meets_the_old_features(store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 20})
    data = f"folder:{tmp_path / 'data'}"
    weights = timm.create_model("test_vit").state_dict()
    checkpoint = tmp_path / "weights.pt"
    torch.save(weights, checkpoint)
    options = {"checkpoint": checkpoint, "image_size": 32}
    first = extract("timm:test_vit", data, store, **options)
    x, _ = cryoprobe.open_store(store).open(first.set).load()

    shutil.copy(checkpoint, tmp_path / "same.pt")
    same = extract("timm:test_vit", data, store, checkpoint=tmp_path / "same.pt", image_size=32)
    assert (same.set, same.encoded) == (first.set, 0)

    key = next(k for k, v in weights.items() if v.is_floating_point())
    weights[key].view(-1)[0] += 1.0
    torch.save(weights, checkpoint)
    notes = Notes()
    second = extract("timm:test_vit", data, store, reporter=notes, **options)
    assert second.set != first.set
    assert second.encoded == 40
    assert any("weights" in n for n in notes.said)
    opened = cryoprobe.open_store(store)
    np.testing.assert_array_equal(opened.open(first.set).load()[0], x)
    assert not np.array_equal(opened.open(second.set).load()[0], x)


def test_other_preprocessing_tap_or_dtype_is_another_set(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 5, "b": 5})
    data = f"folder:{tmp_path / 'data'}"
    sets = {
        extract(encoder, data, store).set,
        extract(encoder, data, store, stored_dtype="float32").set,
        extract(cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=48), data, store).set,
        extract(cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32, seed=1), data, store).set,
    }
    assert len(sets) == 4


def test_how_it_was_run_is_not_part_of_the_identity(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 15, "b": 15})
    data = f"folder:{tmp_path / 'data'}"
    ids = set()
    for i, options in enumerate(({"batch_size": 3}, {"workers": 4}, {"unit_rows": 7}, {"rehash": True})):
        (done,) = cryoprobe.extract(encoder, data, tmp_path / f"s{i}", **options)  # type: ignore[arg-type]
        ids.add(done.set)
    assert len(ids) == 1


def test_a_limited_set_is_balanced_and_named_apart(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 40, "b": 10})
    data = f"folder:{tmp_path / 'data'}"
    part = extract(encoder, data, store, limit=16)
    assert np.bincount(cryoprobe.open_store(store).open(part.set).labels()).tolist() == [8, 8]
    whole = extract(encoder, data, store)
    assert (whole.encoded, whole.reused) == (34, 16)
    assert extract(encoder, data, store, limit=16, limit_seed=1).set != part.set


def test_a_file_changed_behind_the_indexs_back_is_never_encoded_under_the_old_id(
    encoder: Encoder, store: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_ids, "SPOT_CHECKS", 0)
    files = write_images(tmp_path / "data", {"a": 10, "b": 10})
    for f in files:
        os.utime(f, (1_000_000_000, 1_000_000_000))
    # Filled as it would be later: ctime cannot be set back, so the two seconds must not stand in the way here.
    index = sample_index.SampleIndex()
    entries = [(f, sample_index.stamp(f), hashlib.sha256(b"other").digest()) for f in files[:1]]
    index.record(entries, sample_index.now_ns() + 10_000_000_000)
    index.close()
    with pytest.raises(cryoprobe.Conflict, match="changed while"):
        extract(encoder, f"folder:{tmp_path / 'data'}", store)
    done = extract(encoder, f"folder:{tmp_path / 'data'}", store, rehash=True)
    assert done.rows == 20


def test_a_file_of_other_content_under_old_dates_has_all_files_read_again(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    files = write_images(tmp_path / "data", {"a": 10, "b": 10})
    expected = extract(encoder, f"folder:{tmp_path / 'data'}", tmp_path / "fresh", rehash=True)
    index = sample_index.SampleIndex()
    entries = [(f, sample_index.stamp(f), hashlib.sha256(b"other").digest()) for f in files]
    index.record(entries, sample_index.now_ns() + 10_000_000_000)
    index.close()
    notes = Notes()
    done = extract(encoder, f"folder:{tmp_path / 'data'}", store, reporter=notes)
    assert done.set == expected.set
    assert any("has other content" in n and "all files are read again" in n for n in notes.said)
    notes = Notes()
    extract(encoder, f"folder:{tmp_path / 'data'}", store, reporter=notes)
    assert not any("has other content" in n for n in notes.said)


def test_a_file_is_read_once(encoder: Encoder, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 20})
    read: list[int] = []
    original = FileSplit.read
    monkeypatch.setattr(FileSplit, "read", lambda self, row: read.append(row) or original(self, row))
    extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert sorted(read) == list(range(40))


def test_a_few_reused_rows_are_encoded_again_and_one_that_differs_is_told(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", {"a": 60, "b": 60})
    first = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert first.checked == 0
    notes = Notes()
    again = extract(encoder, f"folder:{tmp_path / 'data'}", store, reporter=notes)
    assert (again.encoded, again.checked, again.remarks) == (0, 3, ())

    original = encoder.encode
    encoder.encode = lambda batch: {tap: x + 0.1 for tap, x in original(batch).items()}  # type: ignore[method-assign]
    write_images(tmp_path / "data", {"a": 1}, seed=5)
    grown = extract(encoder, f"folder:{tmp_path / 'data'}", store, reporter=notes)
    assert (grown.encoded, grown.checked) == (1, 3)
    (remark,) = grown.remarks
    assert remark.startswith("3 of 3 stored rows that were encoded again differ")
    assert "with the versions that are here" in remark
    assert remark in notes.said
    recorded = cryoprobe.open_store(store).open(grown.set).manifest.provenance
    assert recorded.checked["differing"] == 3
    (source,) = recorded.reused
    assert (source["set"], source["rows"]) == (first.set, 120)
    assert source["versions"]["torch"]


def test_rows_of_a_run_that_was_stopped_tell_with_which_versions_they_were_made(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 20})
    calls: list[int] = []
    original = encoder.encode

    def stop(batch: torch.Tensor) -> object:
        calls.append(len(batch))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(batch)

    encoder.encode = stop  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        extract(encoder, f"folder:{tmp_path / 'data'}", store)
    encoder.encode = original  # type: ignore[method-assign]
    done = extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert done.encoded == 40 - 3 * 8
    (source,) = cryoprobe.open_store(store).open(done.set).manifest.provenance.reused
    assert source["rows"] == 24
    assert source["device"] == "cpu"
    assert "set" not in source


def test_two_threads_on_one_job_share_the_units(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 60, "b": 60})
    cryoprobe.open_store(store, create=True)
    done: list[cryoprobe.ExtractedSet] = []
    threads = [
        threading.Thread(target=lambda: done.append(extract(encoder, f"folder:{tmp_path / 'data'}", store)))
        for _ in range(2)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({d.set for d in done}) == 1
    assert sum(d.encoded for d in done) <= 120 + 2 * 16
    assert not cryoprobe.verify(store, data=True).damages


def test_a_result_is_one_json_object(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 5, "b": 5})
    summary = cryoprobe.summary([extract(encoder, f"folder:{tmp_path / 'data'}", store)])
    keys = {"set", "rows", "dim", "encoded", "reused", "failed", "sealed", "seconds"}
    assert keys < json.loads(json.dumps(summary)).keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit"),
        ({"batch_size": 0}, "batch-size"),
        ({"unit_rows": -1}, "unit-rows"),
        ({"max_bad": -1}, "max-bad"),
        ({"splits": ["nope"]}, "no split 'nope'"),
    ],
)
def test_impossible_options_say_so_and_make_no_store(
    encoder: Encoder, store: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    write_images(tmp_path / "data", {"a": 5, "b": 5})
    with pytest.raises(cryoprobe.CryoprobeError, match=message):
        cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store, **options)  # type: ignore[arg-type]
    assert not store.exists()


def test_a_folder_with_something_else_does_not_become_a_store(encoder: Encoder, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 5, "b": 5})
    with pytest.raises(cryoprobe.BadInput, match="not empty"):
        extract(encoder, f"folder:{tmp_path / 'data'}", tmp_path / "data")


def test_after_damage_the_seals_that_verify_names_are_deleted_and_the_images_encoded_again(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", {"a": 16, "b": 16})
    data = f"folder:{tmp_path / 'data'}"
    done = extract(encoder, data, store)
    expected = cryoprobe.open_store(store).open(done.set).load()[0]
    chunk = next(store.glob("sets/*/*/embeddings/c/0/0"))
    raw = bytearray(chunk.read_bytes())
    raw[5] ^= 1
    chunk.write_bytes(raw)  # in place: the unit is the same file
    damages = cryoprobe.verify(store, data=True).damages
    manifest = next(d.seal for d in damages if d.seal.startswith("manifests/"))
    (store / manifest).unlink()
    with pytest.raises(cryoprobe.Corrupt):  # the damaged unit is not sealed anew
        extract(encoder, data, store)
    for seal in {d.seal for d in damages} - {manifest}:
        (store / seal).unlink()
    again = extract(encoder, data, store)
    assert (again.set, again.encoded) == (done.set, 16)
    np.testing.assert_array_equal(cryoprobe.open_store(store).open(again.set).load()[0], expected)
    assert not cryoprobe.verify(store, data=True).damages


def test_the_name_means_what_was_extracted_last(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    (photo,) = write_images(tmp_path / "data", {"a": 3, "b": 3})[:1]
    data = f"folder:{tmp_path / 'data'}"
    first = extract(encoder, data, store)
    kept = photo.rename(tmp_path / "kept.png")
    second = extract(encoder, data, store)
    kept.rename(photo)
    third = extract(encoder, data, store)
    assert first.set == third.set != second.set
    assert cryoprobe.open_store(store).find(model=encoder.name)[0].set == first.set


def test_a_table_that_is_edited_during_the_extraction_counts_as_changed(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    files = write_images(tmp_path / "data", {"a": 6, "b": 6})
    table = tmp_path / "data" / "t.csv"
    rows = [(str(f), f.parent.name) for f in files]
    write_table(table, rows)

    class Editor(cryoprobe.Reporter):
        def begin(self, title: str, total: int) -> None:
            write_table(table, rows[::-1])

    extract(encoder, f"csv:{table}", store, reporter=Editor())
    result = cryoprobe.probe(store, model=encoder.name, dataset=f"csv:{table}", C=1.0, untrained=True)
    assert any("have changed" in note for note in result["notes"])


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"workers": -1},
        {"limit": 0},
        {"limit": 3, "limit_seed": -1},
        {"batch_size": 0},
        {"max_bad": -1},
        {"seed": 2**70},
        {"device": "meta"},
        {"device": "abacus"},
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, object], store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 2, "b": 2})
    with pytest.raises(cryoprobe.BadInput):
        cryoprobe.extract(
            "timm:test_vit",
            f"folder:{tmp_path / 'data'}",
            store,
            **{"untrained": True, "image_size": 32, **options},  # type: ignore[arg-type]
        )
    assert not store.exists()


def test_one_split_and_one_tap_may_be_given_as_text(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "train", {"a": 3, "b": 3})
    write_images(tmp_path / "data" / "test", {"a": 3, "b": 3}, seed=1)
    (only,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", str(store), splits="test")
    assert only.split == "test"
