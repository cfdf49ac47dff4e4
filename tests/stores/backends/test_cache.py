"""Reading a remote store through the cache of this machine: never stale, never wrong, and never in the way."""

from __future__ import annotations

import errno
import hashlib
import io
import multiprocessing
import os
import pickle
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from support.data import wait_until
from support.servers import serving_folder
from support.store_data import class_labels, files, flip, make_rows, sample_ids, seal, sealed_set, write_units

from cryoprobe.checksummed import dump_document
from cryoprobe.errors import Corrupt, Unavailable
from cryoprobe.folders import objects_folder
from cryoprobe.stores.backends import object_cache as cache_module
from cryoprobe.stores.backends.cache import CachedBackend, cache_state, cached, clear_cache
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.backends.object_cache import ObjectCache
from cryoprobe.stores.backends.objects import ObjectBackend
from cryoprobe.stores.chunks import ObjectRecord, Part, chunk_parts, encode_chunk, record_of
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store

IDS = sample_ids(21)
MIB = 2**20


class Counting(MemoryBackend):
    """Counts what is asked of it, and can be told to be away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.away = False

    def get(self, key: str, limit: int | None = None) -> bytes:
        self.asked.append(key)
        if self.away:
            raise Unavailable("away")
        return super().get(key, limit)


@pytest.fixture
def origin() -> Counting:
    backend = Counting()
    write_marker(backend)
    return backend


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def through(origin: Counting, folder: Path) -> CachedBackend:
    """Return `origin`, read through a cache."""
    return CachedBackend(origin, ObjectCache(folder, 2**30))


def reopened(through: CachedBackend, found: FeatureSet) -> FeatureSet:
    return FeatureSet(through, found.manifest)


def chunk(seed: int, rows: int = 4096) -> tuple[bytes, ObjectRecord]:
    """Return a chunk of `rows` rows of 16 float16, and its record."""
    data = encode_chunk(np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float16))
    return data, record_of(data, chunk=True)


def parts_of(record: ObjectRecord) -> list[Part]:
    return chunk_parts(np.empty(record.size - 4, np.uint8), record.size - 4)


def joined(parts: Sequence[Part]) -> bytes:
    return b"".join(part.tobytes() for part in parts)


def read(backend: CachedBackend, record: ObjectRecord, key: str = "c/0") -> bytes:
    parts = parts_of(record)
    backend.read_chunk(key, record, parts)
    return joined(parts)


class TestReading:
    def test_what_was_read_once_is_not_fetched_again(self, origin: Counting, through: CachedBackend) -> None:
        found = reopened(through, sealed_set(origin, IDS))
        first = found.load()
        origin.asked.clear()
        origin.away = True
        again = found.load()
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(again[0], make_rows(IDS).embeddings.astype(np.float32))
        assert origin.asked == []

    def test_two_stores_that_have_an_object_share_its_copy(self, origin: Counting, folder: Path) -> None:
        other = Counting()
        a, b = sealed_set(origin, IDS), sealed_set(other, IDS)
        FeatureSet(CachedBackend(origin, ObjectCache(folder, MIB)), a.manifest).load()
        other.asked.clear()
        x, _ = FeatureSet(CachedBackend(other, ObjectCache(folder, MIB)), b.manifest).load()
        assert other.asked == []
        np.testing.assert_array_equal(x, make_rows(IDS).embeddings.astype(np.float32))

    def test_only_sealed_chunks_are_kept(self, origin: Counting, through: CachedBackend, folder: Path) -> None:
        sealed_set(through, IDS).load()
        through.put_if_absent("trials/t.json", b"{}")
        through.put("names/n.json", b"{}")
        for key in [info.key for info in origin.list()]:
            assert through.get(key) == origin.get(key)
        chunks = [info.key for info in origin.list() if info.key.startswith("units/") or "/c/" in info.key]
        kept = {Path(name).name for name in files(folder)}
        assert kept
        assert kept <= {hashlib.sha256(origin.get(key)).hexdigest() for key in chunks}
        through.put("names/n.json", b"[]")
        assert through.get("names/n.json") == b"[]"
        through.delete("trials/t.json")
        assert not through.exists("trials/t.json")

    @pytest.mark.parametrize("what", ["flipped bit", "truncated", "empty", "longer", "another object", "folder"])
    def test_a_copy_that_is_damaged_is_fetched_anew(
        self, origin: Counting, through: CachedBackend, folder: Path, what: str
    ) -> None:
        (data, record), (other, _) = chunk(0), chunk(1)
        origin.put("c/0", data)
        assert read(through, record) == data
        (file,) = (folder / name for name in files(folder))
        if what == "folder":
            file.unlink()
            file.mkdir()
        else:
            damaged = {
                "flipped bit": flip(data, 12345),
                "truncated": data[:-7],
                "empty": b"",
                "longer": data + b"x",
                "another object": other,
            }
            file.write_bytes(damaged[what])
        assert read(through, record) == data
        if what != "folder":
            assert file.read_bytes() == data  # mended
            origin.away = True
            assert read(through, record) == data

    @pytest.mark.parametrize("what", ["flipped bit", "truncated", "another object", "missing", "same crc32c"])
    def test_what_arrives_damaged_is_an_error_and_not_kept(
        self, origin: Counting, through: CachedBackend, folder: Path, what: str
    ) -> None:
        data, record = chunk(0)
        expected = {"flipped bit": "fails its crc32c", "truncated": "wrong size", "missing": "is missing"}
        if what == "same crc32c":  # as of an attacker: only the sha256 tells
            record = record.model_copy(update={"sha256": "0" * 64})
        arrived = {"flipped bit": flip(data, 99), "truncated": data[:-1], "another object": chunk(1)[0]}
        if what != "missing":
            origin.put("c/0", arrived.get(what, data))
        with pytest.raises(Corrupt, match=expected.get(what, "is not .*sealed")) as caught:
            read(through, record)
        assert caught.value.key == "c/0"
        assert origin.url in str(caught.value)
        assert not folder.exists() or not files(folder)

    def test_a_name_that_is_no_sha256_leads_nowhere(self, origin: Counting, through: CachedBackend) -> None:
        data, record = chunk(0)
        origin.put("c/0", data)
        with pytest.raises(Corrupt):
            read(through, record.model_copy(update={"sha256": "../../etc/passwd"}))

    def test_verification_looks_at_the_store_and_not_at_the_cache(
        self, origin: Counting, through: CachedBackend
    ) -> None:
        found = sealed_set(origin, IDS)
        reopened(through, found).load()
        key = f"{found.manifest.folder}/embeddings/c/1/0"
        origin.put(key, bytes(len(origin.get(key))))
        (damage,) = verify(Store(through), data=True).damages
        assert (damage.key, damage.problem) == (key, "changed")

    def test_a_set_is_not_made_of_a_damaged_unit_because_the_cache_has_it_whole(
        self, origin: Counting, through: CachedBackend
    ) -> None:
        (unit,) = write_units(origin, IDS[:8], 8)
        whole = unit.read(through, "embeddings")
        origin.put(unit.key("embeddings"), bytes(len(origin.get(unit.key("embeddings")))))
        np.testing.assert_array_equal(unit.read(through, "embeddings"), whole)
        with pytest.raises(Corrupt, match="embeddings"):
            seal(through, IDS[:8])
        assert not list(origin.list("manifests/"))


class TestRoom:
    SIZE = chunk(0)[1].size

    def kept(self, folder: Path, cache: ObjectCache, numbers: Sequence[int]) -> list[int]:
        """Return which of some chunks are kept."""
        return [i for i in numbers if cache.read(chunk(i)[1], parts_of(chunk(i)[1]))]

    def put(self, cache: ObjectCache, number: int) -> None:
        data, record = chunk(number)
        with cache.arrival(record) as arrival:
            arrival.restart()
            arrival.update(np.frombuffer(data, np.uint8))
            arrival.publish()

    def test_what_was_used_least_recently_goes_first(self, folder: Path) -> None:
        cache = ObjectCache(folder, 4 * self.SIZE + 10)
        for i in range(4):
            self.put(cache, i)
        for i, used in enumerate([4, 1, 5, 3]):  # minutes ago
            path = folder / chunk(i)[1].sha256[:2] / chunk(i)[1].sha256
            os.utime(path, (path.stat().st_mtime - 60 * used,) * 2)
        assert cache.read(chunk(2)[1], parts_of(chunk(2)[1]))  # now the most recent one
        self.put(cache, 4)
        assert cache.usage().bytes <= cache.size
        # By order of use 0 and 3 were last; a tenth of the size is left free, so that both went.
        assert self.kept(folder, cache, range(5)) == [1, 2, 4]

    def test_it_never_holds_more_than_its_size(self, folder: Path) -> None:
        cache = ObjectCache(folder, 3 * self.SIZE)
        for i in range(12):
            self.put(cache, i)
            assert cache.usage().bytes <= cache.size
        assert 11 in self.kept(folder, cache, range(12))

    def test_an_object_that_is_larger_than_the_cache_is_not_kept(self, folder: Path) -> None:
        self.put(ObjectCache(folder, self.SIZE - 1), 0)
        assert not folder.exists()

    def test_a_smaller_size_applies_to_what_is_there_already(self, folder: Path) -> None:
        for i in range(6):
            self.put(ObjectCache(folder, MIB), i)
        self.put(ObjectCache(folder, 2 * self.SIZE), 6)
        assert ObjectCache(folder, MIB).usage().bytes <= 2 * self.SIZE

    def test_what_a_killed_process_left_goes_but_not_what_somebody_is_writing(self, folder: Path) -> None:
        cache = ObjectCache(folder, 2 * self.SIZE)
        (folder / "ab").mkdir(parents=True)
        left, fresh = folder / "ab" / ".tmp-left", folder / "ab" / ".tmp-fresh"
        for file in (left, fresh):
            file.write_bytes(bytes(self.SIZE // 2))
        os.utime(left, (1, 1))
        self.put(cache, 0)
        self.put(cache, 1)
        assert not left.exists()
        assert fresh.exists()

    def test_other_peoples_files_in_the_folder_are_neither_counted_nor_removed(self, folder: Path) -> None:
        cache = ObjectCache(folder, 2 * self.SIZE)
        for name in ("thesis.tex", "ab/notes.txt", "abc/" + "0" * 64):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(bytes(10 * self.SIZE))
        for i in range(5):
            self.put(cache, i)
        assert cache.usage().bytes <= cache.size
        cache.clear()
        assert files(folder) == {"thesis.tex", "ab/notes.txt", "abc/" + "0" * 64}

    def test_readers_whose_objects_are_being_evicted_still_read_what_is_right(
        self, origin: Counting, folder: Path
    ) -> None:
        found = sealed_set(origin, sample_ids(64))
        want = make_rows(sample_ids(64)).embeddings.astype(np.float32)
        sizes = [record.size for record in found.manifest.objects.values()]

        def reads(seed: int) -> None:
            through = CachedBackend(origin, ObjectCache(folder, 2 * max(sizes)))
            for _ in range(20):
                rows = random.Random(seed).sample(range(64), 64)
                np.testing.assert_array_equal(reopened(through, found).load(rows)[0], want[rows])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(reads, range(4)))


def _read_much(place: str, set_id: str, size: int, seed: int) -> None:
    store = open_store(place, cache_size=size)
    for turn in range(10):
        x, _ = store.open(set_id).load()
        if not np.array_equal(x, make_rows(sample_ids(64)).embeddings.astype(np.float32)):
            raise AssertionError(f"wrong in turn {turn} of {seed}")


class TestProcesses:
    def test_processes_that_read_and_evict_at_once_are_right_and_one_that_is_killed_hinders_none(
        self, tmp_path: Path
    ) -> None:
        backend = LocalBackend(tmp_path / "store")
        write_marker(backend)
        found = sealed_set(backend, sample_ids(64))
        size = 3 * max(record.size for record in found.manifest.objects.values())
        context = multiprocessing.get_context("spawn")
        with serving_folder(tmp_path / "store") as url:
            workers = [context.Process(target=_read_much, args=(url, found.id, size, i)) for i in range(4)]
            for worker in workers:
                worker.start()
            wait_until(objects_folder().exists, lambda: any(w.is_alive() for w in workers))
            workers[0].kill()
            for worker in workers:
                worker.join(120)
            assert [w.exitcode for w in workers[1:]] == [0, 0, 0]
            _read_much(url, found.id, size, 9)
        assert ObjectCache(objects_folder(), size).usage().bytes <= size * 1.2

    def test_a_set_that_is_sent_to_another_process_is_read_through_the_cache_there(
        self, origin: Counting, folder: Path
    ) -> None:
        cache = ObjectCache(folder, MIB)
        sent = pickle.loads(pickle.dumps(cache))
        assert (sent.folder, sent.size) == (folder, MIB)


class TestArrival:
    def test_an_object_that_broke_off_and_came_again_is_kept_whole(self, folder: Path) -> None:
        cache, (data, record) = ObjectCache(folder, MIB), chunk(0)
        whole = np.frombuffer(data, np.uint8)
        with cache.arrival(record) as arrival:
            arrival.restart()
            arrival.update(whole)
            arrival.update(whole[:100])  # longer than it should be
            arrival.restart()
            for start in range(0, len(whole), 1000):
                arrival.update(whole[start : start + 1000])
            assert arrival.sha256 == record.sha256
            arrival.publish()
        parts = parts_of(record)
        assert cache.read(record, parts)
        assert joined(parts) == data
        assert len(files(folder)) == 1

    def test_what_is_arriving_counts_with_the_size_that_it_will_have(self, folder: Path) -> None:
        (data, record), (other, second) = chunk(0), chunk(1)
        size = record.size
        with ObjectCache(folder, 2 * size).arrival(record), ObjectCache(folder, 2 * size).arrival(record):
            assert ObjectCache(folder, 2 * size).usage().bytes == 2 * size
        cache = ObjectCache(folder, 3 * size)
        with ExitStack() as stack:
            for _ in range(8):
                arrival = stack.enter_context(cache.arrival(record))
                arrival.restart()
                arrival.update(np.frombuffer(data, np.uint8)[: size // 2])
            with cache.arrival(second) as last:
                last.restart()
                last.update(np.frombuffer(other, np.uint8))
                last.publish()
        assert cache.usage() == (1, size)

    def test_a_cache_that_is_cleared_meanwhile_is_used_again(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache, (data, record) = ObjectCache(folder, MIB), chunk(0)
        for clear in (True, False):
            with cache.arrival(record) as arrival:
                arrival.restart()
                arrival.update(np.frombuffer(data, np.uint8))
                if clear:
                    cache.clear()
                arrival.publish()
            assert cache.read(record, parts_of(record)) is not clear
        assert not caplog.messages

    def test_of_what_was_not_published_nothing_stays(self, folder: Path) -> None:
        cache, (data, record) = ObjectCache(folder, MIB), chunk(0)
        with cache.arrival(record) as arrival:
            arrival.restart()
            arrival.update(np.frombuffer(data, np.uint8))
            assert len(files(folder)) == 1
        assert not files(folder)
        assert not cache.read(record, parts_of(record))


class TestDiskThatFails:
    @pytest.fixture
    def sealed(self, origin: Counting) -> FeatureSet:
        return sealed_set(origin, IDS)

    def reads(self, through: CachedBackend, sealed: FeatureSet) -> None:
        x, y = reopened(through, sealed).load()
        np.testing.assert_array_equal(x, make_rows(IDS).embeddings.astype(np.float32))
        np.testing.assert_array_equal(y, class_labels(len(IDS)))

    def test_a_cache_that_cannot_be_made_is_said_once_and_done_without(
        self, through: CachedBackend, folder: Path, sealed: FeatureSet, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder.parent.mkdir(exist_ok=True)
        folder.write_text("a file in the place of the folder")
        for _ in range(2):
            self.reads(through, sealed)
        (said,) = caplog.messages
        assert str(folder) in said
        assert "reading goes on without it" in said

    def test_a_full_disk_is_said_once_and_nothing_half_is_left(
        self,
        through: CachedBackend,
        folder: Path,
        sealed: FeatureSet,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        class Full(io.FileIO):
            def write(self, data: object) -> int:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        opened: Callable[..., object] = Path.open

        def full(path: Path, mode: str = "r", buffering: int = -1) -> object:
            return Full(path, mode) if mode == "xb" else opened(path, mode, buffering)

        monkeypatch.setattr(cache_module.Path, "open", full)
        for _ in range(2):
            self.reads(through, sealed)
        assert len(caplog.messages) == 1
        assert "No space left" in caplog.messages[0]
        assert not files(folder)

    def test_what_is_there_is_still_read_from_a_cache_that_cannot_be_written(
        self, origin: Counting, through: CachedBackend, folder: Path
    ) -> None:
        data, record = chunk(0)
        origin.put("c/0", data)
        read(through, record)
        file = next(folder.rglob("?" * 64))
        os.utime(file, (1, 1))
        other = chunk(1)
        (folder / other[1].sha256[:2]).write_text("in the way")
        origin.put("c/1", other[0])
        assert read(through, other[1], "c/1") == other[0]
        origin.away = True
        assert read(through, record) == data


class Versioned(Counting):
    """Storage whose listings tell versions, as a bucket's do."""

    def versions(self, prefix: str) -> dict[str, str]:
        return {key: hashlib.md5(self._objects[key]).hexdigest() for key in self.keys(prefix)}


