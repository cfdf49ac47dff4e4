"""Claims: one extractor at a time, the dead give way, and nothing depends on them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.store_data import ENCODER_ID, keys

from cryoprobe.canonical import canonical_json
from cryoprobe.stores.backends.backend import Backend, ObjectInfo
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.writing import claims as claims_module
from cryoprobe.stores.writing.claims import Claims

UNIT = "12" * 32
OTHER = "34" * 32

_OWNER = """
import sys
from pathlib import Path
from cryoprobe.stores.writing.claims import Claims
from cryoprobe.stores.backends.local import LocalBackend
with Claims(LocalBackend(Path(sys.argv[1]))) as claims:
    assert claims.take(*sys.argv[2:])
    print("taken", flush=True)
    sys.stdin.readline()
"""


def claim_keys(backend: Backend) -> list[str]:
    return keys(backend, "claims/")


def read(backend: Backend, key: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(backend.get(key))
    return content


def rewrite(backend: Backend, **changes: object) -> None:
    """Change what the only claim in the store says."""
    (key,) = claim_keys(backend)
    backend.put(key, json.dumps({**read(backend, key), **changes}).encode())


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came about"


def test_a_claim_is_held_until_it_is_released(backend: Backend) -> None:
    one, two = Claims(backend), Claims(backend)
    assert one.take(ENCODER_ID, UNIT)
    assert not two.take(ENCODER_ID, UNIT)
    assert one.take(ENCODER_ID, UNIT)
    one.release(ENCODER_ID, UNIT)
    assert claim_keys(backend) == []
    assert two.take(ENCODER_ID, UNIT)
    assert not one.take(ENCODER_ID, UNIT)


def test_claims_on_other_units_and_of_other_encoders_do_not_matter(backend: Backend) -> None:
    one, two = Claims(backend), Claims(backend)
    assert one.take(ENCODER_ID, UNIT)
    assert two.take(ENCODER_ID, OTHER)
    assert two.take("ff" * 32, UNIT)
    two.release(ENCODER_ID, UNIT)
    assert not two.take(ENCODER_ID, UNIT)


def test_releasing_what_one_does_not_hold_does_nothing(backend: Backend) -> None:
    one, two = Claims(backend), Claims(backend)
    one.take(ENCODER_ID, UNIT)
    two.release(ENCODER_ID, UNIT)
    two.release(ENCODER_ID, OTHER)
    assert len(claim_keys(backend)) == 1


def test_everything_is_given_back_at_the_end_also_after_an_error(backend: Backend) -> None:
    with Claims(backend) as claims:
        assert claims.take(ENCODER_ID, UNIT)
        assert claims.take(ENCODER_ID, OTHER)
        assert len(claim_keys(backend)) == 2
    assert claim_keys(backend) == []

    def fail() -> None:
        with Claims(backend) as claims:
            claims.take(ENCODER_ID, UNIT)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert claim_keys(backend) == []


def test_claims_that_somebody_removed_are_no_error(backend: Backend) -> None:
    with Claims(backend, heartbeat_seconds=1000) as claims:
        claims.take(ENCODER_ID, UNIT)
        for key in claim_keys(backend):
            backend.delete(key)
    assert claim_keys(backend) == []


@pytest.mark.parametrize("round_", range(3))
def test_of_eight_extractors_one_gets_the_unit(backend: Backend, round_: int) -> None:
    barrier = threading.Barrier(8)

    def take(_: int) -> bool:
        claims = Claims(backend)
        barrier.wait()
        return claims.take(ENCODER_ID, UNIT)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 1


class TornListing(LocalBackend):
    """Lists nothing at first, as a folder can that is read while one file is written and another deleted."""

    torn = True

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if self.torn:
            self.torn = False
            return iter(())
        return super().list(prefix)


def test_a_listing_that_missed_an_heir_does_not_make_a_second_one(local: LocalBackend) -> None:
    dead = {"beat": 0, "machine": claims_module.machine(), "owner": "dead", "pid": 2**22 - 1, "start": "1"}
    local.put(f"claims/{ENCODER_ID}/{UNIT}.1.json", canonical_json(dead))
    assert Claims(local).take(ENCODER_ID, UNIT)
    heir = claim_keys(local)
    assert not Claims(TornListing(local.root)).take(ENCODER_ID, UNIT)
    assert claim_keys(local) == heir


class TestOwnersOnThisMachine:
    @pytest.fixture
    def owner(self, local: LocalBackend) -> Iterator[subprocess.Popen[str]]:
        """Start another process that holds the claim until it is told or made to end."""
        command = [sys.executable, "-c", _OWNER, str(local.root), ENCODER_ID, UNIT]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()
        process.communicate()

    def test_a_live_ones_claim_stands_until_it_ends(self, local: LocalBackend, owner: subprocess.Popen[str]) -> None:
        claims = Claims(local)
        assert not any(claims.take(ENCODER_ID, UNIT) for _ in range(3))
        owner.communicate("end\n", timeout=20)
        assert claims.take(ENCODER_ID, UNIT)

    def test_a_stopped_ones_claim_stands_until_it_has_been_silent_for_long(
        self, local: LocalBackend, owner: subprocess.Popen[str]
    ) -> None:
        owner.send_signal(signal.SIGSTOP)
        patient, impatient = Claims(local), Claims(local, silence_seconds=0)
        assert not any(patient.take(ENCODER_ID, UNIT) for _ in range(3))
        assert not impatient.take(ENCODER_ID, UNIT)  # the first look can tell nothing
        assert impatient.take(ENCODER_ID, UNIT)

    def test_a_killed_ones_claim_is_taken_over_at_once(self, local: LocalBackend, owner: subprocess.Popen[str]) -> None:
        (before,) = claim_keys(local)
        owner.kill()
        owner.wait()
        claims = Claims(local)
        assert claims.take(ENCODER_ID, UNIT)
        (after,) = claim_keys(local)
        assert after != before
        assert read(local, after)["pid"] == os.getpid()

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells a zombie from the living")
    def test_a_zombies_claim_is_taken_over_at_once(self, local: LocalBackend, owner: subprocess.Popen[str]) -> None:
        owner.kill()
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet reaped
        assert Claims(local).take(ENCODER_ID, UNIT)

    def test_of_eight_heirs_one_inherits(self, local: LocalBackend, owner: subprocess.Popen[str]) -> None:
        owner.kill()
        owner.wait()
        barrier = threading.Barrier(8)

        def take(_: int) -> bool:
            claims = Claims(local)
            barrier.wait()
            return claims.take(ENCODER_ID, UNIT)

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1
        assert len(claim_keys(local)) == 1

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells when a process began")
    def test_a_later_process_of_the_same_number_is_not_the_owner(self, backend: Backend) -> None:
        assert Claims(backend).take(ENCODER_ID, UNIT)
        assert not Claims(backend).take(ENCODER_ID, UNIT)
        rewrite(backend, start="1")
        assert Claims(backend).take(ENCODER_ID, UNIT)


class TestOwnersElsewhere:
    @pytest.fixture
    def foreign(self, backend: Backend) -> Backend:
        """Return storage with a claim of another machine."""
        assert Claims(backend).take(ENCODER_ID, UNIT)
        rewrite(backend, machine="elsewhere", pid=1, beat=0)
        return backend

    def test_a_claim_seen_for_the_first_time_stands_however_old_it_is(self, foreign: Backend) -> None:
        assert not Claims(foreign, silence_seconds=0).take(ENCODER_ID, UNIT)

    def test_a_claim_that_falls_silent_is_taken_over(self, foreign: Backend) -> None:
        claims = Claims(foreign, silence_seconds=0.02)
        first = time.monotonic()
        assert not claims.take(ENCODER_ID, UNIT)
        eventually(lambda: claims.take(ENCODER_ID, UNIT))
        assert time.monotonic() - first >= 0.02
        (key,) = claim_keys(foreign)
        assert read(foreign, key)["machine"] != "elsewhere"

    def test_a_claim_that_beats_stands(self, foreign: Backend) -> None:
        claims = Claims(foreign, silence_seconds=0)
        for beat in range(1, 5):
            assert not claims.take(ENCODER_ID, UNIT)
            rewrite(foreign, beat=beat)
        assert not claims.take(ENCODER_ID, UNIT)
        assert claims.take(ENCODER_ID, UNIT)

    def test_a_claim_stands_while_its_silence_is_short(self, foreign: Backend) -> None:
        claims = Claims(foreign, silence_seconds=1000)
        assert not any(claims.take(ENCODER_ID, UNIT) for _ in range(20))


class TestHeartbeat:
    def test_a_held_claim_is_renewed(self, backend: Backend) -> None:
        with Claims(backend, heartbeat_seconds=0.005) as claims:
            claims.take(ENCODER_ID, UNIT)
            (key,) = claim_keys(backend)
            first = read(backend, key)
            eventually(lambda: read(backend, key)["beat"] > first["beat"] + 1)
            assert {**read(backend, key), "beat": 0} == {**first, "beat": 0}

    def test_a_released_claim_is_not_renewed(self, backend: Backend) -> None:
        with Claims(backend, heartbeat_seconds=0.0005) as claims:
            for _ in range(40):
                claims.take(ENCODER_ID, UNIT)
                claims.release(ENCODER_ID, UNIT)
                assert claim_keys(backend) == []
        assert claim_keys(backend) == []

    def test_it_ends_with_the_claims(self, backend: Backend) -> None:
        with Claims(backend):
            assert any(t.name == "cryoprobe-claims" for t in threading.enumerate())
        assert not any(t.name == "cryoprobe-claims" for t in threading.enumerate())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff"])
def test_a_damaged_claim_stops_nobody(backend: Backend, content: bytes) -> None:
    assert Claims(backend).take(ENCODER_ID, UNIT)
    (key,) = claim_keys(backend)
    backend.put(key, content)
    assert Claims(backend).take(ENCODER_ID, UNIT)


def test_a_claim_that_says_nothing_falls_silent(backend: Backend) -> None:
    assert Claims(backend).take(ENCODER_ID, UNIT)
    (key,) = claim_keys(backend)
    backend.put(key, b"{}")
    claims = Claims(backend, silence_seconds=0)
    assert not claims.take(ENCODER_ID, UNIT)
    assert claims.take(ENCODER_ID, UNIT)


@pytest.mark.parametrize("name", ["json", "x.json", "1.2.x.json", "1"])
def test_a_file_that_is_no_claim_stops_nobody(backend: Backend, name: str) -> None:
    backend.put(f"claims/{ENCODER_ID}/{UNIT}.{name}", b"left by somebody")
    assert Claims(backend).take(ENCODER_ID, UNIT)
