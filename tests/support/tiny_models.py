"""Small models of transformers with random weights, in folders as `save_pretrained` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as tf
from PIL import Image

tf.utils.logging.disable_progress_bar()

SIDE = 32
_TRUNK: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE}
_VIT = {**_TRUNK, "intermediate_size": 64, "patch_size": 8}
_DINO = {**_TRUNK, "patch_size": 8}
_TEXT = {**_TRUNK, "intermediate_size": 64, "vocab_size": 99}
_TEXT.pop("image_size")
_STAGES: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
_SQUARE: dict[str, Any] = {"size": {"height": SIDE, "width": SIDE}}
_CROP: dict[str, Any] = {"size": {"shortest_edge": 40}, "crop_size": {"height": SIDE, "width": SIDE}}
_EDGE: dict[str, Any] = {"size": {"shortest_edge": SIDE}}

MODELS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": ("ViTModel", _VIT, "ViTImageProcessor", _SQUARE),
    "vit classifier": ("ViTForImageClassification", _VIT, "ViTImageProcessor", _SQUARE),
    "deit": (
        "DeiTModel",
        _VIT,
        "DeiTImageProcessor",
        {"size": {"height": 36, "width": 36}, "crop_size": {"height": SIDE, "width": SIDE}},
    ),
    "dinov2": ("Dinov2Model", _DINO, "BitImageProcessor", _CROP),
    "dinov2 with registers": (
        "Dinov2WithRegistersModel",
        {**_DINO, "num_register_tokens": 3},
        "BitImageProcessor",
        _CROP,
    ),
    "dinov3": ("DINOv3ViTModel", {**_VIT, "num_register_tokens": 2}, "DINOv3ViTImageProcessor", _SQUARE),
    "beit": ("BeitModel", {**_VIT, "use_relative_position_bias": True}, "BeitImageProcessor", _SQUARE),
    "siglip": ("SiglipModel", {"vision_config": _VIT, "text_config": _TEXT}, "SiglipImageProcessor", _SQUARE),
    "clip": (
        "CLIPModel",
        {"vision_config": {**_VIT, "projection_dim": 16}, "text_config": _TEXT, "projection_dim": 16},
        "CLIPImageProcessor",
        _CROP,
    ),
    "swin": (
        "SwinModel",
        {"image_size": SIDE, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        "ViTImageProcessor",
        _SQUARE,
    ),
    "ijepa": ("IJepaModel", _VIT, "ViTImageProcessor", _SQUARE),
    "convnext": ("ConvNextModel", _STAGES, "ConvNextImageProcessor", _EDGE),
    "convnextv2": ("ConvNextV2Model", _STAGES, "ConvNextImageProcessor", _EDGE),
    "resnet": ("ResNetModel", {**_STAGES, "embedding_size": 8, "layer_type": "basic"}, "ConvNextImageProcessor", _EDGE),
    "mobilenet": (
        "MobileNetV2Model",
        {"depth_multiplier": 0.25, "image_size": SIDE},
        "MobileNetV2ImageProcessor",
        _CROP,
    ),
}
"""By kind: class and settings of the model, class and settings of its image processor."""

TOKENS = ("vit", "deit", "dinov2", "dinov2 with registers", "dinov3", "beit", "clip")
"""Kinds that have a class token."""


def build(kind: str, seed: int = 0, **settings: Any) -> Any:
    """Build a model in evaluation mode."""
    cls, own, _, _ = MODELS[kind]
    made: Any = getattr(tf, cls)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = made(made.config_class(**{**own, **settings})).eval()
        for parameter in model.parameters():  # so that biases and norms, which start as 0 and 1, count
            parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def save(kind: str, folder: Path, seed: int = 0, **settings: Any) -> Path:
    """Save a model and its processor into a folder."""
    build(kind, seed, **settings).save_pretrained(folder)
    save_processor(kind, folder)
    return folder


def save_processor(kind: str, folder: Path) -> None:
    """Save the image processor of a kind of model into a folder."""
    _, _, processor, options = MODELS[kind]
    getattr(tf, processor)(**options).save_pretrained(folder)


def picture(mode: str = "RGB", size: tuple[int, int] = (61, 47), seed: int = 0) -> Image.Image:
    """Return a picture of noise and a gradient."""
    width, height = size
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 128, (height, width, 4)) + np.linspace(0, 127, width).astype(int)[None, :, None]
    rgba = Image.fromarray(noise.astype(np.uint8), "RGBA")
    return rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode)
