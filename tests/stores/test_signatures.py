"""Signatures: whoever signed a set is named, and nothing that was changed since passes as signed."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from store_data import flip, keys, overwrite, sample_ids, sealed_set

from cryoprobe.canonical import canonical_json, digest
from cryoprobe.errors import BadInput, Incompatible, NotFound, ReadOnly
from cryoprobe.stores import layout
from cryoprobe.stores.feature_set import FeatureSet
from cryoprobe.stores.signatures import (
    check_signatures,
    generate_key,
    message,
    sign_sets,
    signature_key,
)
from cryoprobe.stores.store import Store
from cryoprobe.stores.verify import verify

pytest.importorskip("cryptography")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    generate_key(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("key.pub")


@pytest.fixture
def one(store: Store) -> FeatureSet:
    return sealed_set(store.backend, sample_ids(12))


@pytest.fixture
def two(store: Store) -> FeatureSet:
    return sealed_set(store.backend, sample_ids(12, seed=1), split="two")


def status(store: Store, *public: Path) -> dict[str, str]:
    return {s.set: s.status for s in check_signatures(store, public)}


class TestKeys:
    def test_the_private_key_is_its_owners_and_neither_file_is_overwritten(self, tmp_path: Path) -> None:
        mark = generate_key(tmp_path / "key")
        assert len(mark) == 64
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
        before = {p.name: p.read_bytes() for p in tmp_path.glob("key*")}
        for left in ("key", "key.pub"):
            for name in before:
                if name != left:
                    (tmp_path / name).unlink()
            with pytest.raises(BadInput, match="not overwritten"):
                generate_key(tmp_path / "key")
            assert {p.name: p.read_bytes() for p in tmp_path.glob("key*")} == {left: before[left]}
            for name, content in before.items():
                (tmp_path / name).write_bytes(content)

    def test_a_passphrase_is_asked_for_and_checked(self, store: Store, one: FeatureSet, tmp_path: Path) -> None:
        generate_key(tmp_path / "locked", "sesame")
        assert b"ENCRYPTED" in (tmp_path / "locked").read_bytes()
        for passphrase, said in ((None, "has a passphrase"), ("other", "does not open")):
            with pytest.raises(BadInput, match=said):
                sign_sets(store, tmp_path / "locked", passphrase=passphrase)
        sign_sets(store, tmp_path / "locked", passphrase="sesame")
        assert status(store, tmp_path / "locked.pub") == {one.id: "signed"}

    def test_a_key_without_a_passphrase_is_not_opened_with_one(self, store: Store, key: Path) -> None:
        with pytest.raises(BadInput, match="has no passphrase"):
            sign_sets(store, key, passphrase="sesame")

    def test_the_wrong_half_of_the_pair_is_named(self, store: Store, key: Path, public: Path) -> None:
        with pytest.raises(BadInput, match="is a public key"):
            sign_sets(store, public)
        with pytest.raises(BadInput, match="is a private key"):
            check_signatures(store, [key])

    @pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\n", bytes(1 << 17)])
    def test_what_is_no_key_is_refused(self, store: Store, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(BadInput):
            sign_sets(store, tmp_path / "bad")
        with pytest.raises(BadInput):
            check_signatures(store, [tmp_path / "bad"])

    def test_keys_that_are_not_there_or_of_another_kind(self, store: Store, tmp_path: Path) -> None:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        with pytest.raises(NotFound):
            sign_sets(store, tmp_path / "none")
        other = ec.generate_private_key(ec.SECP256R1())
        pem, public = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        (tmp_path / "ec").write_bytes(
            other.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        (tmp_path / "ec.pub").write_bytes(other.public_key().public_bytes(pem, public))
        with pytest.raises(BadInput, match="Ed25519"):
            sign_sets(store, tmp_path / "ec")
        with pytest.raises(BadInput, match="Ed25519"):
            check_signatures(store, [tmp_path / "ec.pub"])


class TestSigning:
    def test_a_set_is_signed_until_asked_about_another_key(
        self, store: Store, one: FeatureSet, two: FeatureSet, key: Path, public: Path, tmp_path: Path
    ) -> None:
        assert status(store, public) == {one.id: "not signed", two.id: "not signed"}
        (done,) = sign_sets(store, key, [one.id[:12]])
        assert (done.set, done.new) == (one.id, True)
        assert status(store, public) == {one.id: "signed", two.id: "not signed"}
        generate_key(tmp_path / "other")
        assert status(store, tmp_path / "other.pub") == {one.id: "not signed", two.id: "not signed"}
        (found,) = check_signatures(store, [tmp_path / "other.pub", public], [one.id])
        assert (found.status, found.by) == ("signed", (done.key,))

    def test_signing_again_changes_nothing(self, store: Store, one: FeatureSet, key: Path) -> None:
        sign_sets(store, key)
        (place,) = keys(store.backend, "signatures/")
        before = store.backend.get(place)
        assert [s.new for s in sign_sets(store, key)] == [False]
        assert (store.backend.get(place), place.split("/")[1]) == (before, one.id)

    def test_a_set_that_was_sealed_anew_is_signed_no_more_until_it_is_signed_again(
        self, store: Store, one: FeatureSet, key: Path, public: Path
    ) -> None:
        sign_sets(store, key)
        store.backend.delete(one.manifest.key)
        again = sealed_set(store.backend, sample_ids(12), provenance={"host": "another"})
        assert again.id == one.id
        (found,) = check_signatures(store, [public])
        assert found.status == "bad signature"
        assert "sealed anew" in str(found.problem)
        assert [s.new for s in sign_sets(store, key)] == [True]
        assert status(store, public) == {one.id: "signed"}

    def test_without_a_sound_manifest_nothing_is_signed(self, store: Store, one: FeatureSet, key: Path) -> None:
        store.backend.put(one.manifest.key, b"{}")
        with pytest.raises(Exception, match="damaged"):
            sign_sets(store, key)
        assert keys(store.backend, "signatures/") == []

    def test_the_rest_of_the_store_takes_no_notice(self, store: Store, one: FeatureSet, key: Path) -> None:
        sign_sets(store, key)
        assert verify(store, data=True).damages == ()
        assert store.open(one.id).load()[0].shape == (12, 6)

    def test_a_store_that_cannot_be_written(self, store: Store, one: FeatureSet, key: Path, tmp_path: Path) -> None:
        from tests_servers import serving_folder

        from cryoprobe.stores.backends.http import HttpBackend

        with serving_folder(Path(store.url)) as url, pytest.raises(ReadOnly):
            sign_sets(Store(HttpBackend(url)), key, [one.id])


def reseal(data: bytes, **changes: object) -> bytes:
    content = {k: v for k, v in {**json.loads(data), **changes}.items() if k != "checksum"}
    return layout.dump_seal(content)


class TestForgeries:
    @pytest.mark.parametrize(
        "forge",
        [
            lambda data, _: reseal(data, signature="0" * 128),
            lambda data, _: reseal(data, signature="no digits"),
            lambda data, _: reseal(data, manifest="0" * 64),
            lambda data, _: reseal(data, set="0" * 64),
            lambda data, _: reseal(data, key="0" * 64),
            lambda data, _: reseal(data, version=2),
            lambda data, _: data.replace(b'"signed":1', b'"signed":2'),
            lambda data, _: data[:-1],
            lambda data, _: b"",
            lambda data, _: b"[" * 5000,
            lambda data, _: data + b" " * (2 << 20),
            lambda _, other: other,
        ],
    )
    def test_a_signature_that_does_not_hold_is_bad(
        self,
        store: Store,
        one: FeatureSet,
        two: FeatureSet,
        key: Path,
        public: Path,
        forge: Callable[[bytes, bytes], bytes],
    ) -> None:
        (mark,) = {s.key for s in sign_sets(store, key)}
        mine, others = (store.backend.get(signature_key(s.id, mark)) for s in (one, two))
        store.backend.put(signature_key(one.id, mark), forge(mine, others))
        assert status(store, public) == {one.id: "bad signature", two.id: "signed"}

    def test_it_is_said_whose_signature_is_bad_and_verify_finds_a_damaged_one_without_keys(
        self, store: Store, one: FeatureSet, key: Path, public: Path, tmp_path: Path
    ) -> None:
        good = generate_key(tmp_path / "second")
        (mark,) = {s.key for s in sign_sets(store, key)}
        sign_sets(store, tmp_path / "second")
        place = signature_key(one.id, mark)
        store.backend.put(place, store.backend.get(place).replace(b"version", b"vERsion"))
        found = next(s for s in check_signatures(store, [public, tmp_path / "second.pub"]) if s.set == one.id)
        assert (found.status, found.by) == ("bad signature", (good,))
        assert found.problem is not None
        assert mark[:16] in found.problem
        (damage,) = verify(store).damages
        assert (damage.key, damage.owner) == (place, one.id)

    def test_another_keys_signature_under_this_keys_name_is_bad(
        self, store: Store, one: FeatureSet, key: Path, public: Path, tmp_path: Path
    ) -> None:
        mark = generate_key(tmp_path / "mallory")
        (mine,) = {s.key for s in sign_sets(store, key)}
        sign_sets(store, tmp_path / "mallory")
        forged = reseal(store.backend.get(signature_key(one.id, mark)), key=mine)
        store.backend.put(signature_key(one.id, mine), forged)
        assert status(store, public) == {one.id: "bad signature"}

    def test_a_manifest_that_names_other_objects_is_signed_no_more(
        self, store: Store, one: FeatureSet, key: Path, public: Path
    ) -> None:
        sign_sets(store, key)
        content = json.loads(store.backend.get(one.manifest.key))
        content["objects"]["labels/c/0"]["sha256"] = "0" * 64
        del content["checksum"]
        store.backend.put(one.manifest.key, canonical_json({**content, "checksum": digest(content)}))
        assert status(store, public) == {one.id: "bad signature"}

    def test_a_flipped_bit_of_the_manifest_is_no_signed_set(
        self, store: Store, one: FeatureSet, key: Path, public: Path
    ) -> None:
        sign_sets(store, key)
        overwrite(Path(store.url), one.manifest.key, flip(store.backend.get(one.manifest.key), 4000))
        assert status(store, public) == {one.id: "bad signature"}

    def test_a_manifest_of_a_newer_version_is_no_signed_set(
        self, store: Store, one: FeatureSet, key: Path, public: Path
    ) -> None:
        sign_sets(store, key)
        store.backend.put(one.manifest.key, reseal(store.backend.get(one.manifest.key), version=2))
        assert status(store, public) == {one.id: "bad signature"}
        with pytest.raises(Incompatible):
            sign_sets(store, key)


def test_the_page_on_the_format_suffices_to_check_a_signature(
    store: Store, one: FeatureSet, key: Path, public: Path, tmp_path: Path
) -> None:
    """With openssl and sha256sum's formula alone."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    sign_sets(store, key)
    (place,) = (Path(store.url) / "signatures" / one.id).iterdir()
    signature = json.loads(place.read_bytes())
    manifest = json.loads((Path(store.url) / one.manifest.key).read_bytes())
    assert signature["manifest"] == manifest["checksum"]
    text = f"cryoprobe-set-signature-v1\n{one.id}\n{manifest['checksum']}\n".encode()
    assert text == message(one.id, manifest["checksum"])
    (tmp_path / "text").write_bytes(text)
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature["signature"]))
    der = subprocess.run(
        [openssl, "pkey", "-pubin", "-in", public, "-outform", "DER"], capture_output=True, check=True
    ).stdout
    assert hashlib.sha256(der[-32:]).hexdigest() == signature["key"] == place.stem
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", tmp_path / "text"]
    command += ["-sigfile", tmp_path / "signature"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (tmp_path / "text").write_bytes(text.replace(b"v1", b"v2"))
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_without_cryptography_one_message_says_what_to_install(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["cryptography"] = None
from cryoprobe import CryoprobeError, generate_key
try:
    generate_key({str(tmp_path / "key")!r})
except CryoprobeError as e:
    print(e)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'cryoprobe[sign]'" in done.stdout
    assert not list(tmp_path.glob("key*"))
