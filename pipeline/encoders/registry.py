"""Names of encoders: what can be named, what a name means, and loading what it names.

Beside the families of this package there are those that installed packages announce, and functions of one's own; see
`doors`.

Importing this module, and `default_tap`, import neither torch nor any library of a family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Unpack

from ...errors import BadInput
from .. import doors
from ..joined_taps import taps_in
from ..keywords import check_names, read, takes
from ..options import PixelArguments, PixelOptions
from ..specs import TAPS, Tap
from ..tap_names import normalised
from .base import Encoder
from .checkpoint import CheckpointFile
from .families import FAMILIES, TABLE, EncoderRequest, ModelName, canonical_model, default_tap, default_taps, parse_name
from .model_list import ModelSize, kept, open_clip_size, timm_size, timm_sizes

__all__ = [
    "FAMILIES",
    "ModelName",
    "as_encoder",
    "canonical_model",
    "default_tap",
    "default_taps",
    "list_models",
    "load_encoder",
    "parse_name",
]

IMAGE_SIZES_PX = range(1, 4097)


@takes(PixelArguments, PixelOptions)
def load_encoder(
    model: str,
    *,
    taps: Sequence[str] = (),
    checkpoint: Path | None = None,
    checkpoint_key: str | None = None,
    precision: str = "fp32",
    untrained: bool = False,
    seed: int = 0,
    device: str = "auto",
    **pixels: Unpack[PixelArguments],
) -> Encoder:
    """Load a frozen encoder with its library's preprocessing.

    Parameters
    ----------
    model : str
        ``open_clip:ARCH/TAG``, ``timm:NAME[.TAG]``, ``hf:OWNER/NAME``, ``hf:FOLDER``, ``onnx:FILE`` or
        ``quickstart:efficientnet_lite0``; ``KIND:REST`` of an installed package, or ``MODULE:FUNCTION``, a function of
        your own that returns an encoder.
    taps : sequence of str
        Where to read; all in one forward pass. Empty means `default_tap`.
    checkpoint : Path, optional
        A ``.safetensors``, ``.pt``, ``.pth``, ``.ckpt`` or ``.bin`` file to take the weights from. A tag then only says
        which preprocessing belongs to them.
    checkpoint_key : str, optional
        What leads to the weights in that file, such as ``model_ema`` or ``teacher.backbone``, if several fit.
    precision : str
        Arithmetic of the forward pass: ``fp32`` (IEEE), ``tf32``, ``bf16`` or ``fp16``; see `Compute`. Part of the
        identity.
    untrained : bool
        Take random weights, drawn from `seed`; the same seed gives the same encoder id.
    seed : int
        Of the random weights.
    device : str
        ``auto`` (CUDA, else MPS, else CPU) or a torch device.
    **pixels
        Preprocessing that is not to be the library's own: ``image_size``, ``resize``, ``crop``, ``interpolation``,
        ``background``, ``fast_decode``, ``decoder``, ``preprocess``; see `PixelOptions`.

    Raises
    ------
    BadInput
        If the arguments contradict each other, the model lacks a tap or refuses the size, or the checkpoint cannot be
        read safely or does not fit.
    NotFound
        If the model, the checkpoint file or the published weights are not there.
    """
    check_names("load_encoder", pixels, PixelOptions)
    asked_pixels = read(PixelOptions, pixels)
    kind = model.partition(":")[0]
    if kind in FAMILIES:
        doors.warn_if_taken(kind, doors.ENCODERS)
    elif (make := doors.opener(model, doors.ENCODERS)) is not None:
        options: dict[str, object] = {
            "checkpoint": checkpoint,
            "checkpoint-key": checkpoint_key,
            "untrained": untrained,
        }
        options |= {name.replace("_", "-"): value for name, value in asked_pixels.pixels.items()}
        options |= {"device": device != "auto", "seed": seed, "precision": precision != "fp32"}
        return _own(model, make(), taps, options)
    named = _parsed(model)
    asked = tuple(taps) if TABLE[named.family].own_taps else _check_taps(taps)
    for size in (asked_pixels.side, asked_pixels.resize):
        if size is not None and size not in IMAGE_SIZES_PX:
            raise BadInput(
                f"An image size of {size} px is out of bounds.",
                hint=f"Take {IMAGE_SIZES_PX.start} to {IMAGE_SIZES_PX.stop - 1}.",
                found=size,
            )
    if asked_pixels.preprocess is not None and not TABLE[named.family].takes_preprocessing:
        raise BadInput(
            f"{model} has the preprocessing that {named.family} prescribes for it, and takes no --preprocess.",
            hint="Change what is to be changed: --image-size, --resize and --crop, --interpolation, --background.",
            key="preprocess",
        )
    if untrained and checkpoint is not None:
        raise BadInput("An untrained encoder takes no checkpoint.", hint="Give --checkpoint or --untrained.", key=model)
    if checkpoint_key is not None and checkpoint is None:
        raise BadInput(
            f"--checkpoint-key {checkpoint_key} says where in a checkpoint the weights are, and there is none.",
            hint="Give --checkpoint FILE too.",
            key="checkpoint-key",
        )
    if untrained and named.tag:
        raise BadInput(
            f"{model} names trained weights, and --untrained asks for random ones.",
            hint=f"Name the architecture alone: {named.family}:{named.architecture} --untrained",
            key=model,
        )
    from ..datasets.jpeg_decoders import check_decoder
    from .compute import Compute

    compute = Compute.on(device, precision)
    check_decoder(asked_pixels.decoder, compute.device)
    family = TABLE[named.family].home()
    family.check(named, need_weights=checkpoint is None and not untrained)
    return family.load(
        EncoderRequest(
            name=canonical_model(model),
            architecture=named.architecture,
            tag=named.tag,
            taps=asked,
            checkpoint=None if checkpoint is None else CheckpointFile(Path(checkpoint), checkpoint_key),
            pixels=asked_pixels,
            seed=seed if untrained else None,
            compute=compute,
        )
    )


def list_models(pattern: str | None = None) -> list[ModelName]:
    """List the encoders that can be named, those without published weights included.

    Parameters
    ----------
    pattern : str, optional
        A shell wildcard for the whole name, with or without ``family:``; or a part of it, where it has no wildcard.
        Case does not matter.
    """
    names = kept(_in_libraries)
    names += [ModelName(kind, "…", None, True) for kind in sorted(doors.announced(doors.ENCODERS))]
    return [named for named in names if pattern is None or _matches(named.name, pattern)]


def _in_libraries() -> list[ModelName]:
    """Ask the libraries for what can be named, and what is known of each."""
    sizes = timm_sizes()
    size_of: dict[str, Callable[[ModelName], ModelSize]] = {
        "timm": lambda named: timm_size(named.name.removeprefix("timm:"), sizes),
        "open_clip": lambda named: open_clip_size(named.architecture),
        "quickstart": lambda _: timm_size("tf_efficientnet_lite0", sizes),
    }
    names = [named for family in TABLE.values() for named in family.home().names()]
    return [
        replace(named, **asdict(size_of[named.family](named))) if named.family in size_of else named for named in names
    ]


def _own(model: str, made: object, taps: Sequence[str], options: Mapping[str, object]) -> Encoder:
    """Return an encoder of somebody's own; refuse options that have no effect on it."""
    encoder = as_encoder(made, model)
    if given := [option for option, value in options.items() if value]:
        raise BadInput(
            f"{model} makes its encoder by itself: --{given[0]} has no effect on it.",
            hint="Leave it out, and set it in the code that the name stands for.",
            key=given[0],
        )
    if missing := [tap for tap in taps if tap not in encoder.taps]:
        have = ", ".join(encoder.taps)
        raise BadInput(f"{model} has no tap {missing[0]}.", hint=f"It has: {have}", key=missing[0], expected=have)
    return encoder


