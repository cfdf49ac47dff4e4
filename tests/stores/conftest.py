"""Gives the tests of stores storage and sealed sets."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from support.servers import serving_folder

from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.http import HttpBackend
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.backends.objects import ObjectBackend
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store
from cryoprobe.testing import Storage

# The store needs no torch; these two look at what encoders and probes make of a store that fails.
collect_ignore = [] if find_spec("torch") else ["backends/test_faults_disk.py", "backends/test_faults_s3.py"]

# The same examples in every run, and no deadline: the machine may be busy with something else.
settings.register_profile("stores", deadline=None, derandomize=True, database=None)


@pytest.fixture(autouse=True, scope="package")
def _hypothesis_profile() -> Iterator[None]:
    settings.load_profile("stores")
    yield
    settings.load_profile("unhurried")


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    """Return a store's storage in a folder."""
    backend = LocalBackend(tmp_path / "store")
    write_marker(backend)
    return backend


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store in a folder."""
    return open_store(tmp_path / "store", create=True)


@pytest.fixture(params=["memory", "local", "s3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """Return empty storage of each kind that is written to."""
    if request.param == "memory":
        return MemoryBackend()
    if request.param == "local":
        return LocalBackend(tmp_path / "objects")
    return ObjectBackend(request.getfixturevalue("s3"))


@pytest.fixture(params=["memory", "local", "s3", "http"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """Return empty storage of each kind that is read from."""
    if request.param == "http":
        folder = tmp_path / "served"
        folder.mkdir()
        with serving_folder(folder) as url:
            yield Storage(LocalBackend(folder), HttpBackend(url))
    elif request.param == "s3":
        place = request.getfixturevalue("s3")
        yield Storage(ObjectBackend(place), ObjectBackend(place))
    else:
        backend = MemoryBackend() if request.param == "memory" else LocalBackend(tmp_path / "objects")
        yield Storage(backend, backend)
