"""`check_encoder`: a report card of one encoder: is it what its library computes, what does it give, how fast is it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadInput
from ..keywords import read
from ..options import PixelOptions
from ..specs import Preprocessing, Tap
from .families import TABLE, parse_name

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from .base import Encoder
    from .references import Reference

TOLERANCE = 1e-4
"""Largest difference of outputs, relative to the largest output: the memory layout of convolutions moves it by 1e-6."""


@dataclass(frozen=True)
class EncoderReport:
    """What `check_encoder` found.

    Parameters
    ----------
    model, architecture, encoder : str
        The name, the library's name of the architecture, and the id of the encoder at its default tap.
    untrained : bool
    parameters : int
        Of the encoder as it is used, without a classifier or a text tower; of a graph, all numbers that it holds.
    image_size : (int, int)
    preprocessing : str
        In words.
    taps : dict of str to int
        Width of every tap that has a name.
    no_taps : dict of str to str
        Why the model does not have the others of its family.
    modules : int
        Further modules that can be read by their names.
    module : str
        One of them; empty if there are none.
    compared_with : str
        The library's own call.
    images : list of str
        What was compared on.
    pixels_differ : float
        Largest difference of what enters the model.
    outputs_differ : float
        Largest difference at the tap that is compared, relative to its largest value.
    agrees : bool
        Whether the first is 0 and the second at most `TOLERANCE`.
    images_per_second : dict of str to float
        Of the forward pass on `device`, by precision; empty if it was not asked for.
    gflops : float or None
        Of one image, a multiplication and an addition counting as two; None of a graph, too.
    device : str
    """

    model: str
    architecture: str
    encoder: str
    untrained: bool
    parameters: int
    image_size: tuple[int, int]
    preprocessing: str
    taps: dict[Tap, int]
    no_taps: dict[Tap, str]
    modules: int
    module: str
    compared_with: str
    images: list[str]
    pixels_differ: float
    outputs_differ: float
    agrees: bool
    device: str
    images_per_second: dict[str, float] = field(default_factory=dict)
    gflops: float | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What a person reads: a word and what is to be said of it."""
        verdict = "equals the library's own call" if self.agrees else "DIFFERS from the library's own call"
        apart = f"{self.outputs_differ:.2g}"
        pixels = "the same" if self.pixels_differ == 0 else f"different by up to {self.pixels_differ:.2g}"
        speed = ", ".join(f"{rate:,.3g} ({precision})" for precision, rate in self.images_per_second.items())
        said = {
            "model": f"{self.model}{' (random weights)' if self.untrained else ''}, encoder {self.encoder[:12]}",
            "output": f"{verdict}: largest difference {apart}, relative to the largest value",
            "pixels": f"{pixels}, on {len(self.images)} images: {'; '.join(self.images)}",
            "library": self.compared_with,
            "preprocessing": self.preprocessing,
            "taps": ", ".join(f"{tap} ({width:,})" for tap, width in self.taps.items()),
            "no taps": "; ".join(f"{tap}: {why}" for tap, why in self.no_taps.items()),
            "modules": f"{self.modules:,} more can be read by name, such as --tap {self.module}" if self.module else "",
            "parameters": f"{self.parameters:,}",
            "GFLOP an image": "" if self.gflops is None else f"{self.gflops:,.3g}",
            "images a second": f"{speed} on {self.device}" if speed else "",
        }
        return [(name, text) for name, text in said.items() if text]


