"""Where moving, removing and collecting meet."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.data import wait_until
from support.store_data import keys, sample_ids, sealed_set

import cryoprobe
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.moving import copying
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.fences import fence

IDS = sample_ids(20)


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = open_store(tmp_path / "source", create=True)
    sealed_set(store.backend, IDS)
    return store


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
        wait_until(target.set_ids, pushing.is_alive)
        assert not done.wait(3 * copying._PAUSE_SECONDS)
        for key in keys(target.backend, f"{folder}/")[:2]:  # gc had looked before the set was sealed
            target.backend.delete(key)
    pushing.join(60)
    assert done.is_set()
    assert cryoprobe.verify(target, data=True).damages == ()

    monkeypatch.setattr(copying, "_FENCED_SECONDS", 0.0)
    other = Store(_marked())
    with fence(other.backend, [folder]), pytest.raises(cryoprobe.Unavailable, match="gc run"):
        cryoprobe.push(source, other)


def _marked() -> MemoryBackend:
    from cryoprobe.stores.format.marker import write_marker

    backend = MemoryBackend()
    write_marker(backend)
    return backend
