"""On which device and in which arithmetic an encoder computes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from ...errors import BadInput

Products = Literal["ieee", "tf32"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class Compute:
    """A device and the arithmetic of the forward pass.

    Parameters
    ----------
    device : torch.device
    precision : {"fp32", "tf32", "bf16", "fp16"}
        ``fp32`` is IEEE float32, also on devices whose libraries would take less by default. ``tf32`` multiplies with
        ten bits of mantissa (CUDA alone). With ``bf16`` and ``fp16`` weights and activations have that type.
    """

    device: torch.device
    precision: Precision = "fp32"

    @classmethod
    def on(cls, device: str = "auto", precision: str = "fp32") -> Compute:
        """Check what is asked for.

        Raises
        ------
        BadInput
            If there is no such precision, or this machine does not have the device, or the device not the precision.
        """
        known: Precision | None = next((p for p in PRECISIONS if p == precision), None)
        if known is None:
            raise BadInput(
                f"There is no precision {precision!r}.", hint=f"Take one of {', '.join(PRECISIONS)}.", key="precision"
            )
        chosen = choose_device(device)
        if known == "tf32" and chosen.type != "cuda":
            raise BadInput(
                f"--precision tf32 is an arithmetic of CUDA devices, and this is {chosen.type}.",
                hint="Take fp32, or bf16 for speed.",
                key="precision",
            )
        if known == "bf16" and chosen.type == "cuda" and torch.cuda.get_device_capability(chosen) < (8, 0):
            raise BadInput(f"{torch.cuda.get_device_name(chosen)} has no bfloat16.", hint="Take fp16.", key="precision")
        return cls(chosen, known)

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return _DTYPES[self.precision]

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Compute in this precision alone: nothing is downcast by torch's or a caller's settings."""
        with products("tf32" if self.precision == "tf32" else "ieee"), torch.autocast(self.device.type, enabled=False):
            yield


def choose_device(device: str) -> torch.device:
    """Resolve a device name; ``auto`` is CUDA, else Apple's MPS, else the CPU.

    Raises
    ------
    BadInput
        If torch does not know the device, or this machine does not have it.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        detail = str(error).strip().split("\n")[0]
        raise BadInput(
            f"The device {device!r} cannot be used: {detail}", hint="Use auto, cpu, cuda, cuda:1 or mps.", key=device
        ) from error
    return chosen


@contextmanager
def products(kind: Products) -> Iterator[None]:
    """Let products of float32 be IEEE's, or TF32: torch's default is TF32 for convolutions, and bfloat16 can be set.

    torch has one switch for the process. Where several threads compute at once, the first one turns it and the last one
    turns it back; one that wants another kind waits until they are through.
    """
    if getattr(_mine, "kind", None) == kind:  # an encoder within an encoder
        yield
        return
    _switch.take(kind)
    before, _mine.kind = getattr(_mine, "kind", None), kind
    try:
        yield
    finally:
        _mine.kind = before
        _switch.give_back()


_mine = threading.local()
"""The kind that this thread computes in."""


class _Switch:
    """What kind of products the process computes, and how many threads rely on it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._kind: Products | None = None
        self._holders = 0
        self._undo = ExitStack()

    def take(self, kind: Products) -> None:
        """Wait until this kind can be had."""
        with self._changed:
            while self._holders and self._kind != kind:
                self._changed.wait()
            if not self._holders:
                self._kind, self._undo = kind, _turned(kind)
            self._holders += 1

    def give_back(self) -> None:
        """Let go of it; the last one restores what was."""
        with self._changed:
            self._holders -= 1
            if not self._holders:
                self._undo.close()
                self._changed.notify_all()


_switch = _Switch()


def _turned(kind: Products) -> ExitStack:
    """Turn torch's switches; return what turns them back."""
    backends: Any = torch.backends
    undo = ExitStack()
    if hasattr(backends.cudnn, "conv"):  # torch 2.9 and later: one switch per operation
        cuda = (backends.cuda.matmul, backends.cudnn.conv)
        for switch in (*cuda, backends.mkldnn.matmul, backends.mkldnn.conv):
            undo.callback(setattr, switch, "fp32_precision", switch.fp32_precision)
            switch.fp32_precision = kind if switch in cuda else "ieee"
    else:
        cudnn = backends.cudnn
        undo.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
        undo.callback(setattr, cudnn, "allow_tf32", cudnn.allow_tf32)
        cudnn.allow_tf32 = kind == "tf32"
    return undo
