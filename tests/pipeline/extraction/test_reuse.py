"""Rows that are somebody else's, are gone, or were made otherwise: what an extraction makes of them."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.data import write_images

import cryoprobe
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.stores.backends.cache import cached
from cryoprobe.stores.backends.local import LocalBackend
from cryoprobe.stores.store import Provenance, SampleClaims, Store
from cryoprobe.stores.writing import claims as claims_module

TAPS = ["cls", "patch_mean"]


@pytest.fixture
def two_taps() -> Encoder:
    return cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32, taps=TAPS)


@contextmanager
def somebody(store: Path, encoder: Encoder, tap: str, ids: list[bytes], seconds: float) -> Iterator[None]:
    """Claim samples at one tap, and give them back later without having encoded them."""
    opened = cryoprobe.open_store(store, create=True)
    with SampleClaims(opened.backend) as claims:
        claim = claims.take_samples(encoder.spec(tap).id, ids)
        assert claim is not None
        later = threading.Timer(seconds, claims.release_samples, [claim])
        later.start()
        yield
        later.join()


@pytest.mark.parametrize("tap", TAPS)
def test_what_somebody_encodes_at_one_tap_is_waited_for_and_encoded_once_at_both(
    two_taps: Encoder, store: Path, tmp_path: Path, tap: str
) -> None:
    files = write_images(tmp_path / "data", {"a": 6, "b": 6})
    ids = [hashlib.sha256(file.read_bytes()).digest() for file in files]
    with somebody(store, two_taps, tap, ids[:5], 1.0):
        sets = cryoprobe.extract(two_taps, f"folder:{tmp_path / 'data'}", store)
    assert [(s.tap, s.rows, s.encoded, s.reused) for s in sets] == [(t, 12, 12, 0) for t in TAPS]
    assert not cryoprobe.verify(store, data=True).damages


def test_claims_of_an_extractor_that_is_stuck_are_not_renewed(
    store: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = cryoprobe.open_store(store, create=True).backend
    ids = [hashlib.sha256(bytes([i])).digest() for i in range(3)]
    monkeypatch.setattr(claims_module, "STUCK_SECONDS", 0.2)
    with SampleClaims(backend, heartbeat_seconds=0.01) as stuck:
        assert stuck.take_samples("e" * 64, ids) is not None
        stuck.touch()
        time.sleep(0.4)
        other = SampleClaims(backend, silence_seconds=0.1)
        assert other.take_samples("e" * 64, ids) is None  # the first look can tell nothing
        time.sleep(0.2)
        assert other.take_samples("e" * 64, ids) is not None


def test_images_that_another_limit_refuses_are_not_said_to_differ(
    encoder: Encoder, store: Path, tmp_path: Path
) -> None:
    write_images(tmp_path / "data", {"a": 3, "b": 3}, side=80)
    cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store)
    (again,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store, max_pixels=1500)
    assert (again.checked, again.remarks) == (0, ())


def test_what_a_stranger_found_of_the_data_is_not_taken(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    (first, *_) = write_images(tmp_path / "data", {"a": 6, "b": 6})
    shutil.copy(first, tmp_path / "data" / "b" / "copy.png")
    cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", tmp_path / "stranger")
    stranger = cryoprobe.open_store(tmp_path / "stranger")
    (set_,) = stranger.set_ids()
    manifest = stranger.open(set_).manifest
    lie = Provenance(**{**manifest.provenance.document, "repeated_images": {"of": 13, "repeated": 0}})
    stranger.backend.put(manifest.key, manifest.model_copy(update={"provenance": lie}).dump())
    cryoprobe.open_store(store, create=True)
    cryoprobe.pull(tmp_path / "stranger", store)
    (done,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert done.encoded == 12
    assert any("the image of an earlier row" in remark for remark in done.remarks)
    assert cryoprobe.open_store(store).open(done.set).manifest.provenance.document["repeated_images"]["repeated"] == 1  # type: ignore[call-overload, index]


def test_what_was_encoded_before_rows_were_removed_counts(encoder: Encoder, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 40, "b": 40})
    (first,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store)
    write_images(tmp_path / "data", {"c": 8}, seed=9)
    original, removed = encoder.encode, []

    def encode(batch: Any) -> Any:
        if not removed:
            removed.append(first.set)
            for kind in ("manifests", "unit-seals", "units"):
                shutil.rmtree(store / kind / first_encoder, ignore_errors=True)
            shutil.rmtree(store / "sets" / first.set)
        return original(batch)

    first_encoder = cryoprobe.open_store(store).open(first.set).encoder_id
    encoder.encode = encode  # type: ignore[method-assign]
    (done,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store)
    assert (done.rows, done.reused, done.checked) == (88, 0, 0)
    assert done.encoded >= 88


class Remote(LocalBackend):
    """A folder that counts as a place to be read through a cache."""

    remote = True
    near = False


def test_a_set_without_data_whose_sample_ids_are_cached_is_encoded_again(
    encoder: Encoder, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "data", {"a": 6, "b": 6})
    cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", store)
    monkeypatch.setenv("CRYOPROBE_CACHE_DIR", str(tmp_path / "objects"))
    through = Store(cached(Remote(store)))
    assert len(through.rows_of(encoder.spec(encoder.taps[0]).id)) == 12  # its sample ids are in the cache now
    for kind in ("sets", "units", "unit-seals"):
        shutil.rmtree(store / kind)
    (done,) = cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", through)
    assert (done.rows, done.encoded) == (12, 12)


def test_a_set_with_a_given_name_is_recomputed_from_its_source(store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 6, "b": 6})
    data = f"folder:{tmp_path / 'data'}"
    cryoprobe.extract("timm:test_vit", data, store, untrained=True, image_size=32, as_name="birds")
    (found,) = cryoprobe.recompute(store)
    assert found.comparison is not None
    assert found.comparison.differing == 0


def test_so_is_one_without_labels(store: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{i}.png")
    data = f"folder:{tmp_path / 'data'}"
    cryoprobe.extract("timm:test_vit", data, store, untrained=True, image_size=32, unlabelled=True)
    (found,) = cryoprobe.recompute(store)
    assert found.comparison is not None
    assert found.comparison.differing == 0
