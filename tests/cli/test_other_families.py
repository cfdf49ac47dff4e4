"""`hf:` and `onnx:` by the command line: extract, probe, and predict with the encoder that is found again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from support.cli import run
from support.tiny_models import SIDE, build, save, save_processor

from cryoprobe.pipeline.options import PixelOptions


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(load_digits().images[:4]):
        Image.fromarray((image * 15).astype("uint8")).save(folder / f"{i}.png")
    return folder


@pytest.mark.slow
def test_a_folder_of_transformers_is_extracted_probed_and_found_again(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("dinov2", tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    data = ("--dataset", "sklearn:digits", "--store", tmp_path / "store")
    run("extract", "--model", "hf:./tiny", *data, "--limit", "200", "--tap", "cls,pooled")
    done = run("probe", "--model", "hf:tiny", *data, "--tap", "cls", "--save", tmp_path / "probe.safetensors")
    assert f"hf:{tmp_path / 'tiny'}" in done.stdout
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the name in the store has an absolute path
    found = run("predict", "--probe-file", tmp_path / "probe.safetensors", digits)
    assert len(found.stdout.splitlines()) == 5
    save("dinov2", tmp_path / "tiny", seed=1)
    assert (
        "is not the encoder that the probe was trained on"
        in run("predict", "--probe-file", tmp_path / "probe.safetensors", digits, code=7).stderr
    )


@pytest.mark.slow
def test_a_model_of_a_relative_folder_is_probed_at_its_default_tap_and_by_every_spelling_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("dinov2", tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    asked = ("--model", "hf:./tiny", "--dataset", "sklearn:digits", "--store", tmp_path / "store")
    run("extract", *asked, "--limit", "100", "--tap", "encoder.layer.1")
    probe = ("probe", *asked, "--probe", "nearest-mean", "--limit", "100")
    alone = "no extraction at the default tap (post_projection or pooled) is there"
    assert alone in " ".join(run(*probe).stderr.split())
    run("extract", *asked, "--limit", "100")
    assert "encoder.layer.1@cls" in run(*probe, "--tap", "encoder.layer.1").stdout
    usual = run(*probe)
    assert "pooled" in usual.stdout
    assert "default tap" not in usual.stderr


@pytest.mark.slow
def test_an_onnx_file_is_extracted_probed_and_found_again(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = build("resnet")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Return [n, d]."""
            return self.model(pixel_values=x).pooler_output.flatten(1)  # type: ignore[no-any-return]

    file = tmp_path / "tiny.onnx"
    torch.onnx.export(
        Pooled(),
        (torch.zeros(2, 3, SIDE, SIDE),),
        file,
        dynamo=False,
        dynamic_axes={"x": {0: "n"}},
        input_names=["x"],
        output_names=["embedding"],
    )
    save_processor("vit", tmp_path / "processor")
    monkeypatch.chdir(tmp_path)
    data = ("--dataset", "sklearn:digits", "--store", tmp_path / "store")
    options = ("--limit", "200", "--preprocess", "./processor/preprocessor_config.json", "--interpolation", "bicubic")
    run("extract", "--model", "onnx:tiny.onnx", *data, *options)
    done = run("probe", "--model", "onnx:tiny.onnx", *data, "--save", tmp_path / "probe.safetensors")
    assert "embedding" in done.stdout + done.stderr
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(run("predict", "--probe-file", tmp_path / "probe.safetensors", digits).stdout.splitlines()) == 5


def test_the_model_whose_preprocessing_is_taken_is_called_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    for typed, kept in (
        ("hf:./tiny", f"hf:{tmp_path}/tiny"),
        ("hf:tiny", f"hf:{tmp_path}/tiny"),
        ("own.json", f"{tmp_path}/own.json"),
        ("hf:facebook/dinov2-small", "hf:facebook/dinov2-small"),
        ("timm:test_vit", "timm:test_vit"),
    ):
        assert PixelOptions(preprocess=typed).preprocess == kept


def test_what_can_be_named_is_listed() -> None:
    assert "hf:facebook/dinov2-small" in run("models", "hf:").stdout
    assert run("models", "onnx:").stdout.splitlines()[1].startswith("onnx:FILE ")


def test_other_families_do_not_import_transformers_or_onnx() -> None:
    code = (
        "import sys, cryoprobe; cryoprobe.load_encoder('timm:test_vit', untrained=True, device='cpu')\n"
        "assert not {'transformers', 'onnx', 'onnxruntime'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
