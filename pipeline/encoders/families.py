"""The families of encoders that come with Cryoprobe: a table with a row, and a module, for each.

Importing this module imports no library of any family.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ...errors import BadInput
from ...files import absolute
from ..options import PixelOptions
from ..specs import Tap

if TYPE_CHECKING:
    from .base import Encoder
    from .checkpoint import CheckpointFile
    from .compute import Compute


@dataclass(frozen=True)
class ModelName:
    """One encoder that can be named.

    Parameters
    ----------
    family : str
        One of `FAMILIES`, or what an installed package announces.
    architecture : str
        The library's name of the architecture; of ``hf`` and ``onnx``, the repository, folder or file.
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
        joint = TABLE[self.family].joint if self.tag and self.family in TABLE else "."
        return f"{self.family}:{self.architecture}" + (f"{joint}{self.tag}" if self.tag else "")


@dataclass(frozen=True)
class EncoderRequest:
    """What is asked of a family, when its name and options have been checked.

    Parameters
    ----------
    name : str
        As the encoder is called; see `canonical_model`.
    architecture, tag : str, str or None
        See `ModelName`.
    taps : tuple of str
        Empty for the default.
    checkpoint : CheckpointFile or None
    pixels : PixelOptions
    seed : int or None
        Of random weights, if they are asked for.
    compute : Compute
    """

    name: str
    architecture: str
    tag: str | None
    taps: tuple[Tap, ...]
    checkpoint: CheckpointFile | None
    pixels: PixelOptions
    seed: int | None
    compute: Compute


class FamilyModule(Protocol):
    """What the module of a family has."""

    def names(self) -> Iterable[ModelName]:
        """List what can be named."""
        ...

    def check(self, named: ModelName, *, need_weights: bool) -> None:
        """Refuse a name that the library does not know, or that says no weights where they are needed."""
        ...

    def load(self, asked: EncoderRequest) -> Encoder:
        """Load what is asked for."""
        ...


@dataclass(frozen=True)
class Family:
    """A row of the table.

    Parameters
    ----------
    form : str
        How its encoders are named, for messages.
    module : str
        Where the rest is, in this package; see `FamilyModule`.
    default_taps : tuple of str
        Where its encoders are read if nothing else is said: at the first of these that a model has. Empty if that
        depends on the model.
    joint : str
        What stands between architecture and tag; empty where names have no tags.
    takes_preprocessing : bool
        Whether images may be prepared as for another model, since there may be no preprocessing of its own.
    own_taps : bool
        Whether taps are called as each model calls its outputs.
    of_files : bool
        Whether what is named may be a file or a folder, whose name in a store is its absolute path.
    """

    form: str
    module: str
    default_taps: tuple[Tap, ...] = ()
    joint: str = ""
    takes_preprocessing: bool = False
    own_taps: bool = False
    of_files: bool = False

    def home(self) -> FamilyModule:
        """Import the module."""
        found: Any = import_module(f".{self.module}", __package__)
        return cast(FamilyModule, found)


TABLE: dict[str, Family] = {
    "quickstart": Family("quickstart:efficientnet_lite0", "quickstart_encoder", ("pooled",)),
    "open_clip": Family("open_clip:ARCH/TAG", "open_clip_encoder", ("post_projection",), joint="/"),
    "timm": Family("timm:NAME.TAG", "timm_encoder", ("pooled",), joint="."),
    "hf": Family(
        "hf:OWNER/NAME or hf:FOLDER",
        "hf_encoder",
        ("post_projection", "pooled"),
        takes_preprocessing=True,
        of_files=True,
    ),
    "onnx": Family("onnx:FILE", "onnx_encoder", takes_preprocessing=True, own_taps=True, of_files=True),
}

FAMILIES = tuple(TABLE)


def parse_name(model: str) -> ModelName:
    """Split ``open_clip:ARCH/TAG``, ``timm:NAME.TAG``, ``hf:OWNER/NAME`` …; nothing is looked up.

    Raises
    ------
    BadInput
        If `model` is not of that form.
    """
    kind, colon, rest = model.partition(":")
    if colon and (family := TABLE.get(kind)) is not None:
        architecture, has_tag, tag = rest.partition(family.joint) if family.joint else (rest, "", "")
        if architecture and bool(tag) == bool(has_tag):
            return ModelName(kind, architecture, tag or None)
    raise BadInput(
        f"{model!r} does not name an encoder.",
        hint=f"Use {', '.join(family.form for family in TABLE.values())}, or MODULE:FUNCTION for one of your own; "
        "`cryoprobe models PATTERN` lists the names.",
        key=model,
    )


def default_tap(model: str) -> Tap | None:
    """Return the tap at which a model is read where none is asked for; None if its name does not tell.

    Raises
    ------
    BadInput
        If `model` does not have the form of a name.
    """
    wanted = default_taps(model)
    return wanted[0] if len(wanted) == 1 else None


def default_taps(model: str) -> tuple[Tap, ...]:
    """Return taps in their order: the first that a model has is its default. Empty if its family does not tell.

    Raises
    ------
    BadInput
        If `model` does not have the form of a name.
    """
    return TABLE[parse_name(model).family].default_taps


def canonical_model(model: str) -> str:
    """Return the one name of a model: with an absolute path where it is a file or a folder.

    Examples
    --------
    >>> canonical_model("timm:resnet10t"), canonical_model("hf:facebook/dinov2-small")
    ('timm:resnet10t', 'hf:facebook/dinov2-small')
    """
    kind, _, rest = model.partition(":")
    if rest and (family := TABLE.get(kind)) is not None and family.of_files and is_path(rest):
        return f"{kind}:{absolute(rest, model)}"
    return model


def is_path(rest: str) -> bool:
    """Say whether a name means a file or folder of this machine: by its form, or since there is one."""
    return rest.startswith((".", "/", "~")) or Path(rest).is_absolute() or Path(rest).exists()
