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