class TestListed:
    """Names and trials, which can change: only what a listing says is the same is not read again."""

    @pytest.fixture
    def origin(self) -> Versioned:
        backend = Versioned()
        for i in range(5):
            backend.put(f"names/{i}.json", f'{{"ü": {i}}}'.encode())
        return backend

    def read(self, origin: Versioned, folder: Path) -> dict[str, bytes]:
        origin.asked.clear()
        return dict(CachedBackend(origin, ObjectCache(folder, MIB)).read_all("names/", MIB))

    def truth(self, origin: Versioned) -> dict[str, bytes]:
        return {key: MemoryBackend.get(origin, key) for key in origin.keys("names/")}

    def test_only_what_is_new_or_changed_is_read(self, origin: Versioned, folder: Path) -> None:
        assert self.read(origin, folder) == self.truth(origin)
        assert len(origin.asked) == 5
        assert self.read(origin, folder) == self.truth(origin)
        assert origin.asked == []
        origin.put("names/2.json", b"changed \xff\0")
        origin.put("names/7.json", b"new")
        origin.delete("names/0.json")
        found = self.read(origin, folder)
        assert found == self.truth(origin)
        assert list(found) == sorted(found)
        assert origin.asked == ["names/2.json", "names/7.json"]
        assert self.read(origin, folder) == self.truth(origin)
        assert origin.asked == []

    @pytest.mark.parametrize("bit", [0, 777, -1])
    def test_a_damaged_copy_is_read_anew(self, origin: Versioned, folder: Path, bit: int) -> None:
        self.read(origin, folder)
        (file,) = (folder / name for name in files(folder))
        data = file.read_bytes()
        file.write_bytes(flip(data, bit % (8 * len(data))))
        assert self.read(origin, folder) == self.truth(origin)
        assert len(origin.asked) == 5
        file.write_bytes(b"")
        assert self.read(origin, folder) == self.truth(origin)

    def test_a_store_whose_listings_tell_no_versions_is_read(self, origin: Versioned, folder: Path) -> None:
        through = CachedBackend(Counting(), ObjectCache(folder, MIB))
        through.put("names/a.json", b"1")
        assert list(through.read_all("names/", MIB)) == [("names/a.json", b"1")]
        through.put("names/a.json", b"2")
        assert list(through.read_all("names/", MIB)) == [("names/a.json", b"2")]
        assert not folder.exists()

    def test_on_s3(self, s3: str) -> None:
        store = open_store(s3, create=True)
        for i in range(3):
            store.record_trial(f"t{i}", {"trial": f"t{i}", "n": i})
        assert [t["n"] for t in store.trials()] == [0, 1, 2]
        again = open_store(s3)
        assert isinstance(again.backend, CachedBackend)
        tags = again.backend.versions("trials/")
        assert tags is not None
        assert len(set(tags.values())) == 3
        ObjectBackend(s3).put("trials/t1.json", dump_document({"trial": "t1", "n": 9}))
        assert [t["n"] for t in again.trials()] == [0, 9, 2]
        assert [t["n"] for t in open_store(s3, cache_size=0).trials()] == [0, 9, 2]


