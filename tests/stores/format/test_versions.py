"""Versions of the format: old stores are read for ever, newer ones refused, and what is unknown is no harm."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.strangers import FIXTURE, copy_of_store, only, resealed, rewrite

import cryoprobe
from cryoprobe import cli
from cryoprobe.stores.format.manifest import MANIFEST_VERSION
from cryoprobe.stores.format.marker import FORMAT_VERSION


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return copy_of_store(tmp_path / "store")


def test_a_store_of_version_1_is_read_as_it_was_when_it_was_written(root: Path) -> None:
    store = cryoprobe.open_store(root)
    assert {n.name.split: (n.rows, n.dim, n.failed) for n in store.names()} == {"train": (8, 64, 1), "test": (3, 64, 0)}
    assert {(n.name.model, n.name.dataset) for n in store.names()} == {("timm:test_vit", "folder:/data/birds")}
    with np.load(FIXTURE / "expected.npz", allow_pickle=False) as expected:
        for set_id in store.set_ids():
            found = store.open(set_id)
            x, y = found.load(dtype="float16")
            for name, array in {"x": x, "y": y, "norms": found.norms(), "samples": found.sample_ids()}.items():
                wanted = expected[f"{found.split}_{name}"]
                assert array.dtype == wanted.dtype
                np.testing.assert_array_equal(array, wanted)
            assert found.classes == ("crow", "owl é")
            assert np.allclose(np.linalg.norm(x.astype(np.float64), axis=1), 1, atol=1e-3)
    assert [f.name for s in store.set_ids() for f in store.open(s).failed] == ["train/crow/broken.png"]
    (trial,) = cryoprobe.results(store)
    assert (trial["probe"], trial["metrics"]["top1"], trial["rows"]["test"]) == ("nearest-mean", 1.0, 3)


def test_it_is_whole_and_a_trial_of_an_earlier_schema_is_run_again(root: Path) -> None:
    found = cryoprobe.verify(root, data=True)
    assert (found.sets, found.units, found.objects, found.damages) == (2, 4, 33, ())
    asked = {"model": "timm:test_vit", "dataset": "folder:/data/birds", "untrained": True}
    assert [cryoprobe.probe(root, **asked, probe="nearest-mean")["cached"] for _ in range(2)] == [False, True]
    assert cryoprobe.probe(root, **asked, probe="knn", params={"k": 1})["cached"] == 0
    assert cryoprobe.verify(root, data=True).damages == ()


def test_its_rows_are_used_again(root: Path) -> None:
    store = cryoprobe.open_store(root)
    (encoder,) = {store.open(s).encoder_id for s in store.set_ids()}
    index = store.rows_of(encoder)
    train = next(store.open(s) for s in store.set_ids() if store.open(s).split == "train")
    ids = [bytes(s) for s in train.sample_ids()][::-1]
    np.testing.assert_array_equal(index.gather(ids).embeddings, train.load(dtype="float16")[0][::-1])


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 99, "1.5", None])
def test_a_store_of_a_newer_format_asks_for_an_upgrade_and_is_left_alone(
    root: Path, version: object, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = json.dumps({"format": "cryoprobe-store", "version": version})
    (root / "cryoprobe.json").write_text(marker)
    for create in (False, True):
        with pytest.raises(cryoprobe.Incompatible, match="Upgrade") as caught:
            cryoprobe.open_store(root, create=create)
        assert (caught.value.expected, caught.value.found) == (FORMAT_VERSION, version)
    assert (root / "cryoprobe.json").read_text() == marker
    with pytest.raises(SystemExit) as ended:
        cli.app(["ls", "--store", str(root)], prog_name="cryoprobe")
    assert ended.value.code == 6
    assert "pip install -U cryoprobe" in capsys.readouterr().err


@pytest.mark.parametrize("requires", [["fp8-rows"], ["fp8-rows", "x"], "fp8-rows", [{"fp8-rows": 1}], 7])
def test_a_store_that_requires_what_this_version_does_not_know_is_refused_by_name(root: Path, requires: object) -> None:
    marker = json.dumps({"format": "cryoprobe-store", "version": 1, "requires": requires})
    (root / "cryoprobe.json").write_text(marker)
    for create in (False, True):
        with pytest.raises(cryoprobe.Incompatible, match=r"fp8-rows|7") as caught:
            cryoprobe.open_store(root, create=create)
        assert "Upgrade" in str(caught.value.hint)
    assert (root / "cryoprobe.json").read_text() == marker
    (root / "cryoprobe.json").write_text(marker.replace(json.dumps(requires), "[]"))
    assert len(cryoprobe.open_store(root).names()) == 2


def test_a_newer_manifest_is_refused_and_the_rest_of_the_store_is_read(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = only(root, "manifests")
    rewrite(root, "manifests", lambda content: content.update(version=MANIFEST_VERSION + 1, rows="of another kind"))
    store = cryoprobe.open_store(root)
    with pytest.raises(cryoprobe.Incompatible, match="Upgrade"):
        store.open(path.stem)
    (other,) = store.set_ids().keys() - {path.stem}
    assert len(store.open(other).load()[0]) == 3
    (damage,) = cryoprobe.verify(root, data=True).damages
    assert damage.problem == "unreadable"
    with pytest.raises(SystemExit) as ended:
        cli.app(["show", path.stem, "--store", str(root)], prog_name="cryoprobe")
    assert ended.value.code == 6
    assert "manifest version 2" in capsys.readouterr().err


def test_fields_that_this_version_does_not_know_are_no_harm(root: Path) -> None:
    before = cryoprobe.open_store(root)
    expected = {s: before.open(s).load()[0] for s in before.set_ids()}
    for kind in ("manifests", "unit-seals", "names", "trials"):
        for path in root.glob(f"{kind}/**/*.json"):
            content = json.loads(path.read_bytes())
            path.write_bytes(resealed({**content, "later": {"version": 1.1, "of": ["anything", None]}}))
    for path in root.glob("manifests/*/*.json"):
        content = json.loads(path.read_bytes())
        content["objects"]["later/c/0"] = {"size": 3, "sha256": "0" * 64, "crc32c": None, "later": 1}
        path.write_bytes(resealed(content))
        (root / "sets" / path.stem / content["attempt"] / "later" / "c").mkdir(parents=True)
        (root / "sets" / path.stem / content["attempt"] / "later" / "c" / "0").write_bytes(b"abc")
    (root / "cryoprobe.json").write_text('{"format": "cryoprobe-store", "version": 1, "later": true}')
    store = cryoprobe.open_store(root, create=True)
    for set_id, x in expected.items():
        np.testing.assert_array_equal(store.open(set_id).load()[0], x)
    assert len(store.names()) == 2
    assert len(cryoprobe.results(store)) == 1
    # What is there is checked though nobody reads it.
    assert {d.key.partition("/c/")[0].rpartition("/")[2] for d in cryoprobe.verify(store, data=True).damages} == {
        "later"
    }
    assert cryoprobe.verify(store).damages == ()


def test_folders_that_this_version_does_not_know_are_no_harm(root: Path) -> None:
    for folder in ("pins", "signatures/x/y", "names/later", "trials/later", ".cache", "lost+found"):
        (root / folder).mkdir(parents=True)
        (root / folder / "object").write_bytes(b"\0not ours")
        (root / folder / "0.json").write_bytes(b"{}")
    store = cryoprobe.open_store(root, create=True)
    assert [len(store.open(s).load()[0]) for s in store.set_ids()] in ([3, 8], [8, 3])
    assert len(store.names()) == 2
    assert len(cryoprobe.results(store)) == 1
