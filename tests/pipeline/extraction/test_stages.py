"""The stages of extraction: several devices, too little memory, and what is said of the time that each takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.data import write_images

import cryoprobe
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.encoders.base import Encoder
from cryoprobe.pipeline.extraction import profile
from cryoprobe.progress import Reporter


class Notes(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)


class Small:
    """An encoder whose device has the memory for so many images."""

    def __init__(self, encoder: Encoder, most: int, error: type[RuntimeError]) -> None:
        self._encoder, self._most, self._error = encoder, most, error
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._encoder, name)

    def encode(self, batch: torch.Tensor) -> Any:
        if len(batch) > self._most:
            raise self._error("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.batches.append(len(batch))
        return self._encoder.encode(batch)


def tiny(**options: Any) -> Encoder:
    return cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32, **options)


def embeddings(store: Path, found: Any) -> Any:
    return cryoprobe.open_store(store).open(found.set).load()[0]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_too_large_for_the_memory_is_halved_and_so_are_those_that_follow(
    error: type[RuntimeError], tmp_path: Path
) -> None:
    write_images(tmp_path / "data", {"a": 30, "b": 30})
    small, notes = Small(tiny(), 5, error), Notes()
    (found,) = cryoprobe.extract(
        small,  # type: ignore[arg-type]
        f"folder:{tmp_path / 'data'}",
        tmp_path / "small",
        batch_size=16,
        reporter=notes,
    )
    (whole,) = cryoprobe.extract(tiny(), f"folder:{tmp_path / 'data'}", tmp_path / "whole")
    assert (found.set, found.encoded) == (whole.set, 60)
    assert sum(small.batches) == 60
    assert max(small.batches) <= 5
    assert "Out of memory with 16 images in a batch: going on with 8." in notes.said
    assert sum("Out of memory" in said for said in notes.said) <= 3  # what follows is not cut one by one
    np.testing.assert_allclose(embeddings(tmp_path / "small", found), embeddings(tmp_path / "whole", whole), atol=1e-3)


def test_one_image_that_does_not_fit_ends_the_run(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 3})
    with pytest.raises(RuntimeError, match="out of memory"):
        cryoprobe.extract(
            Small(tiny(), 0, torch.OutOfMemoryError),  # type: ignore[arg-type]
            f"folder:{tmp_path / 'data'}",
            tmp_path / "s",
        )


def test_several_devices_share_the_batches_and_give_the_same_set(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 40, "b": 40})
    arguments: Any = {"untrained": True, "image_size": 32, "batch_size": 8, "stored_dtype": "float32"}
    data = f"folder:{tmp_path / 'data'}"
    (two,) = cryoprobe.extract("timm:test_vit", data, tmp_path / "two", device="cpu,cpu", **arguments)
    (one,) = cryoprobe.extract("timm:test_vit", data, tmp_path / "one", device="cpu", **arguments)
    assert (two.set, two.encoded) == (one.set, 80)
    np.testing.assert_array_equal(embeddings(tmp_path / "two", two), embeddings(tmp_path / "one", one))


@pytest.mark.parametrize("device", ["cpu,", "cpu,nonsense"])
def test_devices_that_are_not_there_are_refused(device: str, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 3})
    with pytest.raises(BadInput, match="device"):
        cryoprobe.extract(
            "timm:test_vit", f"folder:{tmp_path / 'data'}", tmp_path / "s", untrained=True, image_size=32, device=device
        )


def test_the_profile_counts_every_image_and_names_what_holds_the_run_up(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 20, "b": 20})
    notes = Notes()
    cryoprobe.extract(tiny(), f"folder:{tmp_path / 'data'}", tmp_path / "s", profile=True, reporter=notes)
    table = {line.split()[0]: line.split() for line in notes.said if line.split()}
    assert table["decode"][1] == table["encode"][1] == table["seal"][1] == "40"
    assert any("is what holds it up" in said for said in notes.said)


def test_an_automatic_batch_size_is_measured_and_said(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 5})
    notes = Notes()
    cryoprobe.extract(tiny(), f"folder:{tmp_path / 'data'}", tmp_path / "s", batch_size="auto", reporter=notes)
    assert any(said.startswith("Batches of ") and "images/s" in said for said in notes.said)


@pytest.mark.parametrize("batch_size", ["many", 0, "0", 1.5, True])
def test_other_batch_sizes_are_refused(batch_size: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="batch-size"):
        cryoprobe.extract(tiny(), "sklearn:digits", tmp_path / "s", batch_size=batch_size)


@pytest.mark.slow
def test_a_compiled_encoder_gives_the_same_features_and_is_recorded(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 10, "b": 11})
    data = f"folder:{tmp_path / 'data'}"
    arguments: Any = {"untrained": True, "image_size": 32, "batch_size": 8, "stored_dtype": "float32"}
    (found,) = cryoprobe.extract("timm:test_vit", data, tmp_path / "c", compile=True, **arguments)
    (plain,) = cryoprobe.extract("timm:test_vit", data, tmp_path / "p", **arguments)
    assert found.set == plain.set
    np.testing.assert_allclose(embeddings(tmp_path / "c", found), embeddings(tmp_path / "p", plain), atol=1e-5)
    store = cryoprobe.open_store(tmp_path / "c")
    assert store.open(found.set).manifest.provenance.document["compiled"] is True


def test_an_encoder_of_ones_own_is_not_compiled_for_one(tmp_path: Path) -> None:
    own = cryoprobe.Encoder(torch.nn.Flatten(), lambda image: torch.ones(3, 4, 4), name="lab:x", version="1")
    with pytest.raises(BadInput, match=r"torch\.compile"):
        cryoprobe.extract(own, "sklearn:digits", tmp_path / "s", compile=True)


def test_a_compiled_encoder_is_not_filled_up_to_a_batch_that_did_not_fit() -> None:
    encoder: Any = tiny(device="cpu")
    read, sizes = encoder._tower.read, []

    def limited(x: torch.Tensor, taps: Any) -> Any:
        sizes.append(len(x))
        if len(x) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return read(x, taps)

    encoder._read, encoder._full_batch = limited, 0
    for n, fits in ((32, False), (16, False), (8, True), (3, True)):
        if fits:
            assert len(encoder.encode(torch.zeros(n, 3, 32, 32))["pooled"]) == n
        else:
            with pytest.raises(torch.OutOfMemoryError):
                encoder.encode(torch.zeros(n, 3, 32, 32))
    assert sizes == [32, 16, 8, 8]


def test_a_unit_that_could_not_be_written_is_written_when_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "data", {"a": 60, "b": 60})
    write, calls = cryoprobe.Store.write_unit, []

    def failing(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise cryoprobe.Unavailable("the storage is away")
        return write(*given)

    monkeypatch.setattr(cryoprobe.Store, "write_unit", failing)
    encoder = Small(tiny(), 99, RuntimeError)
    with pytest.raises(cryoprobe.Unavailable, match="away"):
        cryoprobe.extract(encoder, f"folder:{tmp_path / 'data'}", tmp_path / "s", batch_size=8, unit_rows=16)  # type: ignore[arg-type]
    encoded = sum(encoder.batches)
    (found,) = cryoprobe.extract(tiny(), f"folder:{tmp_path / 'data'}", tmp_path / "s")
    assert found.encoded == 120 - encoded


def test_waiting_within_waiting_counts_for_the_inner_stage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 14.0, 15.0, 100.0, 101.0])
    monkeypatch.setattr(profile.time, "perf_counter", lambda: next(clock))
    found = profile.Profile()
    with found.waiting("decode"), found.waiting("plan"):
        pass
    with found.waiting("decode"):
        pass
    assert found._waits == {"plan": 4.0, "decode": 11.0 + 1.0}
    assert found.bottleneck == "decode"