def check_encoder(
    model: str,
    *,
    tap: str | None = None,
    preprocess: str | None = None,
    untrained: bool = False,
    seed: int = 0,
    device: str = "auto",
    speed: bool = True,
) -> EncoderReport:
    """Compare an encoder with its library's own call, on a few odd images, and say what it is.

    Parameters
    ----------
    model : str
        As for `load_encoder`, of a family that comes with Cryoprobe.
    tap : str, optional
        Where an ``onnx:`` graph of several outputs is compared. Other models are compared at their default tap.
    preprocess : str, optional
        Of ``hf:`` and ``onnx:``; see `PixelOptions`.
    untrained, seed : bool, int
        Random weights, where the real ones cannot be had: wrapper and preprocessing are compared all the same.
    device : str
        For the timings; it is compared on the CPU.
    speed : bool
        Whether to time the forward pass, some seconds.

    Returns
    -------
    EncoderReport

    Raises
    ------
    BadInput, NotFound
        As `load_encoder`; or if there is nothing to compare the encoder with.
    """
    from .facts import facts_of, gflops, rates
    from .frozen import FrozenEncoder, building
    from .onnx_encoder import OnnxEncoder
    from .references import REFERENCES
    from .registry import load_encoder

    family = model.partition(":")[0]
    if tap is not None and family in TABLE and not TABLE[family].own_taps:
        raise BadInput(
            f"{model} is compared at its default tap.",
            hint="Leave --tap out: it is for graphs of several outputs (onnx:).",
            key="tap",
        )
    asked = read(PixelOptions, {"preprocess": preprocess}).preprocess
    taps = () if tap is None else (tap,)
    load = partial(load_encoder, model, taps=taps, untrained=untrained, seed=seed, preprocess=asked)
    encoder = load(device="cpu")
    if family not in REFERENCES or not isinstance(encoder, FrozenEncoder | OnnxEncoder):
        raise BadInput(
            f"There is nothing to compare {model} with: it is not of {', '.join(REFERENCES)}.",
            hint="An encoder of your own is tested by cryoprobe.testing.EncoderSuite.",
            key=model,
        )
    spec = encoder.spec(encoder.taps[0])
    size = spec.preprocessing.image_size or (224, 224)
    state = None
    if isinstance(encoder, FrozenEncoder) and (untrained or family == "quickstart"):
        state = encoder._tower.module.state_dict()
    with building():  # libraries tell of random weights
        reference = REFERENCES[family](parse_name(model), spec, state, asked)
    pixels, outputs = compare(encoder, reference)
    facts = facts_of(encoder, size)
    flops, speeds = None, dict[str, float]()
    if speed:
        if isinstance(encoder, FrozenEncoder):
            flops = gflops(encoder, size)
        else:
            encoder = load(device=device)
        speeds, device = rates(encoder, size, device)
    return EncoderReport(
        model=model,
        architecture=spec.architecture,
        encoder=spec.id,
        untrained=untrained,
        image_size=size,
        preprocessing=described(spec.preprocessing),
        **facts._asdict(),
        compared_with=reference.call,
        images=list(odd_images()),
        pixels_differ=pixels,
        outputs_differ=outputs,
        agrees=pixels == 0 and outputs <= TOLERANCE,
        device=device,
        images_per_second=speeds,
        gflops=flops,
    )


def compare(encoder: Encoder, reference: Reference) -> tuple[float, float]:
    """Return how far pixels are apart, and outputs at the first tap, relative to the largest: infinite if in shape."""
    import torch

    pictures = odd_images().values()
    with torch.inference_mode():
        ours = torch.stack([encoder.preprocess(image) for image in pictures])
        theirs = torch.stack([reference.preprocess(image) for image in pictures])
        found, expected = encoder.encode(ours)[encoder.taps[0]], reference.encode(theirs)
    return _apart(ours, theirs), _apart(found, expected) / (float(expected.abs().max()) or 1.0)


def odd_images() -> dict[str, Image.Image]:
    """Return images that preprocessing may treat in several ways, by what is odd about them."""
    from PIL import Image

    rng = np.random.default_rng(0)

    def noise(width: int, height: int, channels: int) -> Image.Image:
        return Image.fromarray(rng.integers(0, 256, (height, width, channels), dtype=np.uint8))

    return {
        "small and wide, 90 x 61": noise(90, 61, 3),
        "large and tall, 333 x 641": noise(333, 641, 3),
        "greyscale": noise(80, 80, 3).convert("L"),
        "transparent": noise(64, 100, 4),
        "palette": noise(100, 64, 3).convert("P"),
    }


def described(preprocessing: Preprocessing) -> str:
    """Return preprocessing in words.

    Examples
    --------
    >>> described(Preprocessing(library="timm", image_size=(224, 224), resize_mode="center", crop_fraction=0.875))
    'resize to 256 (center), crop 224 x 224'
    """
    p, words = preprocessing, []
    if p.image_size is not None:
        height, width = p.image_size
        to = round(min(height, width) / (p.crop_fraction or 1))
        words.append(f"resize to {to} ({', '.join(w for w in (p.resize_mode, p.interpolation) if w)})")
        words.append(f"crop {height} x {width}")
    if p.color_mode:
        words.append(p.color_mode)
    if p.mean is not None and p.std is not None:
        mean, std = (" ".join(f"{value:.3g}" for value in values) for values in (p.mean, p.std))
        words.append(f"mean {mean}, std {std}")
    return ", ".join(words) or f"that of {p.library}"


def _apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")
