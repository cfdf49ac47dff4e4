"""Encoders: open_clip and timm models behind one small protocol.

Importing this package imports neither torch nor open_clip nor timm; `load_encoder` does.
"""

from .base import Encoder
from .checkpoint import file_sha256
from .registry import ModelName, as_encoder, default_tap, list_models, load_encoder

__all__ = ["Encoder", "ModelName", "as_encoder", "default_tap", "file_sha256", "list_models", "load_encoder"]
