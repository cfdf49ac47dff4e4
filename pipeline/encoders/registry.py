"""Names of encoders: what can be named, what a name means, and loading what it names.

Beside the families of this package there are those that installed packages announce, and functions of one's own; see
`doors`.

Importing this module, and `default_tap`, import neither torch nor timm nor open_clip.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Unpack

from ...errors import BadInput, NotFound
from .. import doors
from ..joined_taps import taps_in
from ..keywords import check_names, read, takes
from ..options import PixelArguments, PixelOptions
from ..specs import TAPS, Tap
from ..tap_names import normalised
from .base import Encoder
from .checkpoint import CheckpointFile

if TYPE_CHECKING:
    from .compute import Compute

FAMILIES = ("open_clip", "timm", "quickstart")

DEFAULT_TAPS: dict[str, Tap] = {"open_clip": "post_projection", "timm": "pooled", "quickstart": "pooled"}
QUICKSTART = "efficientnet_lite0"
IMAGE_SIZES_PX = range(1, 4097)

FEW = 4
"""How many names an error message offers where none is close."""


@dataclass(frozen=True)
class ModelName:
    """One encoder that can be named.

    Parameters
    ----------
    family : str
        ``open_clip``, ``timm``, ``quickstart``, or what an installed package announces.
    architecture : str
        The library's name of the architecture.
    tag : str or None
        The library's name of published weights; None names the architecture alone.
    pretrained : bool
        Whether the name stands for published weights. Otherwise it takes a checkpoint, or random weights.
    image_size, width, parameters : int or None
        See `ModelSize`; of a name that `list_models` returned.
    """

    family: str
    architecture: str
    tag: str | None = None
    pretrained: bool = False
    image_size: int | None = field(default=None, compare=False)
    width: int | None = field(default=None, compare=False)
    parameters: int | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The name as `load_encoder` takes it."""
        joint = "/" if self.family == "open_clip" else "."
        return f"{self.family}:{self.architecture}" + (f"{joint}{self.tag}" if self.tag else "")


def parse_name(model: str) -> ModelName:
    """Split ``open_clip:ARCH/TAG``, ``timm:NAME.TAG`` or ``quickstart:NAME``; nothing is looked up.

    Raises
    ------
    BadInput
        If `model` is not of that form.
    """
    family, colon, rest = model.partition(":")
    for known in FAMILIES:
        if family == known and colon:
            joint = {"open_clip": "/", "timm": "."}.get(known)
            architecture, has_tag, tag = rest.partition(joint) if joint else (rest, "", "")
            if architecture and bool(tag) == bool(has_tag):
                return ModelName(known, architecture, tag or None)
    raise BadInput(
        f"{model!r} does not name an encoder.",
        hint="Use open_clip:ARCH/TAG, timm:NAME.TAG, quickstart:efficientnet_lite0, or MODULE:FUNCTION for one of your "
        "own; `cryoprobe models PATTERN` lists the names.",
        key=model,
    )


def default_tap(model: str) -> Tap:
    """Return the tap at which a model is read where none is asked for.

    Raises
    ------
    BadInput
        If `model` does not have the form of a name.
    """
    return DEFAULT_TAPS[parse_name(model).family]


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
        ``open_clip:ARCH/TAG``, ``timm:NAME[.TAG]`` or ``quickstart:efficientnet_lite0``; ``KIND:REST`` of an installed
        package, or ``MODULE:FUNCTION``, a function of your own that returns an encoder.
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
        ``background``; see `PixelOptions`.

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
    if model.partition(":")[0] not in FAMILIES and (make := doors.opener(model, doors.ENCODERS)) is not None:
        options: dict[str, object] = {
            "checkpoint": checkpoint,
            "checkpoint-key": checkpoint_key,
            "untrained": untrained,
        }
        options |= {name.replace("_", "-"): value for name, value in asked_pixels.pixels.items()}
        options |= {"device": device != "auto", "seed": seed, "precision": precision != "fp32"}
        return _own(model, make(), taps, options)
    named = _parsed(model)
    asked = _check_taps(taps)
    for size in (asked_pixels.side, asked_pixels.resize):
        if size is not None and size not in IMAGE_SIZES_PX:
            raise BadInput(
                f"An image size of {size} px is out of bounds.",
                hint=f"Take {IMAGE_SIZES_PX.start} to {IMAGE_SIZES_PX.stop - 1}.",
                found=size,
            )
    if untrained and checkpoint is not None:
        raise BadInput("An untrained encoder takes no checkpoint.", hint="Give --checkpoint or --untrained.", key=model)
    if checkpoint_key is not None and checkpoint is None:
        raise BadInput(
            f"--checkpoint-key {checkpoint_key} says where in a checkpoint the weights are, and there is none.",
            hint="Give --checkpoint FILE too.",
            key="checkpoint-key",
        )
    if untrained and (named.tag or named.family == "quickstart"):
        bare = "timm:tf_efficientnet_lite0" if named.family == "quickstart" else ModelName(*_bare(named)).name
        raise BadInput(
            f"{model} names trained weights, and --untrained asks for random ones.",
            hint=f"Name the architecture alone: {bare} --untrained",
            key=model,
        )
    from .compute import Compute

    compute = Compute.on(device, precision)
    if named.family == "quickstart":
        return _load_quickstart(named, asked, checkpoint, asked_pixels, compute)
    load = _resolve(named, need_weights=checkpoint is None and not untrained)
    return load(
        model,
        named.architecture,
        named.tag,
        taps=asked,
        checkpoint=None if checkpoint is None else CheckpointFile(Path(checkpoint), checkpoint_key),
        pixels=asked_pixels,
        seed=seed if untrained else None,
        compute=compute,
    )


