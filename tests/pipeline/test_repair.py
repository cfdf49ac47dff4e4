"""Damage of every kind is put right from wherever whole bytes are, and nothing else is touched."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.stores.store import Store

MODEL = "timm:test_vit"


def keys(store: Store, prefix: str = "") -> list[str]:
    return [info.key for info in store.backend.list(prefix)]


def spoil(store: Store, *wanted: str) -> None:
    """Change a byte in the middle of objects; other hard links of their files keep the old bytes."""
    for key in wanted:
        data = bytearray(store.backend.get(key))
        data[len(data) // 2] ^= 1
        store.backend.put(key, bytes(data))


def forget_units(store: Store) -> None:
    for key in [*keys(store, "unit-seals/"), *keys(store, "units/")]:
        store.backend.delete(key)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Extract 10 images in units of 4 to a store beside the images."""
    folder = tmp_path_factory.mktemp("repair")
    write_images(folder / "data", {"a": 5, "b": 5})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYOPROBE_CACHE", str(folder / "cache"))
        options = {"untrained": True, "image_size": 32, "unit_rows": 4, "batch_size": 4}
        cryoprobe.extract(MODEL, f"folder:{folder / 'data'}", folder / "store", **options)
    return folder


@pytest.fixture
def other(made: Path) -> Store:
    return cryoprobe.open_store(made / "store")


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """Return a copy in which no two objects share a file."""
    return cryoprobe.open_store(shutil.copytree(made / "store", tmp_path / "copy"))


def only(store: Store) -> cryoprobe.FeatureSet:
    (set_,) = store.set_ids()
    return store.open(set_)


