"""The list of encoders that can be named, kept on this machine: timm and open_clip take many seconds to import.

The list is made anew if a version of theirs is another than it was made with. Neither they nor torch are imported for a
list that is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CryoprobeError
from ...files import replacing
from ...folders import cache_folder

if TYPE_CHECKING:
    from .families import ModelName

SCHEMA = 1
"""Of the file; raised if what is kept of a model changes."""

PACKAGES = ("timm", "open_clip_torch")
"""Whose versions the list depends on."""

SIZES = Path(__file__).parent / "timm_sizes.json"
"""Width and parameters of timm's architectures; benchmarks/model_sizes.py writes it."""

Row = tuple[str, str, str | None, bool, int | None, int | None, int | None]


@dataclass(frozen=True)
class ModelSize:
    """What is known of a model without building it; None for what is not.

    Parameters
    ----------
    image_size : int or None
        Shorter side of its images, in pixels.
    width : int or None
        Of its default tap.
    parameters : int or None
        Of the encoder without a classifier.
    """

    image_size: int | None = None
    width: int | None = None
    parameters: int | None = None


def kept(build: Callable[[], Sequence[ModelName]]) -> list[ModelName]:
    """Return the list of this machine; make it by `build` if there is none of these versions of the libraries."""
    from .families import ModelName

    file = cache_folder() / "models.json"
    made_with = {"schema": SCHEMA, **{package: metadata.version(package) for package in PACKAGES}}
    try:
        found = json.loads(file.read_text())
        if found["made_with"] == made_with:
            return [ModelName(*row) for row in found["models"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or not ours
    names = list(build())
    rows = [(n.family, n.architecture, n.tag, n.pretrained, n.image_size, n.width, n.parameters) for n in names]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as written:
            written.write(json.dumps({"made_with": made_with, "models": rows}).encode())
    except (OSError, CryoprobeError):
        pass  # it is made anew each time
    return names


def timm_size(full_name: str, sizes: dict[str, list[int]]) -> ModelSize:
    """Return what is known of one of timm's models; `sizes` is what `timm_sizes` returns."""
    import timm

    config = timm.get_pretrained_cfg(full_name)
    width, parameters = sizes.get(full_name.partition(".")[0], (None, None))
    return ModelSize(None if config is None else min(config.input_size[1:]), width, parameters)


def timm_sizes() -> dict[str, list[int]]:
    """Return width and parameters of the architectures of timm that were looked at."""
    found: dict[str, list[int]] = json.loads(SIZES.read_text())["architectures"]
    return found


def open_clip_size(architecture: str) -> ModelSize:
    """Return what the configuration of one of open_clip's models says."""
    import open_clip

    config: dict[str, Any] = open_clip.get_model_config(architecture) or {}
    size = config.get("vision_cfg", {}).get("image_size", 224)
    return ModelSize(min(size) if isinstance(size, list | tuple) else size, config.get("embed_dim"))
