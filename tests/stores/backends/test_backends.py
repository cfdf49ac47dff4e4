"""The contract of a backend, on every kind of storage; and what a folder adds to it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.store_data import files, keys

from cryoprobe.errors import BadInput, NotFound, ReadOnly, Unavailable
from cryoprobe.stores.backends.backend import Backend, ObjectInfo
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.testing import Storage, StorageReadingSuite, StorageSuite, StorageWritingSuite

TRAVERSALS = st.text(st.sampled_from("./\\ab~\0\n-_%:"), max_size=12) | st.text(max_size=20)


class TestReading(StorageReadingSuite):
    """On each kind of storage that is read from."""


class TestWriting(StorageWritingSuite):
    """On each kind of storage that is written to."""


class TestMemory(StorageSuite):
    """One backend for both, as other people's packages run the suites."""

    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()


class Faulty(MemoryBackend):
    """Right but for the fault that it is made with."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.all_have_looked = threading.Barrier(8)

    def get(self, key: str, limit: int | None = None) -> bytes:
        if self.fault == "any key" and key not in self._objects:
            raise NotFound("?", key=key)
        if self.fault == "another error" and key not in self._objects:
            raise Unavailable("?", key=key)
        if self.fault == "no limit":
            limit = None
        return super().get(key, limit)[: 3 if self.fault == "cut short" else None]

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if self.fault == "last wins":
            self.put(key, data)
            return True
        if self.fault == "races":
            absent = not self.exists(key)
            self.all_have_looked.wait(timeout=60)
            if absent:
                self.put(key, data)
            return absent
        return super().put_if_absent(key, data)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if self.fault == "prefix of a name" and prefix:
            prefix = prefix.rstrip("/")
            yield from (info for info in super().list() if info.key.startswith(prefix))
        elif self.fault == "unordered":
            yield from sorted(super().list(prefix), reverse=True)
        else:
            yield from super().list(prefix)

    def delete(self, key: str) -> None:
        if self.fault == "deletes folders":
            for other in [other for other in self._objects if other.startswith(key[:1])]:
                super().delete(other)
        super().delete(key)


FAULTS = {
    "any key": ("a_key_that_is_no_plain_name_is_refused", {"key": "../a"}),
    "another error": ("a_missing_object_is_not_found_under_its_key", {}),
    "no limit": ("an_object_of_more_bytes_than_it_may_have_is_corrupt", {}),
    "cut short": ("what_was_put_is_got", {}),
    "last wins": ("put_if_absent_writes_once", {}),
    "races": ("of_eight_racing_writers_one_wins_and_its_bytes_are_read", {"round_": 0}),
    "prefix of a name": ("a_prefix_is_a_whole_folder", {}),
    "unordered": ("listings_are_ordered_by_key_and_say_sizes", {}),
    "deletes folders": ("deleting_removes_one_object_and_nothing_where_there_is_none", {}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_storage_fails(fault: str) -> None:
    test, more = FAULTS[fault]
    verb = getattr(StorageSuite(), f"test_{test}")
    reads = "storage" in verb.__code__.co_varnames[: verb.__code__.co_argcount]

    def run(backend: Backend) -> None:
        verb(Storage(backend, backend) if reads else backend, **more)

    run(Faulty())
    with pytest.raises((AssertionError, NotFound, Unavailable, pytest.fail.Exception)):
        run(Faulty(fault))


class TestKeysStayInside:
    @given(key=TRAVERSALS)
    def test_no_key_reaches_a_file_outside_the_folder(self, key: str, tmp_path_factory: pytest.TempPathFactory) -> None:
        outside = tmp_path_factory.mktemp("outside")
        (outside / "a").write_text("secret")
        backend = LocalBackend(outside / "root" / "b")
        try:
            backend.put(key, b"mine")
        except BadInput:
            with pytest.raises(BadInput):
                backend.get(key)
            with pytest.raises(BadInput):
                backend.delete(key)
        else:
            assert backend.get(key) == b"mine"
            assert keys(backend) == [key]
            assert files(outside / "root" / "b") == {key}
        assert files(outside) - {f"root/b/{key}"} == {"a"}
        assert (outside / "a").read_text() == "secret"
        shutil.rmtree(outside)

    @given(prefix=TRAVERSALS)
    def test_no_prefix_lists_a_file_outside_the_folder(
        self, prefix: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        outside = tmp_path_factory.mktemp("outside")
        (outside / "a").write_text("secret")
        backend = LocalBackend(outside / "root")
        backend.put("b/c", b"x")
        try:
            assert keys(backend, prefix) in (["b/c"], [])
        except BadInput:
            assert prefix
        shutil.rmtree(outside)


def in_subprocess(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


_RACE = """
import sys
from pathlib import Path
from cryoprobe.stores.backends.local import LocalBackend
root, me = sys.argv[1:]
backend = LocalBackend(Path(root))
print("ready", flush=True)
sys.stdin.readline()
print("".join("x" if backend.put_if_absent(f"seals/{n}", me.encode() * 5000) else "." for n in range(30)))
"""

_TOO_LARGE = """
import resource, signal, sys
from pathlib import Path
from cryoprobe.errors import Unavailable
from cryoprobe.stores.backends.local import LocalBackend
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
backend = LocalBackend(Path(sys.argv[1]))
for verb in (backend.put, backend.put_if_absent):
    try:
        verb("a/b", b"n" * 10_000)
    except Unavailable as e:
        print(e)
