"""Near-duplicates and plain images: planted ones are found, and images are taken only if their bytes are right."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images
from support.cli import run

import cryoprobe
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.inspecting.originals import originals_of
from cryoprobe.pipeline.inspecting.pictures import plain_colour, vector_of
from cryoprobe.pipeline.inspecting.subset import held_out_rows
from cryoprobe.pipeline.near_duplicates import derived_threshold
from cryoprobe.pipeline.probes.knn.nearest import pairs_above

SIDE = 48
COPIED = (7, 19, 31)


def shrink(image: Image.Image) -> np.ndarray[Any, Any]:
    """Return an image as an embedding: its colours on a grid of 6 x 6."""
    return np.asarray(image.convert("RGB").resize((6, 6)), np.float32).reshape(-1) - 120


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of crops of two photographs: train, and test with planted copies and squares."""
    root = tmp_path_factory.mktemp("photos")
    crops = []
    for k, photo in enumerate(load_sample_images().images):
        for i in range(0, photo.shape[0] - SIDE, 90):
            crops += [(k, Image.fromarray(photo[i : i + SIDE, j : j + SIDE])) for j in range(0, 600, 90)]
    crops = [(k, crop) for k, crop in crops if np.asarray(crop.convert("L")).std() > 20]  # skies are all alike
    for n, (k, crop) in enumerate(crops):
        folder = root / ("train" if n % 3 else "test") / "ab"[k]
        folder.mkdir(parents=True, exist_ok=True)
        crop.save(folder / f"{n:03d}.png")
    for n in COPIED:
        k, crop = crops[n]
        folder = root / "test" / "ab"[k]
        crop.save(folder / f"{n:03d}-jpeg.jpg", quality=60)
        crop.resize((SIDE + 1, SIDE + 1)).save(folder / f"{n:03d}-side.png")
        ImageEnhance.Brightness(crop).enhance(0.85).save(folder / f"{n:03d}-dark.png")
        (folder / f"{n:03d}-same.png").write_bytes((root / "train" / "ab"[k] / f"{n:03d}.png").read_bytes())
    for colour in ("white", "black", "#336699"):
        Image.new("RGB", (SIDE, SIDE), colour).save(root / "test" / "a" / f"square-{colour[-5:]}.png")
    Image.new("L", (SIDE, SIDE), 77).save(root / "train" / "b" / "square.jpg")
    return root


@pytest.fixture
def store(photos: Path, tmp_path: Path) -> cryoprobe.Store:
    opened = cryoprobe.open_store(tmp_path / "store", create=True)

    def preprocess(image: Image.Image) -> Any:
        import torch

        return torch.from_numpy(shrink(image))

    import torch

    encoder = cryoprobe.Encoder(torch.nn.Identity(), preprocess, name="lab:grid", version="1")
    cryoprobe.extract(encoder, f"folder:{photos}", opened, progress=False)
    return opened


def sets(store: cryoprobe.Store) -> list[str]:
    return [n.set for n in sorted(store.names(), key=lambda n: n.name.split, reverse=True)]


def planted(photos: Path, found: cryoprobe.Duplicates) -> set[str]:
    """Return the planted copies that stand in a pair with their original, whatever the order of the pair."""
    hits = set()
    for pair in found:
        names = sorted(Path(str(name)).stem for name in (pair.name, pair.other_name))
        if names[1].startswith(f"{names[0]}-"):
            hits.add(names[1])
    return hits


def test_all_planted_copies_are_found_and_no_other_pair_across(photos: Path, store: cryoprobe.Store) -> None:
    found = cryoprobe.near_duplicates(store, sets(store))
    copies = {f"{n:03d}-{kind}" for n in COPIED for kind in ("jpeg", "side", "dark", "same")}
    assert planted(photos, found) == copies
    stems = {tuple(sorted(Path(str(name)).stem[:3] for name in (p.name, p.other_name))) for p in found}
    assert {(a, b) for a, b in stems if a != b} == set()
    assert sum(pair.same_bytes for pair in found) == 3
    assert [pair.across for pair in found] == sorted((pair.across for pair in found), reverse=True)
    assert found.across == sum(pair.across for pair in found) == 12
    assert found.notes == ()
    for pair in found[:5]:
        assert (pair.split, pair.other_split) == ("train", "test")
        assert pair.pixels is not None
        assert pair.pixels > 0.99


