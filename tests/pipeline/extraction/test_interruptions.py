"""Stopped before or after any single write of an extraction, the same command finishes the same set."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.store import Store

pytestmark = pytest.mark.slow

ROWS, UNIT_ROWS = 7, 3


class Stop(BaseException):
    """The process ends here, as far as the store can tell."""


class Stopping(LocalBackend):
    """A folder whose `at`-th write ends the process, before it is done or after."""

    def __init__(self, root: Path, at: int, *, after: bool) -> None:
        super().__init__(root)
        self._left = at
        self._after = after

    def put(self, key: str, data: bytes) -> None:
        self._write(lambda: LocalBackend.put(self, key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self._write(lambda: LocalBackend.put_if_absent(self, key, data))

    def copy(self, source: str, target: str) -> None:
        self._write(lambda: LocalBackend.copy(self, source, target))

    def delete(self, key: str) -> None:
        self._write(lambda: LocalBackend.delete(self, key))

    def _write(self, verb):  # type: ignore[no-untyped-def]
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Stop
        result = verb()
        if self._left <= 0:  # nothing is written after the end
            raise Stop
        return result


@pytest.mark.parametrize("after", [False, True])
def test_stopped_at_every_single_write(after: bool, encoder: Encoder, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 4, "b": 3})
    data = f"folder:{tmp_path / 'data'}"

    def extract(store: Store) -> cryoprobe.ExtractedSet:
        (extracted,) = cryoprobe.extract(encoder, data, store, unit_rows=UNIT_ROWS, batch_size=2)
        return extracted

    expected = extract(cryoprobe.open_store(tmp_path / "undisturbed", create=True))
    x, y = cryoprobe.open_store(tmp_path / "undisturbed").open(expected.set).load()
    for at in itertools.count(1):
        folder = tmp_path / f"store-{at}"
        cryoprobe.open_store(folder, create=True)
        try:
            extract(Store(Stopping(folder, at, after=after)))
            break  # there is no such write: every one before it has been tried
        except Stop:
            pass
        store = cryoprobe.open_store(folder)
        assert not cryoprobe.verify(store, data=True).damages
        for named in store.names():  # whatever can be found can be read
            store.open(named.set).load()
        again = extract(store)
        assert again.set == expected.set
        sealed_before = ROWS - again.encoded
        assert sealed_before in (0, 3, 6, 7)
        found = store.open(again.set)
        np.testing.assert_array_equal(found.load()[0], x)
        np.testing.assert_array_equal(found.load()[1], y)
        assert not cryoprobe.verify(store, data=True).damages
        assert [n.set for n in store.names()] == [expected.set]
    assert at > 30