def as_encoder(made: object, name: str = "model") -> Encoder:
    """Return an encoder; refuse, with what to do, what is none.

    Raises
    ------
    BadInput
    """
    if isinstance(made, Encoder) and not isinstance(made, type):
        return made
    raise BadInput(
        f"{name} is a {type(made).__name__}, and no encoder.",
        hint="Wrap a module or function: cryoprobe.Encoder(module, preprocess, name=…, version=…); or name one of the "
        "libraries', such as timm:vit_small_patch14_dinov2.",
        key=name,
    )


def _parsed(model: str) -> ModelName:
    """Split a name that is to be loaded; where it has no form of a name, say what may be meant by it."""
    try:
        return parse_name(model)
    except BadInput as error:
        from .near_names import near_names

        if near := near_names(model):
            meant = f"Did you mean {' or '.join(near)}? `cryoprobe models PATTERN` lists the names."
            raise BadInput(error.message, hint=meant, key=model) from None
        raise


def _matches(name: str, pattern: str) -> bool:
    name, pattern = name.lower(), pattern.lower()
    if not any(sign in pattern for sign in "*?["):
        return pattern in name
    return fnmatchcase(name, pattern) or fnmatchcase(name.partition(":")[2], pattern)


def _check_taps(taps: Sequence[str]) -> tuple[Tap, ...]:
    for tap in taps:
        if len(parts := taps_in(tap)) > 1:
            raise BadInput(
                f"There is no tap {tap!r}.",
                hint=f"Extract each, with a comma between them: --tap {','.join(parts)}. `probe` reads {tap} as one.",
                key=tap,
            )
        if not tap:
            raise BadInput("A tap has no name.", hint=f"Taps: {', '.join(TAPS)}; or a module of the model.", key=tap)
    asked = tuple(normalised(tap) for tap in taps)
    if len(set(asked)) != len(asked):
        raise BadInput(f"A tap is given twice: {', '.join(taps)}.", hint="Give each tap once.", key=taps[0])
    return asked