def test_without_images_the_threshold_decides_and_is_said(store: cryoprobe.Store) -> None:
    found = cryoprobe.near_duplicates(store, sets(store), images=False, threshold=0.9999)
    assert found.same_picture is None
    assert {pair.pixels for pair in found} == {None}
    assert all(pair.cosine >= 0.9999 or pair.same_bytes for pair in found)
    assert "0.9999 on (as given)" in found.criterion
    assert "at which about one pair" in cryoprobe.near_duplicates(store, sets(store), images=False).criterion
    for options in ({"threshold": 1.5}, {"threshold": float("nan")}, {"top": 0}, {"max_rows": 0}):
        with pytest.raises(BadInput):
            cryoprobe.near_duplicates(store, sets(store), **options)


def test_all_planted_squares_are_found(store: cryoprobe.Store) -> None:
    found = cryoprobe.plain_images(store, sets(store))
    assert found.by == "pixels"
    named = {Path(str(plain.name)).name: plain.colour for plain in found}
    assert named.pop("square.jpg") == "#4d4d4d"
    assert sorted(named) == ["square-36699.png", "square-black.png", "square-white.png"]
    assert sorted(str(colour) for colour in named.values()) == ["#000000", "#336699", "#ffffff"]


def test_images_that_have_changed_are_not_taken(photos: Path, store: cryoprobe.Store, tmp_path: Path) -> None:
    test = store.open(sets(store)[1])
    names = test.sample_names()
    assert names is not None
    row = next(i for i, name in enumerate(names) if "000.png" in name)
    path = photos / "test" / "a" / "000.png"
    kept = path.read_bytes()
    try:
        Image.new("RGB", (SIDE, SIDE), "red").save(path)
        originals = originals_of(store, test)
        assert originals.image(row) is None
        assert originals.image(row + 1) is not None
        assert "1 image of set" in originals.notes()[0]
        path.unlink()  # the rows of the folder shift: images are found by their names
        originals = originals_of(store, test)
        shown = originals.image(row + 1)
        assert shown is not None
        assert shown.tobytes() == Image.open(photos / "test" / names[row + 1].removeprefix("test/")).tobytes()
    finally:
        path.write_bytes(kept)


@pytest.mark.parametrize(
    ("dataset", "why"),
    [
        ("antigravity:open", "is not a name by which this version opens images"),
        ("wds:http://example.com/{0..9}.tar", "not on this machine"),
        ("hf:someone/private", "not on this machine"),
        ("folder:/no/such/folder", "cannot be opened"),
    ],
)
def test_names_of_strangers_run_nothing_and_fetch_nothing(tmp_path: Path, dataset: str, why: str) -> None:
    import sys

    from support.data import put_set

    opened = cryoprobe.open_store(tmp_path / "other", create=True)
    one = put_set(opened, np.eye(3), np.array([0, 1, 0]), classes=("a", "b"), split="train", dataset=dataset)
    originals = originals_of(opened, one)
    assert originals.image(0) is None
    assert why in originals.notes()[0]
    assert "antigravity" not in sys.modules


def test_names_from_a_place_that_is_not_trusted_are_not_opened(store: cryoprobe.Store, tmp_path: Path) -> None:
    pulled = cryoprobe.open_store(tmp_path / "pulled", create=True)
    cryoprobe.pull(pulled, store)
    originals = originals_of(pulled, pulled.open(sets(pulled)[0]))
    assert originals.image(0) is None
    (why,) = originals.notes()
    assert "which is not trusted, so its images are not looked for" in why
    assert "cryoprobe pull" in why
    cryoprobe.pull(pulled, store, trust=True)
    assert originals_of(pulled, pulled.open(sets(pulled)[0])).image(0) is not None


def test_pairs_are_those_of_the_whole_matrix() -> None:
    x = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    first, second, cosines = pairs_above(x, 0.9, most=10**6, block_size=64)
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    whole = np.argwhere(np.triu(unit @ unit.T >= 0.9, 1))
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [tuple(pair) for pair in whole.tolist()]
    np.testing.assert_allclose(cosines, (unit @ unit.T)[first, second], atol=1e-12)


