"""Claims on samples: whatever two extractors claim, in whatever order their requests arrive, no sample is both's."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.interrupting import Interrupting
from support.store_data import ENCODER_ID, sample_ids

from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.writing import sample_claims
from cryoprobe.stores.writing.claims import Claims
from cryoprobe.stores.writing.sample_claims import SampleClaim, SampleClaims

IDS = sample_ids(12)


def taken(claim: SampleClaim | None) -> set[bytes]:
    return set() if claim is None else set(claim.ids)


def still(claims: SampleClaims, claim: SampleClaim | None) -> set[bytes]:
    return set() if claim is None else set(claims.still_mine(claim, sorted(claim.ids)))


def test_what_is_claimed_is_left_out_by_others_however_they_cut_it(backend: Backend) -> None:
    one, other = SampleClaims(backend), SampleClaims(backend)
    first = one.take_samples(ENCODER_ID, IDS[:6])
    second = other.take_samples(ENCODER_ID, IDS[:3:-1])
    assert taken(first) == set(IDS[:6])
    assert taken(second) == set(IDS[6:])
    assert SampleClaims(backend).take_samples(ENCODER_ID, IDS) is None
    assert first is not None
    one.release_samples(first)
    assert taken(SampleClaims(backend).take_samples(ENCODER_ID, IDS)) == set(IDS[:6])


def test_claims_on_another_encoder_or_on_a_set_are_no_matter(backend: Backend) -> None:
    one, other = SampleClaims(backend), SampleClaims(backend)
    one.take_samples("ee" * 32, IDS)
    assert Claims(backend).take(ENCODER_ID, "5" * 64)
    assert taken(other.take_samples(ENCODER_ID, IDS)) == set(IDS)


def test_a_claim_is_given_back_at_the_end(backend: Backend) -> None:
    with SampleClaims(backend) as claims:
        claims.take_samples(ENCODER_ID, IDS)
        assert len(list(backend.list("claims/"))) == 1
    assert not list(backend.list("claims/"))


def test_one_that_somebody_took_for_dead_holds_nothing(backend: Backend) -> None:
    claims = SampleClaims(backend)
    claim = claims.take_samples(ENCODER_ID, IDS)
    assert claim is not None
    assert still(claims, claim) == set(IDS)
    backend.delete(claim.key)
    assert still(claims, claim) == set()


@pytest.mark.parametrize("samples", ["", "not base64!", 7, None, ["x"], base64.b64encode(b"123").decode()])
def test_a_claim_of_other_content_stops_nobody(backend: Backend, samples: object) -> None:
    from cryoprobe.canonical import canonical_json

    backend.put(f"claims/{ENCODER_ID}/000000000000-1.json", canonical_json({"held": True, "samples": samples}))  # type: ignore[dict-item]
    assert taken(SampleClaims(backend).take_samples(ENCODER_ID, IDS)) == set(IDS)


@given(
    pause=st.integers(1, 12),
    mine=st.lists(st.sampled_from(IDS), min_size=1, unique=True),
    theirs=st.lists(st.sampled_from(IDS), min_size=1, unique=True),
)
def test_whoever_comes_between_two_requests_nobody_encodes_what_another_does(
    pause: int, mine: Sequence[bytes], theirs: Sequence[bytes]
) -> None:
    shared = MemoryBackend()
    others = SampleClaims(shared)
    got: list[SampleClaim | None] = []
    view = Interrupting(shared, pause_at=pause, meanwhile=lambda: got.append(others.take_samples(ENCODER_ID, theirs)))
    claims = SampleClaims(view)
    claim = claims.take_samples(ENCODER_ID, mine)
    if not got:
        return
    # Each looks before its first batch.
    first, second = still(claims, claim), still(others, got[0])
    assert not first & second
    assert first | second == set(mine) | set(theirs)


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_of_many_at_once_each_sample_is_at_most_ones(backend: Backend, cut: int) -> None:
    barrier = threading.Barrier(6)

    def take(number: int) -> set[bytes]:
        claims = SampleClaims(backend)
        barrier.wait()
        ids = IDS[number % cut :] + IDS[: number % cut]
        claim = claims.take_samples(ENCODER_ID, ids if number % 2 else ids[::-1])
        barrier.wait()  # all have claimed; now the first batch
        return still(claims, claim)

    with ThreadPoolExecutor(6) as pool:
        encoded = list(pool.map(take, range(6)))
    assert sum(map(len, encoded)) == len(set().union(*encoded))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let claims be overtaken as soon as they are seen."""
    monkeypatch.setattr(sample_claims, "OVERTAKEN_SECONDS", 0.0)


