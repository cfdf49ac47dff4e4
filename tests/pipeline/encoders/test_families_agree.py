"""One model in several guises (timm, transformers, ONNX, a module of one's own) gives the same features."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers as tf
from support.tiny_models import picture

import cryoprobe
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.base import Encoder

ARCHITECTURE = "test_vit"
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


def as_transformers(state: dict[str, torch.Tensor], model: Any) -> Any:
    """Return timm's vision transformer as one of transformers."""
    width, blocks = model.embed_dim, len(model.blocks)
    config = tf.ViTConfig(
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=model.blocks[0].attn.num_heads,
        intermediate_size=model.blocks[0].mlp.fc1.out_features,
        image_size=model.patch_embed.img_size[0],
        patch_size=model.patch_embed.patch_size[0],
        layer_norm_eps=model.norm.eps,
    )
    theirs = tf.ViTModel(config, add_pooling_layer=False).eval()
    found = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    for i in range(blocks):
        for kind in ("weight", "bias"):
            parts = zip("qkv", state[f"blocks.{i}.attn.qkv.{kind}"].split(width), strict=True)
            found |= {f"layers.{i}.attention.{part}_proj.{kind}": tensor for part, tensor in parts}
            for theirs_name, ours in (
                ("attention.o_proj", "attn.proj"),
                ("layernorm_before", "norm1"),
                ("layernorm_after", "norm2"),
                ("mlp.fc1", "mlp.fc1"),
                ("mlp.fc2", "mlp.fc2"),
            ):
                found[f"layers.{i}.{theirs_name}.{kind}"] = state[f"blocks.{i}.{ours}.{kind}"]
    theirs.load_state_dict(found)
    return theirs


class Embedded(torch.nn.Module):
    """A model of transformers that returns its class token."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return [n, width]."""
        tokens: torch.Tensor = self.model(pixel_values=pixel_values).last_hidden_state
        return tokens[:, 0]


def export(module: torch.nn.Module, x: torch.Tensor, file: Path, *, dynamo: bool) -> None:
    """Export a module for batches of any size."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        names: dict[str, Any] = {"input_names": ["pixel_values"], "output_names": ["embedding"]}
        if dynamo:
            torch.onnx.export(module, (x,), file, dynamo=True, dynamic_shapes=({0: torch.export.Dim("n")},), **names)
        else:
            torch.onnx.export(module, (x,), file, dynamo=False, dynamic_axes={"pixel_values": {0: "n"}}, **names)


@pytest.fixture(scope="module")
def guises(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Encoder]]:
    """Return the model of timm, and an encoder for each of its guises."""
    top = tmp_path_factory.mktemp("guises")
    torch.manual_seed(0)
    model = timm.create_model(ARCHITECTURE, num_classes=0).eval()
    torch.save(model.state_dict(), top / "timm.pt")
    theirs = as_transformers(model.state_dict(), model)
    theirs.save_pretrained(top / "hf")
    side = theirs.config.image_size
    tf.ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(top / "hf")
    module = Embedded(theirs).eval()
    x = torch.randn(2, 3, side, side)
    for dynamo in (False, True):
        export(module, x, top / f"{dynamo}.onnx", dynamo=dynamo)
    processor = tf.ViTImageProcessor(size={"height": side, "width": side})
    return model, {
        "timm": load_encoder(f"timm:{ARCHITECTURE}", checkpoint=top / "timm.pt", device="cpu"),
        "hf": load_encoder(f"hf:{top / 'hf'}", device="cpu", taps=["cls"]),
        "onnx": load_encoder(f"onnx:{top / 'False.onnx'}", device="cpu", preprocess=f"hf:{top / 'hf'}"),
        "onnx, exported by dynamo": load_encoder(
            f"onnx:{top / 'True.onnx'}", device="cpu", preprocess=f"hf:{top / 'hf'}"
        ),
        "own": cryoprobe.Encoder(
            module,
            lambda image: processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0],
            name="lab:vit",
            version="1",
            device="cpu",
        ),
    }


@torch.no_grad()
@pytest.mark.parametrize("guise", ["timm", "hf", "onnx", "onnx, exported by dynamo", "own"])
def test_features_are_those_of_the_model_itself(guise: str, guises: tuple[Any, dict[str, Encoder]]) -> None:
    model, encoders = guises
    encoder = encoders[guise]
    side = model.patch_embed.img_size[0]
    x = torch.randn(5, 3, side, side, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(encoder.encode(x)[encoder.taps[0]], model(x), **CLOSE)


def test_images_are_prepared_alike_where_the_processor_is_the_same(guises: tuple[Any, dict[str, Encoder]]) -> None:
    _, encoders = guises
    image = picture("RGBA", (203, 118))
    first, *others = (encoders[guise].preprocess(image) for guise in ("hf", "onnx", "onnx, exported by dynamo", "own"))
    assert all(torch.equal(first, other) for other in others)


def test_each_guise_is_an_encoder_of_its_own(guises: tuple[Any, dict[str, Encoder]]) -> None:
    ids = [encoder.spec(encoder.taps[0]).id for encoder in guises[1].values()]
    assert len(set(ids)) == len(ids)
