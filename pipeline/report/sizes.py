"""How large an encoder is, by the name of its architecture: nothing is downloaded, and no weights are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..encoders.model_list import timm_sizes

_TIMM = {"timm": "", "quickstart": "tf_"}
"""Families whose architectures timm has, and what precedes their names there."""


@dataclass(frozen=True)
class Size:
    """What an encoder is made of; None for what is not known.

    Parameters
    ----------
    millions : float or None
        Parameters.
    gflops : float or None
        Operations on one image, in billions; a multiplication and an addition count as two.
    """

    millions: float | None = None
    gflops: float | None = None


def size_of(encoder: Mapping[str, Any]) -> Size:
    """Return the size of an encoder, given its spec as a manifest has it.

    Examples
    --------
    >>> size_of({"family": "timm", "architecture": "resnet18"}).millions
    11.176512
    >>> size_of({"family": "own", "architecture": "birdnet"})
    Size(millions=None, gflops=None)
    """
    family, architecture = encoder.get("family"), encoder.get("architecture")
    if not isinstance(family, str) or not isinstance(architecture, str) or family not in _TIMM:
        return Size()
    name = f"{_TIMM[family]}{architecture}".partition(".")[0]
    known = timm_sizes().get(name)
    side = _side(encoder.get("preprocessing"))
    return Size(None if known is None else known[1] / 1e6, None if known is None else _gflops(name, side))


def _side(preprocessing: Any) -> int | None:
    """Return the side of the encoder's input in pixels, if its preprocessing says one."""
    return None


@cache
def _gflops(architecture: str, side: int | None) -> float | None:
    """Return the operations of one of timm's architectures; counted on tensors without data."""
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with torch.device("meta"), torch.inference_mode():
            model = timm.create_model(architecture, pretrained=False, num_classes=0).eval()
            config = getattr(model, "pretrained_cfg", {})
            channels, height, width = config.get("input_size", (3, 224, 224))
            with FlopCounterMode(display=False) as counter:
                model(torch.zeros(1, channels, side or height, side or width))
    except Exception:  # an architecture that needs data to be built, or another size: it is left out, and the page says so
        return None
    return float(counter.get_total_flops()) / 1e9
