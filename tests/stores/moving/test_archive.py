"""A set as one zip: what `export` writes comes back through `import`, and nothing that somebody else made up does."""

from __future__ import annotations

import json
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data import put_set
from support.store_data import flip, keys, sample_ids, sealed_set

import cryoprobe
from cryoprobe.checksummed import dump_document
from cryoprobe.errors import BadInput, Corrupt, CryoprobeError, Incompatible, NotFound
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.marker import MARKER, write_marker
from cryoprobe.stores.moving import archive as archives
from cryoprobe.stores.store import Store

Member = tuple[zipfile.ZipInfo, bytes]


def plain(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def read_members(file: Path) -> list[Member]:
    with zipfile.ZipFile(file) as archive:
        return [(info, archive.read(info)) for info in archive.infolist()]


def write_members(file: Path, members: list[Member]) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # duplicate names are meant
        for info, data in members:
            archive.writestr(info, data)


@pytest.fixture
def named(store: Store) -> str:
    """Return a set of 20 rows with a name."""
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    return put_set(store, x, np.arange(20) % 3, classes=["a", "b", "c"], split="train").id


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return an archive of a named set of 20 rows."""
    folder = tmp_path_factory.mktemp("good")
    store = cryoprobe.open_store(folder / "store", create=True)
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    set_ = put_set(store, x, np.arange(20) % 3, classes=["a", "b", "c"], split="train").id
    cryoprobe.export_set(store, set_, folder / "set.zip")
    return (folder / "set.zip").read_bytes()


@pytest.fixture
def received(good: bytes, tmp_path: Path) -> Path:
    """Return a good archive to be changed."""
    (tmp_path / "received.zip").write_bytes(good)
    return tmp_path / "received.zip"


@pytest.fixture
def archive(store: Store, named: str, tmp_path: Path) -> Path:
    cryoprobe.export_set(store, named, tmp_path / "set.zip")
    return tmp_path / "set.zip"


class TestRoundTrip:
    def test_a_set_comes_back_with_its_names(self, store: Store, named: str, archive: Path, tmp_path: Path) -> None:
        moved = cryoprobe.import_set(tmp_path / "other", archive)
        assert [(s.set, s.outcome) for s in moved.sets] == [(named, "moved")]
        other = cryoprobe.open_store(tmp_path / "other")
        origin = other.names()[0].origin
        assert origin is not None
        assert (origin.place, origin.how) == (str(archive), "import")
        assert [n.model_copy(update={"origin": None}) for n in other.names()] == store.names()
        for key in (key for key in keys(other.backend) if not key.startswith("origins/")):
            assert other.backend.get(key) == store.backend.get(key)
        assert cryoprobe.verify(other, data=True).damages == ()
        assert [s.outcome for s in cryoprobe.import_set(other, archive).sets] == ["there"]

    def test_the_manifest_comes_first_and_the_rest_is_a_store(
        self, store: Store, named: str, archive: Path, tmp_path: Path
    ) -> None:
        with zipfile.ZipFile(archive) as opened:
            assert opened.namelist()[0] == store.open(named).manifest.key
            assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}
            opened.extractall(tmp_path / "unpacked")
        assert set(cryoprobe.open_store(tmp_path / "unpacked").set_ids()) == {named}
        assert cryoprobe.verify(tmp_path / "unpacked", data=True).damages == ()

    def test_zarr_opens_it_as_it_is(self, store: Store, named: str, archive: Path) -> None:
        import zarr

        zipped = zarr.storage.ZipStore(archive, mode="r")
        group = zarr.open_group(zipped, path=store.open(named).manifest.folder, mode="r")
        x, y = store.open(named).load(dtype="float16")
        np.testing.assert_array_equal(np.asarray(group["embeddings"]), x)
        np.testing.assert_array_equal(np.asarray(group["labels"]), y)

    def test_the_same_set_gives_the_same_file(self, store: Store, named: str, archive: Path, tmp_path: Path) -> None:
        cryoprobe.import_set(tmp_path / "other", archive)
        cryoprobe.export_set(tmp_path / "other", named, tmp_path / "again", form="zip")
        assert (tmp_path / "again").read_bytes() == archive.read_bytes()

    def test_beyond_the_sizes_of_the_first_zips(
        self, store: Store, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 200)
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
        cryoprobe.export_set(store, named, tmp_path / "large.zip")
        assert b"PK\6\6" in (tmp_path / "large.zip").read_bytes()
        cryoprobe.import_set(tmp_path / "other", tmp_path / "large.zip")
        assert cryoprobe.verify(tmp_path / "other", data=True).damages == ()

    def test_a_set_that_is_there_of_another_attempt_stays(self, archive: Path, named: str, tmp_path: Path) -> None:
        other = cryoprobe.open_store(tmp_path / "other", create=True)
        x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
        attempt = put_set(other, x, np.arange(20) % 3, classes=["a", "b", "c"], split="train").manifest.attempt
        assert [s.outcome for s in cryoprobe.import_set(other, archive).sets] == ["adopted"]
        assert other.open(named).manifest.attempt == attempt

    def test_damage_in_the_store_is_not_exported(self, store: Store, tmp_path: Path) -> None:
        manifest = sealed_set(store.backend, sample_ids(16)).manifest
        key = f"{manifest.folder}/embeddings/c/1/0"
        data = store.backend.get(key)
        for change in (lambda: store.backend.put(key, flip(data, 3)), lambda: store.backend.delete(key)):
            change()
            with pytest.raises(Corrupt, match=key):
                cryoprobe.export_set(store, manifest.set, tmp_path / "set.zip")
        assert [p.name for p in tmp_path.iterdir() if p.suffix == ".zip" or p.name.startswith(".tmp")] == []


# Each gets the members of a good archive and makes a bad one of them.

Change = Callable[[list[Member]], list[Member]]
CHANGES: dict[str, Change] = {}


def change(words: str) -> Callable[[Change], Change]:
    def register(function: Change) -> Change:
        CHANGES[words] = function
        return function

    return register


def with_extra(name: str, data: bytes = b"x", attributes: int | None = None) -> Change:
    def extra(members: list[Member]) -> list[Member]:
        info = plain(name)
        if attributes is not None:
            info.external_attr = attributes << 16
        return [*members, (info, data)]

    return extra


def last_object(members: list[Member]) -> int:
    return max(i for i, (info, _) in enumerate(members) if "/c/" in info.filename)


def replaced(index: int | None, make: Callable[[zipfile.ZipInfo, bytes], Member]) -> Change:
    def replace(members: list[Member]) -> list[Member]:
        at = last_object(members) if index is None else index
        return [*members[:at], make(*members[at]), *members[at + 1 :]]

    return replace


def with_manifest(edit: Callable[[dict[str, Any]], object]) -> Change:
    """Change the manifest, and give it the right checksum for that."""

    def make(info: zipfile.ZipInfo, data: bytes) -> Member:
        content = json.loads(data)
        del content["checksum"]
        edit(content)
        return plain(info.filename), dump_document(content)

    return replaced(0, make)


CHANGES |= {
    "absolute path": with_extra("/etc/cron.d/x"),
    "parent folder": with_extra("../x"),
    "parent folder within": with_extra("sets/../../x"),
    "backslashes": with_extra("..\\..\\x"),
    "drive": with_extra("C:/x"),
    "line feed": with_extra("sets/a\nb"),
    "hidden file": with_extra(".bashrc"),
    "no ASCII": with_extra("sets/é"),
    "empty name": with_extra(""),
    "very long name": with_extra("a/" * 20_000 + "a"),
    "long segment": with_extra("a" * 300),
    "folder": with_extra("sets/folder/", b""),
    "link": with_extra("sets/link", b"/etc/passwd", stat.S_IFLNK | 0o777),
    "device": with_extra("sets/device", b"", stat.S_IFCHR | 0o666),
    "not in the manifest": with_extra("sets/more"),
    "another set's objects": with_extra(f"sets/{'0' * 64}/{'0' * 12}/zarr.json"),
    "a trial": with_extra(f"trials/{'0' * 64}.json", dump_document({"trial": "0" * 64})),
    "a second manifest": with_extra(f"manifests/{'0' * 64}/{'0' * 64}.json", b"{}"),
    "a manifest deeper": with_extra("manifests/a/b/c.json", b"{}"),
    "a name that is none": with_extra(f"names/{'0' * 64}.{'0' * 16}.json", b"{}"),
    "duplicate": lambda members: [*members, members[-1]],
    "duplicate with other content": lambda members: [*members, (members[-1][0], b"other")],
    "too many members": lambda members: [*members, *((plain(f"sets/{i}"), b"") for i in range(2000))],
    "no manifest": lambda members: members[1:],
    "no marker": lambda members: [m for m in members if m[0].filename != MARKER],
    "nothing": lambda members: [],
    "missing object": lambda members: members[:-1],
    "shorter object": replaced(None, lambda info, data: (plain(info.filename), data[:-1])),
    "longer object": replaced(None, lambda info, data: (plain(info.filename), data + b"x")),
    "changed object": replaced(None, lambda info, data: (plain(info.filename), flip(data, 40))),
    "manifest is no JSON": replaced(0, lambda info, data: (plain(info.filename), b"not json")),
    "manifest is deep JSON": replaced(0, lambda info, data: (plain(info.filename), b"[" * 100_000)),
    "manifest with a huge number": replaced(0, lambda info, data: (plain(info.filename), b"9" * 100_000)),
    "manifest of another set": replaced(0, lambda info, data: (plain(f"manifests/{'0' * 64}/{'1' * 64}.json"), data)),
    "manifest with a wrong checksum": replaced(0, lambda info, data: (plain(info.filename), flip(data, 801))),
    "very long manifest": replaced(0, lambda info, data: (plain(info.filename), b" " * (17 * 2**20))),
    "very long name object": replaced(2, lambda info, data: (plain(info.filename), b" " * 70_000)),
    "attempt outside": with_manifest(lambda m: m.update(attempt="../../../x")),
    "object outside": with_manifest(lambda m: m["objects"].update({"../../../x": m["objects"]["zarr.json"]})),
    "endless rows": with_manifest(lambda m: m.update(rows=10**15)),
    "endless chunk": with_manifest(lambda m: m.update(chunk_rows=10**15)),
    "negative rows": with_manifest(lambda m: m.update(rows=-1)),
    "a size that is a lie": with_manifest(lambda m: m["objects"]["zarr.json"].update(size=2**62)),
    "no objects": with_manifest(lambda m: m.update(objects={})),
    "newer manifest": with_manifest(lambda m: m.update(version=2)),
    "newer store": replaced(
        1, lambda info, data: (plain(info.filename), b'{"format": "cryoprobe-store", "version": 2}')
    ),
    "no store": replaced(1, lambda info, data: (plain(info.filename), b"[]")),
}


@change("compressed bomb")
def _bomb(members: list[Member]) -> list[Member]:
    at = last_object(members)
    info = plain(members[at][0].filename)
    info.compress_type = zipfile.ZIP_DEFLATED
    return [*members[:at], (info, bytes(50 * 2**20)), *members[at + 1 :]]


@change("compressed member")
def _compressed(members: list[Member]) -> list[Member]:
    info, data = members[-1]
    other = plain(info.filename)
    other.compress_type = zipfile.ZIP_DEFLATED
    return [*members[:-1], (other, data)]


# Each gets the bytes of a good archive and changes some.


def central(data: bytes, nth: int = -1) -> int:
    """Return where the nth entry of the directory begins."""
    places, at = [], data.index(b"PK\1\2")
    while at >= 0:
        places.append(at)
        at = data.find(b"PK\1\2", at + 1)
    return places[nth]


def patched(offset: int, form: str, value: int, nth: int = -1) -> Callable[[bytes], bytes]:
    """Overwrite a field of an entry of the directory."""

    def patch(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into(form, changed, central(data, nth) + offset, value)
        return bytes(changed)

    return patch


def sizes(compressed: int, size: int) -> Callable[[bytes], bytes]:
    return lambda data: patched(20, "<I", compressed)(patched(24, "<I", size)(data))


def overlapping(data: bytes) -> bytes:
    """Let the last entry of the directory lead into the one before it."""
    before = struct.unpack_from("<I", data, central(data, -2) + 42)[0]
    return patched(42, "<I", before)(data)


def other_local_name(data: bytes) -> bytes:
    at = struct.unpack_from("<I", data, central(data) + 42)[0]
    return data[: at + 30] + b"X" + data[at + 31 :]


def huge_directory(data: bytes) -> bytes:
    return data[:-10] + struct.pack("<I", 2**32 - 1) + data[-6:]


def far_away(data: bytes) -> bytes:
    """Add records for large archives whose directory is said to have 2^62 bytes."""
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**40, 2**40, 2**62, 0)
    return data[:-22] + end64 + struct.pack("<4sIQI", b"PK\6\7", 0, len(data) - 22, 1) + data[-22:]


PATCHES: dict[str, Callable[[bytes], bytes]] = {
    "NUL in a name": lambda data: data.replace(b"zarr.json", b"zarr\0json"),
    "size declared too large": sizes(2**31, 2**31),
    "size declared too small": sizes(1, 1),
    "real size is not the declared one": patched(24, "<I", 1),
    "encrypted": patched(8, "<H", 1),
    "streamed": patched(8, "<H", 8),
    "unknown compression": patched(10, "<H", 99),
    "overlapping members": overlapping,
    "place outside of the file": patched(42, "<I", 2**31),
    "wrong zip checksum": patched(16, "<I", 12345),
    "two names for one member": other_local_name,
    "directory declared too large": huge_directory,
    "directory of 2^62 bytes": far_away,
    "something behind it": lambda data: data + b"#!/bin/sh",
    "cut short": lambda data: data[:-30],
    "without a directory": lambda data: data[: central(data, 0)],
    "only an end": lambda data: data[-22:],
    "empty": lambda data: b"",
    "no zip": lambda data: b"PK\3\4" + b"x" * 4000,
}


def assert_refused(place: Path, archive: Path) -> None:
    """Import an archive, which must be refused by one clear message, leaving nothing behind."""
    with pytest.raises(CryoprobeError) as caught:
        cryoprobe.import_set(place, archive)
    assert isinstance(caught.value, Corrupt | BadInput | Incompatible), caught.value
    assert "export SET FILE.zip" in str(caught.value) or isinstance(caught.value, Incompatible)
    assert len(str(caught.value)) < 1000
    assert not place.exists()
    existing = MemoryBackend()
    write_marker(existing)
    with pytest.raises(CryoprobeError):
        cryoprobe.import_set(Store(existing), archive)
    assert keys(existing) == ["cryoprobe.json"]


@pytest.mark.parametrize("what", CHANGES)
def test_a_made_up_archive_is_refused_and_nothing_written(
    received: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1000)
    write_members(received, CHANGES[what](read_members(received)))
    assert_refused(tmp_path / "other", received)


@pytest.mark.parametrize("what", PATCHES)
def test_a_file_that_was_tampered_with_is_refused_and_nothing_written(
    received: Path, tmp_path: Path, what: str
) -> None:
    received.write_bytes(PATCHES[what](received.read_bytes()))
    assert_refused(tmp_path / "other", received)


def test_the_members_put_together_again_are_taken(received: Path, tmp_path: Path) -> None:
    """What the tests above build on: without a change, the same steps give a good archive."""
    write_members(received, [(plain(info.filename), data) for info, data in read_members(received)])
    cryoprobe.import_set(tmp_path / "other", received)


@pytest.mark.slow
def test_no_flipped_bit_gets_through(received: Path) -> None:
    """Wherever it is: either the archive is refused, or the bit was none that anything depends on."""
    data = received.read_bytes()
    expected = {info.filename: content for info, content in read_members(received)}
    taken = 0
    for bit in np.random.default_rng(0).integers(0, 8 * len(data), 150):
        received.write_bytes(flip(data, int(bit)))
        target = MemoryBackend()
        write_marker(target)
        try:
            cryoprobe.import_set(Store(target), received)
        except CryoprobeError:
            assert keys(target) == ["cryoprobe.json"]
        else:
            taken += 1
            came = [key for key in keys(target) if not key.startswith("origins/")]
            assert all(target.get(key) == expected[key] for key in came)
    assert taken < 50


def test_a_directory_larger_than_any_archive_s_is_not_read(tmp_path: Path) -> None:
    """By the record at its end, before zipfile makes an object of every entry."""
    import tracemalloc

    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = archives.MOST_MEMBERS * archives._ENTRY_BYTES // len(entry) + 1
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, count * len(entry), 0, 0)
    bomb = tmp_path / "bomb.zip"
    with bomb.open("wb") as file:
        for _ in range(0, count, 100_000):
            file.write(entry * 100_000)
        file.write(end)
    tracemalloc.start()
    with pytest.raises(Corrupt, match="directory is too large"):
        cryoprobe.import_set(tmp_path / "other", bomb)
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for file in (tmp_path / "absent.zip", tmp_path, Path("a\0b")):
        with pytest.raises(NotFound):
            cryoprobe.import_set(tmp_path / "other", file)
