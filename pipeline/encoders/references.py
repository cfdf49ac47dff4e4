"""What a library computes by itself for an image: its own transform and its own forward pass, without our wrappers.

Written against each library's documentation, and nothing of `timm_encoder` or `open_clip_encoder` is used, so that
`check` compares two things. A further family adds a row to `REFERENCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from PIL import Image

from ..specs import EncoderSpec
from .registry import ModelName


class Reference(NamedTuple):
    """How a library encodes images.

    Parameters
    ----------
    call : str
        In words, for a reader.
    preprocess : callable
        From an image to a tensor [3, h, w].
    encode : callable
        From a batch to embeddings [n, d], which the default tap is to equal.
    """

    call: str
    preprocess: Callable[[Image.Image], torch.Tensor]
    encode: Callable[[torch.Tensor], torch.Tensor]


State = Mapping[str, torch.Tensor]


def timm_reference(named: ModelName, spec: EncoderSpec, state: State | None) -> Reference:
    """Return timm's own way: a model without classifier, called; and its evaluation transform."""
    import timm
    import timm.data

    full_name = named.name.partition(":")[2]
    model: Any = timm.create_model(full_name, pretrained=state is None, num_classes=0)
    if state is not None:
        model.load_state_dict(state)
    library: Any = timm.data
    config = library.resolve_model_data_config(model)
    transform = library.create_transform(**config, is_training=False)
    return Reference(
        f"timm.create_model({full_name!r}, num_classes=0)(x), timm.data.create_transform after convert('RGB')",
        lambda image: transform(image.convert("RGB")),  # as timm's ImageDataset opens files
        model.eval(),
    )


def quickstart_reference(named: ModelName, spec: EncoderSpec, state: State | None) -> Reference:
    """Return timm's own way for the architecture of the quickstart encoder."""
    return timm_reference(ModelName("timm", spec.architecture), spec, state)


def open_clip_reference(named: ModelName, spec: EncoderSpec, state: State | None) -> Reference:
    """Return open_clip's own way: `create_model_and_transforms` and `encode_image`.

    The architecture is that of the identity: where the weights ask for QuickGELU, its name says so.
    """
    import open_clip

    library: Any = open_clip
    tag = named.tag if state is None else None
    model, _, transform = library.create_model_and_transforms(spec.architecture, pretrained=tag, pretrained_hf=False)
    if state is not None:
        model.visual.load_state_dict(state)
    return Reference(
        f"open_clip.create_model_and_transforms({spec.architecture!r}, {tag!r}), model.encode_image(x)",
        transform,
        model.eval().encode_image,
    )


REFERENCES: Mapping[str, Callable[[ModelName, EncoderSpec, State | None], Reference]] = MappingProxyType(
    {"timm": timm_reference, "open_clip": open_clip_reference, "quickstart": quickstart_reference}
)
"""By family. The state dict is that of our model, for weights that nobody else has; None for published ones."""
