"""A full disk, a folder that cannot be written, a wrong clock: nothing is lost, and the same command goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.data import write_images
from support.store_data import files

import cryoprobe
from cryoprobe.errors import CryoprobeError, ReadOnly, Unavailable
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.claims import Claims

ROWS, UNIT_ROWS = 24, 4
HOUR_NS = 3_600_000_000_000


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_images(tmp_path / "data", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    return tmp_path / "data"


@pytest.fixture
def undisturbed(encoder: Encoder, data: Path, tmp_path: Path) -> Store:
    store = cryoprobe.open_store(tmp_path / "undisturbed", create=True)
    extract(encoder, data, store)
    return store


def extract(encoder: Encoder, data: Path, store: Store | Path) -> cryoprobe.ExtractedSet:
    (done,) = cryoprobe.extract(encoder, f"folder:{data}", store, unit_rows=UNIT_ROWS, batch_size=4, workers=1)
    return done


def assert_same(store: Store | Path, undisturbed: Store) -> None:
    assert not cryoprobe.verify(store, data=True).damages
    store = store if isinstance(store, Store) else cryoprobe.open_store(store)
    ((set_id, _),) = store.set_ids().items()
    for mine, theirs in zip(store.open(set_id).load(), undisturbed.open(set_id).load(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def mounted(*words: str | Path) -> bool:
    mount = shutil.which("mount")
    return bool(mount) and not subprocess.run([str(mount), *words], capture_output=True, check=False).returncode


class TestFullDisk:
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        where = tmp_path / "disk"
        where.mkdir()
        if not mounted("-t", "tmpfs", "-o", "size=2m", "cryoprobe-test", where):
            pytest.skip("no small file system can be mounted here")
        yield where
        subprocess.run(["umount", where], check=True)

    def test_an_extraction_to_a_disk_that_fills_up(
        self, disk: Path, encoder: Encoder, data: Path, undisturbed: Store
    ) -> None:
        store = disk / "store"
        errors, sealed = [], []
        for pages in (4, 12, 20, 40, 80):
            with (disk / "ballast").open("wb") as ballast:
                stat = os.statvfs(disk)
                ballast.write(b"x" * (stat.f_bavail - pages) * stat.f_frsize)
            try:
                extract(encoder, data, store)
            except CryoprobeError as e:
                errors.append(e)
            (disk / "ballast").unlink()
            if (store / "cryoprobe.json").exists():
                assert not cryoprobe.verify(store, data=True).damages
                sealed.append(len(list(store.glob("unit-seals/*/*.json"))))
            assert not [f for f in files(disk) if "/.tmp-" in f]
        assert len(errors) >= 3
        assert all(isinstance(e, Unavailable) and "No space is left" in str(e) for e in errors)
        assert sealed == sorted(sealed)
        assert sealed[0] < sealed[-1]
        assert extract(encoder, data, store).encoded <= ROWS - UNIT_ROWS * sealed[-1]
        assert_same(store, undisturbed)

    def test_a_process_that_may_not_write_so_large_a_file(
        self, encoder: Encoder, data: Path, undisturbed: Store, tmp_path: Path
    ) -> None:
        code = """
