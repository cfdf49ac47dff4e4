"""The sample index: believed only where a file cannot have changed, and never in the way."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cryoprobe.folders import cache_folder
from cryoprobe.stores.local.looks import fingerprint
from cryoprobe.stores.local.sample_index import RACY_NANOSECONDS, SampleIndex, Stamp, View, now_ns, stamp

LATER = 10 * RACY_NANOSECONDS  # a file written in this test is old by now + LATER


def sample_of(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def write(folder: Path, n: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i:03d}.bin" for i in range(n)]
    for i, path in enumerate(paths):
        path.write_bytes(f"content {i:03d}".encode())
    return paths


def record(index: SampleIndex, paths: list[Path], age: int = LATER) -> None:
    """Hash files and remember them, as if `age` nanoseconds from now."""
    index.record([(p, stamp(p), sample_of(p)) for p in paths], now_ns() + age)


@pytest.fixture
def index(cache: Path) -> Iterator[SampleIndex]:
    index = SampleIndex()
    yield index
    index.close()


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return write(tmp_path / "data", 5)


def test_what_was_recorded_is_known_and_the_rest_is_not(index: SampleIndex, paths: list[Path]) -> None:
    assert index.lookup(paths) == [None] * 5
    record(index, paths[:3])
    assert index.lookup(paths[::-1]) == [None, None, *(sample_of(p) for p in paths[2::-1])]
    assert index.lookup([]) == []


def test_it_outlives_the_process_in_the_cache_folder(cache: Path, paths: list[Path]) -> None:
    first = SampleIndex()
    record(first, paths)
    first.close()
    assert cache_folder() == cache
    assert (cache / "samples.sqlite").is_file()
    second = SampleIndex(cache)
    assert second.lookup(paths) == [sample_of(p) for p in paths]
    second.close()


def test_a_relative_path_is_the_same_file(
    index: SampleIndex, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(index, paths)
    monkeypatch.chdir(paths[0].parent)
    assert index.lookup([Path(paths[0].name)]) == [sample_of(paths[0])]


def test_any_file_name_can_be_recorded(index: SampleIndex, tmp_path: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.png"), "ü 'quoted' \"twice\".png", "line\nbreak", "%s;--"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_text(path.name, errors="surrogateescape")
    record(index, paths)
    assert index.lookup(paths) == [sample_of(p) for p in paths]


class TestChanges:
    def test_a_file_that_is_gone_is_not_known(self, index: SampleIndex, paths: list[Path]) -> None:
        record(index, paths)
        paths[1].unlink()
        paths[2].unlink()
        paths[2].mkdir()
        assert [s is None for s in index.lookup(paths)] == [False, True, True, False, False]

    def test_a_file_of_another_size_is_not_known(self, index: SampleIndex, paths: list[Path]) -> None:
        record(index, paths)
        with paths[0].open("ab") as f:
            f.write(b"!")
        assert index.lookup(paths)[0] is None

    def test_a_touched_file_is_not_known(self, index: SampleIndex, paths: list[Path]) -> None:
        record(index, paths)
        os.utime(paths[0], ns=(0, 10**18))
        assert index.lookup(paths)[0] is None

    def test_new_content_of_the_same_size_with_the_old_time_is_noticed(
        self, index: SampleIndex, paths: list[Path]
    ) -> None:
        os.utime(paths[0], ns=(10**18, 10**18))
        record(index, paths)
        before = stamp(paths[0])
        paths[0].write_bytes(paths[0].read_bytes()[::-1])
        os.utime(paths[0], ns=(10**18, 10**18))
        after = stamp(paths[0])
        assert (after.size, after.mtime_ns, after.inode) == (before.size, before.mtime_ns, before.inode)
        assert after.ctime_ns > before.ctime_ns
        assert index.lookup(paths)[0] is None

    def test_another_file_in_its_place_is_noticed(self, index: SampleIndex, paths: list[Path], tmp_path: Path) -> None:
        record(index, paths)
        other = tmp_path / "other"
        shutil.copy2(paths[0], other)
        other.replace(paths[0])
        assert stamp(paths[0]).size == len("content 000")
        assert index.lookup(paths)[0] is None

    def test_a_link_that_points_elsewhere_is_noticed(
        self, index: SampleIndex, paths: list[Path], tmp_path: Path
    ) -> None:
        link = tmp_path / "link"
        link.symlink_to(paths[0])
        record(index, [link])
        assert index.lookup([link]) == [sample_of(paths[0])]
        link.unlink()
        link.symlink_to(paths[1])
        assert index.lookup([link]) == [None]

    def test_recording_it_again_replaces_what_was_known(self, index: SampleIndex, paths: list[Path]) -> None:
        record(index, paths)
        paths[0].write_bytes(b"new")
        record(index, paths[:1])
        assert index.lookup(paths[:1]) == [hashlib.sha256(b"new").digest()]


class TestYoungFiles:
    def test_a_file_just_written_is_not_recorded(self, index: SampleIndex, paths: list[Path]) -> None:
        record(index, paths, age=0)
        assert index.lookup(paths) == [None] * 5

    @pytest.mark.parametrize(("younger_by", "known"), [(1, False), (0, False), (-1, True)])
    def test_two_seconds_are_the_limit(
        self, index: SampleIndex, paths: list[Path], younger_by: int, known: bool
    ) -> None:
        state = stamp(paths[0])
        changed = max(state.mtime_ns, state.ctime_ns)
        index.record([(paths[0], state, sample_of(paths[0]))], changed + RACY_NANOSECONDS - younger_by)
        assert (index.lookup(paths[:1]) != [None]) is known

    def test_an_old_date_does_not_make_a_file_old(self, index: SampleIndex, paths: list[Path]) -> None:
        os.utime(paths[0], ns=(10**18, 10**18))  # what was done now is the change of the date
        record(index, paths[:1], age=0)
        assert index.lookup(paths[:1]) == [None]

    def test_a_date_to_come_makes_a_file_young(self, index: SampleIndex, paths: list[Path]) -> None:
        future = now_ns() + 100 * LATER
        os.utime(paths[0], ns=(future, future))
        record(index, paths[:1])
        assert index.lookup(paths[:1]) == [None]


class TestRehash:
    def test_what_is_known_is_not_believed_and_what_is_learned_is_kept(self, cache: Path, paths: list[Path]) -> None:
        trusting, doubting = SampleIndex(), SampleIndex(trust=False)
        record(trusting, paths[:1])
        assert doubting.lookup(paths) == [None] * 5
        record(doubting, paths[1:])
        assert doubting.lookup(paths) == [None] * 5
        assert trusting.lookup(paths) == [sample_of(p) for p in paths]
        trusting.close()
        doubting.close()


class TestViews:
    def test_a_view_is_kept_with_its_sources_or_without(self, index: SampleIndex, paths: list[Path]) -> None:
        assert index.view("v") is None
        index.record_view("v", paths, fingerprint(paths), "ab" * 32, keep=True)
        assert index.view("v") == View(fingerprint(paths), "ab" * 32, tuple(paths))
        index.record_view("v", paths[:2], fingerprint(paths[:2]), "cd" * 32, keep=False)
        assert index.view("v") == View(fingerprint(paths[:2]), "cd" * 32, None)
        assert index.view("w") is None

    def test_sources_of_any_name_come_back(self, index: SampleIndex, tmp_path: Path) -> None:
        odd = tmp_path / os.fsdecode(b"caf\xe9 \xff.npy")
        index.record_view("v", [odd], fingerprint([odd]), "ab" * 32, keep=True)
        view = index.view("v")
        assert view is not None
        assert view.sources == (odd,)

    def test_a_view_remembers_by_which_name_its_files_are_listed(self, index: SampleIndex, paths: list[Path]) -> None:
        index.record_view("birds all", paths, b"state", "d1", keep=False, listed="folder:/d")
        assert index.view("birds all") == View(b"state", "d1", None, "folder:/d")
        index.record_view("birds all", paths, b"state", "d1", keep=True, listed="folder:/d")
        assert index.view("birds all") == View(b"state", "d1", tuple(paths), None)

    def test_an_index_is_told_apart_from_others(self, tmp_path: Path) -> None:
        one, other = (SampleIndex(tmp_path / name) for name in "ab")
        again = SampleIndex(tmp_path / "a")
        assert one.machine == again.machine != other.machine
        assert len(str(one.machine)) == 16
        (tmp_path / "file").write_text("")
        assert SampleIndex(tmp_path / "file").machine is None

    def test_a_view_of_any_name_fails_no_run(self, index: SampleIndex, paths: list[Path]) -> None:
        name = os.fsdecode(b"folder:/caf\xe9 all")
        index.record_view(name, paths, fingerprint(paths), "ab" * 32, keep=False)
        assert index.view(name) in (None, View(fingerprint(paths), "ab" * 32, None))

    def test_a_fingerprint_depends_on_every_file_and_not_on_their_order(self, paths: list[Path]) -> None:
        before = fingerprint(paths)
        assert len(before) == 32
        assert fingerprint(paths[::-1]) == fingerprint(iter(paths)) == before
        assert fingerprint(paths[:-1]) != before
        paths[2].write_bytes(b"changed")
        changed = fingerprint(paths)
        assert changed != before
        paths[2].unlink()
        assert fingerprint(paths) not in (before, changed)

    def test_a_file_that_was_renamed_changes_the_fingerprint(self, paths: list[Path]) -> None:
        renamed = paths[0].rename(paths[0].with_name("zzz"))
        assert fingerprint([renamed, *paths[1:]]) != fingerprint(paths)


class TestCachesThatFail:
    def use(self, index: SampleIndex, paths: list[Path]) -> list[bytes | None]:
        """Do everything that a run does; return what was known at its end."""
        index.lookup(paths)
        record(index, paths)
        index.record_view("v", paths, fingerprint(paths), "ab" * 32, keep=True)
        index.view("v")
        known = index.lookup(paths)
        index.close()
        return known

    @pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + bytes(4000)])
    def test_a_file_that_is_no_database(self, cache: Path, paths: list[Path], content: bytes) -> None:
        cache.mkdir()
        (cache / "samples.sqlite").write_bytes(content)
        assert self.use(SampleIndex(), paths) == [None] * 5

    def test_an_empty_file_becomes_a_database(self, cache: Path, paths: list[Path]) -> None:
        cache.mkdir()
        (cache / "samples.sqlite").write_bytes(b"")
        assert None not in self.use(SampleIndex(), paths)

    def test_a_database_of_another_program(self, cache: Path, paths: list[Path]) -> None:
        cache.mkdir()
        other = sqlite3.connect(cache / "samples.sqlite")
        other.executescript("CREATE TABLE sample_ids (a); CREATE TABLE views (b);")
        other.close()
        assert self.use(SampleIndex(), paths) == [None] * 5

    def test_a_folder_in_the_place_of_the_database(self, cache: Path, paths: list[Path]) -> None:
        (cache / "samples.sqlite").mkdir(parents=True)
        assert self.use(SampleIndex(), paths) == [None] * 5

    def test_a_file_in_the_place_of_the_folder(self, cache: Path, paths: list[Path]) -> None:
        cache.write_text("x")
        assert self.use(SampleIndex(), paths) == [None] * 5
        assert self.use(SampleIndex(cache / "deeper"), paths) == [None] * 5

    def test_a_folder_that_cannot_be_made(self, paths: list[Path]) -> None:
        if not Path("/proc/self").exists():
            pytest.skip("no folder is read-only even for root here")
        assert self.use(SampleIndex(Path("/proc/cryoprobe")), paths) == [None] * 5

    @pytest.fixture
    def read_only(self, cache: Path, paths: list[Path]) -> Iterator[Path]:
        """Return a cache with all files recorded, which can only be read."""
        index = SampleIndex()
        record(index, paths)
        index.close()
        members = [*cache.iterdir(), cache]
        chattr = shutil.which("chattr")
        if os.geteuid():
            for path in members:
                path.chmod(0o555 if path.is_dir() else 0o444)
        elif not chattr or subprocess.run([chattr, "+i", *members], capture_output=True, check=False).returncode:
            pytest.skip("root can write everywhere here")
        yield cache
        if os.geteuid():
            for path in members[::-1]:
                path.chmod(0o755)
        else:
            subprocess.run(["chattr", "-i", *members], check=True)

    @pytest.mark.usefixtures("read_only")
    def test_a_read_only_cache_fails_no_run(self, paths: list[Path]) -> None:
        known = self.use(SampleIndex(), paths)
        assert all(k in (None, sample_of(p)) for k, p in zip(known, paths, strict=True))

    def test_a_database_with_damaged_pages(self, cache: Path, tmp_path: Path) -> None:
        paths = write(tmp_path / "many", 150)
        index = SampleIndex()
        record(index, paths)
        index.record_view("v", paths, fingerprint(paths), "ab" * 32, keep=True)
        index.close()
        whole = (cache / "samples.sqlite").read_bytes()
        rng = np.random.default_rng(0)
        for round_ in range(40):
            damaged = bytearray(whole)
            for at in rng.integers(16, len(whole), 60):
                damaged[at] = rng.integers(256)
            folder = tmp_path / f"damaged-{round_}"
            folder.mkdir()
            (folder / "samples.sqlite").write_bytes(damaged if round_ % 4 else damaged[: len(whole) * 2 // 3])
            index = SampleIndex(folder)
            index.view("v")
            known = index.lookup(paths)
            assert all(k is None or (isinstance(k, bytes) and len(k) == 32) for k in known)
            record(index, paths[:3])
            index.close()

    def test_a_number_that_sqlite_cannot_hold(self, index: SampleIndex, paths: list[Path]) -> None:
        huge = Stamp(1, 1, 1, 2**64 - 1)  # some network file systems number their files so
        index.record([(paths[0], huge, bytes(32))], now_ns())
        record(index, paths)
        assert index.lookup(paths) == [sample_of(p) for p in paths]

    def test_a_closed_index_knows_nothing(self, paths: list[Path]) -> None:
        index = SampleIndex()
        record(index, paths)
        index.close()
        index.close()
        record(index, paths)
        assert index.lookup(paths) == [None] * 5
        assert index.view("v") is None


_RECORD = """
import hashlib, sys
from pathlib import Path
from cryoprobe.stores.local.sample_index import RACY_NANOSECONDS, SampleIndex, now_ns, stamp
print("ready", flush=True)
sys.stdin.readline()
index = SampleIndex()
for name in sys.argv[1:]:
    path = Path(name)
    entry = (path, stamp(path), hashlib.sha256(path.read_bytes()).digest())
    index.record([entry], now_ns() + 2 * RACY_NANOSECONDS)
    assert index.lookup([path]) == [entry[2]], "what was recorded was lost"