def held(claims: SampleClaims, ids: Sequence[bytes] = IDS, begun: int = 0) -> SampleClaim:
    claim = claims.take_samples(ENCODER_ID, ids, begun)
    assert claim is not None
    return claim


def overtaken(claims: SampleClaims, ids: Sequence[bytes] = IDS) -> set[bytes]:
    return taken(claims.overtake(ENCODER_ID, ids))


@pytest.mark.usefixtures("at_once")
def test_of_what_is_claimed_and_not_begun_the_last_half_can_be_taken(backend: Backend) -> None:
    slow, one, other = SampleClaims(backend), SampleClaims(backend), SampleClaims(backend)
    claim = held(slow, begun=4)
    assert overtaken(one) == set(IDS[8:])
    assert overtaken(other, IDS[:8]) == set(IDS[6:8])  # half of the rest
    assert still(slow, claim) == set(IDS[:6])


@pytest.mark.usefixtures("at_once")
def test_who_overtakes_can_be_overtaken(backend: Backend) -> None:
    slow, one, other = SampleClaims(backend), SampleClaims(backend), SampleClaims(backend)
    claim = held(slow)
    first = one.overtake(ENCODER_ID, IDS)
    assert first is not None
    slow.release_samples(claim)
    second = other.overtake(ENCODER_ID, IDS)
    assert taken(second) == set(IDS[9:])
    assert still(one, first) == set(IDS[6:9])
    assert still(other, second) == set(IDS[9:])


@pytest.mark.usefixtures("at_once")
def test_only_what_is_asked_for_is_taken(backend: Backend) -> None:
    held(SampleClaims(backend))
    assert overtaken(SampleClaims(backend), IDS[1:3]) == {IDS[2]}
    assert overtaken(SampleClaims(backend), []) == set()


def test_a_claim_is_not_overtaken_before_it_has_been_seen_for_a_while(backend: Backend) -> None:
    held(SampleClaims(backend))
    assert overtaken(SampleClaims(backend)) == set()


def test_what_is_begun_is_taken_from_who_is_stuck_alone(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_claims, "OVERTAKEN_SECONDS", 0.0)
    held(SampleClaims(backend), begun=len(IDS))
    other = SampleClaims(backend)
    assert overtaken(other) == set()
    monkeypatch.setattr(sample_claims, "STALLED_SECONDS", 0.0)
    assert overtaken(other) == set(IDS[6:])


@pytest.mark.usefixtures("at_once")
@given(pause=st.integers(1, 8), begun=st.integers(0, 12), on=st.integers(0, 12), first=st.booleans())
def test_whoever_comes_between_nobody_encodes_what_was_taken(pause: int, begun: int, on: int, first: bool) -> None:
    shared = MemoryBackend()
    mine: list[set[bytes]] = []
    theirs: list[set[bytes]] = []

    def go_on() -> None:
        mine.append(set(slow.still_mine(claim, IDS[:on], begun=on)))

    def overtake() -> None:
        theirs.append(overtaken(other))

    backends = [Interrupting(shared, pause_at=pause, meanwhile=overtake if first else go_on), shared]
    slow_backend, other_backend = backends if first else reversed(backends)
    slow, other = SampleClaims(shared), SampleClaims(other_backend)
    claim = held(slow, begun=min(begun, on))
    slow._backend = slow_backend  # what comes between is between the requests of one of them
    (go_on if first else overtake)()
    if mine and theirs:
        assert not mine[0] & theirs[0]
