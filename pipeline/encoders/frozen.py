"""The one implementation of the encoder protocol: a frozen module, a way to read its taps, and an identity.

What differs between libraries (building the model, its transform, where its taps are) comes in from
`open_clip_encoder` and `timm_encoder`.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, Self

import torch
from PIL import Image

from ...errors import BadInput
from ..specs import EncoderSpec, StoredDtype, Tap
from .base import PixelEncoder
from .compute import Compute
from .transforms import ImageTransform

_cuda: Any = torch.cuda  # in part without types


class Tower(Protocol):
    """A module whose taps can be read in one pass.

    Attributes
    ----------
    module : Module
        What computes; moved to the device as a whole.
    taps : dict of str to str or None
        For every tap that this family has a name for: None where it can be read, or why it cannot.
    """

    module: torch.nn.Module
    taps: Mapping[Tap, str | None]

    def read(self, x: torch.Tensor, taps: Collection[Tap]) -> dict[Tap, torch.Tensor]:
        """Run the trunk once on ``x`` [n, 3, h, w] and return at least the asked taps, [n, d] each."""
        ...


class FrozenEncoder(PixelEncoder):
    """A frozen encoder in evaluation mode; see `base.Encoder` for the contract.

    Parameters
    ----------
    name : str
    tower : Tower
    taps : sequence of str
        The taps to fill, checked by `choose_taps`.
    transform : ImageTransform
        The library's own evaluation transform, image to float32 [3, h, w].
    identity : EncoderSpec
        At one of the taps; those at the others differ in it alone.
    compute : Compute
        Where and in which arithmetic it computes; the precision becomes part of the identity.
    seed : int, optional
        Seed of the random weights, where they are.
    checkpoint_sha256 : str, optional
    notes : sequence of str
        What is to be said of how its weights were read, a line each.
    """

    def __init__(
        self,
        *,
        name: str,
        tower: Tower,
        taps: Sequence[Tap],
        transform: ImageTransform,
        identity: EncoderSpec,
        compute: Compute,
        seed: int | None = None,
        checkpoint_sha256: str | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.taps = tuple(taps)
        self.seed = seed
        self.checkpoint_sha256 = checkpoint_sha256
        self.compute = compute
        self._notes = tuple(notes)
        self._tower = tower
        self._transform = transform
        self._copying: Any = None
        self._identity = identity.model_copy(update={"precision": compute.precision})
        self._read = tower.read
        self._full_batch: int | None = None  # of a compiled encoder
        self._place()

    def _place(self) -> None:
        # channels_last doubles the speed of convolutional nets on a CPU and does not slow token models.
        module: Any = self._tower.module.eval().requires_grad_(False)
        module.to(device=self.compute.device, dtype=self.compute.dtype, memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.compute.device

    @property
    def untrained(self) -> bool:
        """Whether the weights are random."""
        return self.seed is not None

    def notes(self) -> tuple[str, ...]:
        """Return what was guessed, left out or resampled when the weights were read, a line each."""
        return self._notes

    def spec(self, tap: Tap, stored_dtype: StoredDtype = "float16") -> EncoderSpec:
        """Return the identity of this encoder at one tap."""
        return EncoderSpec.model_validate({**dict(self._identity), "tap": tap, "stored_dtype": stored_dtype})

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Turn an image as PIL opened it into a float32 tensor [3, h, w]; safe to call from several threads."""
        return self._transform(image)

    @property
    def transform(self) -> ImageTransform:
        """What `preprocess` and `compact` do, without the encoder."""
        return self._transform

    def compact(self, image: Image.Image) -> torch.Tensor:
        """Return what `encode` takes in the fewest bytes, [3, h, w]; see `ImageTransform.compact`."""
        return self._transform.compact(image)

    def encode(self, batch: torch.Tensor) -> Mapping[Tap, torch.Tensor]:
        """Encode a batch [n, 3, h, w]; return float32 CPU tensors [n, d], one per tap, not normalised.

        Parameters
        ----------
        batch : Tensor
            float32 as `preprocess` gives it, or uint8 as `compact` may.
        """
        return self.start(batch)()

    def start(self, batch: torch.Tensor) -> Callable[[], Mapping[Tap, torch.Tensor]]:
        """Encode without waiting for the device; what is returned waits. See `encode`."""
        with torch.inference_mode(), self.compute.arithmetic():
            x, n = self._input(batch), len(batch)
            if self._full_batch is not None:
                x = torch.nn.functional.pad(x, (0, 0) * 3 + (0, max(0, self._full_batch - n)))
            try:
                read = self._read(x, self.taps)
            except RuntimeError:
                if self._full_batch is not None:
                    self._full_batch = 0  # of so many it may not have the memory
                raise
            if self._full_batch is not None:
                self._full_batch = len(x)
            features = {tap: read[tap][:n].to(dtype=torch.float32) for tap in self.taps}
            if self.device.type != "cuda":
                # Cloned outside of inference mode, so that callers may normalise in place.
                return lambda: {tap: _cloned(value.cpu()) for tap, value in features.items()}
            host = {
                tap: torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value, non_blocking=True)
                for tap, value in features.items()
            }
            done = _cuda.Event()
            done.record(_cuda.current_stream(self.device))

        def wait() -> Mapping[Tap, torch.Tensor]:
            done.synchronize()
            return {tap: _cloned(value) for tap, value in host.items()}

        return wait

    def on(self, device: torch.device) -> Self:
        """Return the same encoder on another device, with weights of its own."""
        return self.computing(replace(self.compute, device=device))

    def computing(self, compute: Compute) -> Self:
        """Return the encoder as it is on a device and in a precision, with weights of its own."""
        other = copy.copy(self)
        other.compute = compute
        other._identity = self._identity.model_copy(update={"precision": compute.precision})
        other._tower = copy.deepcopy(self._tower)
        other._read, other._full_batch, other._copying = other._tower.read, None, None
        other._place()
        return other

    def compile(self) -> None:
        """Let torch compile the forward pass, for one size of batch: others are filled up to the first one's."""
        self._read = torch.compile(self._tower.read, dynamic=False)
        self._full_batch = 0

    def _input(self, batch: torch.Tensor) -> torch.Tensor:
        """Bring a batch to the device, and pixels to what the transform makes of them."""
        cuda = self.device.type == "cuda"
        if cuda and batch.device.type == "cpu":
            # The copy has a stream of its own: it runs while the device still computes the batch before.
            stream = self._copying = self._copying or _cuda.Stream(self.device)
            with _cuda.stream(stream):
                moved = batch.pin_memory().to(self.device, non_blocking=True)
            now = _cuda.current_stream(self.device)
            now.wait_stream(stream)
            moved.record_stream(now)
        else:
            moved = batch.to(self.device)
        if moved.dtype == torch.uint8 and (normalise := self._transform.normalise) is not None:
            moved = normalise(moved)
        return moved.to(dtype=self.compute.dtype, memory_format=torch.channels_last)


