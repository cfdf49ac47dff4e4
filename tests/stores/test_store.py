"""A store: opening it, finding sets by name and by id, and the trials kept in it."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.store_data import (
    DIM,
    ENCODER,
    ENCODER_ID,
    class_labels,
    dataset_of,
    files,
    keys,
    make_rows,
    overwrite,
    sample_ids,
    seal,
    sealed_set,
    write_units,
)

from cryoprobe.canonical import canonical_json, digest
from cryoprobe.errors import BadInput, Corrupt, Incompatible, NotFound
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.format.names import Name, NamedSet
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.keys import set_id
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store

IDS = sample_ids(9)


def named(feature_set: FeatureSet, when: int = 1000, **changes: Any) -> NamedSet:
    """Return a name for a set, given `when`."""
    name = {"model": "timm:x", "dataset": "folder:/d", "split": "test", "tap": "pooled", **changes}
    return NamedSet(
        name=Name(**name),
        set=feature_set.id,
        encoder=feature_set.encoder_id,
        rows=feature_set.rows,
        dim=feature_set.dim,
        failed=len(feature_set.failed),
        size=feature_set.manifest.size,
        named=when,
    )


def seal_split(store: Store, split: str, **options: Any) -> FeatureSet:
    return sealed_set(store.backend, IDS, split=split, **options)


class TestOpening:
    def test_a_store_is_made_only_if_one_says_so(self, tmp_path: Path) -> None:
        where = tmp_path / "a" / "store"
        with pytest.raises(NotFound, match="no feature store") as caught:
            open_store(where)
        assert str(where) in str(caught.value)
        assert not where.exists()
        store = open_store(where, create=True)
        assert files(where) == {"cryoprobe.json"}
        assert json.loads((where / "cryoprobe.json").read_bytes()) == {"format": "cryoprobe-store", "version": 1}
        assert store.url == str(where)
        assert store.set_ids() == {}
        assert repr(store) == f"<Store {where}>"

    def test_a_store_is_opened_by_every_way_to_write_its_path(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        where = tmp_path / "store"
        for url in (where, str(where), f"file://{where}", "store", "./store/", Path("store"), "~/store"):
            assert Path(open_store(url).url) == where
            assert Path(open_store(url, create=True).url) == where

    def test_making_a_store_where_there_is_one_keeps_it(self, store: Store) -> None:
        found = seal_split(store, "test")
        before = files(Path(store.url))
        assert set(open_store(store.url, create=True).set_ids()) == {found.id}
        assert files(Path(store.url)) == before

    def test_a_folder_that_is_no_store_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            open_store(tmp_path)

    def test_no_store_is_made_among_other_peoples_files(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("x")
        with pytest.raises(BadInput, match=r"thesis\.tex"):
            open_store(tmp_path, create=True)
        assert not (tmp_path / "cryoprobe.json").exists()

    def test_hidden_files_do_not_make_a_folder_anybodys(self, tmp_path: Path) -> None:
        where = tmp_path / "store"
        where.mkdir()
        (where / ".DS_Store").write_bytes(b"")
        open_store(where, create=True)
        assert open_store(where).set_ids() == {}

    @pytest.mark.parametrize("create", [False, True])
    def test_a_file_is_no_store(self, tmp_path: Path, create: bool) -> None:
        (tmp_path / "store").write_text("x")
        with pytest.raises(BadInput, match="is a file"):
            open_store(tmp_path / "store", create=create)

    @pytest.mark.parametrize("create", [False, True])
    @pytest.mark.parametrize("url", ["", "  ", "file://", "file:// "])
    def test_an_empty_path_is_refused(
        self, url: str, create: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(BadInput, match="path is empty"):
            open_store(url, create=create)
        assert not (tmp_path / "cryoprobe.json").exists()

    @pytest.mark.parametrize("url", ["s3:/team/x", "S3:team/x", "http:/host/x", "https:host"])
    def test_a_url_that_lacks_a_slash_does_not_become_a_folder(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(BadInput, match="is not a URL"):
            open_store(url, create=True)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        "url",
        [
            "s3:/KEY:secret@bucket",
            "s3//KEY:secret@bucket/x",
            "s3;//KEY:sec/secret@bucket",
            "KEY:abc/secret@bucket",
            "https:/me:secret@host",
            "https//host/x?token=secret",
            "htps://me:secret@host",
        ],
    )
    def test_credentials_in_a_mistyped_url_are_not_echoed(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for create in (False, True):
            with pytest.raises(BadInput) as caught:
                open_store(url, create=create)
            assert "secret" not in f"{caught.value} {caught.value.key} {caught.value.found}"
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("create", [False, True])
    @pytest.mark.parametrize("url", ["ftp://host/x", "nonsense://", "key:secret@x://bucket"])
    def test_a_scheme_that_is_not_known_is_refused(self, url: str, create: bool) -> None:
        with pytest.raises(BadInput, match="Stores are not kept") as caught:
            open_store(url, create=create)
        assert "s3://" in str(caught.value)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("scheme", ["s3", "gs", "az", "http", "https"])
    @pytest.mark.parametrize("rest", ["key:secret@bucket/x", "secret@bucket", "bucket/x?key=secret", "bucket/x#secret"])
    def test_a_url_with_credentials_is_refused_and_they_are_not_repeated(self, scheme: str, rest: str) -> None:
        with pytest.raises(BadInput, match="more than its place") as caught:
            open_store(f"{scheme}://{rest}")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("url", ["s3://", "s3:///x", "gs://a b/c", "http://", "https://[x", "s3://b/x\ny"])
    def test_a_url_without_a_place_is_refused(self, url: str) -> None:
        with pytest.raises(BadInput, match=r"names no host or bucket|not a place|that cannot be"):
            open_store(url, create=True)

    @pytest.mark.parametrize("prefix", ["../x", "a//b", ".hidden", "a b", "a/%2e%2e/b", "é"])
    def test_a_prefix_that_is_no_key_is_refused(self, prefix: str) -> None:
        with pytest.raises(BadInput):
            open_store(f"s3://bucket/{prefix}", create=True)

    @pytest.mark.parametrize("create", [False, True])
    @pytest.mark.parametrize(
        "marker",
        [
            {"format": "cryoprobe-store", "version": 2},
            {"format": "cryoprobe-store"},
            {"format": "another", "version": 1},
            [],
            None,
        ],
    )
    def test_a_format_that_is_not_known_is_incompatible(self, tmp_path: Path, marker: object, create: bool) -> None:
        (tmp_path / "cryoprobe.json").write_text(json.dumps(marker))
        with pytest.raises(Incompatible, match="Upgrade") as caught:
            open_store(tmp_path, create=create)
        assert caught.value.expected == 1
        assert caught.value.found == (2 if isinstance(marker, dict) and marker.get("version") == 2 else None)

    @pytest.mark.parametrize("create", [False, True])
    def test_a_damaged_marker_is_corrupt(self, tmp_path: Path, create: bool) -> None:
        (tmp_path / "cryoprobe.json").write_bytes(b'{"format": "cryop')
        with pytest.raises(Corrupt) as caught:
            open_store(tmp_path, create=create)
        assert caught.value.key == "cryoprobe.json"

    @pytest.fixture
    def busy_threads(self) -> Iterator[None]:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        yield
        sys.setswitchinterval(interval)

    @pytest.mark.usefixtures("busy_threads")
    def test_eight_people_may_make_the_same_store_at_once(self, tmp_path: Path) -> None:
        barrier = threading.Barrier(8)

        def make(i: int) -> dict[str, str]:
            barrier.wait()
            return open_store(tmp_path / str(round_), create=True).set_ids()

        with ThreadPoolExecutor(8) as pool:
            for round_ in range(60):
                assert list(pool.map(make, range(8))) == [{}] * 8
                assert files(tmp_path / str(round_)) == {"cryoprobe.json"}


class TestNames:
    def test_names_come_newest_first_and_are_found_by_any_of_their_parts(self, store: Store) -> None:
        test, train = seal_split(store, "test"), seal_split(store, "train")
        given = [
            named(test, 3000),
            named(train, 5000, split="train"),
            named(test, 4000, model="timm:y", image_size=224),
            named(test, 1000, dataset="folder:/e", precision="bf16"),
        ]
        for n in given:
            store.name(n)
        assert store.names() == [given[1], given[2], given[0], given[3]]
        assert store.find() == store.names()
        assert store.find(model="timm:x") == [given[1], given[0], given[3]]
        assert store.find(split="train") == [given[1]]
        assert store.find(dataset="folder:/d", split="test") == [given[2], given[0]]
        assert store.find(image_size=224) == [given[2]]
        assert store.find(precision="bf16", tap="pooled") == [given[3]]
        assert store.find(model="timm:z") == []
        assert store.find(**given[3].name.model_dump()) == [given[3]]

    @pytest.mark.parametrize("more", [b'"x":1,', b'"x":1e999,', b'"x":"\\ud800",'])
    def test_a_name_that_has_more_than_a_name_has_is_passed_over(self, store: Store, more: bytes) -> None:
        found = seal_split(store, "test")
        name = named(found)
        store.name(name)
        content = name.model_dump(mode="json", exclude={"below"})
        body = canonical_json(content).replace(b'"name":{', b'"name":{' + more)
        seal_ = hashlib.sha256(body).hexdigest().encode()
        made_up = hashlib.sha256(more).hexdigest()[:16]
        store.backend.put(f"names/{found.id}.{made_up}.json", body[:-1] + b',"checksum":"' + seal_ + b'"}')
        assert store.names() == [name]

    def test_the_same_name_given_again_is_one_name_with_the_newer_time(self, store: Store) -> None:
        found = seal_split(store, "test")
        store.name(named(found, 1000))
        store.name(named(found, 2000))
        assert store.names() == [named(found, 2000)]

    def test_a_name_given_to_another_set_means_the_newer_one(self, store: Store) -> None:
        old, new = seal_split(store, "test"), seal_split(store, "train")
        store.name(named(old, 1000))
        store.name(named(new, 2000))
        assert [n.set for n in store.find(model="timm:x")] == [new.id, old.id]

    def test_a_set_that_was_sealed_but_not_named_goes_by_its_provenance(self, store: Store) -> None:
        name = {"model": "timm:x", "dataset": "folder:/d", "split": "test", "tap": "pooled"}
        found = seal_split(store, "test", provenance={"name": name, "created": 1500})
        assert store.names() == [named(found, 1500)]
        store.name(named(found, 2000))
        assert store.names() == [named(found, 2000)]

    def test_a_set_without_any_name_is_not_listed_and_can_be_opened(self, store: Store) -> None:
        found = seal_split(store, "test")
        assert store.names() == []
        assert store.open(found.id).manifest == found.manifest

    def test_an_unnamed_set_whose_manifest_is_damaged_or_newer_hides_no_other(self, store: Store) -> None:
        good, bad, newer = (
            seal_split(store, s, provenance={"name": named_fields(s), "created": 1}) for s in ("a", "b", "c")
        )
        overwrite(Path(store.url), bad.manifest.key, b"")
        content = {**json.loads(store.backend.get(newer.manifest.key)), "version": 2}
        del content["checksum"]
        overwrite(Path(store.url), newer.manifest.key, canonical_json({**content, "checksum": digest(content)}))
        assert [n.set for n in store.names()] == [good.id]

    @pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff\xff"])
    def test_a_damaged_name_is_no_name_and_hides_no_other(self, store: Store, content: bytes) -> None:
        one, two = seal_split(store, "test"), seal_split(store, "train")
        store.name(named(one))
        store.name(named(two, split="train"))
        overwrite(Path(store.url), next(k for k in keys(store.backend, "names/") if one.id in k), content)
        assert store.names() == [named(two, split="train")]


def named_fields(split: str) -> dict[str, str]:
    return {"model": "timm:x", "dataset": "folder:/d", "split": split, "tap": "pooled"}


@pytest.fixture(scope="module")
def relatives() -> tuple[Store, FeatureSet, FeatureSet]:
    """Return a store with two sets whose ids begin with the same digit, but not with the same two."""
    store = Store(marked(MemoryBackend()))
    splits: dict[str, tuple[str, str]] = {}
    for i in range(200):
        id_ = set_id(ENCODER_ID, digest(dataset_of(IDS, class_labels(9), f"s{i}")))
        split, other = splits.setdefault(id_[0], (f"s{i}", id_))
        if other[1] != id_[1]:
            return store, seal_split(store, split), seal_split(store, f"s{i}")
    raise AssertionError("hashes are not what they were")


class TestIds:
    def test_a_set_is_opened_by_any_beginning_that_no_other_has(
        self, relatives: tuple[Store, FeatureSet, FeatureSet]
    ) -> None:
        store, *both = relatives
        for found in both:
            for length in (2, 8, 63, 64):
                assert store.open(found.id[:length]).id == found.id
            assert store.open(found.id[:12].upper()).id == found.id

    def test_a_beginning_that_several_have_is_ambiguous(self, relatives: tuple[Store, FeatureSet, FeatureSet]) -> None:
        store, one, two = relatives
        with pytest.raises(BadInput, match="Give more digits") as caught:
            store.open(one.id[0])
        assert one.id[:16] in str(caught.value)
        assert two.id[:16] in str(caught.value)

    @pytest.mark.parametrize("asked", ["", "x", "0" * 64, "../manifests", "*"])
    def test_what_begins_no_id_is_not_found(self, relatives: tuple[Store, FeatureSet, FeatureSet], asked: str) -> None:
        store, *_ = relatives
        with pytest.raises(NotFound, match=r"There is no set .* which has 2\.") as caught:
            store.open(asked)
        assert caught.value.key == asked

    def test_an_id_with_more_behind_it_is_not_found(self, relatives: tuple[Store, FeatureSet, FeatureSet]) -> None:
        store, one, _ = relatives
        with pytest.raises(NotFound):
            store.open(one.id + "0")

    def test_all_ids_are_listed(self, relatives: tuple[Store, FeatureSet, FeatureSet]) -> None:
        store, one, two = relatives
        assert store.set_ids() == {s.id: s.manifest.key for s in (one, two)}


def marked(backend: MemoryBackend) -> MemoryBackend:
    write_marker(backend)
    return backend


def test_sealing_through_the_store_gives_a_set_to_read(store: Store) -> None:
    write_units(store.backend, IDS, 4)
    labels = class_labels(9)
    outcomes = [
        store.seal(
            store.rows_of(ENCODER_ID),
            encoder=ENCODER,
            dataset=dataset_of(IDS, labels),
            ids=IDS,
            labels=labels,
            chunk_rows=4,
        )
        for _ in range(2)
    ]
    assert [sealed for _, sealed in outcomes] == [True, False]
    assert outcomes[0][0].id == outcomes[1][0].id
    np.testing.assert_array_equal(outcomes[1][0].load(dtype="float16")[0], make_rows(IDS).embeddings)
    with store.claims() as claims:
        assert claims.take(ENCODER_ID, "0" * 64)


def test_a_description_holds_everything_as_json(store: Store) -> None:
    write_units(store.backend, IDS, 4)
    manifest, _ = seal(store.backend, IDS, chunk_rows=4, provenance={"created": 7})
    found = store.open(manifest.set)
    store.name(named(found))
    store.name(named(found, model="timm:y"))
    described = store.describe(found.id[:20])
    assert json.loads(json.dumps(described)) == described
    assert {k: described[k] for k in ("set", "path", "rows", "dim", "dtype", "size", "chunk_rows")} == {
        "set": found.id,
        "path": found.path,
        "rows": 9,
        "dim": DIM,
        "dtype": "float16",
        "size": manifest.size,
        "chunk_rows": 4,
    }
    assert (described["encoder_id"], described["encoder"]) == (ENCODER_ID, ENCODER)
    assert digest(described["dataset"]) == described["dataset_id"] == found.dataset_id
    assert {n["model"] for n in described["names"]} == {"timm:x", "timm:y"}
    assert described["provenance"] == {"created": 7}
    assert described["failed"] == []
    assert Path(described["path"]).is_dir()


class TestTrials:
    def test_a_trial_is_kept_and_the_first_result_stays(self, store: Store) -> None:
        trial = "ab" * 32
        assert store.trial(trial) is None
        store.record_trial(trial, {"trial": trial, "top1": 0.5})
        store.record_trial(trial, {"trial": trial, "top1": 0.9})
        assert store.trial(trial) == {"trial": trial, "top1": 0.5}
        assert open_store(store.url).trial(trial) == {"trial": trial, "top1": 0.5}

    def test_trials_are_listed_in_the_order_of_their_ids(self, store: Store) -> None:
        assert list(store.trials()) == []
        for digit in "b0f":
            store.record_trial(digit * 64, {"trial": digit * 64})
        assert [t["trial"][0] for t in store.trials()] == ["0", "b", "f"]

    @pytest.mark.parametrize("damage", ["cut", "changed", "another's", "empty"])
    def test_a_damaged_trial_is_refused_named_by_verify_and_left_out_of_the_list(
        self, store: Store, damage: str
    ) -> None:
        one, two = "a" * 64, "b" * 64
        for trial in (one, two):
            store.record_trial(trial, {"trial": trial, "top1": 0.5})
        key = f"trials/{one}.json"
        data = store.backend.get(key)
        damaged = {
            "cut": data[:-5],
            "changed": data.replace(b"0.5", b"0.9"),
            "another's": store.backend.get(f"trials/{two}.json"),
            "empty": b"{}",
        }[damage]
        overwrite(Path(store.url), key, damaged)
        with pytest.raises(Corrupt) as caught:
            store.trial(one)
        assert caught.value.key == key
        assert [d.key for d in verify(store).damages] == [key]
        assert [t["trial"] for t in store.trials()] == [two]

    def test_a_trial_that_could_lie_outside_the_store_is_refused(self, store: Store) -> None:
        with pytest.raises(BadInput):
            store.record_trial("../../x", {})
        with pytest.raises(BadInput):
            store.trial("../cryoprobe")


def test_a_store_may_lie_on_any_storage() -> None:
    with pytest.raises(NotFound):
        Store(MemoryBackend())
    store = Store(marked(MemoryBackend()))
    found = seal_split(store, "test")
    assert store.open(found.id).rows == 9


def test_a_store_can_be_moved(store: Store, tmp_path: Path) -> None:
    found = seal_split(store, "test")
    Path(store.url).rename(tmp_path / "elsewhere")
    moved = open_store(tmp_path / "elsewhere").open(found.id)
    np.testing.assert_array_equal(moved.load(dtype="float16")[0], make_rows(IDS).embeddings)
    assert isinstance(LocalBackend(tmp_path / "elsewhere").get(moved.manifest.key), bytes)