def list_models(pattern: str | None = None) -> list[ModelName]:
    """List the encoders that can be named, those without published weights included.

    Parameters
    ----------
    pattern : str, optional
        A shell wildcard for the whole name, with or without ``family:``; or a part of it, where it has no wildcard.
        Case does not matter.
    """
    from .model_list import kept

    names = kept(_in_libraries)
    names += [ModelName(kind, "…", None, True) for kind in sorted(doors.announced(doors.ENCODERS))]
    return [named for named in names if pattern is None or _matches(named.name, pattern)]


def _in_libraries() -> list[ModelName]:
    """Ask the libraries for what can be named, and what is known of each."""
    import open_clip
    import timm

    from .model_list import open_clip_size, timm_size, timm_sizes

    sizes = timm_sizes()
    small = timm_size("tf_efficientnet_lite0", sizes)
    names = [ModelName("quickstart", QUICKSTART, None, True, *astuple(small))]
    published: list[tuple[str, str]] = open_clip.list_pretrained()
    bare = sorted(set(open_clip.list_models()) - {architecture for architecture, _ in published})
    for architecture, tag in [*published, *((architecture, None) for architecture in bare)]:
        names.append(ModelName("open_clip", architecture, tag, tag is not None, *astuple(open_clip_size(architecture))))
    tagged = timm.list_pretrained()
    bare = sorted(set(timm.list_models()) - {name.partition(".")[0] for name in tagged})
    for name, pretrained in [*((name, True) for name in tagged), *((name, False) for name in bare)]:
        architecture, _, tag = name.partition(".")
        names.append(ModelName("timm", architecture, tag or None, pretrained, *astuple(timm_size(name, sizes))))
    return names


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


def _bare(named: ModelName) -> tuple[str, str]:
    return named.family, named.architecture


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


def _load_quickstart(
    named: ModelName, taps: tuple[Tap, ...], checkpoint: Path | None, pixels: PixelOptions, compute: Compute
) -> Encoder:
    from ..encoders import efficientnet_lite0

    if named.architecture != QUICKSTART:
        _unknown(named.name, named.architecture, [QUICKSTART], "quickstart:")
    if checkpoint is not None:
        raise BadInput(
            f"{named.name} brings its own weights.",
            hint=f"For a checkpoint, name the architecture: timm:{efficientnet_lite0.ARCHITECTURE}",
            key=named.name,
        )
    return efficientnet_lite0.load(taps=taps, pixels=pixels, compute=compute)


def _resolve(named: ModelName, *, need_weights: bool) -> Callable[..., Encoder]:
    """Check a name against its library and return the function that loads it."""
    return (
        _resolve_open_clip(named, need_weights) if named.family == "open_clip" else _resolve_timm(named, need_weights)
    )


def _resolve_open_clip(named: ModelName, need_weights: bool) -> Callable[..., Encoder]:
    import open_clip

    from ..encoders import open_clip_encoder

    architectures: list[str] = open_clip.list_models()
    if named.architecture not in architectures:
        _unknown(named.name, named.architecture, architectures, "open_clip:")
    tags: list[str] = open_clip.list_pretrained_tags_by_model(named.architecture)
    if named.tag and not open_clip.is_pretrained_cfg(named.architecture, named.tag):
        _unknown(named.name, named.tag, tags, f"open_clip:{named.architecture}/")
    if need_weights and not named.tag:
        _no_weights(named, "/", tags)
    return open_clip_encoder.load


def _resolve_timm(named: ModelName, need_weights: bool) -> Callable[..., Encoder]:
    import timm

    from ..encoders import timm_encoder

    if not timm.is_model(named.architecture):
        _unknown(named.name, named.architecture, timm.list_models(), "timm:")
    full_name = named.name.removeprefix("timm:")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{named.architecture}.*")]
    try:
        config = timm.get_pretrained_cfg(full_name)
    except RuntimeError:  # how timm says that it does not know the tag
        config = None
    if named.tag and config is None:
        _unknown(named.name, named.tag, tags, f"timm:{named.architecture}.")
    if need_weights and (config is None or not config.has_weights):
        _no_weights(named, ".", tags)
    return timm_encoder.load


def _unknown(name: str, part: str, known: Sequence[str], prefix: str) -> NoReturn:
    from .near_names import known_elsewhere

    if (ours := known_elsewhere(name)) is not None and ours != name:
        near, prefix = [ours], ""
    else:
        near = difflib.get_close_matches(part, known, n=4, cutoff=0.5) or [*(known if len(known) <= FEW else ())]
    meant = f"Did you mean {' or '.join(prefix + match for match in near)}? " if near else ""
    raise NotFound(f"There is no encoder {name}.", hint=f"{meant}`cryoprobe models PATTERN` lists the names.", key=name)


def _no_weights(named: ModelName, joint: str, tags: Sequence[str]) -> NoReturn:
    bare = f"{named.family}:{named.architecture}"
    choice = f"Name them as {bare}{joint}TAG ({', '.join(tags)}); or" if tags else "There are none published for it;"
    raise BadInput(
        f"{named.name} says which architecture, not which weights.",
        hint=f"{choice} pass --checkpoint FILE, or --untrained --seed 0 for random ones.",
        key=named.name,
    )
