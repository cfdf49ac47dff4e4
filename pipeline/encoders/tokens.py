"""Class token and mean patch token of timm's token models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from ..specs import Tap


class TokenReader:
    """Reads ``cls`` and ``patch_mean`` from what a timm model's ``forward_features`` returns.

    Tokens are taken after the model's final norm. Models that pool before they normalise leave ``norm`` empty and
    have ``fc_norm`` instead; that norm is then applied to the tokens, as it would be to the pooled feature.

    Parameters
    ----------
    model : Module
        Any timm model.

    Attributes
    ----------
    taps : dict of str to str or None
        None for a tap that the model has, else why it has not.
    """

    def __init__(self, model: Any) -> None:
        prefix = getattr(model, "num_prefix_tokens", None)
        no_tokens = None
        # Only models that declare their prefix tokens also keep them in front of a plain [n, tokens, width] sequence.
        if prefix is None or not isinstance(getattr(model, "norm", None), torch.nn.Module):
            no_tokens = "it has no plain sequence of class and patch tokens"
        no_cls = None if prefix and getattr(model, "cls_token", None) is not None else "it has no class token"
        self.taps: Mapping[Tap, str | None] = {"cls": no_tokens or no_cls, "patch_mean": no_tokens}
        self._prefix: int = prefix or 0
        identity = torch.nn.Identity()
        self._final: Any = identity if no_tokens else model.norm
        self._norm: Any = identity
        if isinstance(getattr(model, "norm", None), torch.nn.Identity):
            self._norm = getattr(model, "fc_norm", identity) or identity

    def norm(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply to the output of a block, [n, width] or [n, tokens, width], what is applied to that of the last one."""
        normed: torch.Tensor = self._norm.forward(self._final.forward(tokens))
        return normed

    def read(self, features: Any, taps: Collection[Tap]) -> dict[Tap, torch.Tensor]:
        """Return the asked token taps, [n, width] each, from features [n, tokens, width]."""
        out: dict[Tap, torch.Tensor] = {}
        # By `forward`, which hooks do not see: to them the model runs once (see `module_taps`).
        if "cls" in taps and self.taps["cls"] is None:
            out["cls"] = self._norm.forward(features[:, 0])
        if "patch_mean" in taps and self.taps["patch_mean"] is None:
            out["patch_mean"] = self._norm.forward(features[:, self._prefix :]).mean(dim=1)
        return out
