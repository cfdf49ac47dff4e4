"""Where moving, signing, removing and collecting meet."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from store_data import keys, sample_ids, sealed_set

import cryoprobe
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.fences import fence
from cryoprobe.stores.moving import carry
from cryoprobe.stores.store import Store, open_store

IDS = sample_ids(20)


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = open_store(tmp_path / "source", create=True)
    sealed_set(store.backend, IDS)
    return store


def test_signatures_travel_with_their_set_and_go_with_it(source: Store, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    cryoprobe.generate_key(tmp_path / "key")
    (signed,) = cryoprobe.sign_sets(source, tmp_path / "key")
    cryoprobe.push(source, tmp_path / "target")
    cryoprobe.export_set(source, signed.set, tmp_path / "set.zip")
    cryoprobe.import_set(tmp_path / "imported", tmp_path / "set.zip")
    for place in ("target", "imported"):
        store = open_store(tmp_path / place)
        assert [s.status for s in cryoprobe.check_signatures(store, [tmp_path / "key.pub"])] == ["signed"]
        cryoprobe.rm(store, [signed.set])
        assert not keys(store.backend, "signatures/")


def test_a_signature_of_another_attempt_stays_where_it_is(source: Store, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    cryoprobe.generate_key(tmp_path / "key")
    cryoprobe.sign_sets(source, tmp_path / "key")
    target = open_store(tmp_path / "target", create=True)
    sealed_set(target.backend, IDS)  # the same set, of an attempt of its own
    assert [s.outcome for s in cryoprobe.push(source, target).sets] == ["adopted"]
    assert not keys(target.backend, "signatures/")


def test_what_arrives_waits_for_a_gc_run_that_may_delete_it(source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Store(_marked())
    (folder,) = {key.rpartition("/zarr.json")[0] for key in keys(source.backend, "sets/") if key.count("/") == 3}
    done = threading.Event()

    def push() -> None:
        cryoprobe.push(source, target)
        done.set()

    with fence(target.backend, [folder]):
        pushing = threading.Thread(target=push)
        pushing.start()
        while not target.set_ids():
            time.sleep(0.01)
        assert not done.wait(3 * carry._PAUSE_SECONDS)
        for key in keys(target.backend, f"{folder}/")[:2]:  # gc had looked before the set was sealed
            target.backend.delete(key)
    pushing.join(60)
    assert done.is_set()
    assert cryoprobe.verify(target, data=True).damages == ()

    monkeypatch.setattr(carry, "_FENCED_SECONDS", 0.0)
    other = Store(_marked())
    with fence(other.backend, [folder]), pytest.raises(cryoprobe.Unavailable, match="gc run"):
        cryoprobe.push(source, other)


def _marked() -> MemoryBackend:
    from cryoprobe.stores import layout

    backend = MemoryBackend()
    layout.write_marker(backend)
    return backend
