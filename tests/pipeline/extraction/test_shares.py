"""What processes tell each other of the samples that they have read: used where it holds, and found out where not."""

from __future__ import annotations

import hashlib
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline.datasets import splits
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.pipeline.extraction.run import ExtractionRun
from cryoprobe.pipeline.extraction.sample_ids import Identified
from cryoprobe.pipeline.extraction.shares import Shares, marks_of, shared_work
from cryoprobe.pipeline.ranks import Rank
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.local.mounts import Mounts
from cryoprobe.stores.store import SharedWork, ToldRows, sample_array
from cryoprobe.stores.writing.claims import Claims

ROWS = 48


class Notes(cryoprobe.Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return the files of a folder, which are old enough for their dates to tell when they change."""
    written = write_images(tmp_path / "data", {"a": ROWS // 2, "b": ROWS // 2}, side=16)
    time.sleep(2.1)
    return written


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the rows that are read, as they are."""
    rows: list[int] = []
    before = splits.FileSplit.read

    def noting(self: splits.FileSplit, index: int) -> bytes:
        rows.append(index)
        return before(self, index)

    monkeypatch.setattr(splits.FileSplit, "read", noting)
    return rows


def extract(
    encoder: Encoder, files: list[Path], store: Path, rank: str | None, reporter: cryoprobe.Reporter | None = None
) -> cryoprobe.ExtractedSet:
    (done,) = cryoprobe.extract(
        encoder,
        f"folder:{files[0].parents[1]}",
        store,
        rank=rank,
        batch_size=8,
        unit_rows=8,
        reporter=reporter,
        progress=False,
    )
    return done


def on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Know nothing of the files from now on."""
    monkeypatch.setenv("CRYOPROBE_CACHE", str(tmp_path / f"cache{time.monotonic_ns()}"))


def test_one_alone_does_the_shares_of_those_that_never_start(
    encoder: Encoder, files: list[Path], store: Path, tmp_path: Path
) -> None:
    done = extract(encoder, files, store, "1/4")
    assert (done.encoded, done.reused) == (ROWS, 0)
    assert done.set == extract(encoder, files, tmp_path / "alone", None).set
    assert not [*(store / "claims").rglob("*.json")]


def test_a_late_one_reads_little_of_what_others_have_told(
    encoder: Encoder, files: list[Path], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[int]
) -> None:
    first = extract(encoder, files, store, "0/2")
    on_another_machine(tmp_path, monkeypatch)
    monkeypatch.setattr("cryoprobe.pipeline.extraction.together.SPOT_CHECKS", 4)
    read.clear()
    late = extract(encoder, files, store, "1/2")
    assert (late.set, late.encoded) == (first.set, 0)
    assert len(read) <= 2 * 4


@pytest.mark.parametrize("dates", ["new", "carried along"])
def test_a_file_that_was_changed_since_it_was_told_of_is_read_again(
    dates: str, encoder: Encoder, files: list[Path], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extract(encoder, files, store, "0/2")
    before = files[7].stat()
    (other,) = write_images(tmp_path / "other", {"a": 1}, seed=5, side=16)
    raw = other.read_bytes()
    files[7].write_bytes(raw[: before.st_size].ljust(before.st_size, b"\0") if dates == "carried along" else raw)
    if dates == "carried along":
        os.utime(files[7], ns=(before.st_atime_ns, before.st_mtime_ns))
    time.sleep(2.1)
    on_another_machine(tmp_path, monkeypatch)
    if dates == "carried along":  # of the same size: it may be damaged now
        (again,) = cryoprobe.extract(
            encoder, f"folder:{files[0].parents[1]}", store, rank="1/2", max_bad=1, progress=False
        )
    else:
        again = extract(encoder, files, store, "1/2")
        assert again.encoded == 1
        assert again.set == extract(encoder, files, tmp_path / "alone", None).set
    assert again.set != first.set


def change_all(files: list[Path]) -> None:
    """Give all files other content of the same size."""
    for file in files:
        file.write_bytes(file.read_bytes()[:-1] + b"\1")
    time.sleep(2.1)


def test_other_content_of_which_nothing_tells_is_noticed(
    encoder: Encoder, files: list[Path], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extract(encoder, files, store, "0/2")
    change_all(files)
    on_another_machine(tmp_path, monkeypatch)
    monkeypatch.setattr(Shares, "_unchanged", lambda self, now: np.ones(ROWS, bool))
    notes = Notes()
    other = extract(encoder, files, store, "1/2", notes)
    assert (other.encoded, other.set != first.set) == (ROWS, True)
    assert any("other content here than another process has read" in note for note in notes.notes)


@pytest.mark.parametrize("option", [{}, {"rehash": True}])
def test_nothing_is_believed_of_an_earlier_run_where_dates_do_not_tell(
    option: dict[str, bool],
    encoder: Encoder,
    files: list[Path],
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: list[int],
) -> None:
    extract(encoder, files, store, "0/2")
    on_another_machine(tmp_path, monkeypatch)
    if not option:
        monkeypatch.setattr(Mounts, "tells_changes", lambda self, device: False)
        monkeypatch.setattr(Mounts, "change_time", lambda self, path, status: None)
    read.clear()
    cryoprobe.extract(encoder, f"folder:{files[0].parents[1]}", store, rank="1/2", progress=False, **option)  # type: ignore[arg-type]
    assert set(read) == set(range(ROWS))


def test_a_file_that_is_gone_is_told_as_without_ranks(
    encoder: Encoder, files: list[Path], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "data" / "table.csv"
    table.write_text("path,label\n" + "".join(f"{f.relative_to(table.parent)},{f.parent.name}\n" for f in files))
    extract = partial(cryoprobe.extract, encoder, f"csv:{table}", store, batch_size=8, progress=False)
    extract(rank="0/2")
    files[9].unlink()
    on_another_machine(tmp_path, monkeypatch)
    with pytest.raises(cryoprobe.BadInput, match=r"0-009\.png"):
        extract(rank="1/2")


def test_the_set_of_another_job_is_not_taken_for_ones_own(
    encoder: Encoder, files: list[Path], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs whose data sets go by one name, at once."""
    first = extract(encoder, files, store, "0/2")
    change_all(files)
    monkeypatch.setattr(SharedWork, "sealed", lambda self: {first.tap: first.set})
    assert extract(encoder, files, store, "1/2").set != first.set


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return how many images were encoded, and how many rows sealed, when the set begins to be put together."""
    found: list[tuple[int, int]] = []
    before = ExtractionRun.extract

    def noting(self: ExtractionRun, *arguments: Any) -> list[cryoprobe.ExtractedSet]:
        found.append((arguments[3].encoded, len(self.store.rows_of(self.targets[0].encoder_id))))
        return before(self, *arguments)

    monkeypatch.setattr(ExtractionRun, "extract", noting)
    return found


def test_a_second_encoder_is_shared_too(
    encoder: Encoder, files: list[Path], store: Path, shared: list[tuple[int, int]]
) -> None:
    extract(encoder, files, store, "0/2")
    data = f"folder:{files[0].parents[1]}"
    cryoprobe.extract(encoder, data, store, rank="1/2", stored_dtype="float32", batch_size=8, progress=False)
    assert shared == [(ROWS, ROWS), (ROWS, ROWS)]


def test_what_is_encoded_is_sealed_where_others_have_told_of_the_rows_that_follow(
    encoder: Encoder, files: list[Path], store: Path, shared: list[tuple[int, int]]
) -> None:
    dataset = cryoprobe.load_dataset(f"folder:{files[0].parents[1]}")
    opened = cryoprobe.open_store(store, create=True)
    split = dataset.split(dataset.splits[0])
    ids = [hashlib.sha256(split.read(row)).digest() for row in range(10, ROWS)]
    work = shared_work(opened, dataset.name, split, "target")
    work.tell(ToldRows(10, sample_array(ids), marks_of(split, range(10, ROWS)), at=1))
    cryoprobe.extract(encoder, dataset.name, opened, rank="0/2", batch_size=8, progress=False)
    assert shared == [(ROWS, ROWS)]
    assert len(list((store / "unit-seals").rglob("*.json"))) == 2  # of its own rows, and of those that were told


def test_too_many_bad_images_are_an_error_for_every_process(encoder: Encoder, files: list[Path], store: Path) -> None:
    for file in (files[3], files[40]):
        file.write_bytes(b"no image")
    for rank in ("0/2", "1/2"):
        with pytest.raises(cryoprobe.BadInput, match="2 of 48 samples"):
            extract(encoder, files, store, rank)
    sets = cryoprobe.extract(
        encoder, f"folder:{files[0].parents[1]}", store, rank="1/2", batch_size=8, max_bad=2, progress=False
    )
    assert (sets[0].rows, sets[0].failed) == (ROWS - 2, 2)


def test_the_set_is_sealed_by_somebody_else_if_he_has_the_claim(
    encoder: Encoder, files: list[Path], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process seals, this one waits; it takes over when that one has given up."""
    opened = cryoprobe.open_store(store, create=True)
    taken: list[str] = []
    take = Claims.take

    def refused_once(self: Claims, encoder_id: str, unit: str) -> bool:
        taken.append(unit)
        return False if len(taken) == 1 else take(self, encoder_id, unit)

    monkeypatch.setattr(Claims, "take", refused_once)
    monkeypatch.setattr("cryoprobe.pipeline.extraction.together._ASK_SECONDS", 0.0)
    assert extract(encoder, files, store, "0/2").sealed
    assert len(opened.set_ids()) == 1
    assert taken[0] == taken[1]


class Named:
    """A split of which only the number of samples matters."""

    name, classes, sources = "all", ("a",), ()

    def __init__(self, rows: int) -> None:
        self.labels = np.zeros(rows, np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> None:
        return None


@given(
    rows=st.integers(1, 300),
    of=st.integers(1, 5),
    unit_rows=st.integers(1, 64),
    order=st.lists(st.integers(0, 4), max_size=200),
    most=st.integers(1, 50),
)
def test_whatever_the_order_every_row_is_identified(
    rows: int, of: int, unit_rows: int, order: list[int], most: int
) -> None:
    backend = MemoryBackend()
    write_marker(backend)
    all_shares = [
        Shares(Named(rows), Rank(i, of), unit_rows, SharedWork(backend, "work", "target"))  # type: ignore[arg-type]
        for i in range(of)
    ]
    read = np.zeros(rows, int)
    for i in [*(i % of for i in order), *range(of)]:
        shares = all_shares[i]
        is_last = i == of - 1
        while found := shares.next_rows(most):
            assert found.stop <= rows
            assert found.start // unit_rows == (found.stop - 1) // unit_rows
            ids = [row.to_bytes(32, "big", signed=False)[::-1] for row in range(found.start + 1, found.stop + 1)]
            shares.take_in(Identified(found, list(ids), at=1))
            read[found.start : found.stop] += 1
            if not is_last:
                break
    assert read.all()
    for i, shares in enumerate(all_shares):
        while found := shares.next_rows(most):
            ids = [row.to_bytes(32, "big")[::-1] for row in range(found.start + 1, found.stop + 1)]
            shares.take_in(Identified(found, list(ids), at=1))
        told = {*map(int, shares.told())} | {int(row) for row in np.flatnonzero(shares._is_mine)}
        assert told == set(range(rows)), i
        assert shares.known.there.all()
