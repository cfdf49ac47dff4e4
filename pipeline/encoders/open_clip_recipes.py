"""What open_clip's published weights were trained with: preprocessing and activation, by their tag.

An architecture without a tag, with a checkpoint, has what the tags of the architecture agree on. If they do not agree,
the user has to say from which weights the checkpoint was trained. No weights are looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import BadInput
from .weights import NAMED

_FIELDS = ("size", "mean", "std", "interpolation", "resize_mode", "fill_color")
"""What of a tag's configuration is preprocessing."""


class Recipe(NamedTuple):
    """How a model is to be built.

    Parameters
    ----------
    architecture : str
        With the activation in its name: ``ViT-B-32-quickgelu``.
    config : mapping
        open_clip's configuration of the weights; empty for the library's defaults.
    note : str
        What is to be said of it; empty if a tag was named.
    """

    architecture: str
    config: Mapping[str, Any]
    note: str = ""


def recipe_of(architecture: str, tag: str | None, checkpoint: Path | None) -> Recipe:
    """Return how a model is built for the weights of a tag, or for those of a checkpoint without one.

    Raises
    ------
    BadInput
        If there is no tag, and those of the architecture do not agree.

    Examples
    --------
    >>> recipe_of("ViT-B-32", "openai", None).architecture
    'ViT-B-32-quickgelu'
    >>> recipe_of("ViT-B-16-SigLIP", None, Path("tuned.pt")).config["mean"]
    (0.5, 0.5, 0.5)
    """
    import open_clip

    if tag:
        config = open_clip.get_pretrained_cfg(architecture, tag)
        return Recipe(_with_activation(architecture, config), config)
    name = f"open_clip:{architecture}"
    if checkpoint is None:
        note = f"{name} names no published weights: open_clip's default preprocessing ({_described(architecture, {})})"
        return Recipe(architecture, {}, note)
    configs = {tag: open_clip.get_pretrained_cfg(architecture, tag) for tag in _tags(architecture)}
    groups: dict[tuple[Any, ...], list[str]] = {}
    for tag, config in configs.items():
        meaning = _with_activation(architecture, config), *(config.get(field) for field in _FIELDS)
        groups.setdefault(meaning, []).append(tag)
    if len(groups) > 1:
        raise _disagree(architecture, checkpoint, [(tags, configs[tags[0]]) for tags in groups.values()])
    if not groups:
        default = _described(architecture, {})
        return Recipe(architecture, {}, f"no weights of {name} are published: open_clip's default ({default}) is used")
    (tags,) = groups.values()
    config = configs[tags[0]]
    note = (
        f"{name} is built and its images are prepared as for its published weights ({_described(architecture, config)})"
    )
    return Recipe(_with_activation(architecture, config), config, note)


def _tags(architecture: str) -> list[str]:
    import open_clip

    tags: list[str] = open_clip.list_pretrained_tags_by_model(architecture)
    return tags


def _with_activation(architecture: str, config: Mapping[str, Any]) -> str:
    """Return the architecture's name with the activation that the weights ask for."""
    import open_clip

    own = open_clip.get_model_config(architecture)
    return f"{architecture}-quickgelu" if config.get("quick_gelu") and not own.get("quick_gelu") else architecture


def _described(architecture: str, config: Mapping[str, Any]) -> str:
    """Return activation and preprocessing in a few words, so that people can tell weights apart."""
    import open_clip

    quick = config.get("quick_gelu") or open_clip.get_model_config(architecture).get("quick_gelu")
    default = open_clip.transform.PreprocessCfg()
    values = {field: config.get(field) or getattr(default, field) for field in _FIELDS}
    mean, std = (" ".join(f"{v:.3g}" for v in values[field]) for field in ("mean", "std"))
    activation = "QuickGELU" if quick else "the architecture's activation"
    return f"{activation}, mean {mean}, std {std}, {values['interpolation']}, {values['resize_mode']}"


def _disagree(architecture: str, checkpoint: Path, groups: list[tuple[list[str], Mapping[str, Any]]]) -> BadInput:
    lines = []
    for tags, config in groups:
        others = f"; as {', '.join(tags[1 : 1 + NAMED])}{' …' if len(tags) > 1 + NAMED else ''}" if tags[1:] else ""
        lines.append(f"  --model open_clip:{architecture}/{tags[0]} --checkpoint {checkpoint}")
        lines.append(f"      {_described(architecture, config)}{others}")
    return BadInput(
        f"Published weights of open_clip:{architecture} differ in activation or preprocessing, and the name does not "
        f"say what {checkpoint} needs.",
        hint="Name the weights from which it was trained:\n" + "\n".join(lines),
        key=f"open_clip:{architecture}",
    )