"""


class TestLocal:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> LocalBackend:
        return LocalBackend(tmp_path / "objects")

    def test_the_folder_is_made_by_the_first_object(self, folder: LocalBackend) -> None:
        assert not folder.root.exists()
        assert keys(folder) == []
        assert not folder.root.exists()
        folder.put("a", b"")
        assert folder.root.is_dir()

    def test_one_object_is_one_file_and_no_other_is_left(self, folder: LocalBackend) -> None:
        folder.put("a/b", b"x")
        folder.put("a/b", b"y")
        folder.put_if_absent("a/c", b"x")
        folder.put_if_absent("a/c", b"y")
        folder.copy("a/b", "d/e")
        folder.copy("a/b", "d/e")
        assert files(folder.root) == {"a/b", "a/c", "d/e"}

    @pytest.mark.parametrize("what", ["list", "keys", "inspect", "leftovers"])
    @pytest.mark.parametrize("gone", ["deleted", "replaced by files"])
    def test_a_listing_survives_whatever_vanishes_at_any_instant_of_it(
        self, folder: LocalBackend, what: str, gone: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Everything else vanishes as the listing looks into its first, second, … folder, or after its n-th file."""
        names = ["a/x/1", "a/x/2", "a/y/1", "b/1", "b/z/1", "c"]
        names = [n.replace("/1", "/.tmp-1").replace("/2", "/.tmp-2") for n in names] if what == "leftovers" else names
        scandir = os.scandir
        left = [0]

        def vanish() -> None:
            left[0] -= 1
            if not left[0]:
                for top in ("a", "b"):
                    shutil.rmtree(folder.root / top)
                    if gone == "replaced by files":
                        (folder.root / top).write_bytes(b"")

        def scan(path: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
            vanish()
            return scandir(path)

        monkeypatch.setattr("cryoprobe.stores.backends.local.os.scandir", scan)
        verb = getattr(folder, what)
        for instant in range(1, 2 * len(names) + 2):
            left[0] = 0
            shutil.rmtree(folder.root, ignore_errors=True)
            for name in names:
                (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
                (folder.root / name).write_bytes(b"x")
            left[0] = instant
            found = []
            for each in verb():
                found.append(each if isinstance(each, str) else each.key)
                vanish()
            assert set(found) <= {*names, "a", "b"}
            assert what == "leftovers" or found[-1] == "c"
        assert found == [n for n in names if what != "leftovers" or ".tmp-" in n]  # nothing vanished any more

    @pytest.mark.parametrize("what", ["list", "inspect", "leftovers"])
    def test_a_stale_handle_is_looked_up_again_and_other_errors_are_raised(
        self, folder: LocalBackend, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A listing that is cut short would be taken for a store from which something is missing."""
        for key in ("a/1", "b/1"):
            folder.put(key, b"x")
            (folder.root / key).with_name(".tmp-1").write_bytes(b"half")
        scandir, errors = os.scandir, [errno.ESTALE, errno.ESTALE]

        def scan(path: Path) -> Iterator[os.DirEntry[str]]:
            if errors and path.name == "b":
                raise OSError(errors.pop(), "")
            return scandir(path)

        monkeypatch.setattr("cryoprobe.stores.backends.local.os.scandir", scan)
        assert len(list(getattr(folder, what)())) == 2
        assert not errors
        for kind in (errno.ESTALE, errno.EIO, errno.EACCES):
            errors.extend([kind] * 3)
            with pytest.raises(Unavailable, match=str(folder.root)):
                list(getattr(folder, what)())
            errors.clear()

    def test_an_object_that_was_replaced_on_a_share_is_read_anew(
        self, folder: LocalBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.put("a/1", b"x")
        fstat, errors = os.fstat, [errno.ESTALE]

        def stat(descriptor: int) -> os.stat_result:
            if errors:
                raise OSError(errors.pop(), "")
            return fstat(descriptor)

        monkeypatch.setattr("cryoprobe.stores.backends.local.os.fstat", stat)
        assert folder.get("a/1") == b"x"
        errors.extend([errno.ESTALE] * 3)
        with pytest.raises(Unavailable):
            folder.get("a/1")

    def test_temporary_files_in_folders_that_are_not_ours_are_left_alone(self, folder: LocalBackend) -> None:
        """A snapshot folder, or one that only root may read, lies in many a share."""
        for name in (".snapshot/a/.tmp-1", "a/.tmp-1"):
            (folder.root / name).parent.mkdir(parents=True)
            (folder.root / name).write_bytes(b"half")
        (folder.root / "a/.tmp-2").symlink_to("elsewhere")
        (found,) = folder.leftovers()
        assert found.key == "a/.tmp-1"
        folder.discard(found)
        folder.discard(found)
        assert files(folder.root) == {".snapshot/a/.tmp-1"}

    def test_a_copy_is_a_hard_link_and_costs_no_space(self, folder: LocalBackend) -> None:
        folder.put("a", b"x" * 100)
        folder.copy("a", "b/c")
        assert (folder.root / "b/c").samefile(folder.root / "a")
        folder.put("b/c", b"y")
        assert folder.get("a") == b"x" * 100

    def test_temporary_files_of_the_killed_and_hidden_files_are_not_listed(self, folder: LocalBackend) -> None:
        folder.put("a/b", b"x")
        (folder.root / "a/.tmp-0123456789abcdef").write_bytes(b"half of an obj")
        (folder.root / ".snapshots").mkdir()
        (folder.root / ".snapshots/c").write_bytes(b"")
        assert keys(folder) == keys(folder, "a/") == ["a/b"]

    def test_several_processes_racing_for_seals_share_them_out(self, folder: LocalBackend) -> None:
        command = [sys.executable, "-c", _RACE, str(folder.root)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        racers = [subprocess.Popen([*command, me], **pipes) for me in "abcd"]  # type: ignore[call-overload]
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        won = [racer.communicate(timeout=60)[0].strip() for racer in racers]
        assert [len(line) for line in won] == [30] * 4
        for n in range(30):
            winners = [me for me, line in zip("abcd", won, strict=True) if line[n] == "x"]
            assert len(winners) == 1
            assert folder.get(f"seals/{n}") == winners[0].encode() * 5000
        assert files(folder.root) == {f"seals/{n}" for n in range(30)}

    def test_a_file_in_the_place_of_a_folder_is_named(self, folder: LocalBackend) -> None:
        folder.put("a", b"x")
        for key in ("a/b", "a/b/c"):
            for verb in (folder.put, folder.put_if_absent):
                with pytest.raises(Unavailable, match=f"Cannot write .*{key}"):
                    verb(key, b"y")
            with pytest.raises(Unavailable, match=f"Cannot write .*{key}"):
                folder.copy("a", key)
        assert files(folder.root) == {"a"}
        assert folder.get("a") == b"x"

    def test_a_folder_in_the_place_of_an_object_is_named(self, folder: LocalBackend) -> None:
        folder.put("a/b", b"x")
        with pytest.raises(Unavailable, match="Cannot write"):
            folder.put("a", b"y")
        assert files(folder.root) == {"a/b"}

    def test_a_write_that_fails_half_way_leaves_the_old_object_and_no_file(self, folder: LocalBackend) -> None:
        folder.put("a/b", b"old")
        (folder.root / "a/c").mkdir()
        said = in_subprocess(_TOO_LARGE, folder.root)
        assert "Cannot write" in said
        assert os.strerror(errno.EFBIG) in said
        assert folder.get("a/b") == b"old"
        assert files(folder.root) == {"a/b"}

    def test_a_write_that_fails_half_way_leaves_no_object(self, folder: LocalBackend) -> None:
        said = in_subprocess(_TOO_LARGE, folder.root)
        assert said.count("Cannot write") == 2
        assert said.count("When the storage is well again") == 2
        assert not folder.exists("a/b")
        assert not files(folder.root)

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[LocalBackend]:
        where = tmp_path / "disk"
        where.mkdir()
        mounted = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "cryoprobe-test", where], capture_output=True, check=False
        )
        if not mounted or mounted.returncode:
            pytest.skip("no small file system can be mounted here")
        yield LocalBackend(where / "store")
        subprocess.run(["umount", where], check=True)

    def test_a_full_disk_is_said_to_be_full(self, small_disk: LocalBackend) -> None:
        small_disk.put("a", b"kept")
        for verb in (small_disk.put, small_disk.put_if_absent):
            with pytest.raises(Unavailable, match="No space is left") as caught:
                verb("b", b"x" * 200_000)
            assert "Make room" in str(caught.value)
        assert files(small_disk.root) == {"a"}
        small_disk.put("c", b"there is room for this")
        assert small_disk.get("a") == b"kept"

    @pytest.fixture
    def read_only(self, folder: LocalBackend) -> Iterator[LocalBackend]:
        folder.put("a/b", b"x")
        folders = [folder.root, folder.root / "a"]
        immutable = False
        if os.geteuid():
            for f in folders:
                f.chmod(0o555)
        else:  # rights do not bind root, but the immutable flag does
            chattr = shutil.which("chattr")
            command = [chattr or "", "+i", *map(str, folders)]
            immutable = bool(chattr) and not subprocess.run(command, capture_output=True, check=False).returncode
            if not immutable:
                pytest.skip("root can write everywhere here")
        yield folder
        for f in folders:
            if immutable:
                subprocess.run(["chattr", "-i", str(f)], check=True)
            else:
                f.chmod(0o755)

    def test_a_folder_without_write_access_is_read_only(self, read_only: LocalBackend) -> None:
        verbs: list[Callable[[], object]] = [
            lambda: read_only.put("a/c", b"y"),
            lambda: read_only.put("c/d", b"y"),
            lambda: read_only.put_if_absent("a/c", b"y"),
            lambda: read_only.delete("a/b"),
        ]
        for verb in verbs:
            with pytest.raises(ReadOnly, match="cannot be written") as caught:
                verb()
            assert isinstance(caught.value, PermissionError)
        assert read_only.put_if_absent("a/b", b"y") is False
        assert read_only.get("a/b") == b"x"
        assert files(read_only.root) == {"a/b"}

    def test_a_copy_into_a_folder_without_write_access_is_read_only(self, read_only: LocalBackend) -> None:
        with pytest.raises(ReadOnly):
            read_only.copy("a/b", "a/c")
        assert files(read_only.root) == {"a/b"}
