"""Which axis of a map holds its channels, as the layers of a model tell it."""

from __future__ import annotations

import torch

_FIRST = (torch.nn.modules.conv._ConvNd, torch.nn.modules.batchnorm._BatchNorm, torch.nn.GroupNorm)
_LAST = (torch.nn.Linear, torch.nn.LayerNorm, torch.nn.RMSNorm)


def channels_last(name: str, model: torch.nn.Module, otherwise: bool | None) -> bool | None:
    """Return whether the map that a module returns is [n, h, w, c], rather than [n, c, h, w].

    A convolution and a batch norm have their channels first, a linear layer and a layer norm last. A module that is
    made of one kind alone returns that; so does one without such layers, in a module that is. Elsewhere the maps are
    what the model hands from stage to stage.

    Parameters
    ----------
    name : str
        Of the module in `model`.
    model : Module
    otherwise : bool or None
        What the model says of itself.

    Examples
    --------
    >>> block = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.GELU())
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU())
    >>> net = torch.nn.Sequential(block, mlp)
    >>> channels_last("0.1", net, False), channels_last("1.1", net, False), channels_last("1", net, False)
    (False, True, True)
    """
    levels = name.split(".")
    for depth in range(len(levels), 0, -1):
        module = model.get_submodule(".".join(levels[:depth]))
        if depth == len(levels) and (said := str(getattr(module, "output_fmt", "")).rpartition(".")[2]) in _FORMATS:
            return said == "NHWC"
        found = {kind for part in module.modules() if (kind := _kind(part)) is not None}
        if len(found) == 1:
            return found.pop()
    return otherwise


_FORMATS = ("NHWC", "NCHW")


def _kind(module: torch.nn.Module) -> bool | None:
    """Return whether a layer has its channels last; None for what is none of these."""
    # timm's LayerNorm2d, and transformers' with a `data_format`, turn maps to have their channels last and back.
    turns = type(module).__name__.endswith("2d") or getattr(module, "data_format", "") == "channels_first"
    if isinstance(module, _FIRST) or turns:
        return False
    return True if isinstance(module, _LAST) else None
