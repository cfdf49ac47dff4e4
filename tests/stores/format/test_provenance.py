"""Provenance: what is described has a type, and whatever a writer recorded is kept as it was."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.store_data import sample_ids, sealed_set

from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.manifest import read_manifest
from cryoprobe.stores.format.provenance import Provenance
from cryoprobe.stores.writing.sets import documents_of

ODD: dict[str, Any] = {
    "created": 5,
    "host": 7,
    "user": None,
    "versions": ["a list"],
    "workers": 1.0,
    "of a later version": {"z": [1, 1.0, None], "a": "ü"},
}


def test_fields_of_another_form_read_as_none_and_are_kept() -> None:
    found = Provenance.model_validate(ODD)
    assert (found.created, found.host, found.versions, found.workers) == (5, None, None, None)
    assert found.document == ODD
    assert found.model_dump(mode="json") == ODD


def test_a_manifest_is_written_again_byte_for_byte() -> None:
    backend = MemoryBackend()
    manifest = sealed_set(backend, sample_ids(5), provenance=ODD).manifest
    found = read_manifest(backend, manifest.key)
    assert found.provenance.document == ODD
    assert found.dump() == backend.get(manifest.key)
    assert documents_of(found) == {key: backend.get(f"{found.folder}/{key}") for key in documents_of(found)}


def test_no_field_is_added_that_was_not_given() -> None:
    assert Provenance().document == {}
    assert Provenance(created=3, host="h").document == {"created": 3, "host": "h"}


@pytest.mark.parametrize("wrong", [{"created": "yesterday"}, {"created": -1}, {"name": ["timm"]}])
def test_what_is_computed_with_is_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Provenance.model_validate(wrong)
