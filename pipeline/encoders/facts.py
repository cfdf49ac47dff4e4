"""What an encoder has and how fast it is, for its report card: parameters, taps, modules, GFLOP, images a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ...errors import BadInput
from ..specs import Tap
from .anatomy import anatomy_of
from .base import Encoder
from .compute import Compute
from .frozen import FrozenEncoder
from .module_taps import examples
from .onnx_encoder import OnnxEncoder
from .survey import look
from .tuning import images_per_second

_SECONDS = 1.5
"""Of each timing."""


class Facts(NamedTuple):
    """What an encoder has.

    Parameters
    ----------
    parameters : int
    taps : dict of str to int
        Width of every tap that has a name.
    no_taps : dict of str to str
        Why the model does not have the others of its family.
    modules : int
        Further modules that can be read by their names.
    module : str
        One of them; empty if there are none.
    """

    parameters: int
    taps: dict[Tap, int]
    no_taps: dict[Tap, str]
    modules: int = 0
    module: str = ""


def facts_of(encoder: FrozenEncoder | OnnxEncoder, size: Sequence[int]) -> Facts:
    """Return what an encoder of images of `size`, height and width, has."""
    if isinstance(encoder, OnnxEncoder):
        return Facts(encoder.model.parameters, dict(encoder.model.widths), {})
    tower = encoder._tower
    known = [name for name, why in tower.taps.items() if why is None]
    with torch.inference_mode():
        read = tower.read(torch.zeros(1, 3, *size), known)
    readable = look(tower, encoder.taps[0], size).readable
    anatomy = anatomy_of(tower)
    return Facts(
        parameters=sum(p.numel() for p in tower.module.parameters()),
        taps={name: read[name].shape[1] for name in known},
        no_taps={name: why for name, why in tower.taps.items() if why is not None},
        modules=len(readable),
        module=(examples(list(readable), anatomy) or [""])[-1],
    )


def gflops(encoder: Encoder, size: Sequence[int]) -> float:
    """Return the operations of torch on one image, in billions; a multiplication and an addition count as two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        encoder.encode(torch.zeros(1, 3, *size))
    return float(counter.get_total_flops()) / 1e9


def rates(encoder: Encoder, size: Sequence[int], device: str) -> tuple[dict[str, float], str]:
    """Return images a second in each precision, and the device that they were encoded on.

    An encoder of torch is timed on `device`, any other one in its own precision on the device that it is on.
    """
    image = torch.zeros(3, *size)

    def rate(one: Encoder) -> float:
        return images_per_second(one, [image] * (4 if one.device.type == "cpu" else 64), _SECONDS)

    if not isinstance(encoder, FrozenEncoder):
        return {encoder.spec(encoder.taps[0]).precision: rate(encoder)}, str(encoder.device)
    found = {}
    chosen = ""
    for precision in ("fp32", "bf16"):
        try:
            compute = Compute.on(device, precision)
        except BadInput:
            continue  # the device does not have it
        chosen = str(compute.device)
        found[precision] = rate(encoder.computing(compute))
    return found, chosen or device
