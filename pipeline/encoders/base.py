"""The encoder protocol: what extraction asks of a frozen encoder, and nothing more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..specs import EncoderSpec, StoredDtype, Tap

if TYPE_CHECKING:
    import torch
    from PIL import Image


@runtime_checkable
class Encoder(Protocol):
    """A frozen encoder in evaluation mode, with the preprocessing that its library prescribes.

    Attributes
    ----------
    name : str
        As people name it: ``open_clip:ViT-B-32/openai``. Never part of an identity.
    taps : tuple of str
        The taps that `encode` fills, in the order in which they were asked for.
    untrained : bool
        Whether the weights are random; every listing says so.
    seed : int or None
        Seed of the random weights of an untrained encoder.
    checkpoint_sha256 : str or None
        sha256 of the checkpoint file, where one was given. A way to find the encoder again, not its identity.
    device : torch.device
        Where it computes.
    """

    @property
    def name(self) -> str: ...
    @property
    def taps(self) -> tuple[Tap, ...]: ...
    @property
    def untrained(self) -> bool: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def checkpoint_sha256(self) -> str | None: ...
    @property
    def device(self) -> torch.device: ...

    def spec(self, tap: Tap, stored_dtype: StoredDtype = "float16") -> EncoderSpec:
        """Return the identity of this encoder at one tap."""
        ...

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Turn an image as PIL opened it into a float32 tensor [3, h, w]. Called from several threads at once."""
        ...

    def encode(self, batch: torch.Tensor) -> Mapping[Tap, torch.Tensor]:
        """Encode float32 images [n, 3, h, w]; return float32 CPU tensors [n, d], one per tap, not normalised."""
        ...


class PixelEncoder(ABC):
    """An encoder that takes 8-bit pixels too, does not make its caller wait, and can be put on several devices.

    A class, not a protocol: what wraps such an encoder and passes on what it does not know is called by the methods of
    `Encoder`.
    """

    @abstractmethod
    def compact(self, image: Image.Image) -> torch.Tensor:
        """Return [3, h, w], uint8 if the transform allows it; `encode` gives the same for it as for `preprocess`."""

    @abstractmethod
    def start(self, batch: torch.Tensor) -> Callable[[], Mapping[Tap, torch.Tensor]]:
        """Do what `encode` does, of uint8 pixels too; return what waits for the end and gives the result."""

    @abstractmethod
    def on(self, device: torch.device) -> Encoder:
        """Return the same encoder on another device."""

    @abstractmethod
    def compile(self) -> None:
        """Let torch compile the forward pass, when it is next run."""


@runtime_checkable
class Noting(Protocol):
    """An encoder that tells how its weights were read."""

    def notes(self) -> Sequence[str]:
        """Return what was guessed, left out or resampled, a line each."""
        ...


def notes_of(encoder: Encoder) -> list[str]:
    """Return what an encoder tells of how its weights were read; nothing of one that does not tell."""
    return list(encoder.notes()) if isinstance(encoder, Noting) else []
