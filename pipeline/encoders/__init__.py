"""Encoders: models of open_clip, timm and transformers, and ONNX files, behind one small protocol.

Importing this package imports neither torch nor any of these libraries; `load_encoder` does.
"""

from .base import Encoder
from .checkpoint import file_sha256
from .registry import ModelName, as_encoder, canonical_model, default_tap, default_taps, list_models, load_encoder

__all__ = [
    "Encoder",
    "ModelName",
    "as_encoder",
    "canonical_model",
    "default_tap",
    "default_taps",
    "file_sha256",
    "list_models",
    "load_encoder",
]
