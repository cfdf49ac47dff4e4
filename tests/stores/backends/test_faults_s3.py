"""A bad network before a real S3 server: nothing that was sealed is lost, no wrong row is read, and the job is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np
import pytest
from support.data import write_images
from support.faults import Fault, Network, Request, bad_network, sometimes

import cryoprobe
from cryoprobe.errors import CryoprobeError, Unavailable
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.objects import ObjectBackend
from cryoprobe.stores.store import Store

pytestmark = pytest.mark.slow

pytest.importorskip("obstore")

UNIT_ROWS = 4
SILENCE = 0.5  # seconds


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    write_images(folder / "all" / "train", {"a": 6, "b": 6}, side=16)
    write_images(folder / "all" / "test", {"a": 2, "b": 2}, seed=1, side=16)
    return f"folder:{folder / 'all'}"


@pytest.fixture(scope="module")
def undisturbed(encoder: Encoder, data: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = cryoprobe.open_store(tmp_path_factory.mktemp("undisturbed") / "store", create=True)
    extract(encoder, data, store)
    return store


@pytest.fixture
def network(s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Put a bad network, good at first, between whoever asks for `far` and the S3 server."""
    cryoprobe.open_store(s3, create=True)
    with bad_network(s3_endpoint) as (network, address):
        with monkeypatch.context() as changed:
            changed.setenv("AWS_ENDPOINT_URL", address)
            network.far = {  # type: ignore[attr-defined]
                retries: ObjectBackend(s3, retries=retries, silence_seconds=SILENCE) for retries in (1, 8)
            }
        yield network


def far(network: Network, retries: int = 8) -> Store:
    return Store(network.far[retries])  # type: ignore[attr-defined]


def extract(encoder: Encoder, data: str, store: Store) -> int:
    """Return how many images were encoded."""
    return sum(s.encoded for s in cryoprobe.extract(encoder, data, store, unit_rows=UNIT_ROWS, batch_size=4, workers=1))


