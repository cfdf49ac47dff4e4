"""How large an encoder is, by the name of its architecture: nothing is downloaded, and no weights are made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from ...errors import CryoprobeError
from ...files import replacing
from ...folders import cache_folder
from ..encoders.model_list import timm_sizes

_TIMM = {"timm": "", "quickstart": "tf_"}
"""Families whose architectures timm has, and what precedes their names there."""

_LARGEST_SIDE = 4096
"""Pixels; a manifest from a stranger can say any number."""


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
    if known is None:
        return Size()
    return Size(known[1] / 1e6, _gflops(name, *_input(encoder.get("preprocessing"))))


def _input(preprocessing: Any) -> tuple[int, int]:
    """Return height and width of the encoder's input in pixels; zeros if its preprocessing does not say them."""
    found = preprocessing.get("image_size") if isinstance(preprocessing, Mapping) else None
    sides = [side for side in found if isinstance(side, int)] if isinstance(found, list | tuple) else []
    if len(sides) != 2 or not all(0 < side <= _LARGEST_SIDE for side in sides):
        return 0, 0
    return sides[0], sides[1]


def _gflops(architecture: str, height: int, width: int) -> float | None:
    """Return the operations of one of timm's architectures, counted once on this machine.

    Counting takes seconds: timm has to be imported, and the model built. So the numbers are kept in the cache folder,
    for one version of timm.
    """
    key = f"{architecture} {height} {width}"
    file, known = cache_folder() / "gflops.json", _kept()
    if key not in known:
        known[key] = _counted(architecture, height, width)
        with suppress(OSError, CryoprobeError):  # they are counted anew each time
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as written:
                written.write(json.dumps({"timm": metadata.version("timm"), "gflops": known}).encode())
    return known[key]


def _kept() -> dict[str, float | None]:
    """Return the operations that were counted before; none if there is no such file, or it is not ours."""
    try:
        found = json.loads((cache_folder() / "gflops.json").read_text())
        if found["timm"] == metadata.version("timm"):
            return {str(key): None if n is None else float(n) for key, n in found["gflops"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


@cache
def _counted(architecture: str, height: int, width: int) -> float | None:
    """Count the operations of one of timm's architectures, on tensors without data."""
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with torch.device("meta"), torch.inference_mode():
            config = timm.get_pretrained_cfg(architecture)
            channels, *own = (3, 224, 224) if config is None else config.input_size
            size = (height, width) if height else tuple(own)
            fixed = config is not None and config.fixed_input_size and size != tuple(own)
            more: dict[str, Any] = {"img_size": size} if fixed else {}
            model = timm.create_model(architecture, pretrained=False, num_classes=0, **more).eval()
            with FlopCounterMode(display=False) as counter:
                model(torch.zeros(1, channels, *size))
    except Exception:  # an architecture that needs data to be built: it is left out, and the page says so
        return None
    return float(counter.get_total_flops()) / 1e9