def test_of_too_many_pairs_the_closest_are_kept() -> None:
    x = np.random.default_rng(1).normal(size=(300, 5))
    first, second, cosines = pairs_above(x, 0.5, most=40, block_size=64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    whole = np.triu(unit @ unit.T, 1)
    best = np.argsort(-whole, axis=None)[:40]
    assert sorted((first * 300 + second).tolist()) == sorted(best.tolist())
    np.testing.assert_allclose(np.sort(cosines), np.sort(whole.ravel()[best]), atol=1e-12)


def test_collapsed_embeddings_are_said_and_their_pairs_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.data import put_set

    monkeypatch.setattr("cryoprobe.pipeline.near_duplicates.MOST_PAIRS", 500)
    rng = np.random.default_rng(0)
    x = rng.normal(size=64) + 0.01 * rng.normal(size=(400, 64))
    opened = cryoprobe.open_store(tmp_path / "collapsed", create=True)
    one = put_set(opened, x.astype(np.float32), np.arange(400) % 2, classes=("a", "b"), split="train")
    found = cryoprobe.near_duplicates(opened, one.id, images=False)
    assert (found.found, len(found), found.threshold) == (500, 500, 0.999)
    assert "there are more than 500 pairs: the closest are kept, wherever they are" in found.notes
    assert sum("embeddings have collapsed" in note for note in found.notes) == 1
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    best = np.sort(unit.dot(unit.T)[np.triu_indices(400, 1)])[-500:]
    np.testing.assert_allclose(sorted(pair.cosine for pair in found), best, atol=2e-6)  # stored in half precision


def test_of_held_out_test_rows_pairs_across_are_found(tmp_path: Path) -> None:
    from support.data import put_set

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 16))
    x = np.concatenate([x, x[:60] + 1e-3 * rng.normal(size=(60, 16))]).astype(np.float32)
    labels = np.concatenate([np.arange(200) % 4, np.arange(60) % 4])
    opened = cryoprobe.open_store(tmp_path / "held", create=True)
    one = put_set(opened, x, labels, classes=tuple("abcd"), split="train")
    trial = cryoprobe.probe(
        opened, model="timm:m", dataset="folder:/d", probe="ridge", test_split="0.2", progress=False
    ).trial
    test = {int(row) for row in held_out_rows(opened, trial)}
    assert len(test) == trial.rows.test
    found = cryoprobe.near_duplicates(opened, trial.trial, images=False)
    leaks = sum((row in test) != (row + 200 in test) for row in range(60))
    assert (found.found, found.across, found.of) == (60, leaks, 260)
    assert leaks > 5
    assert all(pair.across == ((pair.row in test) != (pair.other_row in test)) for pair in found)
    assert {pair.split for pair in found if pair.row in test} == {"held out"}
    assert cryoprobe.near_duplicates(opened, one.id, images=False).across == 0
    for key in list(opened.backend.keys("predictions/")):
        opened.backend.delete(key)
    lost = cryoprobe.near_duplicates(opened, trial.trial, images=False)
    assert (lost.found, lost.across) == (60, 0)
    assert "train and test are one set: pairs across cannot be told" in lost.notes[0]


def test_the_derived_threshold_expects_about_one_pair_of_random_rows() -> None:
    counts = []
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=(1500, 8)).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        counts.append(len(pairs_above(x, derived_threshold(x), most=10**6)[0]))
    assert np.mean(counts) < 8
    assert 0.5 <= derived_threshold(np.eye(2, dtype=np.float32)) <= 0.999


def test_small_grey_images_ignore_brightness_and_see_structure() -> None:
    photo = Image.fromarray(load_sample_images().images[0])
    other = Image.fromarray(load_sample_images().images[1])
    dark = ImageEnhance.Brightness(photo).enhance(0.7)
    assert float(vector_of(photo) @ vector_of(dark)) > 0.999
    assert float(vector_of(photo) @ vector_of(other)) < 0.9
    assert not vector_of(Image.new("RGB", (30, 30), "green")).any()
    file = io.BytesIO()
    Image.new("RGB", (31, 17), (10, 200, 30)).save(file, "JPEG", quality=50)
    assert plain_colour(Image.open(file)) is not None
    assert plain_colour(photo) is None


def test_commands_print_tables_and_json(store: cryoprobe.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYOPROBE_STORE", store.url)
    train, test = sets(store)
    pairs = json.loads(run("near-duplicates", train, test, "--json").stdout)
    assert pairs["across"] == 12
    head = run("near-duplicates", train, test, "--top", "2").stdout.splitlines()
    assert "pairs of nearly the same image" in head[0]
    assert "the 2 closest are listed" in head[0]
    assert "4 images" in run("plain-images", train, test).stdout
    labels = run("label-errors", train, "--top", "3", "--format", "csv").stdout.splitlines()
    assert labels[0].startswith("row,name,given,suggested")
    assert "no format" in run("label-errors", train, "--format", "xml", code=2).stderr
