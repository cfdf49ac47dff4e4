"""What the outputs of a model's modules are, as far as their shapes do not tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .tokens import TokenReader


@dataclass(frozen=True)
class Anatomy:
    """What a model says of its tokens and maps. A tower has it as its attribute `anatomy`.

    Parameters
    ----------
    prefix : int or None
        Tokens in front of the patch tokens; None if the model does not say.
    has_cls : bool
        Whether the first of them is a class token.
    blocks : tuple of str
        Names of the blocks whose outputs hold all tokens, first to last; empty if there are none.
    norm : callable, optional
        The final norm of tokens [n, d] or [n, tokens, d], called so that no hook sees it.
    final : str
        Name of a module whose output [n, tokens, d] has all tokens that the model ends with; empty if there is none.
    channels_last : bool or None
        Whether the maps that its stages hand on are [n, h, w, c]; None if the model does not say.
    """

    prefix: int | None = None
    has_cls: bool = False
    blocks: tuple[str, ...] = ()
    norm: Callable[[torch.Tensor], torch.Tensor] | None = None
    final: str = ""
    channels_last: bool | None = False


def anatomy_of(tower: object) -> Anatomy:
    """Return what a tower says of its model; nothing is known of one that does not."""
    return getattr(tower, "anatomy", None) or Anatomy()


def timm_anatomy(model: Any, tokens: TokenReader, below: str = "") -> Anatomy:
    """Return what a timm model says of itself.

    Parameters
    ----------
    model : Module
    tokens : TokenReader
        Of the model.
    below : str
        What stands before the names of its modules, such as ``trunk.``.
    """
    plain = tokens.taps["patch_mean"] is None
    prefix = getattr(model, "num_prefix_tokens", None)
    if prefix is None and not hasattr(model, "cls_token"):
        prefix = 0
    blocks = getattr(model, "blocks", None) if plain else None
    return Anatomy(
        prefix=prefix,
        has_cls=tokens.taps["cls"] is None,
        blocks=tuple(f"{below}blocks.{name}" for name, _ in blocks.named_children()) if blocks is not None else (),
        norm=tokens.norm if plain else None,
        final=f"{below}norm" if plain else "",
        channels_last=getattr(model, "output_fmt", "NCHW") == "NHWC",
    )