import resource, sys
from cryoprobe import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
cli.main()
"""
        words = ["extract", "--model", "timm:test_vit", "--untrained", "--image-size", "32", "--unit-rows", UNIT_ROWS]
        words += ["--dataset", f"folder:{data}", "--store", tmp_path / "store"]
        command = [sys.executable, "-c", code, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 8, done.stderr
        assert "Cannot write" in done.stderr
        assert "Traceback" not in done.stderr
        assert files(tmp_path / "store") == {"cryoprobe.json"}
        assert extract(encoder, data, tmp_path / "store").encoded == ROWS
        assert_same(tmp_path / "store", undisturbed)


class TestReadOnly:
    @contextmanager
    def read_only(self, folder: Path) -> Iterator[None]:
        if os.geteuid():
            folders = [folder, *(p for p in folder.rglob("*") if p.is_dir())]
            for f in folders:
                f.chmod(0o555)
            yield
            for f in folders:
                f.chmod(0o755)
        else:  # rights do not bind root, but a read-only mount does
            if not mounted("--bind", folder, folder):
                pytest.skip("nothing can be mounted here, and root can write everywhere")
            try:
                if not mounted("-o", "remount,bind,ro", folder):
                    pytest.skip("nothing can be mounted read-only here, and root can write everywhere")
                yield
            finally:
                subprocess.run(["umount", folder], check=True)

    def test_a_store_that_cannot_be_written_is_read_and_left_as_it_is(
        self, encoder: Encoder, data: Path, undisturbed: Store
    ) -> None:
        root = Path(undisturbed.url)
        before = {f: (root / f).read_bytes() for f in files(root)}
        asked = {"model": "timm:test_vit", "dataset": f"folder:{data}", "untrained": True, "probe": "nearest-mean"}
        with self.read_only(root):
            assert extract(encoder, data, root).encoded == 0  # it has everything
            assert_same(root, undisturbed)
            result = cryoprobe.probe(root, **asked)
            assert "could not be stored" in " ".join(result["notes"])
            write_images(data, {"a": 1}, seed=7, side=16)
            with pytest.raises(ReadOnly, match="cannot be written"):
                extract(encoder, data, root)
        assert {f: (root / f).read_bytes() for f in files(root)} == before
        assert extract(encoder, data, root).encoded == 1

    def test_no_store_is_made_where_nothing_can_be_written(self, encoder: Encoder, data: Path, tmp_path: Path) -> None:
        (tmp_path / "locked").mkdir()
        with self.read_only(tmp_path / "locked"), pytest.raises(ReadOnly):
            extract(encoder, data, tmp_path / "locked" / "store")
        assert files(tmp_path / "locked") == set()


class TestClocks:
    @pytest.mark.parametrize("wrong", [-HOUR_NS, HOUR_NS])
    def test_what_was_extracted_last_is_meant_whatever_the_clock_said(
        self, wrong: int, encoder: Encoder, data: Path, undisturbed: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A colleague's clock is an hour wrong, and then an image is added by the right clock."""
        real = time.time_ns
        store = cryoprobe.open_store(data.parent / "store", create=True)
        with monkeypatch.context() as changed:
            changed.setattr(time, "time_ns", lambda: real() + wrong)
            changed.setattr(time, "time", lambda: (real() + wrong) / 1e9)
            first = extract(encoder, data, store)
            assert_same(store, undisturbed)
        write_images(data, {"a": 1}, seed=7, side=16)
        second = extract(encoder, data, store)
        assert second.encoded == 1
        named = store.find(model="timm:test_vit", dataset=f"folder:{data}")
        assert [n.set for n in named] == [second.set, first.set]
        with monkeypatch.context() as changed:  # and back, by the wrong clock
            changed.setattr(time, "time_ns", lambda: real() + wrong)
            next(data.glob("a/7-*.png")).unlink()
            again = extract(encoder, data, store)
        assert (again.set, again.encoded) == (first.set, 0)
        named = store.find(model="timm:test_vit", dataset=f"folder:{data}")
        assert [n.set for n in named] == [first.set, second.set]

    @pytest.mark.parametrize("wrong", [-HOUR_NS, HOUR_NS])
    def test_a_claim_is_not_taken_over_for_a_wrong_clock(
        self, wrong: int, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = time.time_ns
        with Claims(store.backend) as mine:
            assert mine.take("e" * 64, "u" * 64)
            monkeypatch.setattr(time, "time_ns", lambda: real() + wrong)
            monkeypatch.setattr(time, "time", lambda: (real() + wrong) / 1e9)
            with Claims(store.backend) as others:
                assert not any(others.take("e" * 64, "u" * 64) for _ in range(3))
            assert mine.take("e" * 64, "u" * 64)
