"""Push, pull and sync: what travels between two stores of any kind, and what never does."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data import put_set
from support.servers import serving, serving_folder
from support.store_data import (
    CLASSES,
    flip,
    keys,
    make_rows,
    overwrite,
    sample_ids,
    seal,
    sealed_set,
    write_units,
)

import cryoprobe
from cryoprobe.canonical import digest
from cryoprobe.checksummed import dump_document
from cryoprobe.errors import BadInput, Corrupt, NotFound, ReadOnly, Unavailable
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.store import Store
from cryoprobe.testing import Storage
from cryoprobe.testing.storage import at_once

ROWS, D = 20, 6


def features(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(ROWS, D)).astype(np.float32)


def add(store: Store, split: str, seed: int = 0, **name: Any) -> str:
    """Seal and name a set of 20 rows; return its id."""
    return put_set(store, features(seed), np.arange(ROWS) % 3, classes=CLASSES, split=split, **name).id


def trial(store: Store, **about: Any) -> str:
    key = digest(about)
    store.record_trial(key, {"trial": key, **about, "metrics": {"top1": 1.0}})
    return key


def memory_store() -> Store:
    backend = MemoryBackend()
    write_marker(backend)
    return Store(backend)


@pytest.fixture
def source(storage: Storage) -> tuple[Store, Store]:
    """Return a store with two sets to write to, and the same store as it is read."""
    write_marker(storage.writer)
    writer = Store(storage.writer)
    add(writer, "train", 0)
    add(writer, "test", 1)
    return writer, Store(storage.reader)


@pytest.fixture(params=["memory", "local", "s3"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return an empty store of each kind that is written to."""
    if request.param == "memory":
        return memory_store()
    place = tmp_path / "target" if request.param == "local" else f"{request.getfixturevalue('s3')}-target"
    return cryoprobe.open_store(place, create=True)


