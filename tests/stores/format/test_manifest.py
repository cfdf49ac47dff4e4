"""Manifests: believed only whole, only under their own key, and only in a version that is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.store_data import (
    CLASSES,
    DIM,
    ENCODER,
    ENCODER_ID,
    class_labels,
    dataset_of,
    sample_ids,
    seal,
    write_units,
)

from cryoprobe.canonical import canonical_json, digest
from cryoprobe.errors import Corrupt, Incompatible, NotFound
from cryoprobe.stores.backends.backend import Backend
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.manifest import MANIFEST_VERSION, FailedSample, Manifest, find_manifest, read_manifest
from cryoprobe.stores.keys import manifest_key, set_id

IDS = sample_ids(5)


def make(backend: Backend, n: int = 5) -> Manifest:
    write_units(backend, IDS[:n], 2)
    failed = [FailedSample(name="é 1.png", sample=None, error="truncated")]
    return seal(backend, IDS[:n], chunk_rows=2, failed=failed, provenance={"created": 5, "host": "ü"})[0]


def rewrite(backend: Backend, manifest: Manifest, **changes: Any) -> None:
    """Change a manifest's content, with a checksum that fits it."""
    content = {**json.loads(manifest.dump()), **changes}
    del content["checksum"]
    backend.put(manifest.key, canonical_json({**content, "checksum": digest(content)}))


def refused(backend: Backend, key: str, why: str) -> None:
    with pytest.raises(Corrupt, match=why) as caught:
        read_manifest(backend, key)
    assert caught.value.key == key
    assert key in str(caught.value)


def test_what_was_sealed_is_read_back(backend: Backend) -> None:
    manifest = make(backend)
    found = read_manifest(backend, manifest.key)
    assert found == manifest
    assert (found.rows, found.dim, found.chunk_rows, found.dtype) == (5, DIM, 2, "float16")
    assert found.encoder == ENCODER
    assert found.dataset == dataset_of(IDS, class_labels(5))
    assert found.dataset["classes"] == list(CLASSES)
    assert found.failed[0].name == "é 1.png"
    assert found.set == set_id(ENCODER_ID, digest(found.dataset))
    assert find_manifest(backend, ENCODER_ID, found.set) == found


def test_its_size_is_that_of_all_objects(backend: Backend) -> None:
    manifest = make(backend)
    stored = list(backend.list(manifest.folder + "/"))
    assert manifest.size == sum(info.size for info in stored)
    assert {f"{manifest.folder}/{k}" for k in manifest.objects} == {info.key for info in stored}


def test_a_set_that_is_not_sealed_has_none(backend: Backend) -> None:
    assert find_manifest(backend, ENCODER_ID, "0" * 64) is None
    with pytest.raises(NotFound):
        read_manifest(backend, manifest_key(ENCODER_ID, "0" * 64))


class TestDamage:
    BACKEND = MemoryBackend()
    MANIFEST = make(BACKEND)
    DATA = BACKEND.get(MANIFEST.key)

    def read(self, data: bytes) -> Manifest:
        backend = MemoryBackend()
        backend.put(self.MANIFEST.key, data)
        return read_manifest(backend, self.MANIFEST.key)

    @given(at=st.integers(0, len(DATA) - 1), byte=st.integers(0, 255))
    def test_any_changed_byte_is_noticed(self, at: int, byte: int) -> None:
        changed = bytearray(self.DATA)
        if changed[at] == byte:
            return
        changed[at] = byte
        with pytest.raises(Corrupt) as caught:
            self.read(bytes(changed))
        assert caught.value.key == self.MANIFEST.key

    def test_every_digit_may_become_anything_and_is_noticed(self) -> None:
        digits = [i for i, byte in enumerate(self.DATA) if chr(byte).isdigit()]
        unnoticed = []
        for at in digits[::3]:
            for letter in b"eE.-9 ":
                changed = self.DATA[:at] + bytes([letter]) + self.DATA[at + 1 :]
                if changed != self.DATA:
                    try:
                        self.read(changed)
                    except Corrupt:
                        continue
                    unnoticed.append((at, letter))
        assert unnoticed == []

    def test_the_digit_of_the_version_is_noticed_too(self) -> None:
        before = f'"version":{MANIFEST_VERSION}'.encode()
        assert self.DATA.count(before) == 1
        with pytest.raises(Corrupt):
            self.read(self.DATA.replace(before, b'"version":9'))

    @given(length=st.integers(0, len(DATA) - 1))
    def test_any_shorter_one_is_noticed(self, length: int) -> None:
        with pytest.raises(Corrupt):
            self.read(self.DATA[:length])

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"3", b'""', b"\xff", b"[" * 100_000, DATA + b"x"])
    def test_what_is_no_manifest_is_corrupt(self, data: bytes) -> None:
        with pytest.raises(Corrupt):
            self.read(data)


def test_a_newer_version_asks_for_an_upgrade(backend: Backend) -> None:
    manifest = make(backend)
    rewrite(backend, manifest, version=MANIFEST_VERSION + 1, rows="as many as there are", novelty={})
    with pytest.raises(Incompatible, match="pip install -U cryoprobe") as caught:
        read_manifest(backend, manifest.key)
    assert (caught.value.key, caught.value.expected, caught.value.found) == (
        manifest.key,
        MANIFEST_VERSION,
        MANIFEST_VERSION + 1,
    )


def test_a_field_that_this_version_does_not_know_is_no_harm(backend: Backend) -> None:
    manifest = make(backend)
    rewrite(backend, manifest, note="written by a later 1.x")
    assert read_manifest(backend, manifest.key).model_dump() == manifest.model_dump()


def test_a_manifest_under_another_ones_key_is_corrupt(backend: Backend) -> None:
    one, two = make(backend), make(backend, 4)
    backend.put(one.key, backend.get(two.key))
    refused(backend, one.key, "manifest of another set")
    assert read_manifest(backend, two.key) == two


def test_a_manifest_in_another_encoders_folder_is_corrupt(backend: Backend) -> None:
    manifest = make(backend)
    key = manifest_key("ab" * 32, manifest.set)
    backend.put(key, backend.get(manifest.key))
    refused(backend, key, "manifest of another set")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"encoder": {"family": "another"}}, "ids are not those of its specs"),
        ({"dataset": {"classes": []}}, "ids are not those of its specs"),
        ({"dataset_id": "0" * 64}, "ids are not those of its specs"),
        ({"set": "0" * 64}, "manifest of another set"),
        ({"rows": 0}, "rows"),
        ({"chunk_rows": -1}, "chunk_rows"),
        ({"dtype": "float64"}, "dtype"),
        ({"objects": {"zarr.json": {}}}, "objects.zarr.json.size"),
    ],
)
def test_a_manifest_whose_parts_do_not_agree_is_corrupt(backend: Backend, changes: dict[str, Any], why: str) -> None:
    manifest = make(backend)
    rewrite(backend, manifest, **changes)
    refused(backend, manifest.key, why)
