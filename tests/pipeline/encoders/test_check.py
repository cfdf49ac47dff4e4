"""The report card of an encoder: it sees what differs, and says what the encoder is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper
from PIL import ImageOps
from support.cli import run
from support.tiny_models import MODELS, SIDE, save, save_processor

import cryoprobe
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.base import Encoder
from cryoprobe.pipeline.encoders.check import TOLERANCE, compare, odd_images
from cryoprobe.pipeline.encoders.preprocess_as import prepared_as
from cryoprobe.pipeline.encoders.references import Reference, hf_reference, timm_reference, transform_of
from cryoprobe.pipeline.encoders.registry import ModelName
from cryoprobe.pipeline.options import PixelOptions


@pytest.mark.parametrize(
    ("model", "taps"),
    [
        ("timm:test_vit", {"pooled": 64, "cls": 64, "patch_mean": 64}),
        ("timm:test_resnet", {"pooled": 96}),
        ("open_clip:ViT-S-32-alt", {"post_projection": 256, "pre_projection": 384, "cls": 384, "patch_mean": 384}),
    ],
)
def test_encoders_equal_their_librarys_own_call(model: str, taps: dict[str, int]) -> None:
    report = cryoprobe.check_encoder(model, untrained=True, device="cpu", speed=False)
    assert report.agrees
    assert report.pixels_differ == 0
    assert report.outputs_differ <= TOLERANCE
    assert report.taps == taps
    assert (report.images_per_second, report.gflops) == ({}, None)
    encoder = load_encoder(model, untrained=True, device="cpu")
    assert report.encoder == encoder.spec(encoder.taps[0]).id


@pytest.mark.parametrize("untrained", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_models_of_transformers_equal_automodel_and_its_processor(kind: str, untrained: bool, tmp_path: Path) -> None:
    report = cryoprobe.check_encoder(f"hf:{save(kind, tmp_path)}", untrained=untrained, device="cpu", speed=False)
    assert report.agrees, (report.pixels_differ, report.outputs_differ)
    assert report.image_size == (SIDE, SIDE)
    assert report.modules > 5
    assert report.compared_with.startswith("transformers.AutoModel.from_pretrained(")


def test_an_image_tower_alone_is_compared_with_its_own_class(tmp_path: Path) -> None:
    tower: Any = transformers.CLIPVisionModelWithProjection
    tower.from_pretrained(save("clip", tmp_path / "both")).save_pretrained(tmp_path / "tower")
    save_processor("clip", tmp_path / "tower")
    for untrained in (False, True):
        report = cryoprobe.check_encoder(f"hf:{tmp_path / 'tower'}", untrained=untrained, device="cpu", speed=False)
        assert report.agrees
        assert "CLIPVisionModelWithProjection" in report.compared_with


def test_another_checkpoint_in_the_folder_is_seen(tmp_path: Path) -> None:
    encoder = load_encoder(f"hf:{save('vit', tmp_path / 'a')}", device="cpu")
    other = save("vit", tmp_path / "b", seed=1)
    right = hf_reference(ModelName("hf", str(tmp_path / "a")), encoder.spec("pooled"), None)
    wrong = hf_reference(ModelName("hf", str(other)), encoder.spec("pooled"), None)
    assert compare(encoder, right)[1] <= TOLERANCE < compare(encoder, wrong)[1]


def graph(folder: Path, *, batch: int | str = "n", last: bool = False) -> Path:
    """Save a graph of two outputs: tokens, one for each column of the image, and their means."""
    shape = [batch, SIDE, SIDE, 3] if last else [batch, 3, SIDE, SIDE]
    weights = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["columns"], axes=[1 if last else 2], keepdims=0),
        *([] if last else [helper.make_node("Transpose", ["columns"], ["turned"], perm=[0, 2, 1])]),
        helper.make_node("MatMul", ["columns" if last else "turned", "w"], ["tokens"]),
        helper.make_node("ReduceMean", ["tokens"], ["embedding"], axes=[1], keepdims=0),
    ]
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("tokens", "embedding")],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize(("batch", "last"), [("n", False), (4, False), ("n", True)])
@pytest.mark.parametrize("tap", ["embedding", "tokens:cls", "tokens:mean"])
def test_graphs_equal_a_session_fed_by_what_is_stated(batch: int | str, last: bool, tap: str, tmp_path: Path) -> None:
    file = graph(tmp_path, batch=batch, last=last)
    save_processor("dinov2", tmp_path)
    report = cryoprobe.check_encoder(f"onnx:{file}", tap=tap, device="cpu", speed=False)
    assert report.agrees, (report.pixels_differ, report.outputs_differ)
    assert report.taps == {"tokens:cls": 5, "tokens:mean": 5, "embedding": 5}
    assert (report.parameters, report.modules) == (15, 0)
    assert report.compared_with == "onnxruntime.InferenceSession('model.onnx').run, transformers.AutoImageProcessor"


@pytest.mark.parametrize("what", ["timm:test_vit", "open_clip:RN50/openai", "FOLDER"])
def test_images_are_prepared_as_the_library_that_is_named_does(what: str, tmp_path: Path) -> None:
    preprocess = f"hf:{save('vit', tmp_path / 'vit')}" if what == "FOLDER" else what
    ours, _ = prepared_as(preprocess, PixelOptions(), "a model")
    _, theirs = transform_of(preprocess)
    for image in odd_images().values():
        assert torch.equal(ours(image), theirs(image))


def reference() -> tuple[Encoder, Reference]:
    encoder = load_encoder("timm:test_resnet", untrained=True, device="cpu")
    state = encoder._tower.module.state_dict()  # type: ignore[attr-defined]
    return encoder, timm_reference(ModelName("timm", "test_resnet"), encoder.spec("pooled"), state)


def test_another_preprocessing_is_seen() -> None:
    encoder, right = reference()
    pixels, outputs = compare(encoder, right)
    assert pixels == 0
    assert outputs <= TOLERANCE
    turned = right._replace(preprocess=lambda image: right.preprocess(ImageOps.mirror(image)))
    pixels, outputs = compare(encoder, turned)
    assert pixels > 0.1
    assert outputs > TOLERANCE
    smaller = right._replace(preprocess=lambda image: right.preprocess(image)[:, ::2, ::2])
    assert compare(encoder, smaller)[0] == float("inf")


def test_another_output_is_seen() -> None:
    encoder, right = reference()
    assert compare(encoder, right._replace(encode=lambda x: right.encode(x) * 1.001))[1] > TOLERANCE
    assert compare(encoder, right._replace(encode=lambda x: right.encode(x)[:, :9]))[1] == float("inf")
    assert not torch.is_inference_mode_enabled()


def test_the_command_prints_a_card() -> None:
    said = run("models", "timm:test_vit", "--check", "--untrained", "--device", "cpu").stdout
    for words in ("equals the library's own call", "greyscale", "resize to 168", "pooled (64)", "GFLOP", "bf16"):
        assert words in said
    found = json.loads(run("models", "timm:test_vit", "--check", "--untrained", "--device", "cpu", "--json").stdout)
    assert found["agrees"] is True
    assert found["parameters"] == sum(
        p.numel()
        for p in load_encoder("timm:test_vit", untrained=True)._tower.module.parameters()  # type: ignore[attr-defined]
    )
    assert set(found["images_per_second"]) == {"fp32", "bf16"}


def test_the_command_checks_a_graph_with_the_preprocessing_that_is_named(tmp_path: Path) -> None:
    file, processor = graph(tmp_path), save("vit", tmp_path / "vit") / "preprocessor_config.json"
    words = ("models", f"onnx:{file}", "--check", "--device", "cpu", "--preprocess", str(processor))
    said = run(*words, "--tap", "embedding").stdout
    for word in ("equals the library's own call", "onnxruntime.InferenceSession", "tokens:cls (5)", "(fp32) on cpu"):
        assert word in said
    assert "can be read in several places" in run(*words, code=2).stderr


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(BadInput, match="compared at its default tap"):
        cryoprobe.check_encoder("timm:test_vit", tap="cls", untrained=True)
    with pytest.raises(NotFound, match="There is no encoder"):
        cryoprobe.check_encoder("timm:resnet10", untrained=True)
    with pytest.raises(BadInput, match="says which architecture, not which weights"):
        cryoprobe.check_encoder("open_clip:ViT-S-32-alt")
