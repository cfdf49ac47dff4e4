"""Records of what came from elsewhere: written before it can be read, of this store alone, and gone when trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.data import put_set
from support.interrupting import Interrupting, Stop
from support.store_data import overwrite

import cryoprobe
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.documents import read_json
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.format.origins import arriving, mark, marked, origin_of, trust
from cryoprobe.stores.store import Store

TRIAL = "t" * 64


def add(store: Store, split: str = "train", **options: object) -> str:
    rng = np.random.default_rng(0)
    return put_set(store, rng.normal(size=(20, 4)), np.arange(20) % 2, classes=["a", "b"], split=split, **options).id  # type: ignore[arg-type]


@pytest.fixture
def source(store: Store) -> Store:
    """Return a store with a set, its name, its units and a trial on it."""
    store.record_trial(TRIAL, {"trial": TRIAL, "train": add(store), "test": 0.2})
    return store


def untrusted(store: Store) -> Iterator[bool]:
    """Yield for everything in a store whether it is known to have come from elsewhere."""
    for key in store.set_ids().values():
        yield origin_of(store.backend, key, read_json(store.backend, key)["checksum"]) is not None
    yield from (n.origin is not None for n in store.names())
    yield from ("origin" in trial for trial in store.trials())
    for encoder in {key.split("/")[1] for key in store.backend.keys("unit-seals/")}:
        yield len(store.rows_of(encoder)) == 0


def test_a_transfer_that_is_killed_anywhere_leaves_nothing_that_looks_like_ones_own(source: Store) -> None:
    at, ended = 1, False
    while not ended:
        for after in (False, True):
            shared = MemoryBackend()
            write_marker(shared)
            try:
                target = Store(Interrupting(shared, crash_at=at, after=after))
                cryoprobe.pull(target, source, units=True)
                ended = True
            except Stop:
                pass
            assert all(untrusted(Store(shared)))
            cryoprobe.pull(Store(shared), source, units=True)
            found = list(untrusted(Store(shared)))
            assert len(found) == 4
            assert all(found)
        at += 1
    assert at > 8


def test_trusting_that_is_killed_anywhere_trusts_at_most_what_was_asked(source: Store) -> None:
    at, ended = 1, False
    while not ended:
        shared = MemoryBackend()
        write_marker(shared)
        cryoprobe.pull(Store(shared), source, units=True)
        try:
            cryoprobe.pull(Store(Interrupting(shared, crash_at=at)), source, units=True, trust=True)
            ended = True
        except Stop:
            pass
        cryoprobe.pull(Store(shared), source, units=True, trust=True)
        assert not any(untrusted(Store(shared)))
        assert list(marked(shared)) == []
        at += 1


def test_trusting_some_sets_trusts_no_others(source: Store, tmp_path: Path) -> None:
    other = add(source, "test", encoder="another")
    mine = cryoprobe.open_store(tmp_path / "mine", create=True)
    cryoprobe.pull(mine, source)
    cryoprobe.pull(mine, source, [other], trust=True)
    assert {n.set: n.origin is None for n in mine.names()} == {n.set: n.set == other for n in source.names()}
    assert [t.get("origin") for t in mine.trials()] == [source.url]


def test_an_archive_with_an_attempt_of_ours_neither_damages_nor_marks_ours(source: Store, tmp_path: Path) -> None:
    (set_,) = source.set_ids()
    ours = source.open(set_).manifest
    evil = cryoprobe.open_store(tmp_path / "evil", create=True)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)), np.arange(20) % 2
    put_set(evil, x, y, classes=["a", "b"], split="train", chunk_rows=7)  # other objects of other sizes
    theirs = evil.open(set_).manifest
    for key in theirs.objects:
        evil.backend.put(f"{ours.folder}/{key}", evil.backend.get(f"{theirs.folder}/{key}"))
    forged = theirs.model_copy(update={"attempt": ours.attempt})
    overwrite(Path(evil.url), theirs.key, forged.dump())
    before = {key: source.backend.get(key) for key in source.backend.keys("sets/")}
    assert [s.outcome for s in cryoprobe.pull(source, evil).sets] == ["adopted"]
    assert {key: source.backend.get(key) for key in source.backend.keys("sets/")} == before
    assert source.origin_of(source.open(set_)) is None
    assert not cryoprobe.verify(source, data=True).damages


def test_what_an_archive_says_of_its_own_origin_is_nothing(source: Store, tmp_path: Path) -> None:
    (set_,) = source.set_ids()
    manifest = source.open(set_).manifest
    mark(source.backend, manifest.key, manifest.checksum, arriving("elsewhere", "pull"))
    cryoprobe.export_set(source, set_, tmp_path / "a.zip")
    mine = cryoprobe.open_store(tmp_path / "mine", create=True)
    cryoprobe.import_set(mine, tmp_path / "a.zip")
    origin = mine.origin_of(mine.open(set_))
    assert origin is not None
    assert origin.place == str(tmp_path / "a.zip")
    assert f"cryoprobe import {tmp_path / 'a.zip'} --trust --store {mine.url}" in origin.remedy(mine.url)


def test_a_damaged_record_still_says_that_there_is_one(source: Store) -> None:
    (set_,) = source.set_ids()
    manifest = source.open(set_).manifest
    mark(source.backend, manifest.key, manifest.checksum, arriving("elsewhere", "pull"))
    (record,) = source.backend.keys("origins/")
    overwrite(Path(source.url), record, b"{")
    origin = source.origin_of(source.open(set_))
    assert origin is not None
    assert not origin.trusted
    assert trust(source.backend, manifest.key, manifest.checksum)
    assert source.origin_of(source.open(set_)) is None


def test_origins_are_shown(source: Store, tmp_path: Path) -> None:
    mine = cryoprobe.open_store(tmp_path / "mine", create=True)
    cryoprobe.pull(mine, source)
    own = add(mine, "test", encoder="another")
    (came,) = source.set_ids()
    assert {e.set: e.origin and e.origin.place for e in cryoprobe.log(mine)} == {came: source.url, own: None}
    assert mine.describe(came)["origin"]["place"] == source.url
    assert mine.describe(own)["origin"] is None


@pytest.mark.parametrize("name", ["birds [v2]", "what?", "a*b"])
def test_bracket_path_the_very_name_goes_before_a_pattern(store: Store, tmp_path: Path, name: str) -> None:
    set_ = add(store, dataset=f"folder:/data/{name}")
    lookalike = add(
        store, "test", dataset="folder:/data/" + name.replace("[v2]", "v").replace("*", "xx").replace("?", "s")
    )
    assert [n.set for n in store.ls(dataset=f"folder:/data/{name}")] == [set_]
    assert {n.set for n in store.ls(dataset="folder:/data/*")} == {set_, lookalike}
    assert [e.set for e in cryoprobe.du(store, dataset=f"folder:/data/{name}").sets] == [set_]
    moved = cryoprobe.push(store, tmp_path / "other", dataset=f"folder:/data/{name}")
    assert [s.set for s in moved.sets] == [set_]