def assert_same(store: Store, other: Store) -> None:
    assert not cryoprobe.verify(store, data=True).damages
    assert only(store).manifest == only(other).manifest
    for name in ("load", "norms", "samples"):
        for mine, theirs in zip(getattr(only(store), name)(), getattr(only(other), name)(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def actions(done: list[cryoprobe.Repair]) -> dict[str, str]:
    return {r.key: r.action for r in done}


def test_a_whole_store_is_left_alone(store: Store) -> None:
    before = keys(store)
    assert cryoprobe.repair(store) == []
    assert keys(store) == before


class TestMarker:
    @pytest.mark.parametrize("content", [b"{", b"", None])
    def test_a_damaged_or_missing_one_is_written_anew(self, store: Store, other: Store, content: bytes | None) -> None:
        whole = store.backend.get("cryoprobe.json")
        if content is None:
            store.backend.delete("cryoprobe.json")
        else:
            store.backend.put("cryoprobe.json", content)
        with pytest.raises(cryoprobe.CryoprobeError):
            cryoprobe.open_store(store.url)
        assert actions(cryoprobe.repair(store.url)) == {"cryoprobe.json": "restored"}
        assert store.backend.get("cryoprobe.json") == whole
        assert len(keys(store, "quarantine/")) == (content is not None)
        assert_same(cryoprobe.open_store(store.url), other)

    def test_where_nothing_shows_a_store_none_is_made(self, tmp_path: Path) -> None:
        (tmp_path / "manifests").mkdir()
        (tmp_path / "manifests" / "x.json").write_text("{}")
        with pytest.raises(cryoprobe.NotFound):
            cryoprobe.repair(tmp_path)
        (tmp_path / "cryoprobe.json").write_text("{")
        with pytest.raises(cryoprobe.Corrupt):
            cryoprobe.repair(tmp_path)
        assert (tmp_path / "cryoprobe.json").read_text() == "{"

    def test_that_of_a_newer_version_is_left_alone(self, store: Store) -> None:
        store.backend.put("cryoprobe.json", b'{"format": "cryoprobe-store", "version": 2}')
        with pytest.raises(cryoprobe.Incompatible):
            cryoprobe.repair(store.url)


class TestFromTheStoreItself:
    def test_a_chunk_from_its_unit_and_a_unit_from_the_set(self, store: Store, other: Store) -> None:
        unit = next(k for k in keys(store, "units/") if k.endswith("/norms") and len(store.backend.get(k)) == 20)
        chunk = f"{only(store).manifest.folder}/embeddings/c/1/0"
        spoil(store, chunk, unit)
        assert actions(cryoprobe.repair(store)) == {chunk: "restored", unit: "restored"}
        assert_same(store, other)
        assert sorted(k.split("/", 2)[2] for k in keys(store, "quarantine/")) == sorted([chunk, unit])

    def test_zarr_documents_from_the_manifest(self, store: Store, other: Store) -> None:
        documents = [k for k in keys(store, "sets/") if k.endswith("zarr.json")]
        spoil(store, *documents[1:])
        store.backend.delete(documents[0])
        assert set(actions(cryoprobe.repair(store)).values()) == {"restored"}
        assert_same(store, other)
        assert len(keys(store, "quarantine/")) == len(documents) - 1

    def test_a_name_from_the_manifest(self, store: Store, other: Store) -> None:
        (key,) = keys(store, "names/")
        spoil(store, key)
        assert store.names()[0].named == only(store).manifest.provenance.created
        assert actions(cryoprobe.repair(store)) == {key: "restored"}
        assert not cryoprobe.verify(store).damages
        assert keys(store, "names/") == [key]
        assert store.names()[0].name == other.names()[0].name


class TestSetAside:
    def test_a_unit_that_no_set_has_is_encoded_again_by_extract(
        self, store: Store, encoder: Encoder, made: Path
    ) -> None:
        cryoprobe.rm(store, list(store.set_ids()))
        seal, *_ = keys(store, "unit-seals/")
        store.backend.delete(next(k for k in keys(store, "units/") if seal.split("/")[2][:64] in k))
        with pytest.raises(cryoprobe.Corrupt, match="cryoprobe repair"):
            cryoprobe.extract(encoder, f"folder:{made / 'data'}", store, unit_rows=4)
        (done,) = cryoprobe.repair(store)
        assert (done.action, seal in keys(store, "unit-seals/")) == ("set aside", False)
        (again,) = cryoprobe.extract(encoder, f"folder:{made / 'data'}", store, unit_rows=4, batch_size=4)
        assert again.encoded in (2, 4)
        assert not cryoprobe.verify(store, data=True).damages

    def test_damaged_unit_seals_and_trials(self, store: Store) -> None:
        store.record_trial("t" * 8, {"trial": "t" * 8, "score": 1})
        wanted = [keys(store, "unit-seals/")[0], "trials/tttttttt.json"]
        spoil(store, *wanted)
        assert actions(cryoprobe.repair(store)) == dict.fromkeys(wanted, "set aside")
        assert store.trial("t" * 8) is None
        assert sorted(k.split("/", 2)[2] for k in keys(store, "quarantine/")) == sorted(wanted)
        assert not cryoprobe.verify(store, data=True).damages

    def test_what_a_set_needs_is_never_set_aside_without_something_in_its_place(self, store: Store) -> None:
        forget_units(store)
        labels = f"{only(store).manifest.folder}/labels/c/0"
        spoil(store, labels)
        before = keys(store)
        (done,) = cryoprobe.repair(store)
        assert (done.key, done.action) == (labels, "not repaired")
        assert keys(store) == before
        spoil(store, only(store).manifest.key)
        assert set(actions(cryoprobe.repair(store)).values()) == {"not repaired"}
        assert keys(store) == before


class TestFromAnotherStore:
    def test_objects_seals_trials_and_names(self, store: Store, other: Store) -> None:
        manifest = only(store).manifest
        for s in (store, other):
            s.record_trial("t" * 8, {"trial": "t" * 8, "score": 1})
        wanted = [
            *(f"{manifest.folder}/{k}" for k in ("embeddings/c/2/0", "labels/c/0", "samples/c/0/0")),
            manifest.key,
            *keys(store, "unit-seals/")[:2],
            *keys(store, "units/")[:3],
            "trials/tttttttt.json",
            *keys(store, "names/"),
        ]
        spoil(store, *wanted)
        done = cryoprobe.repair(store, source=other, trust=True)
        assert {r.action for r in done} == {"restored"}
        assert_same(store, other)
        assert store.origin_of(only(store)) is None
        assert store.trial("t" * 8) == other.trial("t" * 8)
        assert sorted(k.split("/", 2)[2] for k in keys(store, "quarantine/")) == sorted(wanted)

    def test_a_lost_manifest_and_all_of_its_objects(self, store: Store, other: Store) -> None:
        for key in [*keys(store, "manifests/"), *keys(store, "sets/")]:
            store.backend.delete(key)
        (done,) = cryoprobe.repair(store, source=other)
        assert (done.problem, done.action) == ("missing", "restored")
        assert_same(store, other)
        assert store.origin_of(only(store)) is not None  # another's data, and no configuration file lists their store

    def test_of_a_store_that_is_not_trusted_no_name_or_trial_is_taken(self, store: Store, other: Store) -> None:
        for s in (store, other):
            s.record_trial("t" * 8, {"trial": "t" * 8, "score": 1})
            s.name(s.names()[0].model_copy(update={"name": s.names()[0].name.model_copy(update={"model": "timm:y"})}))
        made = only(store).manifest.provenance.name["model"]
        renamed = next(n.key for n in store.names() if n.name.model != made)
        spoil(store, "trials/tttttttt.json", renamed, only(store).manifest.key)
        assert actions(cryoprobe.repair(store, source=other)) == {
            "trials/tttttttt.json": "set aside",
            renamed: "set aside",
            only(store).manifest.key: "restored",
        }
        assert store.origin_of(only(store)) is None  # all of its data are this store's

    def test_a_store_that_is_damaged_too_gives_nothing(self, store: Store, other: Store, tmp_path: Path) -> None:
        worse = cryoprobe.open_store(shutil.copytree(other.url, tmp_path / "worse"))
        for s in (store, worse):
            forget_units(s)
            spoil(s, f"{only(s).manifest.folder}/labels/c/0")
        (done,) = cryoprobe.repair(store, source=worse)
        assert done.action == "not repaired"
        assert not keys(store, "quarantine/")

    def test_chosen_sets_alone(self, store: Store, other: Store) -> None:
        spoil(store, f"{only(store).manifest.folder}/labels/c/0", keys(store, "units/")[0])
        (done,) = cryoprobe.repair(store, [only(store).id[:8]], source=other)
        assert done.key.endswith("labels/c/0")
        with pytest.raises(cryoprobe.NotFound):
            cryoprobe.repair(store, ["f" * 12])

    def test_in_a_bucket(self, store: Store, other: Store, s3: str) -> None:
        there = cryoprobe.open_store(s3, create=True)
        for key in keys(other):
            if key != "cryoprobe.json":
                there.backend.put(key, other.backend.get(key))
        spoil(there, f"{only(there).manifest.folder}/labels/c/0", only(there).manifest.key)
        assert {r.action for r in cryoprobe.repair(there, source=other)} == {"restored"}
        assert_same(there, other)


def test_what_has_no_copy_is_made_again_by_rm_and_extract(store: Store, other: Store, made: Path) -> None:
    forget_units(store)
    lost = only(store)
    spoil(store, f"{lost.manifest.folder}/norms/c/0")
    (done,) = cryoprobe.repair(store)
    assert done.action == "not repaired"
    cryoprobe.rm(store, [lost.id], now=True)
    options = {"untrained": True, "image_size": 32, "unit_rows": 4, "batch_size": 4}
    (again,) = cryoprobe.extract(MODEL, f"folder:{made / 'data'}", store, **options)
    assert (again.set, again.encoded) == (lost.id, 10)
    assert not cryoprobe.verify(store, data=True).damages
    np.testing.assert_array_equal(only(store).load()[0], only(other).load()[0])