def _cloned(value: torch.Tensor) -> torch.Tensor:
    return value.clone(memory_format=torch.contiguous_format)


def choose_taps(asked: Sequence[Tap], default: Tap, tower: Tower, name: str) -> tuple[Tap, ...]:
    """Return the taps to fill, or refuse with the list of those that this model has.

    Raises
    ------
    BadInput
        If the model does not have one of them.
    """
    taps = tuple(asked) or (default,)
    for tap in taps:
        why = tower.taps.get(tap, f"{tap} is not a tap of this library's models")
        if why is not None:
            have = ", ".join(known for known, refusal in tower.taps.items() if refusal is None)
            raise BadInput(
                f"{name} has no tap {tap}: {why}.", hint=f"Taps of this model: {have}", key=tap, expected=have
            )
    return taps


@contextmanager
def building(seed: int = 0) -> Iterator[None]:
    """Build models here: random weights from `seed`, the caller's random state untouched, libraries silent."""
    root = logging.getLogger()
    # open_clip logs through `logging.warning`, which gives a bare root logger a handler for good.
    placeholder = logging.NullHandler()
    root.addHandler(placeholder)
    disabled = root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which reseeds CUDA too
            yield
    finally:
        logging.disable(disabled)
        root.removeHandler(placeholder)


def check_image_size(tower: Tower, name: str, size: tuple[int, int]) -> None:
    """Send one blank image through a model whose input size was changed.

    Raises
    ------
    BadInput
        If the model cannot take images of that size.
    """
    try:
        with torch.inference_mode():
            tower.read(torch.zeros(1, 3, *size), [tap for tap, refusal in tower.taps.items() if refusal is None])
    except Exception as error:  # each model fails in its own way
        raise size_refused(name, size[0], error) from error


def size_refused(name: str, image_size: int, why: Exception | str) -> BadInput:
    """Return the error that says that a model does not take images of a size."""
    detail = str(why).strip().split("\n")[0]
    return BadInput(
        f"{name} cannot take images of {image_size} px: {detail}",
        hint="Leave --image-size or --crop out, or take a multiple of the model's patch size or stride.",
        key=name,
        found=image_size,
    )