index.close()
"""


class TestTogether:
    def test_several_processes_record_at_once(self, cache: Path, tmp_path: Path) -> None:
        paths = write(tmp_path / "many", 60)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", _RECORD]
        writers = [
            subprocess.Popen([*command, *map(str, paths[i::3])], **pipes)  # type: ignore[call-overload]
            for i in range(3)
        ]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            _, said = writer.communicate(timeout=60)
            assert writer.returncode == 0, said
        index = SampleIndex()
        assert index.lookup(paths) == [sample_of(p) for p in paths]
        index.close()

    def test_several_threads_share_an_index(self, index: SampleIndex, tmp_path: Path) -> None:
        paths = write(tmp_path / "many", 80)
        barrier = threading.Barrier(8)

        def work(i: int) -> list[bytes | None]:
            barrier.wait()
            for path in paths[i::8]:
                record(index, [path])
            return index.lookup(paths[i::8])

        with ThreadPoolExecutor(8) as pool:
            for i, known in enumerate(pool.map(work, range(8))):
                assert known == [sample_of(p) for p in paths[i::8]]


class TestCacheFolder:
    def test_where_it_is(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("CRYOPROBE_CACHE", "~/mine")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_folder() == tmp_path / "mine"
        monkeypatch.delenv("CRYOPROBE_CACHE")
        assert cache_folder() == tmp_path / "xdg" / "cryoprobe"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder() == tmp_path / ".cache" / "cryoprobe"
