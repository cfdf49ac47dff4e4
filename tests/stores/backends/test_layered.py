"""A private store above shared ones: everything is found, nothing is encoded again, and nothing below is touched."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.servers import serving_folder
from support.store_data import (
    CLASSES,
    ENCODER_ID,
    class_labels,
    files,
    keys,
    make_rows,
    sample_ids,
    seal,
    sealed_set,
    write_units,
)

from cryoprobe.errors import BadInput, Corrupt, NotFound, ReadOnly
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.layered import LayeredBackend
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.marker import MARKER, write_marker
from cryoprobe.stores.format.names import Name, NamedSet
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.opening import LayeredStore, open_store
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.row_index import RowIndex

IDS = sample_ids(40)


class Refusing(MemoryBackend):
    """Storage that can be filled, and then refuses and remembers every write."""

    sealed = False

    def refuse(self) -> None:
        if self.sealed:
            raise ReadOnly("a lower store was written to")

    def put(self, key: str, data: bytes) -> None:
        self.refuse()
        super().put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self.refuse()
        return super().put_if_absent(key, data)

    def delete(self, key: str) -> None:
        self.refuse()
        super().delete(key)

    def copy(self, source: str, target: str) -> None:
        self.refuse()
        super().copy(source, target)


@pytest.fixture
def lower() -> Refusing:
    """Return a store that has a set of the first 24 rows, a trial, and refuses writes."""
    backend = Refusing()
    write_marker(backend)
    sealed_set(backend, IDS[:24])
    Store(backend).record_trial("t", {"trial": "t", "from": "below"})
    backend.sealed = True
    return backend


@pytest.fixture(params=["memory", "local", "s3"])
def upper(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return MemoryBackend()
    if request.param == "local":
        return LocalBackend(request.getfixturevalue("tmp_path") / "upper")
    from cryoprobe.stores.backends.objects import ObjectBackend

    return ObjectBackend(request.getfixturevalue("s3"))


def test_everything_below_is_found_and_nothing_is_written_by_looking(lower: Refusing, upper: Backend) -> None:
    store = LayeredStore(upper, [Store(lower)])
    (set_id,) = store.set_ids()
    found = store.open(set_id)
    np.testing.assert_array_equal(found.load()[0], make_rows(IDS[:24]).embeddings.astype(np.float32))
    assert found.path == f"{lower.url}/{found.manifest.folder}"
    trial = store.trial("t")
    assert trial is not None
    assert trial["from"] == "below"
    assert len(list(store.trials())) == 1
    assert store.rows_of(ENCODER_ID).missing(IDS) == IDS[24:]
    assert verify(store, data=True).damages == ()
    assert keys(upper) == []


def test_a_grown_data_set_needs_only_its_new_rows_and_stands_on_its_own(lower: Refusing, upper: Backend) -> None:
    store = LayeredStore(upper, [Store(lower)])
    write_units(store.backend, store.rows_of(ENCODER_ID).missing(IDS), 8)
    manifest, sealed = seal(store.backend, IDS)
    assert sealed
    assert manifest.key in keys(upper)
    assert MARKER in keys(upper)
    want = make_rows(IDS).embeddings.astype(np.float32)
    np.testing.assert_array_equal(store.open(manifest.set).load()[0], want)
    # Without the store below it is whole.
    alone = Store(upper)
    x, y = alone.open(manifest.set).load()
    np.testing.assert_array_equal(x, want)
    np.testing.assert_array_equal(y, class_labels(len(IDS)))
    assert verify(alone, data=True).damages == ()
    assert len(store.set_ids()) == 2
    assert store.open(manifest.set).path.startswith(upper.url)


def test_what_is_sealed_below_is_adopted(lower: Refusing, upper: Backend) -> None:
    store = LayeredStore(upper, [Store(lower)])
    before = keys(lower)
    (unit,) = write_units(store.backend, IDS[:8], 8)
    assert unit.key("samples") in before
    manifest, sealed = seal(store.backend, IDS[:24])
    assert not sealed
    assert manifest.key in before
    store.record_trial("t", {"trial": "t", "from": "above"})
    assert (store.trial("t") or {})["from"] == "below"
    assert [k for k in keys(upper) if k != MARKER] == []  # what was written for nothing is gone again


def test_a_set_below_is_named_above_only_where_the_name_means_another_set_or_none(lower: Refusing) -> None:
    upper = MemoryBackend()
    store = LayeredStore(upper, [Store(lower)])
    (set_id,) = store.set_ids()

    def named(dataset: str, set_: str) -> NamedSet:
        name = Name(model="m", dataset=dataset, split="test", tap="t")
        return NamedSet(
            name=name, set=set_, encoder=ENCODER_ID, rows=24, dim=6, failed=0, size=1, named=time.time_ns() // 1_000_000
        )

    store.name(named("d", set_id))
    assert [n.set for n in store.find(dataset="d")] == [set_id]
    (written,) = keys(upper, "names/")
    store.name(named("d", set_id))
    assert keys(upper, "names/") == [written]
    assert json.loads(upper.get(written))["below"] is True
    # Alone, the upper store does not know the set, and is none the worse for it.
    assert Store(upper).names() == []
    assert verify(Store(upper)).damages == ()


def test_of_two_objects_with_one_key_the_upper_one_counts(lower: Refusing) -> None:
    upper = MemoryBackend()
    sealed_set(upper, IDS[:24])
    upper.put("trials/t.json", b"above")
    layered = LayeredBackend(upper, [lower], prepare=write_marker)
    assert layered.get("trials/t.json") == b"above"
    listed = list(layered.list())
    assert [i.key for i in listed] == sorted({*keys(upper), *keys(lower)})
    assert next(i.size for i in listed if i.key == "trials/t.json") == 5
    (set_id,) = LayeredStore(upper, [Store(lower)]).set_ids()
    assert LayeredStore(upper, [Store(lower)]).open(set_id).path.startswith(upper.url)


def test_the_first_of_several_lower_stores_counts(lower: Refusing) -> None:
    other = MemoryBackend()
    write_marker(other)
    Store(other).record_trial("t", {"trial": "t", "from": "the other"})
    Store(other).record_trial("u", {"trial": "u"})
    for stores, said in (([lower, other], "below"), ([other, lower], "the other")):
        store = LayeredStore(MemoryBackend(), [Store(s) for s in stores])
        assert (store.trial("t") or {})["from"] == said
        assert len(list(store.trials())) == 2


def test_deleting_and_claiming_concern_the_upper_store_alone(lower: Refusing) -> None:
    lower.sealed = False
    lower.put(f"claims/{ENCODER_ID}/u.1.json", b"{}")
    lower.sealed = True
    layered = LayeredBackend(MemoryBackend(), [lower], prepare=write_marker)
    with Store(lower).claims() as below, LayeredStore(layered.upper, [Store(lower)]).claims() as claims:
        del below
        assert claims.take(ENCODER_ID, "u")
        assert claims.take(ENCODER_ID, "v")
    assert not layered.exists(f"claims/{ENCODER_ID}/u.1.json")
    layered.delete("trials/t.json")
    assert layered.exists("trials/t.json")


def test_what_is_damaged_below_is_named_there(lower: Refusing) -> None:
    store = LayeredStore(MemoryBackend(), [Store(lower)])
    (set_id,) = store.set_ids()
    manifest = store.open(set_id).manifest
    lower.sealed = False
    for key in ("embeddings/c/1/0", "samples/c/1/0"):
        lower.delete(f"{manifest.folder}/{key}")
    with pytest.raises(Corrupt, match="is missing") as caught:
        store.open(set_id).load()
    assert lower.url in str(caught.value)
    with pytest.raises(Corrupt, match="is missing") as caught:
        RowIndex(store.backend, ENCODER_ID)
    assert lower.url in str(caught.value)


def test_a_set_below_of_which_nothing_is_left_is_made_again_above(lower: Refusing) -> None:
    lower.sealed = False
    for key in [*keys(lower, "sets/"), *keys(lower, "units/")]:
        lower.delete(key)
    lower.sealed = True
    store = LayeredStore(MemoryBackend(), [Store(lower)])
    assert store.rows_of(ENCODER_ID).missing(IDS[:24]) == IDS[:24]
    write_units(store.backend, IDS[:24], 8)
    manifest, sealed = seal(store.backend, IDS[:24])
    assert sealed
    x, _ = store.open(manifest.set).load()
    np.testing.assert_array_equal(x, make_rows(IDS[:24]).embeddings.astype(np.float32))
    assert verify(store.own, data=True).damages == ()


class TestOpening:
    @pytest.fixture
    def shared(self, tmp_path: Path) -> Iterator[str]:
        """Return a store that can only be read: a web server's."""
        backend = LocalBackend(tmp_path / "shared")
        write_marker(backend)
        sealed_set(backend, IDS[:24])
        before = files(tmp_path / "shared")
        with serving_folder(tmp_path / "shared") as url:
            yield url
        assert files(tmp_path / "shared") == before

    def test_the_upper_store_is_made_when_it_is_first_written(self, tmp_path: Path, shared: str) -> None:
        store = open_store(tmp_path / "own", sources=[shared])
        assert len(store.set_ids()) == 1
        assert not (tmp_path / "own").exists()
        store.record_trial("t", {"trial": "t"})
        assert files(tmp_path / "own") == {"cryoprobe.json", "trials/t.json"}
        assert len(open_store(tmp_path / "own").set_ids()) == 0
        assert len(open_store(tmp_path / "own", sources=[shared]).set_ids()) == 1

    def test_it_is_sent_to_other_processes(self, tmp_path: Path, shared: str) -> None:
        found = open_store(tmp_path / "own", sources=[shared])
        sent = pickle.loads(pickle.dumps(found.open(next(iter(found.set_ids())))))
        assert sent.load()[0].shape == (24, 6)
        assert sent.classes == CLASSES

    def test_a_source_must_be_a_store_and_the_upper_one_a_store_or_empty(self, tmp_path: Path, shared: str) -> None:
        with pytest.raises(NotFound, match=r"no feature store at .*nowhere"):
            open_store(tmp_path / "own", sources=[shared, tmp_path / "nowhere"])
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "thesis.tex").write_text("x")
        for create in (False, True):
            with pytest.raises(BadInput, match=r"not empty .'thesis.tex'"):
                open_store(tmp_path / "thesis", sources=[shared], create=create)
        assert files(tmp_path / "thesis") == {"thesis.tex"}

    def test_by_a_name(self, tmp_path: Path, shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "cryoprobe.toml").write_text(
            f'[stores]\nteam = "{shared}"\nmine = {{store = "own", from = ["team"]}}\n'
        )
        store = open_store("mine")
        assert store.url == str(tmp_path / "own")
        assert len(store.set_ids()) == 1
        assert isinstance(store, LayeredStore)
