"""The devices that a run computes on, and the same encoder on each of them."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import BadInput
from .base import Encoder, PixelEncoder


def device_names(device: str, local: int | None = None) -> list[str]:
    """Return the devices that are asked for; ``auto`` is every GPU of the machine.

    Parameters
    ----------
    device : str
        One, several with commas between them, or ``auto``.
    local : int, optional
        Which of several processes on this machine this is: of ``auto``, it takes the GPU of that number alone.

    Examples
    --------
    >>> device_names("cuda:0,cuda:1"), device_names("cpu")
    (['cuda:0', 'cuda:1'], ['cpu'])
    """
    if device == "auto":
        import torch

        count = torch.cuda.device_count()
        if local is not None and count > 1:
            return [f"cuda:{local % count}"]
        return [f"cuda:{i}" for i in range(count)] if count > 1 else ["auto"]
    names = [name.strip() for name in device.split(",")]
    if not all(names):
        raise BadInput(f"--device {device!r} is not a list of devices.", hint="Such as cuda:0,cuda:1.", key="device")
    return names


def replicas(encoder: Encoder, names: Sequence[str]) -> list[Encoder]:
    """Return an encoder for each device: itself on the first, copies on the others.

    Parameters
    ----------
    encoder : Encoder
        Loaded on the first of the devices.
    names : sequence of str

    Raises
    ------
    BadInput
        If this machine does not have one of them.
    """
    if len(names) == 1 or not isinstance(encoder, PixelEncoder):
        return [encoder]
    from .compute import choose_device

    return [encoder, *(encoder.on(choose_device(name)) for name in names[1:])]


def compile_all(encoders: Sequence[Encoder]) -> None:
    """Let torch compile the forward pass of each.

    Raises
    ------
    BadInput
        If they are encoders of somebody's own.
    """
    for encoder in encoders:
        if not isinstance(encoder, PixelEncoder):
            raise BadInput(
                f"--compile is for encoders of open_clip, timm and hf, and {encoder.name} is none.",
                hint="Leave it out; a module of your own can be compiled before: torch.compile(module).",
                key="compile",
            )
        encoder.compile()