def assert_right(store: Store, undisturbed: Store, *, whole: bool = True) -> None:
    """Assert that whatever is sealed is right, and if `whole` that it is everything, without anything left over."""
    assert not cryoprobe.verify(store, data=True).damages
    assert set(store.set_ids()) <= set(undisturbed.set_ids())
    for set_id in store.set_ids():
        found, expected = store.open(set_id), undisturbed.open(set_id)
        mine_and_theirs = (*found.load(), found.sample_ids()), (*expected.load(), expected.sample_ids())
        for mine, theirs in zip(*mine_and_theirs, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    if whole:
        assert set(store.set_ids()) == set(undisturbed.set_ids())
        assert sorted(n.name.split for n in store.names()) == ["test", "train"]
        for folder in ("sets/", "units/"):
            attempts = {i.key.split("/")[-2 if folder == "units/" else 2] for i in store.backend.list(folder)}
            seals = [json.loads(store.backend.get(i.key)) for i in store.backend.list(SEALS[folder])]
            assert attempts >= {s["attempt"] for s in seals}


SEALS = {"sets/": "manifests/", "units/": "unit-seals/"}
SHARES: dict[Fault, float] = {"stall": 0.05, "lost": 0.15}


@pytest.mark.parametrize("fault", get_args(Fault))
def test_extract_load_verify_and_probe_through_a_network_that_fails_now_and_then(
    s3: str, network: Network, fault: Fault, encoder: Encoder, data: str, undisturbed: Store
) -> None:
    store = far(network)
    network.decide = sometimes(fault, SHARES.get(fault, 0.08))
    assert extract(encoder, data, store) == 16
    assert network.done[fault] >= 3
    assert_right(store, undisturbed)
    assert extract(encoder, data, store) == 0
    asked = {"model": "timm:test_vit", "dataset": data, "untrained": True, "probe": "nearest-mean"}
    first = cryoprobe.probe(store, **asked)
    again = cryoprobe.probe(store, **asked)
    assert (again["metrics"], again["cached"]) == (first["metrics"], True)
    network.decide = lambda _: None
    near = cryoprobe.open_store(s3)
    assert_right(near, undisturbed)
    assert len(cryoprobe.results(near)) == 1
    assert not list(near.backend.list("claims/"))


@pytest.mark.parametrize("fault", ["500", "lost", "stall"])
def test_a_server_that_fails_for_good_ends_with_one_error_and_the_same_command_goes_on(
    s3: str, network: Network, fault: Fault, encoder: Encoder, data: str, undisturbed: Store
) -> None:
    near = cryoprobe.open_store(s3)
    errors = []
    for healthy in (1, 10, 25, 45):  # so many requests are answered, and then none any more
        network.decide = _after(next(network.count) + healthy, fault)
        try:
            extract(encoder, data, far(network, retries=1))
        except CryoprobeError as e:
            errors.append(e)
        assert_right(near, undisturbed, whole=False)
    assert len(errors) == 4
    assert all(isinstance(e, Unavailable) and e.hint for e in errors)
    network.decide = lambda _: None
    extract(encoder, data, near)
    assert_right(near, undisturbed)


def _until(fault: Fault, network: Network, times: int) -> Callable[[Request], Fault | None]:
    return lambda _: fault if network.done[fault] < times else None


def _after(first: int, fault: Fault):  # type: ignore[no-untyped-def]
    def decide(request: Request) -> Fault | None:
        return fault if request.number >= first else None

    return decide


@pytest.mark.parametrize("fault", ["cut", "stall"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda backend: backend.any_key("sets/"),
        lambda backend: [*backend.list("sets/")],
        lambda backend: backend.get("sets/a"),
    ],
)
def test_an_answer_that_breaks_off_is_asked_for_again(
    network: Network, fault: Fault, ask: Callable[[Backend], object]
) -> None:
    backend = far(network).backend
    backend.put("sets/a", b"x" * 1000)
    expected = ask(backend)
    for broken in (1, 2):
        before = network.done[fault]
        network.decide = _until(fault, network, before + broken)
        assert ask(backend) == expected
        assert network.done[fault] == before + broken


@pytest.mark.parametrize("fault", ["cut", "stall", "500"])
def test_reading_ends_with_right_rows_or_an_error(
    s3: str, network: Network, fault: Fault, encoder: Encoder, data: str, undisturbed: Store
) -> None:
    near = cryoprobe.open_store(s3)
    extract(encoder, data, near)
    damages, refused = set(), 0
    for seed in range(3):
        network.decide = sometimes(fault, 0.2, seed)
        try:
            store = far(network, retries=1)
            damages |= {d.problem for d in cryoprobe.verify(store, data=True).damages}
            for set_id in store.set_ids():
                x, y = store.open(set_id).load()
                np.testing.assert_array_equal(x, undisturbed.open(set_id).load()[0])
                np.testing.assert_array_equal(y, undisturbed.open(set_id).labels())
        except Unavailable:
            refused += 1
    assert damages <= {"unreadable"}
    assert damages or refused
    network.decide = lambda _: None
    assert_right(near, undisturbed)


def test_a_conditional_write_whose_answer_is_lost_is_not_lost_itself(s3: str, network: Network) -> None:
    backend = far(network).backend
    first = next(network.count) + 1
    network.decide = lambda r: "lost" if r.conditional and r.number == first else None
    assert backend.put_if_absent("claims/a", b"mine") in (True, False)
    assert network.done["lost"] == 1
    assert backend.get("claims/a") == b"mine"
    assert not backend.put_if_absent("claims/a", b"another's")
    assert backend.get("claims/a") == b"mine"


def test_a_conditional_write_that_no_answer_comes_to_is_asked_for_again(s3: str, network: Network) -> None:
    """As where a router has forgotten a connection that was open."""
    backend = far(network).backend
    before = network.done["silent"]
    network.decide = lambda r: "silent" if r.conditional and network.done["silent"] < before + 2 else None
    assert backend.put_if_absent("claims/b", b"mine")
    assert network.done["silent"] == before + 2
    assert backend.get("claims/b") == b"mine"


def test_a_large_object_may_take_longer_than_the_longest_silence(s3: str, network: Network) -> None:
    """What counts is a time without a byte, not how long an object takes."""
    backend = far(network, retries=1).backend
    data = np.random.default_rng(0).bytes(8 << 20)
    far(network, retries=8).backend.put("claims/large", data)  # on a busy machine the server may be silent for longer
    network.decide = lambda _: "pause"
    assert backend.get("claims/large") == data
    del s3
