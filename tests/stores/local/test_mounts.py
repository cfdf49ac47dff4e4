"""On which file systems a file's dates tell that it was changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cryoprobe.stores.local import mounts
from cryoprobe.stores.local.looks import fingerprint
from cryoprobe.stores.local.mounts import Mounts
from cryoprobe.stores.local.sample_index import SampleIndex, now_ns, stamp

SAMPLE = b"s" * 32
LATER_NS = 10_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "1.png"
    path.write_bytes(b"x")
    return path


@pytest.fixture
def mounted(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Return a function that makes the file's device one of another type."""
    device = file.stat().st_dev

    def mount(kind: str, *, loop: str = "", number: str = "") -> None:
        table = tmp_path / "mountinfo"
        line = f"27 1 {os.major(device)}:{os.minor(device)} / / ro,relatime shared:1 - {kind} /dev/x ro\n"
        table.write_text("26 1 0:24 / /dev/pts rw - devpts devpts rw\ngarbled\n" + line)
        monkeypatch.setattr(mounts, "_MOUNTS", table)
        monkeypatch.setattr(mounts, "_behind_loop", lambda _: loop or None)
        monkeypatch.setattr(mounts, "_mount_number", lambda _: number or None)

    return mount


@pytest.mark.parametrize("kind", ["ext4", "xfs", "nfs4", "tmpfs", "fuse.glusterfs"])
def test_where_the_system_sets_it_the_change_time_tells(file: Path, mounted, kind: str) -> None:  # type: ignore[no-untyped-def]
    mounted(kind)
    assert Mounts().change_time(file, file.stat()) == file.stat().st_ctime_ns


def test_so_it_does_where_mounts_are_not_listed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_MOUNTS", file.with_name("none"))
    assert Mounts().change_time(file, file.stat()) == file.stat().st_ctime_ns


@pytest.mark.parametrize("kind", ["vfat", "exfat", "fuse.sshfs"])
def test_where_dates_are_carried_along_a_file_is_always_read(file: Path, mounted, tmp_path: Path, kind: str) -> None:  # type: ignore[no-untyped-def]
    mounted(kind)
    assert stamp(file).ctime_ns is None
    index = SampleIndex(tmp_path / "cache")
    index.record([(file, index.stamp(file), SAMPLE)], now_ns() + LATER_NS)
    assert index.lookup([file]) == [None]
    index.close()


@pytest.mark.parametrize("kind", ["squashfs", "erofs", "iso9660", "fuse.squashfuse"])
@pytest.mark.parametrize("told_by", ["loop", "number"])
def test_of_an_image_the_index_holds_until_another_is_mounted(  # type: ignore[no-untyped-def]
    file: Path, mounted, tmp_path: Path, kind: str, told_by: str
) -> None:
    mounted(kind, **{told_by: "first"})
    index = SampleIndex(tmp_path / "cache")
    index.record([(file, index.stamp(file), SAMPLE)], now_ns() + LATER_NS)
    assert index.lookup([file]) == [SAMPLE]
    before = fingerprint([file])
    index.close()
    mounted(kind, **{told_by: "second"})
    index = SampleIndex(tmp_path / "cache")
    assert index.lookup([file]) == [None]
    assert fingerprint([file]) != before
    index.close()


def test_of_an_image_of_which_nothing_is_told_it_holds_for_this_process(  # type: ignore[no-untyped-def]
    file: Path, mounted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted("squashfs")
    index = SampleIndex(tmp_path / "cache")
    index.record([(file, index.stamp(file), SAMPLE)], now_ns() + LATER_NS)
    index.close()
    again = SampleIndex(tmp_path / "cache")
    assert again.lookup([file]) == [SAMPLE]
    again.close()
    monkeypatch.setattr(mounts, "_PROCESS", "another")
    later = SampleIndex(tmp_path / "cache")
    assert later.lookup([file]) == [None]
    later.close()


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="mounts are not listed here")
def test_the_kernel_numbers_mounts_or_says_nothing() -> None:
    one, other = mounts._mount_number(Path("/proc/self")), mounts._mount_number(Path(__file__))
    assert (one is None) == (other is None)
    assert one is None or one != other
