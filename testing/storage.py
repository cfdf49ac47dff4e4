"""The contract of a storage backend: what each verb of `stores.backends.backend.Backend` must do, alone and in races.

Imports neither torch nor scikit-learn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from ..errors import BadInput, Corrupt, NotFound
from ..stores.backends.backend import Backend, ObjectInfo

_BAD_KEYS = [
    *("", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", "./a", ".a", "a/.b"),
    *("a\0b", "a\nb", "a\n", "a\\b", "C:\\a", "a b", "~/a", "é", "a" * 600, "a" * 256, "a/" * 300 + "a"),
]


class Storage(NamedTuple):
    """Storage to write to, and the same storage to read from, which may be reached in another way."""

    writer: Backend
    reader: Backend


def _keys(backend: Backend, prefix: str = "") -> list[str]:
    return [info.key for info in backend.list(prefix)]


def at_once(n: int, call: Callable[[int], object]) -> list[object]:
    """Call ``call(0) … call(n - 1)`` from n threads that start together."""
    barrier = threading.Barrier(n)

    def run(i: int) -> object:
        barrier.wait()
        return call(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


class StorageReadingSuite:
    """What is asked of storage that is read, which may be written in another way; give the fixture `storage`.

    Fixtures
    --------
    storage : Storage
        Empty.
    """

    def test_what_was_put_is_got(self, storage: Storage) -> None:
        for key, data in {"a": b"", "b/c": b"\0\xff", "b/d.json": bytes(range(256)) * 500}.items():
            storage.writer.put(key, data)
            assert storage.reader.get(key) == data
            assert storage.reader.exists(key)

    def test_an_object_of_more_bytes_than_it_may_have_is_corrupt(self, storage: Storage) -> None:
        storage.writer.put("a", b"four")
        assert storage.reader.get("a", limit=4) == b"four"
        with pytest.raises(Corrupt, match="too large"):
            storage.reader.get("a", limit=3)

    def test_small_objects_are_read_together(self, storage: Storage) -> None:
        for key in ("a/2", "a/1", "b/1"):
            storage.writer.put(key, key.encode())
        storage.writer.put("a/3", b"too large")
        assert list(storage.reader.read_all("a/", limit=3)) == [("a/1", b"a/1"), ("a/2", b"a/2")]
        assert list(storage.reader.read_several(["b/1", "absent", "a/1"], 3)) == [("b/1", b"b/1"), ("a/1", b"a/1")]

    def test_a_missing_object_is_not_found_under_its_key(self, storage: Storage) -> None:
        storage.writer.put("a/b", b"x")
        for key in ("b", "a/c", "a", "a/b/c", "a/b/c/d"):
            with pytest.raises(NotFound, match=key) as caught:
                storage.reader.get(key)
            assert caught.value.key == key
            assert isinstance(caught.value, FileNotFoundError)
            assert not storage.reader.exists(key)

    def test_listings_are_ordered_by_key_and_say_sizes(self, storage: Storage) -> None:
        sizes = {"a/b": 3, "a.json": 1, "a-b": 2, "a/b.c": 0, "a/b/c": 5, "A": 4, "a0": 1, "b/x/y/z": 7, "a_": 2}
        del sizes["a/b"]  # an object and a folder of one name is not asked of any storage
        for key, size in reversed(sizes.items()):
            storage.writer.put(key, b"x" * size)
        assert list(storage.reader.list()) == [ObjectInfo(key, sizes[key]) for key in sorted(sizes)]

    def test_a_prefix_is_a_whole_folder(self, storage: Storage) -> None:
        for key in ("a/1", "a/b/2", "ab/3", "a.4", "c/a/5"):
            storage.writer.put(key, b"")
        assert _keys(storage.reader, "a/") == ["a/1", "a/b/2"]
        assert _keys(storage.reader, "a/b/") == ["a/b/2"]
        assert _keys(storage.reader, "c/") == ["c/a/5"]
        for absent in ("b/", "a/1/", "a/1/2/", "x/y/"):
            assert _keys(storage.reader, absent) == []

    @pytest.mark.parametrize("prefix", ["..", "../", "/", "//", "a/../", "a//", "./", "a", ".a/", "a\0/", "a\\/"])
    def test_a_prefix_that_is_no_folder_is_refused(self, storage: Storage, prefix: str) -> None:
        storage.writer.put("a/b", b"x")
        with pytest.raises(BadInput):
            list(storage.reader.list(prefix))

    def test_long_keys_are_kept_to_the_last_letter(self, storage: Storage) -> None:
        folder = "a" * 200
        key = f"{folder}/{'b' * 255}"
        storage.writer.put(key, b"x")
        assert storage.writer.put_if_absent(f"{folder}/{'b' * 254}", b"y")
        assert storage.reader.get(key) == b"x"
        assert _keys(storage.reader) == [key[:-1], key]

    @pytest.mark.parametrize("key", _BAD_KEYS)
    def test_a_key_that_is_no_plain_name_is_refused(self, storage: Storage, key: str) -> None:
        for verb in (storage.reader.get, storage.reader.exists):
            with pytest.raises(BadInput):
                verb(key)

    def test_some_key_is_that_of_an_object(self, storage: Storage) -> None:
        storage.writer.put("a/b", b"x")
        assert storage.reader.any_key() == "a/b"

    def test_a_reader_opened_before_sees_what_is_written_and_deleted_since(self, storage: Storage) -> None:
        storage.writer.put("z", b"")
        for _ in range(3):
            storage.writer.put("a/b", b"x")
            assert storage.reader.get("a/b") == b"x"
            assert _keys(storage.reader) == ["a/b", "z"]
            storage.writer.delete("a/b")
            assert not storage.reader.exists("a/b")
            assert _keys(storage.reader) == ["z"]


class StorageWritingSuite:
    """What is asked of storage that is written; give the fixture `backend`.

    Fixtures
    --------
    backend : Backend
        Empty.
    """

    def test_any_buffer_can_be_put_and_is_copied(self, backend: Backend) -> None:
        data = bytearray(b"one")
        backend.put("a", memoryview(data))  # type: ignore[arg-type]
        assert backend.put_if_absent("b", memoryview(data))  # type: ignore[arg-type]
        data[:] = b"two"
        assert backend.get("a") == backend.get("b") == b"one"

    def test_put_replaces_the_whole_object(self, backend: Backend) -> None:
        backend.put("a", b"a longer object")
        backend.put("a", b"short")
        assert backend.get("a") == b"short"
        assert _keys(backend) == ["a"]

    def test_put_if_absent_writes_once(self, backend: Backend) -> None:
        assert backend.put_if_absent("s/a", b"first") is True
        assert backend.put_if_absent("s/a", b"second") is False
        assert backend.get("s/a") == b"first"

    def test_put_if_absent_respects_what_put_wrote_and_what_delete_removed(self, backend: Backend) -> None:
        backend.put("a", b"put")
        assert not backend.put_if_absent("a", b"other")
        backend.delete("a")
        assert backend.put_if_absent("a", b"again")
        assert backend.get("a") == b"again"

    @pytest.mark.parametrize("round_", range(5))
    def test_of_eight_racing_writers_one_wins_and_its_bytes_are_read(self, backend: Backend, round_: int) -> None:
        contents = [f"{i}".encode() * (1000 + i) for i in range(8)]
        won = at_once(8, lambda i: backend.put_if_absent(f"seals/{round_}", contents[i]))
        assert won.count(True) == 1
        assert backend.get(f"seals/{round_}") == contents[won.index(True)]
        assert _keys(backend) == [f"seals/{round_}"]

    def test_a_reader_sees_one_version_or_another_while_it_is_replaced(self, backend: Backend) -> None:
        versions = [bytes([i]) * 20_000 for i in range(2)]
        backend.put("a", versions[0])
        done = threading.Event()

        def write() -> None:
            for i in range(40):
                backend.put("a", versions[i % 2])
            done.set()

        seen = set()
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not done.is_set() and not writing.done():
                seen.add(backend.get("a"))
            writing.result()
        assert seen <= set(versions)

    def test_deleting_removes_one_object_and_nothing_where_there_is_none(self, backend: Backend) -> None:
        backend.put("a/b", b"x")
        backend.put("a/c", b"y")
        for key in ("a/b", "a/b", "z", "a/c/d"):
            backend.delete(key)
        assert _keys(backend) == ["a/c"]
        backend.delete("a/c")
        assert _keys(backend) == []

    def test_a_folder_emptied_by_deletes_takes_objects_again(self, backend: Backend) -> None:
        backend.put("a/b/c", b"x")
        backend.delete("a/b/c")
        backend.put("a/b/c", b"y")
        assert backend.get("a/b/c") == b"y"

    def test_copies_are_independent_objects(self, backend: Backend) -> None:
        backend.put("a/b", b"first")
        backend.copy("a/b", "c/d/e")
        assert backend.get("c/d/e") == b"first"
        backend.put("a/b", b"second")
        assert backend.get("c/d/e") == b"first"
        backend.delete("a/b")
        assert backend.get("c/d/e") == b"first"

    def test_a_copy_replaces_its_target_and_may_be_repeated(self, backend: Backend) -> None:
        backend.put("a", b"new")
        backend.put("b", b"old")
        for _ in range(3):
            backend.copy("a", "b")
        backend.copy("a", "a")
        assert backend.get("a") == backend.get("b") == b"new"
        assert _keys(backend) == ["a", "b"]

    @pytest.mark.parametrize("source", ["z", "a/z", "a/b/z", "a"])
    def test_copying_what_is_not_there_is_not_found_and_leaves_the_target(self, backend: Backend, source: str) -> None:
        backend.put("a/b", b"x")
        backend.put("t", b"old")
        with pytest.raises(NotFound) as caught:
            backend.copy(source, "t")
        assert caught.value.key == source
        assert backend.get("t") == b"old"

    def test_nothing_is_listed_in_empty_storage(self, backend: Backend) -> None:
        assert _keys(backend) == _keys(backend, "a/") == []
        assert backend.any_key() is None

    def test_a_listing_survives_objects_that_come_and_go(self, backend: Backend) -> None:
        for i in range(60):
            backend.put(f"a/{i:03d}", b"x")
            backend.put(f"b/{i:03d}", b"x")
        listing = backend.list()
        first = next(listing)
        for i in range(60):
            backend.delete(f"a/{i:03d}")
        rest = [info.key for info in listing]
        assert first.key == "a/000"
        assert [k for k in rest if k.startswith("b/")] == [f"b/{i:03d}" for i in range(60)]

    def test_eight_writers_and_deleters_of_one_folder_do_not_disturb_each_other(self, backend: Backend) -> None:
        def churn(i: int) -> None:
            for n in range(25):
                assert backend.put_if_absent(f"claims/{i}.{n}", b"x")
                assert backend.exists(f"claims/{i}.{n}")
                backend.delete(f"claims/{i}.{n}")

        at_once(8, churn)
        assert _keys(backend) == []

    @pytest.mark.parametrize("key", _BAD_KEYS)
    def test_a_key_that_is_no_plain_name_is_refused_by_every_verb(self, backend: Backend, key: str) -> None:
        backend.put("good", b"x")
        verbs: list[Callable[[], object]] = [
            lambda: backend.get(key),
            lambda: backend.put(key, b"x"),
            lambda: backend.put_if_absent(key, b"x"),
            lambda: backend.delete(key),
            lambda: backend.exists(key),
            lambda: backend.copy("good", key),
            lambda: backend.copy(key, "good"),
        ]
        for verb in verbs:
            with pytest.raises(BadInput):
                verb()
        assert _keys(backend) == ["good"]
        assert backend.get("good") == b"x"


class StorageSuite(StorageReadingSuite, StorageWritingSuite):
    """What is asked of storage that is read and written alike; give the fixture `backend`.

    Fixtures
    --------
    backend : Backend
        Empty.

    Examples
    --------
    >>> from cryoprobe.stores.backends.memory import MemoryBackend
    >>> class TestMemory(StorageSuite):
    ...     @pytest.fixture
    ...     def backend(self):
    ...         return MemoryBackend()
    """

    @pytest.fixture
    def storage(self, backend: Backend) -> Storage:
        """Return the backend as what is written to and read from."""
        return Storage(backend, backend)
