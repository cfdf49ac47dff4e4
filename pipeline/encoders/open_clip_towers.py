"""Where the taps of open_clip's image towers are: vision transformer, modified ResNet, timm trunk.

Each class restates its tower's ``forward`` with the taps as names, so that one pass of the trunk fills them all. That
``post_projection`` equals the library's ``encode_image`` is a test.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from ..specs import Tap
from .anatomy import Anatomy, timm_anatomy
from .frozen import Tower
from .tokens import TokenReader

NO_TOKENS = "it is a convolutional net without tokens"


def tower_of(visual: Any) -> Tower:
    """Return the tap reader that suits an open_clip image tower."""
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer):
        return VisionTower(visual)
    if isinstance(visual, ModifiedResNet):
        return ResNetTower(visual)
    return TrunkTower(visual)


class VisionTower:
    """open_clip's own ``VisionTransformer``."""

    def __init__(self, visual: Any) -> None:
        self.module: torch.nn.Module = visual
        # CoCa's attentional pooler comes before the final norm, which then has no size for single tokens.
        no_tokens = None if visual.attn_pool is None else "its final norm comes after attentional pooling"
        self.taps: Mapping[Tap, str | None] = {
            "post_projection": None,
            "pre_projection": None if visual.proj is not None else "it has no projection",
            "cls": no_tokens,
            "patch_mean": no_tokens,
        }
        blocks = [name for name, _ in visual.transformer.resblocks.named_children()]
        self.anatomy = Anatomy(
            prefix=1,
            has_cls=True,
            blocks=() if no_tokens else tuple(f"transformer.resblocks.{name}" for name in blocks),
            norm=visual.ln_post.forward,
            final="transformer",
        )

    def read(self, x: torch.Tensor, taps: Collection[Tap]) -> dict[Tap, torch.Tensor]:
        """Run the tower once; see `frozen.Tower`."""
        visual: Any = self.module
        tokens = visual.transformer(visual._embeds(x))  # [n, 1 + patches, width], before the final norm
        pooled, _ = visual._pool(tokens)
        out: dict[Tap, torch.Tensor] = {"pre_projection": pooled}
        out["post_projection"] = pooled if visual.proj is None else pooled @ visual.proj
        # By `forward`, which hooks do not see: to them the model runs once (see `module_taps`).
        if "cls" in taps:
            out["cls"] = visual.ln_post.forward(tokens[:, 0])
        if "patch_mean" in taps:
            out["patch_mean"] = visual.ln_post.forward(tokens[:, 1:]).mean(dim=1)
        return out


class ResNetTower:
    """open_clip's ``ModifiedResNet``, whose attention pool ends in the projection ``c_proj``."""

    def __init__(self, visual: Any) -> None:
        self.module: torch.nn.Module = visual
        self.taps: Mapping[Tap, str | None] = {
            "post_projection": None,
            "pre_projection": None,
            "cls": NO_TOKENS,
            "patch_mean": NO_TOKENS,
        }
        self.anatomy = Anatomy()

    def read(self, x: torch.Tensor, taps: Collection[Tap]) -> dict[Tap, torch.Tensor]:
        """Run the tower once; see `frozen.Tower`."""
        visual: Any = self.module
        x = visual.stem(x)
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = layer(x)
        out: dict[Tap, torch.Tensor] = {}
        if "post_projection" in taps:
            out["post_projection"] = visual.attnpool(x)
        if "pre_projection" in taps:
            out["pre_projection"] = _attended(visual.attnpool, x)
        return out


def _attended(pool: Any, x: torch.Tensor) -> torch.Tensor:
    """Return what an ``AttentionPool2d`` hands to its output projection, [n, width], for a map [n, width, h, w]."""
    x = x.flatten(2).transpose(1, 2)  # [n, h·w, width]
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + pool.positional_embedding
    heads = (x.shape[0], -1, pool.num_heads, x.shape[2] // pool.num_heads)
    query = pool.q_proj(x[:, :1]).view(heads).transpose(1, 2)  # the mean token alone asks
    key = pool.k_proj(x).view(heads).transpose(1, 2)
    value = pool.v_proj(x).view(heads).transpose(1, 2)
    return scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(1)


class TrunkTower:
    """open_clip's ``TimmModel``: a timm trunk, then a head of its own or the trunk's classifier as projection."""

    def __init__(self, visual: Any) -> None:
        self.module: torch.nn.Module = visual
        head = dict(visual.head.named_children())
        self._head_projects = "proj" in head or "mlp" in head
        trunk_projects = not head and isinstance(visual.trunk.get_classifier(), torch.nn.Linear)
        self._tokens = TokenReader(visual.trunk)
        self.taps: Mapping[Tap, str | None] = {
            "post_projection": None,
            "pre_projection": None if self._head_projects or trunk_projects else "it has no projection",
            **self._tokens.taps,
        }
        self.anatomy = timm_anatomy(visual.trunk, self._tokens, "trunk.")

    def read(self, x: torch.Tensor, taps: Collection[Tap]) -> dict[Tap, torch.Tensor]:
        """Run the tower once; see `frozen.Tower`."""
        visual: Any = self.module
        features = visual.trunk.forward_features(x)
        pooled = visual.trunk.forward_head(features)
        out = self._tokens.read(features, taps)
        out["post_projection"] = visual.head(pooled)
        if "pre_projection" in taps:
            out["pre_projection"] = (
                visual.head[:-1](pooled)
                if self._head_projects
                else visual.trunk.forward_head(features, pre_logits=True)
            )
        return out
