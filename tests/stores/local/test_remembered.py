"""What is remembered of files is believed while they stay as they were."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cryoprobe.stores.local.remembered import Remembered
from cryoprobe.stores.local.sample_index import RACY_NANOSECONDS

KEY = "ab" * 32


def later() -> int:
    """Return a time at which what was written until now is old."""
    return time.time_ns() + RACY_NANOSECONDS + 1_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(b"12345")
    return tmp_path / "weights"


def test_a_value_is_remembered_while_its_files_stay(tmp_path: Path, file: Path) -> None:
    remembered = Remembered("things", tmp_path / "cache")
    assert remembered.read(KEY) is None
    remembered.write(KEY, {"a": [1, None]}, [file, tmp_path / "absent"], later())
    assert remembered.read(KEY) == {"a": [1, None]}
    assert remembered.read("cd" * 32) is None
    remembered.forget(KEY)
    assert remembered.read(KEY) is None


def test_a_file_that_changed_though_size_and_date_agree_one_that_is_gone_and_one_that_came_end_it(
    tmp_path: Path, file: Path
) -> None:
    remembered = Remembered("things", tmp_path / "cache")
    was = file.stat()
    remembered.write(KEY, 1, [file], later())
    file.write_bytes(b"54321")
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert remembered.read(KEY) is None
    remembered.write(KEY, 1, [file], later())
    file.unlink()
    assert remembered.read(KEY) is None
    remembered.write(KEY, 1, [tmp_path / "preferred"], later())
    assert remembered.read(KEY) == 1
    (tmp_path / "preferred").touch()
    assert remembered.read(KEY) is None


def test_of_a_file_that_is_too_young_nothing_is_remembered_nor_what_was_known_before(
    tmp_path: Path, file: Path
) -> None:
    remembered = Remembered("things", tmp_path / "cache")
    remembered.write(KEY, 1, [file], later())
    remembered.write(KEY, 2, [file], time.time_ns())
    assert remembered.read(KEY) is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"value": 1}', b'{"files": 3, "value": 1}', b"\xff"])
def test_a_damaged_entry_is_none(tmp_path: Path, file: Path, content: bytes) -> None:
    remembered = Remembered("things", tmp_path / "cache")
    remembered.write(KEY, 1, [file], later())
    (tmp_path / "cache" / "things" / f"{KEY}.json").write_bytes(content)
    assert remembered.read(KEY) is None


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, file: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    remembered = Remembered("things", tmp_path / "cache")
    remembered.write(KEY, 1, [file], later())
    assert remembered.read(KEY) is None
    remembered.forget(KEY)
