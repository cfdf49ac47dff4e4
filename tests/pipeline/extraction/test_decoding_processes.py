"""Decoding in processes gives what decoding in threads gives, also of what cannot be decoded, and when they die."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.data import write_images

import cryoprobe
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.datasets import limit_split
from cryoprobe.pipeline.datasets.containers.encoded import EncodedSplit
from cryoprobe.pipeline.encoders.embedding import ImageLoader
from cryoprobe.pipeline.extraction.decoding_processes import work_of
from cryoprobe.progress import Reporter

ARGUMENTS: Any = {"untrained": True, "image_size": 32, "workers": 2}


def children() -> list[int]:
    found = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout.splitlines()
    rows = [line.split(maxsplit=2) for line in found]
    return [int(r[0]) for r in rows if r[1] == str(os.getpid()) and "decoding_processes" in r[2]]


def odd_images(folder: Path) -> str:
    write_images(folder, {"a": 20, "b": 20})
    Image.new("RGBA", (50, 40), (9, 9, 9, 0)).save(folder / "a" / "clear.png")
    return f"folder:{folder}"


@pytest.mark.slow
def test_processes_make_the_same_set_and_see_the_same_images(tmp_path: Path) -> None:
    data = odd_images(tmp_path / "data")
    found = {}
    for kind in ("threads", "processes"):
        (made,) = cryoprobe.extract("timm:test_vit", data, tmp_path / kind, decode_in=kind, **ARGUMENTS)
        feature_set = cryoprobe.open_store(tmp_path / kind).open(made.set)
        found[kind] = (
            made.set,
            feature_set.load()[0].tobytes(),
            feature_set.manifest.provenance.document["decoded_images"],
        )
    assert found["processes"] == found["threads"]
    assert not children()


@pytest.mark.slow
def test_what_cannot_be_decoded_is_said_as_without_processes(tmp_path: Path) -> None:
    data = odd_images(tmp_path / "data")
    (tmp_path / "data" / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    said = []
    for kind in ("threads", "processes"):
        with pytest.raises(BadInput) as error:
            cryoprobe.extract("timm:test_vit", data, tmp_path / kind, decode_in=kind, **ARGUMENTS)
        said.append(error.value.message)
    assert said[0] == said[1]
    assert "broken.png" in said[0]


@pytest.mark.slow
def test_a_run_goes_on_where_its_processes_are_killed(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 300, "b": 300})
    killed: list[int] = []

    class Killing(Reporter):
        def advance(self, n: int = 0, *, encoded: int = 0, reused: int = 0, failed: int = 0) -> None:
            if encoded and len(killed) < 2:
                for child in children():
                    os.kill(child, signal.SIGKILL)
                    killed.append(child)

    (made,) = cryoprobe.extract(
        "timm:test_vit",
        f"folder:{tmp_path / 'data'}",
        tmp_path / "s",
        decode_in="processes",
        batch_size=8,
        reporter=Killing(),
        **ARGUMENTS,
    )
    assert killed
    assert (made.rows, made.encoded) == (600, 600)


def test_data_of_ones_own_are_decoded_in_threads_and_that_is_said(tmp_path: Path) -> None:
    notes: list[str] = []

    class Notes(Reporter):
        def note(self, message: str) -> None:
            notes.append(message)

    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    closure = encoder._transform._first  # type: ignore[attr-defined]
    encoder._transform._first = (*closure, lambda image: image)  # type: ignore[attr-defined]
    cryoprobe.extract(encoder, "sklearn:digits", tmp_path / "s", limit=20, decode_in="processes", reporter=Notes())
    assert any("in threads alone" in note for note in notes)


def test_other_ways_to_decode_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="decode-in"):
        cryoprobe.extract("timm:test_vit", "sklearn:digits", tmp_path / "s", decode_in="fibres", **ARGUMENTS)


def test_samples_of_files_of_containers_and_of_subsets_can_be_decoded_elsewhere(tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 5, "b": 5})
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32)
    loader = ImageLoader(encoder, encoder.spec("pooled").preprocessing)
    files = cryoprobe.load_dataset(f"folder:{tmp_path / 'data'}").split("all")
    packed = EncodedSplit("all", files.classes, files.labels, images=None)  # type: ignore[arg-type]
    for split in (files, packed, limit_split(files, 4), cryoprobe.load_dataset("sklearn:digits").split("all")):
        assert work_of(split, loader) is not None