def assert_same_sets(one: Store, other: Store, sets: set[str] | None = None) -> None:
    for set_ in sets or set(one.set_ids()):
        mine, theirs = one.open(set_), other.open(set_)
        assert one.backend.get(mine.manifest.key) == other.backend.get(theirs.manifest.key)
        for a, b in zip(mine.load(), theirs.load(), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(mine.sample_ids(), theirs.sample_ids())
        np.testing.assert_array_equal(mine.norms(), theirs.norms())
    assert cryoprobe.verify(other, data=True).damages == ()


class TestBetweenAnyTwoStores:
    def test_sets_arrive_whole_with_their_names_and_trials_and_a_second_push_moves_nothing(
        self, source: tuple[Store, Store], target: Store
    ) -> None:
        writer, reader = source
        train, test = (writer.find(split=split)[0].set for split in ("train", "test"))
        about = trial(writer, train=train, test=test, val={"fraction": 0.1})
        moved = cryoprobe.push(reader, target)
        assert {(s.set, s.outcome) for s in moved.sets} == {(train, "moved"), (test, "moved")}
        assert (moved.names, moved.trials, moved.units) == (2, 1, 0)
        assert_same_sets(writer, target)
        assert target.names() == writer.names()
        assert target.trial(about) == writer.trial(about)
        assert moved.objects == len(keys(target.backend, "sets/"))
        assert moved.bytes == sum(info.size for info in target.backend.list("sets/"))
        assert keys(target.backend, "units/") == keys(target.backend, "claims/") == []

        again = cryoprobe.push(reader, target)
        assert {s.outcome for s in again.sets} == {"there"}
        assert (again.objects, again.bytes, again.names, again.trials) == (0, 0, 0, 0)


def test_pull_is_push_the_other_way(store: Store) -> None:
    team = memory_store()
    set_ = add(team, "train")
    moved = cryoprobe.pull(store, team)
    assert [s.set for s in moved.sets] == [set_]
    assert (moved.source, moved.target) == (team.url, store.url)
    assert_same_sets(team, store)


def test_a_store_is_made_at_the_target_but_not_by_a_dry_run(store: Store, tmp_path: Path) -> None:
    add(store, "train")
    told = cryoprobe.push(store, tmp_path / "new", dry_run=True)
    assert not (tmp_path / "new").exists()
    moved = cryoprobe.push(store, tmp_path / "new")
    assert told.dry_run
    assert not moved.dry_run
    assert (told.sets, told.objects, told.bytes, told.names) == (moved.sets, moved.objects, moved.bytes, moved.names)
    assert_same_sets(store, cryoprobe.open_store(tmp_path / "new"))


def test_nothing_is_made_at_the_target_where_the_source_or_the_set_is_missing(store: Store, tmp_path: Path) -> None:
    add(store, "train")
    for start, sets in ((tmp_path / "absent", []), (store, ["ffff"])):
        with pytest.raises(NotFound):
            cryoprobe.push(start, tmp_path / "new", sets)
    assert not (tmp_path / "new").exists()


def test_what_a_layered_store_has_from_below_is_not_there_yet(store: Store, tmp_path: Path) -> None:
    set_ = add(store, "train")
    mine = cryoprobe.open_store(tmp_path / "mine", sources=[store.url])
    assert set_ in mine.set_ids()
    assert [s.outcome for s in cryoprobe.pull(mine, store).sets] == ["moved"]
    assert_same_sets(store, cryoprobe.open_store(tmp_path / "mine"))


def test_a_store_is_not_moved_into_itself(store: Store, tmp_path: Path) -> None:
    add(store, "train")
    (tmp_path / "link").symlink_to(store.url)
    for same in (store, store.url, tmp_path / "link"):
        with pytest.raises(BadInput, match="the same store"):
            cryoprobe.push(store, same)


class TestChoosing:
    @pytest.fixture
    def sets(self, store: Store) -> dict[str, str]:
        return {
            "vit train": add(store, "train", 0, model="timm:vit_small", encoder="vit"),
            "vit test": add(store, "test", 1, model="timm:vit_small", encoder="vit"),
            "clip train": add(store, "train", 2, model="open_clip:ViT", encoder="clip", dataset="folder:/data/birds"),
        }

    def moved(self, store: Store, *sets: str, **options: Any) -> set[str]:
        target = memory_store()
        cryoprobe.push(store, target, sets, **options)
        assert {n.set for n in target.names()} == set(target.set_ids())
        return set(target.set_ids())

    def test_by_ids_and_by_patterns(self, store: Store, sets: dict[str, str]) -> None:
        vit = {sets["vit train"], sets["vit test"]}
        assert self.moved(store) == set(sets.values())
        assert self.moved(store, sets["vit train"][:10]) == {sets["vit train"]}
        assert self.moved(store, *sets.values()) == set(sets.values())
        assert self.moved(store, model="timm:*") == vit
        assert self.moved(store, dataset="*/birds") == {sets["clip train"]}
        assert self.moved(store, model="*vit*", dataset="folder:/?") == vit
        assert self.moved(store, sets["vit test"], model="timm:*") == {sets["vit test"]}

    def test_what_fits_nothing_is_not_found(self, store: Store, sets: dict[str, str]) -> None:
        for options in ({"model": "timm"}, {"dataset": "birds"}, {"model": "timm:*", "dataset": "*birds"}):
            with pytest.raises(NotFound, match="cryoprobe ls"):
                self.moved(store, **options)
        with pytest.raises(NotFound):
            self.moved(store, "0123")

    def test_a_set_that_nobody_named_goes_by_its_provenance(self, store: Store, sets: dict[str, str]) -> None:
        ids = sample_ids(8, seed=5)
        write_units(store.backend, ids, 8)
        name = {"model": "timm:unnamed", "dataset": "folder:/x", "split": "all", "tap": "cls"}
        manifest, _ = seal(store.backend, ids, provenance={"name": name, "created": 5})
        target = memory_store()
        cryoprobe.push(store, target, model="timm:unnamed")
        assert set(target.set_ids()) == {manifest.set}
        assert [n.name.model for n in target.names()] == ["timm:unnamed"]

    def test_trials_go_with_their_sets_only(self, store: Store, sets: dict[str, str]) -> None:
        both = trial(store, train=sets["vit train"], test=sets["vit test"], val=None)
        held = trial(store, train=sets["vit train"], test={"fraction": 0.2, "seed": 0}, val={"fraction": 0.1})
        other = trial(store, train=sets["clip train"], test={"fraction": 0.2, "seed": 0}, val=None)
        target = memory_store()
        assert cryoprobe.push(store, target, [sets["vit train"]], trials=False).trials == 0
        assert cryoprobe.push(store, target, [sets["vit train"]]).trials == 1
        assert {t["trial"] for t in target.trials()} == {held}
        # The rest of a trial's sets may have been there before.
        assert cryoprobe.push(store, target, [sets["vit test"]]).trials == 1
        assert {t["trial"] for t in target.trials()} == {held, both}
        assert cryoprobe.push(store, target).trials == 1
        assert {t["trial"] for t in target.trials()} == {held, both, other}

    def test_of_all_that_is_pushed_trials_on_sets_that_only_the_target_has_go_too(
        self, store: Store, sets: dict[str, str]
    ) -> None:
        target = memory_store()
        theirs = add(target, "val", 7)
        on_theirs = trial(store, train=theirs, test={"fraction": 0.2, "seed": 0}, val=None)
        assert cryoprobe.push(store, target, [sets["vit train"]]).trials == 0
        assert cryoprobe.push(store, target).trials == 1
        assert {t["trial"] for t in target.trials()} == {on_theirs}

    def test_a_damaged_trial_stays_where_it_is(self, store: Store, sets: dict[str, str]) -> None:
        id_ = trial(store, train=sets["vit train"], test=sets["vit test"])
        overwrite(Path(store.url), f"trials/{id_}.json", b'{"trial": "x"}')
        assert cryoprobe.push(store, memory_store()).trials == 0

    def test_the_newer_name_stays(self, store: Store, sets: dict[str, str]) -> None:
        target = memory_store()
        cryoprobe.push(store, target)
        (named,) = [n for n in store.names() if n.set == sets["vit train"]]
        older, newer = (named.model_copy(update={"named": named.named + d}) for d in (-5, 5))
        for first, second in ((older, newer), (newer, older)):
            store.name(first)
            target.name(second)
            assert cryoprobe.push(store, target).names == (first is newer)
            assert newer in target.names()


class TestUnits:
    def test_units_travel_only_if_asked_for_and_spare_their_encoding(self, store: Store) -> None:
        set_ = sealed_set(store.backend, sample_ids(16))
        unfinished = write_units(store.backend, sample_ids(8, seed=7), 8)
        target = memory_store()
        assert cryoprobe.push(store, target).units == 0
        index = target.rows_of(set_.encoder_id)
        assert index.missing(sample_ids(16)) == []  # rows of sets are used again without units
        assert len(index.missing(sample_ids(8, seed=7))) == 8

        assert cryoprobe.push(store, target, units=True).units == 3
        index = target.rows_of(set_.encoder_id)
        assert index.missing(sample_ids(8, seed=7)) == []
        assert index.unit(unfinished[0].unit) == unfinished[0]
        rows = index.gather(sample_ids(8, seed=7))
        np.testing.assert_array_equal(rows.embeddings, make_rows(sample_ids(8, seed=7)).embeddings)
        assert cryoprobe.verify(target, data=True).damages == ()
        assert cryoprobe.push(store, target, units=True).objects == 0

    def test_what_arrives_as_a_unit_does_not_travel_again_as_a_chunk(self, store: Store, tmp_path: Path) -> None:
        sealed_set(store.backend, sample_ids(16))
        asked: list[str] = []

        class Counting(LocalBackend):
            def get(self, key: str, limit: int | None = None) -> bytes:
                asked.append(key)
                return super().get(key, limit)

        target = cryoprobe.open_store(tmp_path / "target", create=True)
        cryoprobe.push(Store(Counting(Path(store.url))), target, units=True)
        chunks = [k for k in asked if k.startswith("sets/") and "/c/" in k]
        assert [k.split("/")[3] for k in chunks] == ["labels"]
        assert_same_sets(store, target)

    def test_units_of_other_encoders_stay(self, store: Store) -> None:
        set_ = sealed_set(store.backend, sample_ids(8))
        other = add(store, "train")
        target = memory_store()
        assert cryoprobe.push(store, target, [other], units=True).units == 1
        assert len(target.rows_of(set_.encoder_id)) == 0


class TestTheFirstSealWins:
    @pytest.fixture
    def two(self, store: Store) -> tuple[Store, Store, str]:
        """Return two stores that sealed the same set, each by itself."""
        other = memory_store()
        one, two = (sealed_set(s.backend, sample_ids(16)) for s in (store, other))
        assert one.id == two.id
        assert one.manifest.attempt != two.manifest.attempt
        return store, other, one.id

    def test_nothing_of_a_set_travels_that_the_target_has_of_another_attempt(
        self, two: tuple[Store, Store, str]
    ) -> None:
        store, other, set_ = two
        before = other.backend.get(other.open(set_).manifest.key)
        objects = keys(other.backend)
        for moved in (cryoprobe.push(store, other), *cryoprobe.sync(store, other)):
            assert [(s.outcome, s.objects) for s in moved.sets] == [("adopted", 0)]
        assert other.backend.get(other.open(set_).manifest.key) == before
        assert keys(other.backend) == objects

    def test_of_two_attempts_pushed_at_once_one_is_sealed_and_the_other_leaves_nothing(
        self, two: tuple[Store, Store, str]
    ) -> None:
        store, other, set_ = two
        for _ in range(5):
            target = memory_store()
            moved = at_once(4, lambda i, t=target: cryoprobe.push((store, other)[i % 2], t))
            attempt = target.open(set_).manifest.attempt
            assert {k.split("/")[2] for k in keys(target.backend, "sets/")} == {attempt}
            assert cryoprobe.verify(target, data=True).damages == ()
            assert sum(s.outcome == "moved" for m in moved for s in m.sets) in (1, 2)  # 2 of one attempt

    def test_a_seal_lost_while_the_objects_travel_is_adopted(self, two: tuple[Store, Store, str]) -> None:
        store, other, _ = two

        class SealedMeanwhile(MemoryBackend):
            def put_if_absent(self, key: str, data: bytes) -> bool:
                if key.startswith("manifests/") and not self.exists(key):
                    for info in other.backend.list("sets/"):
                        self.put(info.key, other.backend.get(info.key))
                    super().put_if_absent(key, other.backend.get(key))
                return super().put_if_absent(key, data)

        backend = SealedMeanwhile()
        write_marker(backend)
        moved = cryoprobe.push(store, Store(backend))
        assert [s.outcome for s in moved.sets] == ["adopted"]
        assert keys(backend, "sets/") == keys(other.backend, "sets/")


class TestDamage:
    @pytest.mark.parametrize("damage", ["flipped", "short", "missing", "swapped"])
    @pytest.mark.parametrize("which", ["embeddings/c/1/0", "labels/c/0", "norms/zarr.json"])
    def test_a_damaged_object_is_refused_by_name_and_its_set_alone(self, store: Store, damage: str, which: str) -> None:
        broken = sealed_set(store.backend, sample_ids(16))
        whole = add(store, "train")
        about = trial(store, train=broken.id, test=whole)
        key = f"{broken.manifest.folder}/{which}"
        data = store.backend.get(key)
        if damage == "missing":
            store.backend.delete(key)
        else:
            changed = {"flipped": flip(data, 9), "short": data[:-1], "swapped": bytes(len(data))}[damage]
            overwrite(Path(store.url), key, changed)
        target = memory_store()
        with pytest.raises(Corrupt, match=key) as caught:
            cryoprobe.push(store, target)
        assert caught.value.key == key
        assert set(target.set_ids()) == {whole}
        assert {n.set for n in target.names()} == {whole}
        assert target.trial(about) is None
        assert cryoprobe.verify(target, data=True).damages == ()

        store.backend.put(key, data)
        moved = cryoprobe.push(store, target)
        assert {s.set: s.outcome for s in moved.sets} == {broken.id: "moved", whole: "there"}
        assert moved.trials == 1
        assert_same_sets(store, target)

    def test_a_damaged_manifest_is_refused_by_name(self, store: Store) -> None:
        broken = sealed_set(store.backend, sample_ids(16))
        whole = add(store, "train")
        overwrite(Path(store.url), broken.manifest.key, b"{}")
        target = memory_store()
        for dry_run in (True, False):
            with pytest.raises(Corrupt, match=broken.manifest.key):
                cryoprobe.push(store, target, dry_run=dry_run)
        assert set(target.set_ids()) == {whole}

    @pytest.mark.parametrize(
        "change",
        [
            {"attempt": "../../names"},
            {"attempt": "0123456789ag"},
            {"rows": 17},
            {"rows": 10**15},
            {"dim": 7},
            {"label_chunk_rows": 3},
            {"objects": {}},
        ],
    )
    def test_a_manifest_whose_set_could_not_be_read_is_not_sealed_elsewhere(
        self, store: Store, change: dict[str, Any]
    ) -> None:
        manifest = sealed_set(store.backend, sample_ids(16)).manifest
        content = {**json.loads(store.backend.get(manifest.key)), **change}
        del content["checksum"]
        overwrite(Path(store.url), manifest.key, dump_document(content))
        target = memory_store()
        with pytest.raises(Corrupt, match=manifest.set) as caught:
            cryoprobe.push(store, target)
        assert caught.value.key == manifest.key
        assert target.set_ids() == {}

    @pytest.mark.parametrize("name", ["../../cryoprobe.json", "a/../b", "/etc/passwd", "a\0b", "x" * 300, ".hidden"])
    def test_an_object_whose_name_is_no_key_is_not_written(self, store: Store, name: str) -> None:
        manifest = sealed_set(store.backend, sample_ids(16)).manifest
        content = json.loads(store.backend.get(manifest.key))
        del content["checksum"]
        content["objects"][name] = content["objects"]["zarr.json"]
        overwrite(Path(store.url), manifest.key, dump_document(content))
        target = memory_store()
        with pytest.raises(Corrupt, match="is not one of its objects"):
            cryoprobe.push(store, target)
        assert keys(target.backend) == ["cryoprobe.json"]

    def test_what_an_interrupted_transfer_left_is_used_if_it_is_whole(self, store: Store, tmp_path: Path) -> None:
        set_ = sealed_set(store.backend, sample_ids(16)).manifest
        target = cryoprobe.open_store(tmp_path / "target", create=True)
        good, bad = (f"{set_.folder}/{name}" for name in ("embeddings/c/0/0", "embeddings/c/1/0"))
        target.backend.put(good, store.backend.get(good))
        target.backend.put(bad, flip(store.backend.get(bad), 77))
        moved = cryoprobe.push(store, target)
        assert moved.objects == len(set_.objects) - 1
        assert_same_sets(store, target)

    def test_objects_that_a_sealed_set_has_lost_travel_again(self, store: Store, tmp_path: Path) -> None:
        set_ = sealed_set(store.backend, sample_ids(16)).manifest
        target = cryoprobe.open_store(tmp_path / "target", create=True)
        cryoprobe.push(store, target)
        target.backend.delete(f"{set_.folder}/norms/c/1")
        assert [(s.outcome, s.objects) for s in cryoprobe.push(store, target).sets] == [("completed", 1)]
        assert_same_sets(store, target)

    def test_objects_that_somebody_tidies_away_before_the_seal_are_sent_again(self, store: Store) -> None:
        sealed_set(store.backend, sample_ids(16))

        class TidiedUp(MemoryBackend):
            times = 1

            def put_if_absent(self, key: str, data: bytes) -> bool:
                if key.startswith("manifests/") and self.times:
                    self.times -= 1
                    for gone in keys(self, "sets/")[::2]:
                        self.delete(gone)
                return super().put_if_absent(key, data)

        backend = TidiedUp()
        write_marker(backend)
        cryoprobe.push(store, Store(backend))
        assert backend.times == 0
        assert_same_sets(store, Store(backend))


class TestSync:
    def test_each_gets_what_only_the_other_has(self, store: Store) -> None:
        other = memory_store()
        mine, theirs = add(store, "train", 0), add(other, "test", 1)
        there, back = cryoprobe.sync(store, other)
        assert [(s.set, s.outcome) for s in there.sets] == [(mine, "moved")]
        assert (theirs, "moved") in {(s.set, s.outcome) for s in back.sets}
        assert set(store.set_ids()) == set(other.set_ids()) == {mine, theirs}
        assert_same_sets(store, other)
        assert_same_sets(other, store)

    def test_a_trial_on_a_set_of_the_other_goes_there_at_once(self, store: Store) -> None:
        other = memory_store()
        add(store, "train", 0)
        theirs = add(other, "test", 1)
        key = trial(store, train=theirs, test={"fraction": 0.2, "seed": 0}, val=None)
        there, _ = cryoprobe.sync(store, other)
        assert there.trials == 1
        assert {t["trial"] for t in other.trials()} == {key}
        assert [moved.trials for moved in cryoprobe.sync(store, other)] == [0, 0]

    def test_a_trial_on_both_stores_sets_goes_there_in_one_sync(self, store: Store) -> None:
        other = memory_store()
        mine, theirs = add(store, "train", 0), add(other, "test", 1)
        key = trial(other, train=mine, test=theirs, val=None)
        _, back = cryoprobe.sync(store, other)
        assert back.trials == 1
        late = trial(store, train=add(other, "val", 2), test=mine, val=None)
        there, _ = cryoprobe.sync(store, other)
        assert there.trials == 1
        assert {t["trial"] for t in other.trials()} == {key, late}

    def test_a_set_named_need_be_in_one_of_them(self, store: Store) -> None:
        other = memory_store()
        mine, theirs = add(store, "train", 0), add(other, "test", 1)
        add(store, "val", 2)
        cryoprobe.sync(store, other, [mine[:12], theirs[:12]])
        assert set(other.set_ids()) == {mine, theirs}
        with pytest.raises(NotFound):
            cryoprobe.sync(store, other, ["0123"])

    def test_dry(self, store: Store, tmp_path: Path) -> None:
        add(store, "train")
        there, back = cryoprobe.sync(store, tmp_path / "new", dry_run=True)
        assert [len(w.sets) for w in (there, back)] == [1, 0]
        assert not (tmp_path / "new").exists()


class TestWhereStorageCopies:
    @pytest.mark.parametrize("way", ["push", "pull", "sync", "push with units"])
    def test_h1_backup_shares_inodes(self, way: str, store: Store, tmp_path: Path) -> None:
        """Each store has bytes of its own: one that is damaged in place is whole in the other, and mended from it."""
        add(store, "train")
        backup = cryoprobe.open_store(tmp_path / "backup", create=True)
        if way == "pull":
            cryoprobe.pull(backup, store)
        else:
            getattr(cryoprobe, way[:4])(store, backup, units=way.endswith("units"))
        shared = {o.file for o in store.backend.inspect() if o.file} & {o.file for o in backup.backend.inspect()}
        assert not shared
        for one, other in ((store, backup), (backup, store)):
            (set_,) = one.set_ids()
            with (Path(one.open(set_).path) / "embeddings/c/0/0").open("r+b") as file:
                file.seek(5)
                file.write(b"\xff\xfe")
            assert cryoprobe.verify(one, data=True).damages
            assert not cryoprobe.verify(other, data=True).damages
            assert {r.action for r in cryoprobe.repair(one, source=other)} == {"restored"}
            assert not cryoprobe.verify(one, data=True).damages

    @pytest.mark.parametrize("answer", ["clones", errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSPC])
    def test_a_file_system_that_clones_files_is_asked_to(
        self, answer: str | int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, other = (LocalBackend(tmp_path / name) for name in ("one", "other"))
        one.put("k", b"x" * 10_000)
        asked = []

        def ioctl(to: int, request: int, from_: int) -> int:
            asked.append(request)
            if isinstance(answer, int):
                raise OSError(answer, "")
            return os.write(to, os.read(from_, 20_000))

        monkeypatch.setattr("fcntl.ioctl", ioctl)
        cloned = [other.copy_from(one, "k") for _ in range(2)]
        assert cloned == [answer == "clones"] * 2
        # Where there are no clones it is not tried again; where only the disk was full, it is.
        assert asked == [0x40049409] * (2 if answer in ("clones", errno.ENOSPC) else 1)
        assert {p.name for p in tmp_path.glob("other/**/*")} == ({"k"} if cloned[0] else set())
        assert not cloned[0] or other.get("k") == one.get("k")

    def test_on_one_disk_objects_are_links_where_that_is_asked_for(self, store: Store, tmp_path: Path) -> None:
        set_ = add(store, "train")
        target = cryoprobe.open_store(tmp_path / "target", create=True)
        cryoprobe.push(store, target, link=True)
        for name in store.open(set_).manifest.objects:
            files = [Path(s.open(set_).path) / name for s in (store, target)]
            assert files[0].samefile(files[1])
        # Taking the source away takes nothing from the target.
        shutil.rmtree(store.url)
        assert cryoprobe.verify(target, data=True).damages == ()

    def test_what_others_may_not_read_in_the_source_is_no_link(self, store: Store, tmp_path: Path) -> None:
        set_ = add(store, "train")
        private = [p for p in Path(store.url).rglob("*") if p.is_file()]
        for path in private:
            path.chmod(0o600)
        target = cryoprobe.open_store(tmp_path / "target", create=True)
        cryoprobe.push(store, target, link=True)
        manifest = target.open(set_).manifest
        assert all((tmp_path / "target" / manifest.folder / n).stat().st_mode & 0o044 for n in manifest.objects)
        assert_same_sets(store, target)

    def test_in_one_bucket_no_object_is_uploaded(self, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from cryoprobe.stores.backends.objects import ObjectBackend

        source, target = (cryoprobe.open_store(f"{s3}/{name}", create=True) for name in ("a", "b/c"))
        add(source, "train")
        uploaded: list[str] = []
        put = ObjectBackend.put
        monkeypatch.setattr(ObjectBackend, "put", lambda self, key, data: (uploaded.append(key), put(self, key, data)))
        cryoprobe.push(source, target)
        assert [k for k in uploaded if k.startswith("sets/")] == []
        assert_same_sets(source, target)

    def test_a_bucket_of_another_service_is_none_that_copies(self, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from cryoprobe.stores.backends.objects import ObjectBackend

        one = ObjectBackend(f"{s3}/a")
        one.put("k", b"x")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        elsewhere = ObjectBackend(f"{s3}/b", retries=0)
        assert not one.copy_from(elsewhere, "k")
        assert not elsewhere.copy_from(one, "k")


def test_what_is_only_read_cannot_be_pushed_to(store: Store, tmp_path: Path) -> None:
    add(store, "train")
    other = cryoprobe.open_store(tmp_path / "served", create=True)
    with serving_folder(Path(other.url)) as url, pytest.raises(ReadOnly, match="over http"):
        cryoprobe.push(store, url)


@pytest.mark.parametrize(
    ("moved", "status"),
    [
        ("/manifests/.*json", 301),
        ("/sets/.*/c/0", 302),
        ("/sets/.*/c/0", 303),
        ("/names/.*json", 307),
        ("/cryoprobe.json", 308),
    ],
)
def test_pull_follows_no_redirect_to_another_host(store: Store, tmp_path: Path, moved: str, status: int) -> None:
    add(store, "train")
    asked: list[str] = []

    class Elsewhere(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(self.path)

    class Redirecting(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            if not re.fullmatch(moved, self.path):
                super().do_GET()
                return
            self.send_response(status)
            self.send_header("Location", f"{other}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    # The other host has the very same files.
    folder = partial(Elsewhere, directory=store.url)
    with serving(folder) as address, serving(partial(Redirecting, directory=store.url)) as url:
        other = address.replace("127.0.0.1", "localhost")
        with pytest.raises(Unavailable, match="redirects to http://localhost, which is not followed"):
            cryoprobe.pull(tmp_path / "target", url)
    assert asked == []
    assert not (tmp_path / "target").exists() or cryoprobe.open_store(tmp_path / "target").set_ids() == {}


def test_progress_adds_up_to_all_bytes(store: Store) -> None:
    sealed_set(store.backend, sample_ids(16))
    add(store, "train")
    heard: list[tuple[str, int]] = []

    class Listening(cryoprobe.Reporter):
        def begin(self, title: str, total: int, unit: str = "samples") -> None:
            heard.append(("begin", total))

        def advance(self, n: int = 0, **counts: int) -> None:
            heard.append(("advance", n))

        def end(self) -> None:
            heard.append(("end", 0))

    moved = cryoprobe.push(store, memory_store(), reporter=Listening())
    assert heard[0] == ("begin", moved.bytes)
    assert heard[-1] == ("end", 0)
    assert sum(n for what, n in heard if what == "advance") == moved.bytes
