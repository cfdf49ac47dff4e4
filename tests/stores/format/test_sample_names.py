"""What samples are called: written beside a set, read back whole or refused, and gone where the set goes."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from support.data import put_set
from support.servers import serving_folder
from support.store_data import flip, keys

import cryoprobe
from cryoprobe.errors import BadInput, Corrupt
from cryoprobe.stores.backends.backend import ObjectInfo
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.format.origins import origin_of
from cryoprobe.stores.format.sample_names import SAMPLE_NAMES, list_keys
from cryoprobe.stores.store import Store

NAMES = ["cat/1.png", "ключ/2.png", "a\nb\t\x1b[31m", "caf\\xe9.png", "half \udcff", "", "row 6", "row 7"]
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1])


def put(store: Store, seed: int = 0) -> FeatureSet:
    x = np.random.default_rng(seed).normal(size=(len(NAMES), 5)).astype(np.float32)
    return put_set(store, x, LABELS, classes=["cat", "dog"], split="train", chunk_rows=3)


@pytest.fixture
def feature_set(store: Store) -> FeatureSet:
    found = put(store)
    store.name_samples(found, NAMES)
    return found


def memory_store() -> Store:
    backend = MemoryBackend()
    write_marker(backend)
    return Store(backend)


def list_of(store: Store, feature_set: FeatureSet) -> str:
    (parts,) = list_keys(store.backend, f"{SAMPLE_NAMES}{feature_set.id}/")
    return parts.key


def lines(set_: str, names: Sequence[object] = NAMES) -> bytes:
    return b"".join(json.dumps(text).encode() + b"\n" for text in (set_, *names))


def planted(store: Store, feature_set: FeatureSet, text: bytes, written: int = 1) -> str:
    """Write a list that somebody made up, under the hash that it has; return its key."""
    key = f"{SAMPLE_NAMES}{feature_set.id}/{written}.{hashlib.sha256(text).hexdigest()}.jsonl.gz"
    store.backend.put(key, gzip.compress(text))
    return key


class TestReading:
    def test_every_name_comes_back_as_it_was(self, feature_set: FeatureSet) -> None:
        assert feature_set.sample_names() == NAMES
        samples = feature_set.samples()
        assert [s.name for s in samples] == NAMES
        assert [s.id for s in samples] == [i.tobytes().hex() for i in feature_set.sample_ids()]
        assert [s.label for s in samples[1:3]] == ["dog", "cat"]
        assert [s.name for s in feature_set.samples([6, 0])] == ["row 6", "cat/1.png"]

    def test_the_object_is_gzip_of_lines_of_json_that_any_program_reads(
        self, store: Store, feature_set: FeatureSet
    ) -> None:
        key = list_of(store, feature_set)
        text = gzip.decompress(store.backend.get(key))
        assert [json.loads(line) for line in text.decode().split("\n")[:-1]] == [feature_set.id, *NAMES]
        assert hashlib.sha256(text).hexdigest() in key

    def test_a_set_of_an_older_version_has_none(self, store: Store) -> None:
        samples = put(store).samples()
        assert [s.name for s in samples] == [None] * len(NAMES)
        assert not samples.has_names

    def test_flags_give_several_labels(self, store: Store) -> None:
        x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
        found = put_set(store, x, np.array([[1, 1], [0, 0]], np.uint8), classes=["a", "b"], split="train")
        assert [s.label for s in found.samples()] == [("a", "b"), ()]

    def test_as_many_as_rows(self, store: Store, feature_set: FeatureSet) -> None:
        with pytest.raises(BadInput, match="8 rows, and 7 names"):
            store.name_samples(feature_set, NAMES[:7])

    def test_a_name_is_no_longer_than_a_reader_takes(self, store: Store, feature_set: FeatureSet) -> None:
        with pytest.raises(BadInput, match="longest name of a sample"):
            store.name_samples(feature_set, ["x" * (1 << 14), *NAMES[1:]])
        assert feature_set.sample_names() == NAMES


class TestSeveralLists:
    def test_the_same_names_are_written_once_and_other_ones_count_from_then_on(
        self, store: Store, feature_set: FeatureSet
    ) -> None:
        store.name_samples(feature_set, NAMES)
        assert len(keys(store.backend, SAMPLE_NAMES)) == 1
        others = [f"other/{i}" for i in range(len(NAMES))]
        store.name_samples(feature_set, others)
        assert feature_set.sample_names() == others

    def test_a_newer_list_takes_the_place_of_the_others(self, store: Store, feature_set: FeatureSet) -> None:
        others = [f"other/{i}" for i in range(len(NAMES))]
        for names in (others, NAMES, others, NAMES):
            store.name_samples(feature_set, names)
            assert feature_set.sample_names() == names
            assert len(keys(store.backend, SAMPLE_NAMES)) == 1

    def test_a_writer_whose_clock_is_behind_counts_all_the_same(self, store: Store, feature_set: FeatureSet) -> None:
        ahead = time.time_ns() // 1_000_000 + 3_600_000
        planted(store, feature_set, lines(feature_set.id, ["x"] * len(NAMES)), ahead)
        assert feature_set.sample_names() == ["x"] * len(NAMES)
        store.name_samples(feature_set, NAMES)
        assert feature_set.sample_names() == NAMES
        assert [parts.written for parts in list_keys(store.backend)] == [ahead + 1]

    @pytest.mark.parametrize("written", [253402214400000, 10**15 - 1, 10**16 - 1])
    def test_a_list_of_the_future_has_no_effect(self, store: Store, feature_set: FeatureSet, written: int) -> None:
        planted(store, feature_set, lines(feature_set.id, ["x"] * len(NAMES)), written)
        assert feature_set.sample_names() == NAMES
        others = [f"other/{i}" for i in range(len(NAMES))]
        store.name_samples(feature_set, others)
        assert feature_set.sample_names() == others
        (kept,) = list_keys(store.backend)
        assert abs(kept.written - time.time_ns() // 1_000_000) < 3_600_000

    def test_a_list_that_is_replaced_while_it_is_read_is_looked_for_again(self) -> None:
        class Replaced(MemoryBackend):
            def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
                found = list(super().list(prefix))
                if prefix.startswith(SAMPLE_NAMES) and waiting:
                    Store(self).name_samples(feature_set, waiting.pop())
                yield from found

        waiting: list[list[str]] = []
        write_marker(backend := Replaced())
        feature_set = put(store := Store(backend))
        store.name_samples(feature_set, NAMES)
        others = [f"other/{i}" for i in range(len(NAMES))]
        waiting.append(others)
        assert feature_set.sample_names() == others

    def test_a_web_server_gives_them(self, store: Store, feature_set: FeatureSet) -> None:
        without = put(store, seed=1)
        with serving_folder(Path(store.url)) as url:
            served = cryoprobe.open_store(url)
            assert served.open(feature_set.id).sample_names() == NAMES
            assert served.open(without.id).sample_names() is None

    def test_a_store_above_others_takes_those_of_trusted_ones(
        self, store: Store, feature_set: FeatureSet, tmp_path: Path
    ) -> None:
        stranger = cryoprobe.open_store(tmp_path / "stranger", create=True)
        cryoprobe.push(store, stranger, progress=False)
        stranger.name_samples(stranger.open(feature_set.id), ["stranger"] * len(NAMES))
        for trust, expected in ((False, NAMES), (True, ["stranger"] * len(NAMES))):
            both = cryoprobe.open_store(store.url, sources=[stranger.url], trust=trust)
            assert both.open(feature_set.id).sample_names() == expected

    def test_an_untrusted_store_beneath_does_not_say_what_time_it_is(
        self, store: Store, feature_set: FeatureSet, tmp_path: Path
    ) -> None:
        stranger = cryoprobe.open_store(tmp_path / "stranger", create=True)
        cryoprobe.push(store, stranger, progress=False)
        soon = time.time_ns() // 1_000_000 + 3_600_000
        for written in (soon, 10**16 - 1):
            planted(stranger, feature_set, lines(feature_set.id, ["x"] * len(NAMES)), written)
        both = cryoprobe.open_store(store.url, sources=[stranger.url])
        others = [f"other/{i}" for i in range(len(NAMES))]
        both.name_samples(feature_set, others)
        (own,) = list_keys(store.backend)
        assert own.written < soon
        assert both.open(feature_set.id).sample_names() == feature_set.sample_names() == others


class TestDamage:
    def test_any_changed_byte_is_found_and_repair_sets_it_aside(self, store: Store, feature_set: FeatureSet) -> None:
        key = list_of(store, feature_set)
        whole = store.backend.get(key)
        found = 0
        for bit in range(12 * 8, 8 * len(whole), 97):
            store.backend.put(key, flip(whole, bit))
            try:  # a few bits of the packing mean nothing
                same = feature_set.sample_names() == NAMES
            except Corrupt:
                found += 1
            else:
                assert same
        assert found > 5
        store.backend.put(key, whole[:-3])
        (damage,) = cryoprobe.verify(store, data=True, progress=False).damages
        assert (damage.key, damage.problem) == (key, "changed")
        assert cryoprobe.verify(store, progress=False).damages == ()
        assert [r.action for r in cryoprobe.repair(store, progress=False)] == ["set aside"]
        assert feature_set.sample_names() is None
        assert cryoprobe.verify(store, data=True, progress=False).damages == ()

    @pytest.mark.parametrize(
        "content",
        [
            lambda set_: lines(set_, NAMES[:7]),
            lambda set_: lines(set_, [*NAMES, "x"]),
            lambda set_: lines(set_, [*NAMES[:7], 7]),
            lambda set_: lines(set_, [*NAMES[:7], NAMES]),
            lambda set_: lines(set_)[:-1],
            lambda set_: lines(set_).replace(b"\n", b" "),
            lambda set_: lines("0" * 64),
            lambda set_: lines(set_, ["x" * (1 << 14), *NAMES[1:]]),
            lambda set_: lines(set_, [["["] * 99, *NAMES[1:]]),
            lambda _: b"",
        ],
    )
    def test_what_is_no_list_of_the_set_is_refused(self, store: Store, content: Callable[[str], bytes]) -> None:
        found = put(store)
        planted(store, found, content(found.id))
        with pytest.raises(Corrupt, match=r"(does not have|has more than) 8 names"):
            found.sample_names()

    @pytest.mark.parametrize(
        "bomb",
        [
            lambda _: b" " * (200 << 20),
            lambda set_: b'["' + set_.encode() + b'",' + b"[]," * 20_000 + b"[]]",
            lambda set_: lines(set_, []) + b"[" + b"[]," * 20_000 + b"[]]\n",
            lambda set_: lines(set_, []) + b"\n" * 60_000,
            lambda set_: lines(set_, []) + b'""\n' * 20_000,
            lambda set_: lines(set_) + b" " * (200 << 20),
        ],
        ids=["blanks", "array", "line of arrays", "empty lines", "empty names", "tail"],
    )
    def test_a_bomb_takes_no_memory(self, store: Store, bomb: Callable[[str], bytes]) -> None:
        found = put(store)
        planted(store, found, bomb(found.id))
        assert sum(parts.size for parts in list_keys(store.backend)) < 1 << 20
        tracemalloc.start()
        try:
            with pytest.raises(Corrupt):
                found.sample_names()
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


class TestTravel:
    def test_push_takes_names_along_once(self, store: Store, feature_set: FeatureSet) -> None:
        target = memory_store()
        assert cryoprobe.push(store, target, dry_run=True, progress=False).sample_names == 1
        assert cryoprobe.push(store, target, progress=False).sample_names == 1
        assert target.open(feature_set.id).sample_names() == NAMES
        assert cryoprobe.push(store, target, progress=False).sample_names == 0

    def test_names_that_were_given_later_follow_a_set_that_is_there(self, store: Store) -> None:
        found, target = put(store), memory_store()
        cryoprobe.push(store, target, progress=False)
        store.name_samples(found, NAMES)
        assert cryoprobe.push(store, target, progress=False).sample_names == 1
        assert target.open(found.id).sample_names() == NAMES

    def test_a_list_of_the_end_of_time_stays_where_it_is(self, store: Store) -> None:
        found, target = put(store), memory_store()
        planted(store, found, lines(found.id), 9999999999999999)
        assert cryoprobe.push(store, target, progress=False).sample_names == 0

    def test_damaged_names_are_refused(self, store: Store, feature_set: FeatureSet) -> None:
        key, target = list_of(store, feature_set), memory_store()
        store.backend.put(key, flip(store.backend.get(key), 200))
        with pytest.raises(Corrupt, match=key):
            cryoprobe.push(store, target, progress=False)
        assert keys(target.backend, SAMPLE_NAMES) == []

    def test_a_stranger_names_the_samples_of_their_own_sets_alone(self, store: Store, feature_set: FeatureSet) -> None:
        theirs = memory_store()
        cryoprobe.push(store, theirs, progress=False)
        theirs.name_samples(theirs.open(feature_set.id), ["stranger"] * len(NAMES))
        other = put(theirs, seed=1)
        theirs.name_samples(other, ["theirs"] * len(NAMES))
        cryoprobe.pull(store, theirs, progress=False)
        assert store.open(feature_set.id).sample_names() == NAMES
        assert store.open(other.id).sample_names() == ["theirs"] * len(NAMES)

    def test_what_a_stranger_brought_gives_way_to_ones_own(self, store: Store) -> None:
        theirs, team = memory_store(), memory_store()
        found = put(theirs)
        soon = time.time_ns() // 1_000_000 + 3_600_000
        list_ = planted(theirs, found, lines(found.id, ["x"] * len(NAMES)), soon)
        assert cryoprobe.pull(store, theirs, progress=False).sample_names == 1
        mine = store.open(found.id)
        assert mine.sample_names() == ["x"] * len(NAMES)
        assert origin_of(store.backend, list_, list_.split(".")[1]) is not None

        store.backend.delete(mine.manifest.key)
        own = put(store)  # as extract does with a set that is not trusted
        assert own.sample_names() is None
        store.name_samples(own, NAMES)
        assert own.sample_names() == NAMES
        (kept,) = list_keys(store.backend)
        assert kept.written < soon
        assert cryoprobe.push(store, team, progress=False).sample_names == 1
        assert team.open(own.id).sample_names() == NAMES

    def test_a_list_that_is_trusted_later_is_ones_own_from_then_on(self, store: Store) -> None:
        theirs, team = memory_store(), memory_store()
        theirs.name_samples(found := put(theirs), NAMES)
        cryoprobe.pull(store, theirs, progress=False)
        cryoprobe.push(store, team, progress=False)
        assert team.origin_of(team.open(found.id)) is not None
        assert cryoprobe.pull(store, theirs, trust=True, progress=False).sample_names == 1
        (parts,) = list_keys(store.backend)
        assert origin_of(store.backend, parts.key, parts.sha256) is None
        assert store.open(found.id).sample_names() == NAMES

    def test_an_older_list_does_not_take_the_place_of_a_newer_one(self, store: Store, feature_set: FeatureSet) -> None:
        target = memory_store()
        cryoprobe.push(store, target, progress=False)
        target.name_samples(target.open(feature_set.id), others := [f"other/{i}" for i in range(len(NAMES))])
        assert cryoprobe.push(store, target, progress=False).sample_names == 0
        assert target.open(feature_set.id).sample_names() == others
        assert cryoprobe.pull(store, target, trust=True, progress=False).sample_names == 1
        assert feature_set.sample_names() == others
        assert len(keys(store.backend, SAMPLE_NAMES)) == 1

    def test_an_archive_has_them(self, store: Store, feature_set: FeatureSet, tmp_path: Path) -> None:
        cryoprobe.export_set(store, feature_set.id, tmp_path / "set.zip", progress=False)
        target = memory_store()
        cryoprobe.import_set(target, tmp_path / "set.zip", progress=False)
        assert target.open(feature_set.id).sample_names() == NAMES

    def test_an_archive_has_the_list_that_counts_alone(
        self, store: Store, feature_set: FeatureSet, tmp_path: Path
    ) -> None:
        for written in (1, 2, 10**15 - 1):
            planted(store, feature_set, lines(feature_set.id, ["x"] * len(NAMES)), written)
        cryoprobe.export_set(store, feature_set.id, tmp_path / "set.zip", progress=False)
        target = memory_store()
        cryoprobe.import_set(target, tmp_path / "set.zip", progress=False)
        assert target.open(feature_set.id).sample_names() == NAMES
        assert len(keys(target.backend, SAMPLE_NAMES)) == 1

    @pytest.mark.parametrize("spoilt", ["content", "set"])
    def test_an_archive_with_other_ones_is_refused(
        self, store: Store, feature_set: FeatureSet, tmp_path: Path, spoilt: str
    ) -> None:
        cryoprobe.export_set(store, feature_set.id, tmp_path / "set.zip", progress=False)
        with zipfile.ZipFile(tmp_path / "set.zip") as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            for name, data in members:
                if name.startswith(SAMPLE_NAMES) and spoilt == "content":
                    data = gzip.compress(b"{}")
                elif name.startswith(SAMPLE_NAMES):
                    name = name.replace(feature_set.id, "0" * 64)
                archive.writestr(name, data)
        target = memory_store()
        with pytest.raises(Corrupt):
            cryoprobe.import_set(target, tmp_path / "bad.zip", progress=False)
        assert keys(target.backend) == ["cryoprobe.json"]


class TestRemoval:
    def test_names_go_with_their_set(self, store: Store, feature_set: FeatureSet) -> None:
        cryoprobe.rm(store, [feature_set.id], progress=False)
        assert keys(store.backend, SAMPLE_NAMES) == []

    def test_names_that_come_while_it_is_removed_do_not_stay(self, store: Store, feature_set: FeatureSet) -> None:
        key = list_of(store, feature_set)
        data = store.backend.get(key)
        cryoprobe.rm(store, [feature_set.id], progress=False)
        store.name_samples(feature_set, NAMES)
        assert keys(store.backend, SAMPLE_NAMES) == []
        store.backend.put(key, data)  # as a writer that was killed leaves them
        cryoprobe.gc(store, delete=True, grace=0, progress=False)
        assert keys(store.backend, SAMPLE_NAMES) == []


class TestExports:
    def test_npz(self, store: Store, feature_set: FeatureSet, tmp_path: Path) -> None:
        cryoprobe.export_set(store, feature_set.id, tmp_path / "set.npz", progress=False)
        names = np.load(tmp_path / "set.npz", allow_pickle=False)["names"].tolist()
        assert names == [n.encode("utf-8", "backslashreplace").decode() for n in NAMES]

    def test_safetensors(self, store: Store, feature_set: FeatureSet, tmp_path: Path) -> None:
        from safetensors.numpy import load_file

        cryoprobe.export_set(store, feature_set.id, tmp_path / "set.safetensors", progress=False)
        found = load_file(tmp_path / "set.safetensors")
        blob, ends = found["names_utf8"].tobytes(), found["names_offsets"]
        names = [blob[a:b].decode() for a, b in pairwise(ends)]
        assert names == [n.encode("utf-8", "backslashreplace").decode() for n in NAMES]
        np.testing.assert_array_equal(found["embeddings"], feature_set.load(dtype="float16")[0])

    def test_parquet(self, store: Store, feature_set: FeatureSet, tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        cryoprobe.export_set(store, feature_set.id, tmp_path / "set.parquet", progress=False)
        names = parquet.read_table(tmp_path / "set.parquet")["name"].to_pylist()
        assert names == [n.encode("utf-8", "backslashreplace").decode() for n in NAMES]
