"""The family of one encoder whose weights come as a Python package, so that a first try needs no network."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import BadInput
from ..encoders import efficientnet_lite0
from .base import Encoder
from .families import EncoderRequest, ModelName
from .unknown_names import unknown

QUICKSTART = "efficientnet_lite0"


def names() -> Iterable[ModelName]:
    """List what can be named."""
    return [ModelName("quickstart", QUICKSTART, None, True)]


def check(named: ModelName, *, need_weights: bool) -> None:
    """Refuse another name; see `families.FamilyModule`."""
    if named.architecture != QUICKSTART:
        unknown(named.name, named.architecture, [QUICKSTART], "quickstart:")


def load(asked: EncoderRequest) -> Encoder:
    """Load the encoder; see `efficientnet_lite0`."""
    bare = f"timm:{efficientnet_lite0.ARCHITECTURE}"
    if asked.seed is not None:
        raise BadInput(
            f"{asked.name} names trained weights, and --untrained asks for random ones.",
            hint=f"Name the architecture alone: {bare} --untrained",
            key=asked.name,
        )
    if asked.checkpoint is not None:
        raise BadInput(
            f"{asked.name} brings its own weights.",
            hint=f"For a checkpoint, name the architecture: {bare}",
            key=asked.name,
        )
    return efficientnet_lite0.load(asked)
