"""What is read back is what was written, or an error that says which object is wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from support.data import Heard, put_set
from support.store_data import (
    ENCODER_ID,
    class_labels,
    flip,
    keys,
    make_rows,
    overwrite,
    sample_ids,
    seal,
    sealed_set,
    write_units,
)

from cryoprobe.canonical import canonical_json, digest
from cryoprobe.errors import BadInput, Corrupt, CryoprobeError, Incompatible, NotFound, Unavailable
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.marker import MARKER, write_marker
from cryoprobe.stores.keeping.verify import Damage, verify
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store

N = 20  # chunks of 8: two whole ones, which are units too, and an edge of 4
ONE, TWO = sample_ids(N), sample_ids(N, seed=1)
LABELS = {"one": class_labels(N), "two": (class_labels(N) + 1) % 3}
READERS: dict[str, Callable[[FeatureSet], npt.NDArray[Any]]] = {
    "embeddings": lambda s: s.load()[0],
    "norms": FeatureSet.norms,
    "labels": FeatureSet.labels,
    "samples": FeatureSet.sample_ids,
}
CHUNKS = [
    *(f"{name}/c/{i}{tail}" for name, tail in (("embeddings", "/0"), ("norms", ""), ("samples", "/0")) for i in (0, 2)),
    "labels/c/0",
]
DOCUMENTS = ["zarr.json", *(f"{name}/zarr.json" for name in READERS)]


class Sets(NamedTuple):
    """A store in a folder in which no file has a second name, with two sets of equal shape."""

    store: Store
    one: FeatureSet
    two: FeatureSet

    @property
    def root(self) -> Path:
        return Path(self.store.url)

    def read(self, key: str) -> bytes:
        return self.store.backend.get(key)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("integrity") / "store"
    store = open_store(folder, create=True)
    sealed_set(store.backend, ONE, labels=LABELS["one"])
    sealed_set(store.backend, TWO, labels=LABELS["two"], split="two")
    return folder


@pytest.fixture
def sets(template: Path, tmp_path: Path) -> Sets:
    """Return a copy of the store, in which an object can be damaged alone: copying parts hard links."""
    store = open_store(shutil.copytree(template, tmp_path / "copy"))
    opened = {s.split: s for s in (store.open(i) for i in store.set_ids())}
    return Sets(store, opened["test"], opened["two"])


def key_of(feature_set: FeatureSet, relative: str) -> str:
    return f"{feature_set.manifest.folder}/{relative}"


def damaged_keys(store: Store, *, data: bool) -> list[str]:
    return sorted(d.key for d in verify(store, data=data).damages)


def assert_whole(feature_set: FeatureSet, ids: list[bytes], labels: npt.NDArray[np.int64]) -> None:
    expected = make_rows(ids)
    np.testing.assert_array_equal(READERS["embeddings"](feature_set), expected.embeddings.astype(np.float32))
    np.testing.assert_array_equal(feature_set.norms(), expected.norms)
    np.testing.assert_array_equal(feature_set.sample_ids(), expected.samples)
    np.testing.assert_array_equal(feature_set.labels(), labels)


def assert_read_as_corrupt(feature_set: FeatureSet, relative: str, among: list[str]) -> None:
    """Assert that the array of a damaged object cannot be read, for that object, and the others can."""
    array = relative.partition("/")[0] if "/c/" in relative else None
    unreadable = {array, "embeddings"} if array == "labels" else {array}  # `load` gives labels too
    for name, read in READERS.items():
        if name in unreadable:
            with pytest.raises(Corrupt) as caught:
                read(feature_set)
            assert caught.value.key in among
            assert str(caught.value.key) in str(caught.value)
            assert caught.value.expected != caught.value.found
        else:
            read(feature_set)


def test_a_whole_store_is_whole(sets: Sets) -> None:
    for data in (False, True):
        found = verify(sets.store, data=data)
        assert found.damages == ()
        assert (found.sets, found.units, found.data) == (2, 6, data)
        assert found.objects == len(keys(sets.store.backend, "sets/")) + len(keys(sets.store.backend, "units/"))
        assert found.bytes == sum(i.size for f in ("sets/", "units/") for i in sets.store.backend.list(f))
    assert_whole(sets.one, ONE, LABELS["one"])
    assert_whole(sets.two, TWO, LABELS["two"])


@pytest.mark.parametrize(("number", "what"), [(errno.EIO, "damage"), (errno.EACCES, "no right")])
def test_a_sector_that_cannot_be_read_is_damage_and_a_right_that_lacks_is_none(
    sets: Sets, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    key = key_of(sets.one, "embeddings/c/0/0")
    read = type(sets.store.backend).get

    def failing(backend: LocalBackend, wanted: str, limit: int | None = None) -> bytes:
        if wanted == key:
            error = OSError(number, os.strerror(number))
            raise Unavailable(f"Cannot read {wanted}: {error.strerror}.") from error
        return read(backend, wanted, limit)

    monkeypatch.setattr(LocalBackend, "get", failing)
    if what == "damage":
        assert [(d.key, d.problem) for d in verify(sets.store, data=True).damages] == [(key, "unreadable")]
    else:
        with pytest.raises(Unavailable, match="Permission denied"):
            verify(sets.store, data=True)


class TestOneObject:
    @pytest.mark.parametrize("relative", [*CHUNKS, *DOCUMENTS])
    @pytest.mark.parametrize("kind", ["flipped", "extended", "truncated", "emptied", "deleted", "made a folder"])
    def test_damage_is_named(self, sets: Sets, relative: str, kind: str) -> None:
        key = key_of(sets.one, relative)
        data = sets.read(key)
        if kind in ("deleted", "made a folder"):
            (sets.root / key).unlink()
            if kind == "made a folder":
                (sets.root / key).mkdir()
        else:
            changed = {"flipped": flip(data, 99), "extended": data + b"\0", "truncated": data[:-1], "emptied": b""}
            overwrite(sets.root, key, changed[kind])

        (damage,) = verify(sets.store, data=True).damages
        problem = {"deleted": "missing", "made a folder": "missing", "flipped": "changed"}.get(kind, "wrong size")
        assert (damage.key, damage.owner, damage.problem) == (key, sets.one.id, problem)
        assert damage.expected != damage.found
        assert damaged_keys(sets.store, data=False) == ([] if kind == "flipped" else [key])
        assert_read_as_corrupt(sets.one, relative, [key])
        assert_whole(sets.two, TWO, LABELS["two"])

    @pytest.mark.parametrize("relative", [c for c in CHUNKS if "/c/0" in c])
    def test_a_valid_chunk_of_another_set_is_named(self, sets: Sets, relative: str) -> None:
        key = key_of(sets.one, relative)
        overwrite(sets.root, key, sets.read(key_of(sets.two, relative)))
        (damage,) = verify(sets.store, data=True).damages
        assert (damage.key, damage.problem) == (key, "changed")
        assert damaged_keys(sets.store, data=False) == []
        assert_read_as_corrupt(sets.one, relative, [key])

    @pytest.mark.parametrize("name", ["embeddings", "norms", "samples"])
    def test_two_chunks_that_changed_places_are_named(self, sets: Sets, name: str) -> None:
        tail = "" if name == "norms" else "/0"
        first, second = (key_of(sets.one, f"{name}/c/{i}{tail}") for i in (0, 1))
        was = sets.read(first), sets.read(second)
        overwrite(sets.root, first, was[1])
        overwrite(sets.root, second, was[0])
        assert damaged_keys(sets.store, data=True) == [first, second]
        assert_read_as_corrupt(sets.one, f"{name}/c/0{tail}", [first, second])

    def test_rows_of_whole_chunks_are_read_from_a_damaged_set(self, sets: Sets) -> None:
        key = key_of(sets.one, "embeddings/c/1/0")
        overwrite(sets.root, key, b"")
        np.testing.assert_array_equal(
            sets.one.load([0, 7, 16])[0], make_rows([ONE[i] for i in (0, 7, 16)]).embeddings.astype(np.float32)
        )
        with pytest.raises(Corrupt) as caught:
            sets.one.load([0, 8])
        assert caught.value.key == key
        read = sets.one.batches(4)
        next(read), next(read)
        with pytest.raises(Corrupt):
            next(read)

    @pytest.mark.parametrize("array", ["embeddings", "norms", "samples"])
    @pytest.mark.parametrize("kind", ["flipped", "deleted", "truncated"])
    def test_a_damaged_unit_is_named(self, sets: Sets, array: str, kind: str) -> None:
        key = next(k for k in keys(sets.store.backend, "units/") if k.endswith(f"/{array}"))
        data = sets.read(key)
        if kind == "deleted":
            (sets.root / key).unlink()
        else:
            overwrite(sets.root, key, flip(data, 3) if kind == "flipped" else data[:-3])
        (damage,) = verify(sets.store, data=True).damages
        assert (damage.key, damage.owner) == (key, key.split("/")[2])

    def test_a_flipped_bit_on_the_disk_damages_the_unit_and_the_set_that_share_it(self, store: Store) -> None:
        found = sealed_set(store.backend, ONE)
        key = key_of(found, "embeddings/c/1/0")
        path = Path(store.url) / key
        with path.open("r+b") as f:
            f.write(flip(store.backend.get(key), 8)[:2])
        unit = f"units/{ENCODER_ID}/{found.manifest.units[1]}/"
        (shared,) = [k for k in keys(store.backend, unit) if k.endswith("embeddings")]
        assert damaged_keys(store, data=True) == sorted([key, shared])


class TestSeals:
    @pytest.mark.parametrize("folder", ["manifests/", "unit-seals/"])
    @pytest.mark.parametrize("kind", ["flipped", "truncated", "emptied", "another's", "no object"])
    def test_a_damaged_seal_is_named_and_the_rest_is_still_checked(self, sets: Sets, folder: str, kind: str) -> None:
        first, second, *_ = keys(sets.store.backend, folder)
        data = sets.read(first)
        changed = {
            "flipped": flip(data, 8 * 100),
            "truncated": data[:-1],
            "emptied": b"",
            "another's": sets.read(second),
            "no object": b"[]",
        }
        overwrite(sets.root, first, changed[kind])
        readable = sets.one if folder == "unit-seals/" or sets.one.manifest.key == second else sets.two
        also = key_of(readable, "labels/c/0")
        overwrite(sets.root, also, b"")
        for whole in (False, True):
            found = verify(sets.store, data=whole)
            assert {(d.key, d.problem) for d in found.damages} == {(first, "damaged seal"), (also, "wrong size")}
            assert (found.sets, found.units) == (2, 6)

    @pytest.mark.parametrize("kind", ["flipped", "truncated", "another's"])
    def test_a_set_with_a_damaged_manifest_is_not_opened(self, sets: Sets, kind: str) -> None:
        key, other = sets.one.manifest.key, sets.two.manifest.key
        data = sets.read(key)
        changed = {"flipped": flip(data, 999), "truncated": data[:-20], "another's": sets.read(other)}
        overwrite(sets.root, key, changed[kind])
        with pytest.raises(Corrupt, match="damaged") as caught:
            sets.store.open(sets.one.id)
        assert caught.value.key == key
        assert_whole(sets.store.open(sets.two.id), TWO, LABELS["two"])

    def test_a_set_whose_manifest_is_gone_is_no_set(self, sets: Sets) -> None:
        (sets.root / sets.one.manifest.key).unlink()
        assert set(sets.store.set_ids()) == {sets.two.id}
        with pytest.raises(NotFound):
            sets.store.open(sets.one.id)
        assert verify(sets.store).sets == 1
        again, sealed = seal(sets.store.backend, ONE, labels=LABELS["one"])
        assert sealed
        assert_whole(FeatureSet(sets.store.backend, again), ONE, LABELS["one"])

    def test_a_manifest_of_a_newer_version_is_named_and_the_rest_is_still_checked(self, sets: Sets) -> None:
        key = sets.one.manifest.key
        content = {**json.loads(sets.read(key)), "version": 2}
        del content["checksum"]
        overwrite(sets.root, key, canonical_json({**content, "checksum": digest(content)}))
        with pytest.raises(Incompatible):
            sets.store.open(sets.one.id)
        broken = key_of(sets.two, "norms/c/0")
        overwrite(sets.root, broken, b"")
        found = verify(sets.store, data=True)
        assert {(d.key, d.problem) for d in found.damages} == {(key, "unreadable"), (broken, "wrong size")}
        assert "version 2" in next(d.found for d in found.damages if d.key == key)


class TestWhatIsVerified:
    def test_chosen_sets_alone(self, sets: Sets) -> None:
        overwrite(sets.root, key_of(sets.one, "labels/c/0"), b"")
        assert verify(sets.store, [sets.two.id]).damages == ()
        (damage,) = verify(sets.store, [sets.one.id[:10]]).damages
        assert damage == Damage(
            key_of(sets.one, "labels/c/0"), sets.one.id, "wrong size", "164 bytes", "0 bytes", sets.one.manifest.key
        )
        both = verify(sets.store, [sets.one.id, sets.two.id], data=True)
        assert (both.sets, both.units, len(both.damages)) == (2, 0, 1)

    def test_sets_that_are_not_there(self, sets: Sets, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            verify(sets.store, ["f" * 64])
        with pytest.raises(NotFound):
            verify(tmp_path / "nothing")
        with pytest.raises(BadInput):
            verify("ftp://host/store")

    def test_a_store_by_its_path(self, sets: Sets) -> None:
        assert verify(sets.root).objects == verify(str(sets.root), data=True).objects > 0

    def test_progress_counts_every_object(self, sets: Sets) -> None:
        heard = Heard()
        found = verify(sets.store, data=True, reporter=heard)
        told = heard.told["Verifying"]
        assert told == [(i + 1, found.objects) for i in range(found.objects)]

    def test_what_no_seal_refers_to_is_not_looked_at(self, sets: Sets) -> None:
        sets.store.backend.put(f"units/{ENCODER_ID}/{'0' * 64}/killed/embeddings", b"half")
        sets.store.backend.put(f"sets/{sets.one.id}/killed/zarr.json", b"{")
        assert damaged_keys(sets.store, data=True) == []

    def test_an_empty_store_is_whole(self, store: Store) -> None:
        found = verify(store, data=True)
        assert (found.sets, found.units, found.objects, found.bytes, found.damages) == (0, 0, 0, 0, ())


@pytest.mark.slow
def test_a_thousand_damages_are_all_found_and_no_wrong_row_is_read() -> None:
    """Flipped bits, truncations, deletions and swaps, each of any object that somebody would miss."""
    backend = MemoryBackend()
    write_marker(backend)
    store = Store(backend)
    labels = {"train": class_labels(N), "test": (class_labels(N) + 1) % 3}
    x = {split: np.random.default_rng(seed).normal(size=(N, 6)) for seed, split in enumerate(labels)}
    sets = {s: put_set(store, x[s], labels[s], classes=("cat", "dog", "owl"), split=s, chunk_rows=8) for s in labels}
    write_units(backend, TWO, 5)  # of no set, and all of one size
    for trial in ("a" * 64, "b" * 64):
        store.record_trial(trial, {"trial": trial, "metrics": {"top1": 0.5, "nll": 1e-07}})
    expected = {s.id: (*s.load(), s.norms(), s.sample_ids()) for s in sets.values()}
    content = {key: backend.get(key) for key in keys(backend) if key != MARKER}
    folders = {key.partition("/")[0] for key in content}
    assert folders == {"sets", "units", "manifests", "unit-seals", "names", "trials"}
    # A seal, name or trial that is gone leaves the store as if it had never been there: its work can be done again.
    missed = [k for k in content if k.partition("/")[0] in ("sets", "units", "manifests")]
    twins = [(k, o) for k in content for o in content if k != o and len(content[k]) == len(content[o])]
    twins = [(k, o) for k, o in twins if content[k] != content[o]]
    chance = np.random.default_rng(0)
    refused = 0
    for turn in range(1000):
        kind = ("flip", "truncate", "delete", "swap")[turn % 4]
        key = str(chance.choice(missed if kind == "delete" else list(content)))
        changed = {key}
        if kind == "flip":
            backend.put(key, flip(content[key], int(chance.integers(len(content[key]) * 8))))
        elif kind == "truncate":
            backend.put(key, content[key][: int(chance.integers(len(content[key])))])
        elif kind == "delete":
            backend.delete(key)
        else:
            changed = set(twins[int(chance.integers(len(twins)))])
            one, other = changed
            backend.put(one, content[other])
            backend.put(other, content[one])
        assert set(damaged_keys(store, data=True)) == changed, (turn, kind)
        for set_id, whole in expected.items():
            try:
                found = store.open(set_id)
                read = (*found.load(), found.norms(), found.sample_ids())
            except CryoprobeError:
                refused += 1
            else:
                for mine, theirs in zip(read, whole, strict=True):
                    np.testing.assert_array_equal(mine, theirs)
        assert {n.set for n in store.names()} <= set(expected)
        for key in changed:
            backend.put(key, content[key])
    assert refused > 300
    assert damaged_keys(store, data=True) == []


def test_a_named_set_without_its_manifest_is_reported_by_its_name(store: Store) -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    named = put_set(store, x, np.arange(6) % 2, classes=("a", "b"), split="train")
    assert not verify(store).damages
    store.backend.delete(named.manifest.key)
    (damage,) = verify(store).damages
    assert (damage.key, damage.owner, damage.problem) == (named.manifest.key, named.id, "missing")
