"""ONNX files: what identifies them, which inputs and outputs are taken, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.tiny_models import save_processor

from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.testing import EncoderSuite

SIDE = 8
TIMM: dict[str, Any] = {"preprocess": "timm:test_vit", "image_size": SIDE}
WEIGHTS = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)


def model_of(
    weights: Any = WEIGHTS,
    *,
    shape: tuple[Any, ...] = ("n", 3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    domain: str = "",
    opset: int = 17,
    tokens: bool = False,
) -> onnx.ModelProto:
    """Return a model that averages each channel, or keeps its columns as tokens, and multiplies by weights."""
    axes = [1, 2] if shape[3] == 3 else [2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], name="a", axes=axes[:1] if tokens else axes, keepdims=0),
        *([helper.make_node("Transpose", ["mean"], ["columns"], perm=[0, 2, 1])] if tokens else []),
        helper.make_node("MatMul", ["columns" if tokens else "mean", "w"], ["product"]),
        helper.make_node("Tanh" if not domain else "Wave", ["product"], ["embedding"], domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("embedding", kind, None)],
        [numpy_helper.from_array(np.asarray(weights), "w")],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="test")


def loaded(model: onnx.ModelProto, folder: Path, name: str = "model.onnx", **options: Any) -> Any:
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / name)
    return load_encoder(f"onnx:{folder / name}", device="cpu", **{**TIMM, **options})


def expected(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x.mean(dim=(2, 3)) @ torch.from_numpy(WEIGHTS))


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("shape", [("n", 3, SIDE, SIDE), (4, 3, SIDE, SIDE), ("n", 3, "h", "w"), ("n", SIDE, SIDE, 3)])
def test_images_are_encoded_in_any_number_whatever_the_batch_of_the_graph(
    shape: tuple[Any, ...], batch: int, tmp_path: Path
) -> None:
    encoder = loaded(model_of(shape=shape), tmp_path)
    x = torch.randn(batch, 3, SIDE, SIDE)
    torch.testing.assert_close(encoder.encode(x)["embedding"], expected(x), rtol=1e-5, atol=1e-6)


def test_tokens_can_be_read_at_the_first_or_averaged(tmp_path: Path) -> None:
    model = model_of(tokens=True)
    with pytest.raises(BadInput, match="several places: embedding:cls, embedding:mean"):
        loaded(model, tmp_path)
    encoder = loaded(model, tmp_path, taps=["embedding:cls", "embedding:mean"])
    x = torch.randn(3, 3, SIDE, SIDE)
    tokens = torch.tanh(x.mean(dim=2).transpose(1, 2) @ torch.from_numpy(WEIGHTS))
    found = encoder.encode(x)
    torch.testing.assert_close(found["embedding:cls"], tokens[:, 0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["embedding:mean"], tokens.mean(dim=1), rtol=1e-5, atol=1e-6)
    assert encoder.spec("embedding:cls").id != encoder.spec("embedding:mean").id


class TestSuite(EncoderSuite):
    @pytest.fixture
    def encoder(self, tmp_path: Path) -> Any:
        return loaded(model_of(), tmp_path)

    @pytest.fixture
    def same_encoder(self, tmp_path: Path) -> Any:
        return loaded(model_of(), tmp_path / "same")

    @pytest.fixture
    def other_encoder(self, tmp_path: Path) -> Any:
        return loaded(model_of(WEIGHTS[::-1]), tmp_path / "other")


# Identity


def described(model: onnx.ModelProto) -> None:
    model.producer_name, model.producer_version, model.doc_string, model.model_version = "other", "9", "about it", 3
    model.ir_version = 8
    model.graph.name, model.graph.doc_string = "another name", "about the graph"
    for i, node in enumerate(model.graph.node):
        node.name, node.doc_string = f"node {i}", "about the node"
    model.metadata_props.add(key="author", value="somebody")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def other_operator(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type = "Sigmoid"


def other_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "ReduceMax"


def other_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 16


def other_weight(model: onnx.ModelProto) -> None:
    changed = WEIGHTS.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], 2)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(changed, "w"))


def as_numbers(model: onnx.ModelProto) -> None:
    """Keep the weights as a list of numbers, not as bytes."""
    model.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, WEIGHTS.shape, WEIGHTS.ravel()))


@pytest.mark.parametrize("change", [described, as_numbers])
def test_what_changes_no_number_changes_no_id(change: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    model = model_of()
    usual = loaded(model, tmp_path).spec("embedding")
    change(model)
    assert loaded(model, tmp_path / "b", "other.onnx").spec("embedding") == usual


@pytest.mark.parametrize("change", [other_operator, other_attribute, other_opset, other_weight])
def test_what_changes_numbers_changes_the_id(change: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    model = model_of()
    usual = loaded(model, tmp_path).spec("embedding").id
    change(model)
    assert loaded(model, tmp_path).spec("embedding").id != usual


def test_weights_in_a_file_of_their_own_are_the_same_weights(tmp_path: Path) -> None:
    usual = loaded(model_of(), tmp_path).spec("embedding")
    file = tmp_path / "split.onnx"
    onnx.save(model_of(), file, save_as_external_data=True, location="split.data", size_threshold=0)
    split = load_encoder(f"onnx:{file}", device="cpu", **TIMM)
    assert split.spec("embedding") == usual
    x = torch.randn(2, 3, SIDE, SIDE)
    torch.testing.assert_close(split.encode(x)["embedding"], expected(x), rtol=1e-5, atol=1e-6)
    (tmp_path / "split.data").unlink()
    with pytest.raises(NotFound, match=r"has weights in split\.data, which is not there"):
        load_encoder(f"onnx:{file}", device="cpu", **TIMM)


def test_weights_outside_of_the_models_folder_are_not_read(tmp_path: Path) -> None:
    model = model_of()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(NotFound, match="outside of its folder"):
        load_encoder(f"onnx:{folder / 'model.onnx'}", device="cpu", **TIMM)


# Preprocessing and precision


def test_preprocessing_comes_from_beside_the_file_or_is_named_and_is_never_guessed(tmp_path: Path) -> None:
    onnx.save(model_of(shape=("n", 3, "h", "w")), tmp_path / "model.onnx")
    name = f"onnx:{tmp_path / 'model.onnx'}"
    with pytest.raises(BadInput, match=r"nothing is guessed.*\n.*--preprocess timm:"):
        load_encoder(name, device="cpu")
    save_processor("dinov2", tmp_path)
    encoder = load_encoder(name, device="cpu")
    assert encoder.spec("embedding").preprocessing.model_dump()["processor"] == "BitImageProcessor"
    named = load_encoder(name, device="cpu", preprocess="timm:test_vit", image_size=48, background="white")
    preprocessing = named.spec("embedding").preprocessing
    assert (preprocessing.library, preprocessing.image_size, preprocessing.background) == ("timm", (48, 48), "white")
    file = tmp_path / "own.json"
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 24, "width": 24}, "resample": 3}
    file.write_text(json.dumps({**settings, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}))
    preprocessing = load_encoder(name, device="cpu", preprocess=file).spec("embedding").preprocessing
    assert (preprocessing.image_size, preprocessing.mean) == ((24, 24), (0.1, 0.2, 0.3))
    with pytest.raises(BadInput, match="names neither a model nor a file"):
        load_encoder(name, device="cpu", preprocess="imagenet")


def test_a_graph_of_one_size_refuses_another(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="takes images of 8 x 8 pixels, and its preprocessing gives 16 x 16"):
        loaded(model_of(), tmp_path, image_size=16)


def test_precision_is_the_graphs_own(tmp_path: Path) -> None:
    half = model_of(WEIGHTS.astype(np.float16), kind=TensorProto.FLOAT16)
    encoder = loaded(half, tmp_path)
    assert encoder.spec("embedding").precision == "fp16"
    assert any("computes in fp16" in note for note in encoder.notes())
    x = torch.randn(3, 3, SIDE, SIDE)
    torch.testing.assert_close(encoder.encode(x)["embedding"], expected(x), rtol=0.02, atol=0.01)
    assert loaded(half, tmp_path, precision="fp16").spec("embedding") == encoder.spec("embedding")
    for precision, model in (("bf16", half), ("fp16", model_of())):
        with pytest.raises(BadInput, match="as it was exported"):
            loaded(model, tmp_path, precision=precision)


# What is refused


def no_file(folder: Path) -> None:
    pass


def text(folder: Path) -> None:
    (folder / "model.onnx").write_text("<!doctype html>")


def cut_short(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(model_of().SerializeToString()[:-60])


def custom(folder: Path) -> None:
    onnx.save(model_of(domain="com.somebody"), folder / "model.onnx")


def too_new(folder: Path) -> None:
    onnx.save(model_of(opset=999), folder / "model.onnx")


def grey(folder: Path) -> None:
    onnx.save(model_of(WEIGHTS[:1], shape=("n", 1, SIDE, SIDE)), folder / "model.onnx")


def integers(folder: Path) -> None:
    onnx.save(model_of(kind=TensorProto.UINT8), folder / "model.onnx")


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (no_file, NotFound, "There is no file"),
        (text, BadInput, "is a web page"),
        (cut_short, BadInput, "is no ONNX model, or is cut short"),
        (custom, BadInput, r"operators of the domain com\.somebody \(Wave\)"),
        (too_new, BadInput, "onnxruntime .* cannot run"),
        (grey, BadInput, "does not take a batch of images alone"),
        (integers, BadInput, "does not take a batch of images alone|cannot run"),
    ],
)
def test_files_that_cannot_be_run_are_refused(
    made: Callable[[Path], None], error: type[Exception], message: str, tmp_path: Path
) -> None:
    made(tmp_path)
    with pytest.raises(error, match=message):
        load_encoder(f"onnx:{tmp_path / 'model.onnx'}", device="cpu", **TIMM)


def test_options_that_have_no_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="takes no --untrained"):
        loaded(model_of(), tmp_path, untrained=True)
    with pytest.raises(BadInput, match="takes no --checkpoint"):
        loaded(model_of(), tmp_path, checkpoint=tmp_path / "model.onnx")
    with pytest.raises(BadInput, match=r"has no tap pooled.*\nIts outputs: embedding"):
        loaded(model_of(), tmp_path, taps=["pooled"])
