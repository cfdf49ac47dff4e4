"""Stores in a bucket: on a real S3 server, and on servers that fail in the ways that real ones do."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np
import pytest
from support.servers import ACCESS, BUCKET, READ_ACCESS, serving
from support.store_data import (
    class_labels,
    keys,
    make_rows,
    sample_ids,
    seal,
    sealed_set,
    write_units,
)
from support.tiny_s3 import Faults, tiny_s3

from cryoprobe.errors import BadInput, CryoprobeError, Incompatible, NotFound, ReadOnly, Unavailable
from cryoprobe.stores.backends.environment import CREDENTIALS
from cryoprobe.stores.backends.objects import ObjectBackend
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.format.marker import MARKER, write_marker
from cryoprobe.stores.keeping.verify import verify
from cryoprobe.stores.opening import open_store
from cryoprobe.stores.store import Store
from cryoprobe.stores.writing.claims import Claims

pytest.importorskip("obstore")

IDS = sample_ids(21)


class TestOpening:
    def test_a_store_is_made_only_if_one_says_so_and_its_marker_says_that_writers_are_kept_apart(self, s3: str) -> None:
        with pytest.raises(NotFound, match="no feature store") as caught:
            open_store(s3)
        assert s3 in str(caught.value)
        store = open_store(s3 + "/", create=True)
        assert store.url == s3
        assert keys(store.backend) == [MARKER]
        marker = {"format": "cryoprobe-store", "version": 1, "conditional_put": True}
        assert json.loads(store.backend.get(MARKER)) == marker
        assert open_store(s3).set_ids() == open_store(s3, create=True).set_ids() == {}

    def test_a_store_that_was_copied_into_the_bucket_is_tried_out_before_it_is_written(self, s3: str) -> None:
        ObjectBackend(s3).put(MARKER, b'{"format": "cryoprobe-store", "version": 1}')
        open_store(s3)
        assert b"conditional_put" not in ObjectBackend(s3).get(MARKER)
        open_store(s3, create=True)
        assert b"conditional_put" in ObjectBackend(s3).get(MARKER)

    def test_eight_people_may_make_the_same_store_at_once(self, s3: str) -> None:
        with ThreadPoolExecutor(8) as pool:
            stores = list(pool.map(lambda _: open_store(s3, create=True), range(8)))
        assert [s.set_ids() for s in stores] == [{}] * 8
        assert keys(stores[0].backend) == [MARKER]

    def test_no_store_is_made_among_other_peoples_objects(self, s3: str) -> None:
        ObjectBackend(s3).put("thesis/thesis.tex", b"x")
        with pytest.raises(BadInput, match=r"not empty .'thesis'"):
            open_store(s3, create=True)
        assert not ObjectBackend(s3).exists(MARKER)

    def test_stores_in_one_bucket_do_not_see_each_other(self, s3: str) -> None:
        one, two = open_store(f"{s3}/a", create=True), open_store(f"{s3}/ab", create=True)
        found = sealed_set(one.backend, IDS)
        assert set(one.set_ids()) == {found.id}
        assert keys(two.backend) == [MARKER]

    @pytest.mark.parametrize("marker", [b'{"format": "other"}', b"[]", b"{"])
    def test_what_is_no_store_is_not_written_to(self, s3: str, marker: bytes) -> None:
        backend = ObjectBackend(s3)
        backend.put(MARKER, marker)
        with pytest.raises(CryoprobeError):
            open_store(s3, create=True)
        assert backend.get(MARKER) == marker
        assert keys(backend) == [MARKER]


class TestSets:
    def test_a_set_is_written_by_server_side_copies_and_read_back(self, s3: str) -> None:
        store = open_store(s3, create=True)
        found = sealed_set(store.backend, IDS)
        x, y = open_store(s3).open(found.id[:12]).load()
        np.testing.assert_array_equal(x, make_rows(IDS).embeddings.astype(np.float32))
        np.testing.assert_array_equal(y, class_labels(len(IDS)))
        checked = verify(s3, data=True)
        assert (checked.sets, checked.units, checked.damages) == (1, 3, ())
        assert found.path == f"{s3}/sets/{found.id}/{found.manifest.attempt}"

    def test_any_zarr_reader_opens_it(self, s3: str) -> None:
        import zarr
        from obstore.store import from_url
        from zarr.storage import ObjectStore

        found = sealed_set(open_store(s3, create=True).backend, IDS)
        group = zarr.open_group(ObjectStore(from_url(found.path, client_options={"allow_http": True})), mode="r")
        np.testing.assert_array_equal(group["embeddings"][:], make_rows(IDS).embeddings)

    def test_damage_is_named(self, s3: str) -> None:
        store = open_store(s3, create=True)
        found = sealed_set(store.backend, IDS)
        key = next(k for k in keys(store.backend, "sets/") if "/norms/c/1" in k)
        store.backend.put(key, b"\0" * len(store.backend.get(key)))
        (damage,) = verify(s3, data=True).damages
        assert (damage.key, damage.problem) == (key, "changed")
        store.backend.delete(key)
        (damage,) = verify(s3).damages
        assert (damage.key, damage.problem) == (key, "missing")
        assert not [k for k in keys(store.backend, "units/") if k in (key, found.id)]

    def test_of_several_writers_of_one_set_one_seals_it_and_the_others_clear_up(self, s3: str) -> None:
        store = open_store(s3, create=True)
        write_units(store.backend, IDS, 8)
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: seal(open_store(s3).backend, IDS), range(4)))
        assert sorted(sealed for _, sealed in done) == [False, False, False, True]
        assert {m.attempt for m, _ in done} == {done[0][0].attempt}
        assert {k.split("/")[2] for k in keys(store.backend, "sets/")} == {done[0][0].attempt}


def _load(found: FeatureSet | str, answer: Connection) -> None:
    try:
        if isinstance(found, str):
            store = open_store(found)
            found = store.open(next(iter(store.set_ids())))
        answer.send(found.load()[0].sum())
    except CryoprobeError as e:
        answer.send(e.args[0])


class TestProcesses:
    def ask(self, found: FeatureSet | str, method: str) -> object:
        context = multiprocessing.get_context(method)
        answer, child = context.Pipe(duplex=False)
        process = context.Process(target=_load, args=(found, child))  # type: ignore[attr-defined]
        process.start()
        assert answer.poll(60)
        process.join(60)
        return answer.recv()

    def test_a_spawned_process_finds_the_store_by_its_own_environment(self, s3: str) -> None:
        found = sealed_set(open_store(s3, create=True).backend, IDS)
        assert self.ask(found, "spawn") == self.ask(s3, "spawn") == found.load()[0].sum()
        for secret in ACCESS.values():
            assert secret.encode() not in pickle.dumps(found)

    def test_a_forked_process_is_told_rather_than_left_to_hang(self, s3: str) -> None:
        found = sealed_set(open_store(s3, create=True).backend, IDS)
        for opened in (found, s3):
            assert "was forked" in str(self.ask(opened, "fork"))


class TestRefusals:
    def test_a_bucket_that_does_not_exist_is_named(self, s3: str) -> None:
        del s3
        for create in (False, True):
            with pytest.raises(NotFound, match="no bucket no-such-bucket") as caught:
                open_store("s3://no-such-bucket/x", create=create)
            assert "AWS_ENDPOINT_URL" in str(caught.value)

    def test_without_the_right_to_read_or_write_the_messages_say_so(
        self, s3: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_store(s3, create=True)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-this-one")
        backend = ObjectBackend(s3)
        for read in (lambda: backend.get("a"), lambda: list(backend.list()), lambda: backend.exists("a")):
            with pytest.raises(Unavailable, match=r"refuses to read .*403"):
                read()
        for write in (
            lambda: backend.put("a", b""),
            lambda: backend.put_if_absent("a", b""),
            lambda: backend.delete("a"),
            lambda: backend.copy("a", "b"),
        ):
            with pytest.raises(ReadOnly, match="cannot be written") as caught:
                write()
            assert "AWS_SECRET_ACCESS_KEY" in str(caught.value)
            assert "not-this-one" not in repr((str(caught.value), caught.value.__dict__, caught.value.__cause__))

    def test_who_may_only_read_reads_and_is_refused_writing(self, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
        found = sealed_set(open_store(s3, create=True).backend, IDS)
        for name, value in READ_ACCESS.items():
            monkeypatch.setenv(name, value)
        store = open_store(s3, create=True)
        assert store.open(found.id).load()[0].shape == (21, 6)
        assert verify(store, data=True).damages == ()
        with pytest.raises(ReadOnly, match="cannot be written"):
            store.record_trial("t", {"trial": "t"})
        with pytest.raises(ReadOnly, match="cannot be written"):
            open_store(f"{s3}/other", create=True)

    def test_a_server_that_is_not_there(self, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        backend = ObjectBackend(s3, retries=0)
        for verb in (lambda: backend.get("a"), lambda: backend.put_if_absent("a", b""), lambda: list(backend.list())):
            with pytest.raises(Unavailable, match="does not answer") as caught:
                verb()
            assert "AWS_ENDPOINT_URL" in str(caught.value)

    def test_without_credentials_the_message_says_which_variables_to_set(
        self, s3: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ACCESS:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")
        with pytest.raises(Unavailable, match="no credentials") as caught:
            ObjectBackend(s3, retries=0).get("a")
        assert "AWS_ACCESS_KEY_ID" in str(caught.value)

    def test_a_password_in_the_endpoint_is_refused_and_not_repeated(
        self, s3: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:secret@127.0.0.1:1")
        with pytest.raises(BadInput, match="AWS_ENDPOINT_URL holds") as caught:
            open_store(s3)
        assert "secret@" not in str(caught.value)

    @pytest.mark.parametrize(
        "address",
        ["", "127.0.0.1:8333", "garbage", "http://", "http://127.0.0.1:999999", "http://h:1/ ", "http://[::1"],
    )
    def test_an_endpoint_that_is_no_address_is_refused(
        self, s3: str, monkeypatch: pytest.MonkeyPatch, address: str
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(BadInput, match="AWS_ENDPOINT_URL is not an address"):
            open_store(s3)

    def test_a_line_break_in_a_credential_is_refused_and_not_repeated(
        self, s3: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret\n")
        with pytest.raises(BadInput, match="AWS_SECRET_ACCESS_KEY holds a line break") as caught:
            open_store(s3)
        assert "secret" not in str(caught.value)

    def test_settings_that_do_not_suffice_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_ACCOUNT_NAME"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(BadInput, match="do not suffice") as caught:
            open_store("az://container/x")
        assert "AZURE_STORAGE_ACCOUNT_NAME" in str(caught.value)

    def test_no_setting_is_misspelt(self) -> None:
        """Every name of a setting that messages mention is one that obstore's documentation has."""
        named = {word for text in CREDENTIALS.values() for word in re.findall(r"[A-Z]+(?:_[A-Z]+)+", text)}
        assert named == {
            *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SKIP_SIGNATURE", "AWS_REGION", "AWS_ENDPOINT_URL"),
            *("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS"),
            *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"),
        }

    def test_without_obstore_one_message_says_what_to_install(self) -> None:
        code = """
import sys
sys.modules["obstore"] = None
from cryoprobe import open_store, CryoprobeError
try:
    open_store("s3://bucket/x")
except CryoprobeError as e:
    print(e)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "pip install 'cryoprobe[cloud]'" in done.stdout

    def test_obstore_is_imported_only_where_a_bucket_is_used(self) -> None:
        code = "import sys, cryoprobe.stores.store, cryoprobe.stores.backends.objects; print('obstore' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def bad_s3(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return a place on a server that fails as `faults` says."""
    with serving(tiny_s3(faults)) as endpoint:
        for name, value in {**ACCESS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        yield f"s3://{BUCKET}/x"


class TestBadServers:
    def test_no_store_is_made_where_conditional_writes_are_ignored(self, bad_s3: str, faults: Faults) -> None:
        faults.ignores_conditions = True
        with pytest.raises(Incompatible, match="does not honour conditional writes") as caught:
            open_store(bad_s3, create=True)
        assert "SeaweedFS" in str(caught.value)
        assert not ObjectBackend(bad_s3).exists(MARKER)
        faults.ignores_conditions = False
        assert open_store(bad_s3, create=True).url == bad_s3

    def test_an_object_whose_answer_was_lost_is_read_before_one_believes_to_have_failed(
        self, bad_s3: str, faults: Faults
    ) -> None:
        backend = ObjectBackend(bad_s3, retries=0)
        faults.loses_answers = "seals"
        assert backend.put_if_absent("seals/a", b"mine") is False
        assert backend.get("seals/a") == b"mine"

    @pytest.mark.parametrize("retries", [0, 1])
    def test_units_and_sets_are_sealed_though_the_answers_are_lost(
        self, bad_s3: str, faults: Faults, retries: int
    ) -> None:
        write_marker(ObjectBackend(bad_s3))
        faults.loses_answers = "unit-seals|manifests|claims"
        backend = ObjectBackend(bad_s3, retries)
        (unit,) = write_units(backend, IDS, len(IDS))
        np.testing.assert_array_equal(unit.read(backend, "embeddings"), make_rows(IDS).embeddings)

    @pytest.mark.parametrize("retries", [0, 1])
    def test_a_claim_whose_answer_was_lost_is_ours(self, bad_s3: str, faults: Faults, retries: int) -> None:
        faults.loses_answers = "claims"
        claims = Claims(ObjectBackend(bad_s3, retries))
        assert claims.take("e", "u")

    @pytest.mark.parametrize("status", [500, 503, 400, 429, 301])
    def test_other_answers_make_the_storage_unavailable_and_are_not_repeated(
        self, bad_s3: str, faults: Faults, status: int
    ) -> None:
        faults.answers = status
        backend = ObjectBackend(bad_s3, retries=0)
        for verb in (
            lambda: backend.get("a"),
            lambda: backend.put("a", b""),
            lambda: backend.put_if_absent("a", b""),
            lambda: backend.exists("a"),
            lambda: backend.delete("a"),
            lambda: list(backend.list()),
            lambda: Store(backend),
        ):
            with pytest.raises(Unavailable, match=str(status)) as caught:
                verb()
            assert "secret" not in str(caught.value)
            assert caught.value.hint

    def test_an_object_that_is_written_too_often_is_written_a_little_later(self, bad_s3: str, faults: Faults) -> None:
        """Google's storage and R2 take one write a second of one object; obstore does not repeat what they refuse."""
        backend = ObjectBackend(bad_s3)
        for write in (lambda: backend.put("a", b"x"), lambda: backend.put_if_absent("b", b"x")):
            faults.busy = 2
            write()
            assert faults.busy == 0
        assert backend.get("a") == backend.get("b") == b"x"


class TestPoliciesOfBuckets:
    """A policy with the condition s3:if-none-match refuses plain PUTs and copies to the keys that it is for."""

    @pytest.mark.parametrize(
        ("keys", "refused"), [(".", "all others"), ("/sets/", "copies"), ("/claims/", "all others")]
    )
    def test_no_store_is_made_where_a_policy_refuses_what_writers_need(
        self, bad_s3: str, faults: Faults, keys: str, refused: str
    ) -> None:
        faults.demands_conditions = keys
        with pytest.raises(ReadOnly, match=f"takes conditional writes and refuses {refused}") as caught:
            open_store(bad_s3, create=True)
        assert "limit it to manifests/ and unit-seals/" in str(caught.value)
        assert not ObjectBackend(bad_s3).exists(MARKER)
        faults.demands_conditions = ""
        assert open_store(bad_s3, create=True).url == bad_s3

    def test_a_policy_for_the_seals_alone_is_in_nobodys_way(self, bad_s3: str, faults: Faults) -> None:
        faults.demands_conditions = "/(manifests|unit-seals)/"
        store = open_store(bad_s3, create=True)
        found = sealed_set(store.backend, IDS)
        np.testing.assert_array_equal(found.load(dtype="float16")[0], make_rows(IDS).embeddings)
        with pytest.raises(ReadOnly):  # whoever is no writer of ours cannot replace a seal
            store.backend.put(found.manifest.key, b"other")

    def test_a_policy_that_came_later_is_thought_of_where_it_refuses(self, bad_s3: str, faults: Faults) -> None:
        store = open_store(bad_s3, create=True)
        write_units(store.backend, IDS, 8)
        faults.demands_conditions = "/sets/"
        with pytest.raises(ReadOnly, match=r"refuses sets/.*403 AccessDenied") as caught:
            seal(store.backend, IDS)
        assert "s3:if-none-match" in str(caught.value)
        faults.demands_conditions = ""
        assert seal(store.backend, IDS)[1]  # what was sealed until then is kept


def test_no_store_is_made_where_listings_lag_behind(bad_s3: str, faults: Faults) -> None:
    faults.lists_late = True
    with pytest.raises(Incompatible, match="does not list an object that it has just written"):
        open_store(bad_s3, create=True)
    assert not ObjectBackend(bad_s3).exists(MARKER)
