"""By what a named encoder is known again, without importing what builds it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.tiny_models import save

import cryoprobe
from cryoprobe.pipeline.encoders import Encoder, hub
from cryoprobe.pipeline.encoders.files_read import files_noted, note_file
from cryoprobe.pipeline.encoders.installed import installation
from cryoprobe.pipeline.encoders.known import KnownEncoder, Memory
from cryoprobe.pipeline.options import EncoderOptions


def test_what_is_installed_is_told_by_the_files_of_the_libraries_that_build_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "transformers", raising=False)  # what is imported is where it was found
    (tmp_path / "transformers").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    before = installation()
    assert installation() == before
    (tmp_path / "transformers" / "__init__.py").write_text("")
    another = installation()
    assert another != before
    monkeypatch.setenv("TIMM_FUSED_ATTN", "0")
    assert installation() != another


def test_no_secret_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    before = installation()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert installation() == before


def test_nothing_is_known_in_a_process_that_may_have_changed_a_model(encoder: Encoder, cache: Path) -> None:
    memory = Memory("timm:test_vit", EncoderOptions(untrained=True, image_size=32))  # `encoder` has imported timm
    memory.keep(KnownEncoder.of(encoder), [], 0)
    assert memory.recall() is None
    assert not (cache / "encoders").exists()


def test_what_is_known_is_what_the_encoder_says_at_every_tap_and_dtype() -> None:
    encoder = cryoprobe.load_encoder("timm:test_vit", untrained=True, image_size=32, taps=["cls", "pooled"])
    known = KnownEncoder.model_validate_json(KnownEncoder.of(encoder).model_dump_json())
    for dtype in ("float16", "float32"):
        assert [s.id for s in known.stored_as(dtype)] == [encoder.spec(tap, dtype).id for tap in encoder.taps]  # type: ignore[arg-type]


def test_the_hub_s_pointer_and_files_that_would_be_preferred_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--lab--vit"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    (snapshot / "weights.bin").write_bytes(b"1")
    source = hub.Source(repo="lab/vit", filenames=("model.safetensors", "weights.bin"))
    with files_noted() as files:
        assert hub.fetch(source, "timm:vit", "timm:vit") == snapshot / "weights.bin"
    assert files == [repository / "refs" / "main", snapshot / "model.safetensors"]


def test_all_files_of_a_model_of_transformers_are_noted_and_those_that_would_go_first(tmp_path: Path) -> None:
    folder = save("vit", tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with files_noted() as files:
        cryoprobe.load_encoder(f"hf:{folder}", device="cpu")
    names = {"config.json", "processor_config.json", "preprocessor_config.json", "pytorch_model.bin"}
    assert {file.name for file in files} == names | {"model.safetensors", "model.safetensors.index.json"}
    assert {file.parent for file in files} == {folder}


def test_the_files_of_a_model_whose_preprocessing_is_taken_are_noted(tmp_path: Path) -> None:
    ours, other = save("vit", tmp_path / "ours"), save("deit", tmp_path / "other")
    with files_noted() as files:
        cryoprobe.load_encoder(f"hf:{ours}", device="cpu", preprocess=f"hf:{other}")
    assert {file.name for file in files if file.parent == other} == {
        "config.json",
        "processor_config.json",
        "preprocessor_config.json",
    }


def test_a_development_install_is_looked_at_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed, source = tmp_path / "site", tmp_path / "source" / "onnx"
    (installed / "onnx-1.0.dist-info").mkdir(parents=True)
    (installed / "onnx-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: onnx\nVersion: 1.0\n")
    (source / "deep").mkdir(parents=True)
    (source / "__init__.py").write_text("")
    monkeypatch.delitem(sys.modules, "onnx", raising=False)
    for folder in (installed, source.parent):
        monkeypatch.syspath_prepend(str(folder))
    before = installation()
    assert installation() == before
    (source / "deep" / "edited.py").write_text("")
    assert installation() != before


def test_what_is_read_outside_of_a_loading_is_noted_nowhere(tmp_path: Path) -> None:
    note_file(tmp_path)
    with files_noted() as files:
        note_file(tmp_path / "a")
    note_file(tmp_path)
    assert files == [tmp_path / "a"]
