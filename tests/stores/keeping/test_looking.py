"""Looking at a store: what it takes, how its sets came to be, how they differ, and a random part of its bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.data import put_set
from support.store_data import flip, keys, overwrite, sample_ids, seal, sealed_set, write_units

from cryoprobe.canonical import digest
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.keeping.compare import diff, fields_that_differ
from cryoprobe.stores.keeping.gc import gc
from cryoprobe.stores.keeping.history import log
from cryoprobe.stores.keeping.quarantine import set_aside
from cryoprobe.stores.keeping.usage import du
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store

IDS = sample_ids(20)
X = np.random.default_rng(0).normal(size=(9, 4))
Y = np.arange(9) % 3


def put(store: Store, split: str, x: np.ndarray = X, y: np.ndarray = Y, **more: object) -> FeatureSet:  # type: ignore[type-arg]
    options = {"classes": ("a", "b", "c"), **more}
    return put_set(store, x, y, split=split, **options)  # type: ignore[arg-type]


def files_of(folder: Path) -> int:
    """Return the bytes of all files, each inode once, as du(1) counts them."""
    return sum({s.st_ino: s.st_size for s in (p.stat() for p in folder.rglob("*") if p.is_file())}.values())


class TestLs:
    def test_patterns(self, store: Store) -> None:
        put(store, "train", model="timm:vit_s", dataset="folder:/d/[old] birds")
        put(store, "test", model="timm:vit_b", encoder="b")
        put(store, "test", model="open_clip:RN50", tap="cls", encoder="c")
        assert len(store.ls()) == 3
        assert [n.name.model for n in store.ls(model="timm:*")] == ["timm:vit_b", "timm:vit_s"]
        assert [n.name.model for n in store.ls(model="*vit_?", split="t[er]st")] == ["timm:vit_b"]
        assert [n.name.tap for n in store.ls(tap="cls")] == ["cls"]
        assert store.ls(model="timm") == store.ls(dataset="") == []
        # A name is itself, even if it looks like a pattern.
        assert [n.name.split for n in store.ls(dataset="folder:/d/[old] birds")] == ["train"]


class TestDu:
    def test_every_byte_is_counted_once(self, store: Store) -> None:
        one = sealed_set(store.backend, IDS)
        seal(store.backend, IDS, labels=np.zeros(20, np.int64))
        write_units(store.backend, sample_ids(5, seed=1), 5)
        store.backend.put(f"sets/{one.id}/killed000000/zarr.json", b"{" * 100)
        store.record_trial("t" * 8, {"trial": "t" * 8})
        set_aside(store.backend, f"{one.manifest.folder}/labels/c/0")
        (Path(store.url) / "sets" / ".tmp-0123").write_bytes(b"x" * 50)
        used = du(store)
        assert used.total == files_of(Path(store.url))
        assert used.abandoned == 100
        assert used.trials == sum(i.size for i in store.backend.list("trials/"))
        assert used.quarantine == 0  # it shares its bytes with the object that it was copied from
        assert used.leftovers == 50
        shared = {s.set: s.size - s.own for s in used.sets}
        assert len(shared) == 2
        assert all(n > 0 for n in shared.values())
        beside = used.units + used.abandoned + used.trials + used.quarantine + used.other + used.leftovers
        assert sum(used.models.values()) + beside == used.total

    def test_without_links_everything_is_its_own(self, store: Store, tmp_path: Path) -> None:
        sealed_set(store.backend, IDS)
        copy = open_store(shutil.copytree(store.url, tmp_path / "copy"))
        (only,) = du(copy).sets
        assert only.own == only.size
        assert du(copy).total == files_of(tmp_path / "copy")

    def test_sets_by_patterns_and_models(self, store: Store) -> None:
        put(store, "train")
        put(store, "test", x=X + 1)
        put(store, "test", model="timm:other", encoder="other")
        used = du(store)
        assert len(used.sets) == 3
        assert set(used.models) == {"timm:m", "timm:other"}
        assert [s.size for s in used.sets] == sorted((s.size for s in used.sets), reverse=True)
        chosen = du(store, model="timm:o*")
        assert [s.name.model for s in chosen.sets if s.name] == ["timm:other"]
        assert chosen.total == used.total

    def test_in_a_bucket(self, s3: str) -> None:
        store = open_store(s3, create=True)
        sealed_set(store.backend, IDS)
        used = du(store)
        assert used.total == sum(i.size for i in store.backend.list())
        assert used.units == sum(i.size for i in store.backend.list("units/"))


class TestLog:
    def test_newest_first_with_who_and_how(self, store: Store) -> None:
        name = {"model": "timm:m", "dataset": "folder:/d", "split": "test", "tap": "pooled"}
        made = {"user": "ada", "host": "h", "versions": {"torch": "2"}, "command": ["cryoprobe", "extract"]}
        sealed_set(store.backend, IDS, provenance={"name": name, "created": 5, "encoded": 20, **made})
        seal(store.backend, IDS, labels=np.zeros(20, np.int64), provenance={"created": 7})
        seal(store.backend, IDS, labels=np.ones(20, np.int64), provenance={"name": {"model": 1}})
        newest, first, unknown = log(store)
        assert (newest.created, newest.name, newest.user) == (7, None, None)
        assert (first.user, first.host, first.versions, first.command) == tuple(made.values())
        assert (first.rows, first.encoded, first.name.model if first.name else "") == (20, 20, "timm:m")
        assert (unknown.created, unknown.versions, unknown.command, unknown.user) == (None, {}, None, None)
        assert log(store, model="timm:*", split="test") == [first]
        assert log(store, model="x") == []


class TestDiff:
    def test_a_set_and_itself(self, store: Store) -> None:
        one = put(store, "train")
        found = diff(store, one.id, one.id[:9])
        assert found.same
        assert (found.common, found.only_a, found.only_b, found.relabelled) == (9, 0, 0, 0)

    def test_grown_relabelled_and_renamed_classes(self, store: Store) -> None:
        one = put(store, "train")
        y = np.array([*Y, 0, 1])
        y[4] = 2
        more = np.concatenate([X, X[:2] + 1])
        # The same classes under other numbers: only row 4 has another label.
        two = put(store, "train", x=more, y=(y + 1) % 3, classes=("c", "a", "b"))
        found = diff(store, one.id, two.id)
        assert not found.same
        assert found.encoder == {}
        assert found.dataset["rows"] == [9, 11]
        assert found.dataset["classes"] == [["a", "b", "c"], ["c", "a", "b"]]
        assert (found.rows, found.common, found.only_a, found.only_b) == ((9, 11), 9, 0, 2)
        assert len(found.only_b_samples) == 2
        assert found.only_b_samples[0] == two.sample_ids()[9].tobytes().hex()
        assert found.relabelled == 1
        assert found.distances is not None
        assert (found.distances.identical, found.distances.largest) == (9, 0.0)

    def test_distances_are_those_of_the_embeddings(self, store: Store) -> None:
        ids = sample_ids(9)
        other = X + np.random.default_rng(1).normal(size=X.shape) * 0.3
        one, two = put(store, "train", ids=ids), put(store, "train", x=other, ids=ids, encoder="two")
        found = diff(store, one.id, two.id)
        assert found.encoder == {"architecture": ["encoder", "two"]}
        cosine = 1 - (X * other).sum(1) / np.linalg.norm(X, axis=1) / np.linalg.norm(other, axis=1)
        assert found.distances is not None
        assert found.distances.mean == pytest.approx(cosine.mean(), abs=1e-3)
        assert found.distances.median == pytest.approx(np.median(cosine), abs=1e-3)
        assert found.distances.largest == pytest.approx(cosine.max(), abs=1e-3)
        ratio = np.linalg.norm(X, axis=1) / np.linalg.norm(other, axis=1)
        assert found.distances.largest_norm_ratio == pytest.approx(np.maximum(ratio, 1 / ratio).max(), rel=1e-5)

    def test_what_cannot_be_compared_is_not(self, store: Store) -> None:
        ids = sample_ids(9)
        flags = np.eye(3, dtype=np.uint8)[Y]
        one = put(store, "train", ids=ids)
        wide = put(store, "train", x=np.ones((9, 5)), y=flags, ids=ids, encoder="wide")
        other = put(store, "test", x=X + 5)
        assert diff(store, one.id, wide.id).distances is None
        assert diff(store, one.id, wide.id).relabelled is None
        assert diff(store, wide.id, wide.id).same
        nothing = diff(store, one.id, other.id)
        assert (nothing.common, nothing.relabelled, nothing.distances) == (0, 0, None)
        with pytest.raises(NotFound):
            diff(store, one.id, "f" * 10)

    def test_with_a_set_of_another_store(self, store: Store, tmp_path: Path) -> None:
        one = put(store, "train")
        there = put(open_store(tmp_path / "there", create=True), "train", x=X[:5], y=Y[:5])
        found = diff(store, one.id, there.id, other=tmp_path / "there")
        assert (found.common, found.only_a, found.only_b) == (5, 4, 0)

    def test_fields_of_specs(self) -> None:
        a, b = {"x": 1, "p": {"q": [1], "r": 2}}, {"x": 1, "p": {"q": [2]}, "s": None}
        assert fields_that_differ(a, b) == {"p.q": [[1], [2]], "p.r": [2, None]}


class TestVerifyOfAPart:
    def test_a_part_is_hashed_and_the_rest_counted(self, store: Store) -> None:
        sealed_set(store.backend, IDS)
        for info in keys(store.backend, "sets/"):
            overwrite(Path(store.url), info, flip(store.backend.get(info), 5))
        whole = verify(store, data=True)
        assert (whole.hashed, whole.hashed_bytes) == (whole.objects, whole.bytes)
        parts = [verify(store, data=True, share=0.2, seed=seed) for seed in range(40)]
        assert {p.hashed for p in parts} == {-(-whole.objects // 5)}
        assert all(p.objects == whole.objects for p in parts)
        assert all(len(p.damages) <= p.hashed for p in parts)
        found = {d.key for p in parts for d in p.damages}
        assert found == {d.key for d in whole.damages}  # other seeds, other parts
        assert parts[3] == verify(store, data=True, share=0.2, seed=3)

    def test_presence_and_sizes_are_looked_at_all_the_same(self, store: Store) -> None:
        found = sealed_set(store.backend, IDS)
        store.backend.delete(f"{found.manifest.folder}/labels/c/0")
        for seed in range(5):
            assert len(verify(store, data=True, share=0.01, seed=seed).damages) == 1

    @pytest.mark.parametrize("share", [0, -1, 1.1, float("nan")])
    def test_a_part_that_is_none_is_refused(self, store: Store, share: float) -> None:
        with pytest.raises(BadInput):
            verify(store, data=True, share=share)
        with pytest.raises(BadInput):
            verify(store, share=0.5)

    def test_a_damaged_name_is_named(self, store: Store) -> None:
        put(store, "train")
        (key,) = keys(store.backend, "names/")
        store.backend.put(key, store.backend.get(key)[:-1])
        (damage,) = verify(store).damages
        assert (damage.key, damage.seal, damage.problem) == (key, key, "changed")


def test_kinds_of_objects_that_are_not_known_are_no_sets_and_no_damage(store: Store) -> None:
    found = sealed_set(store.backend, IDS)
    for key in ("future/thing.json", f"pins/{found.id}.json", "gc/x/y.json", "quarantine/0/sets/a/b/c"):
        store.backend.put(key, b"\0")
    assert set(store.set_ids()) == {found.id}
    assert store.names() == []
    assert list(store.trials()) == []
    assert not verify(store, data=True).damages
    assert len(store.rows_of(digest(found.manifest.encoder))) == 20
    gc(store, delete=True)
    assert store.backend.exists("future/thing.json")