class TestOpening:
    def test_only_remote_storage_is_read_through_the_cache(self, tmp_path: Path) -> None:
        local = LocalBackend(tmp_path)
        assert cached(local, MIB) is local

    def test_its_place_and_size_are_what_the_environment_says(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert objects_folder() == cache / "objects"
        monkeypatch.setenv("CRYOPROBE_CACHE_DIR", str(tmp_path / "scratch"))
        monkeypatch.setenv("CRYOPROBE_CACHE_SIZE", "3MiB")
        state = cache_state()
        assert state == (str(tmp_path / "scratch"), 3 * MIB, 0, 0)

    def test_a_store_on_s3_is_read_through_the_cache_unless_that_has_no_size(self, s3: str) -> None:
        found = sealed_set(open_store(s3, create=True).backend, IDS)
        x, _ = open_store(s3, cache_size=0).open(found.id).load()
        embeddings = [k for k in found.manifest.objects if k.startswith("embeddings/c/")]
        before = cache_state().objects
        assert isinstance(open_store(s3, cache_size=0).backend, ObjectBackend)
        again, _ = open_store(s3).open(found.id).load()
        np.testing.assert_array_equal(x, again)
        assert cache_state().objects - before == len(embeddings) + 1  # and the labels
        for key in embeddings:  # what is gone from the bucket is still here
            ObjectBackend(s3).delete(f"{found.manifest.folder}/{key}")
        np.testing.assert_array_equal(open_store(s3).open(found.id).load()[0], x)
        assert clear_cache().objects == before + len(embeddings) + 1
        with pytest.raises(Corrupt, match="is missing"):
            open_store(s3).open(found.id).load()
