"""An encoder of one's own: any torch module or function, and what turns an image into its input.

Its identity has the weights, and all that module and preprocessing hold and refer to. A `version` stands for the code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from PIL import Image

from ...canonical import digest
from ...errors import BadInput, CryoprobeError
from ..specs import EncoderSpec, Preprocessing, StoredDtype, Tap
from .anatomy import Anatomy
from .compute import choose_device, products
from .described import describe, modules_in, qualified
from .module_taps import tapped
from .registry import FAMILIES
from .weights import check_values

if TYPE_CHECKING:
    from .frozen import Tower

Module: TypeAlias = "torch.nn.Module | Callable[[torch.Tensor], torch.Tensor]"

TAP = "embedding"
"""What the tap of an own encoder is called that is what its module returns."""

_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}


class Encoder:
    """A frozen encoder made of a module or function of your own.

    Parameters
    ----------
    module : torch.nn.Module or callable
        Maps images [n, …], as `preprocess` gives them, to embeddings [n, d]. Modules, also those that a function is a
        method of or refers to, are put into evaluation mode and moved to the device, and their parameters frozen;
        batches have the type of the parameters.
    preprocess : callable
        Maps a PIL image to a tensor of a fixed shape, such as float32 [3, h, w]. Called from several threads at once.
    name : str
        What people call it, and `probe` finds it by; not part of its identity. Not a name of open_clip's or timm's.
    version : str
        Stands for the code of `module` and `preprocess`: raise it when that changes what comes out, or features that
        were made by the old code are taken for those of the new. What both hold (weights, buffers, settings, values
        that functions refer to) is part of the identity by itself.
    device : str
        ``auto`` (CUDA, else MPS, else CPU) or a torch device.
    taps : sequence of str
        Where to read it, all in one pass: ``embedding``, what the module returns, and parts of a torch module by their
        names or patterns, such as ``layer4`` or ``blocks.*``. Vectors [n, d] and maps [n, c, h, w] can be read. A
        sequence of tokens cannot: a module does not say which of them are of patches.

    Raises
    ------
    BadInput
        If an argument is of another kind, or the weights hold NaN, are not there yet, or cannot be told; or if a tap
        cannot be read.

    Examples
    --------
    >>> import torch, torchvision
    >>> encoder = Encoder(
    ...     torch.nn.Flatten(), torchvision.transforms.ToTensor(), name="lab:pixels", version="1"
    ... )
    >>> encoder.encode(torch.zeros(2, 3, 8, 8))["embedding"].shape
    torch.Size([2, 192])
    """

    untrained = False
    seed: int | None = None
    checkpoint_sha256: str | None = None

    def __init__(
        self,
        module: Module,
        preprocess: Callable[[Image.Image], torch.Tensor],
        *,
        name: str,
        version: str,
        device: str = "auto",
        taps: Sequence[str] = (TAP,),
    ) -> None:
        for what, value in (("module", module), ("preprocess", preprocess)):
            if not callable(value) or isinstance(value, type):
                raise BadInput(f"{what} is a {type(value).__name__}, which cannot be called.", key=what)
        self.name = _checked_name(name)
        if not isinstance(version, str) or not version:
            raise BadInput(f"version is a text, such as '1.0', not {version!r}.", key="version")
        self.device = choose_device(device)
        self._module, self._preprocess, self._version = module, preprocess, version
        self._modules = list(modules_in(module))
        self._dtype = _freeze(self._modules, self.device, name)
        self._state = self._seen()
        self._spec = self._made()
        self._tower, self.taps, self._notes = self._tapped(taps)

    def __repr__(self) -> str:
        """Return the name, the identity and the device."""
        return f"Encoder({self.name!r}, id {self.spec(self.taps[0]).id[:12]}, on {self.device})"

    def notes(self) -> Sequence[str]:
        """Return how its modules are read, a line each."""
        return self._notes

    def spec(self, tap: Tap, stored_dtype: StoredDtype = "float16") -> EncoderSpec:
        """Return the identity of this encoder; another one once its weights have been changed."""
        if (seen := self._seen()) != self._state:
            self._state, self._spec = seen, self._made()
        return self._spec.model_copy(update={"tap": tap, "stored_dtype": stored_dtype})

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Turn an image as PIL opened it into a tensor.

        Raises
        ------
        BadInput
            If the preprocessing returns anything else.
        """
        found = self._preprocess(image)
        if not isinstance(found, torch.Tensor):
            raise BadInput(
                f"The preprocessing of {self.name} returns a {type(found).__name__}, and no tensor.",
                hint="Return a tensor, such as float32 [3, h, w].",
                key=self.name,
            )
        return found

    def encode(self, batch: torch.Tensor) -> Mapping[Tap, torch.Tensor]:
        """Encode a batch [n, …]; return float32 CPU tensors [n, d], not normalised.

        Raises
        ------
        BadInput
            If the module fails, or returns anything else.
        """
        with torch.inference_mode(), products("ieee"), torch.autocast(self.device.type, enabled=False):
            try:
                found = self._tower.read(batch.to(device=self.device, dtype=self._dtype), self.taps)
            except (torch.OutOfMemoryError, CryoprobeError):
                raise
            except Exception as error:  # a stranger's code
                raise BadInput(
                    f"{self.name} fails on a batch {list(batch.shape)}: {type(error).__name__}: {_line(error)}",
                    hint="Does the preprocessing give what the module takes?",
                    key=self.name,
                ) from error
            features = {tap: _rows(found[tap], len(batch), self.name) for tap in self.taps}
        # Cloned outside of inference mode, so that callers may normalise in place.
        return {tap: rows.clone(memory_format=torch.contiguous_format) for tap, rows in features.items()}

    def _tapped(self, asked: Sequence[str]) -> tuple[Tower, tuple[Tap, ...], Sequence[str]]:
        """Return what reads the asked taps, their names, and what is to be said of them."""
        if isinstance(asked, str) or not asked:
            raise BadInput(f"taps is a list of names, such as [{TAP!r}, 'layer4'], not {asked!r}.", key="taps")
        tower = _OwnTower(self._module)
        if list(asked) == [TAP]:
            return tower, (TAP,), ()
        if not isinstance(self._module, torch.nn.Module):
            raise BadInput(
                f"{self.name} is a function, whose parts have no names: it has the tap {TAP} alone.",
                hint="Give the torch module itself.",
                key="taps",
            )
        shape = tuple(self.preprocess(Image.new("RGB", (256, 256))).shape)
        if len(shape) != 3 or shape[0] != 3:
            raise BadInput(
                f"The preprocessing of {self.name} gives {list(shape)}, and modules are read of images [3, h, w].",
                hint=f"Leave taps out, for {TAP} alone.",
                key="taps",
            )
        return tapped(tower, asked, TAP, self.name, shape[1:])

    def _seen(self) -> list[tuple[int, int]]:
        """Return what changes when a weight does: where each lies, and how often it was written."""
        tensors = [t for m in self._modules for t in (*m.parameters(), *m.buffers())]
        return [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]

    def _made(self) -> EncoderSpec:
        held: dict[str, Any] = {"library": "own", "name": qualified(self._preprocess), "version": self._version}
        return EncoderSpec(
            family="own",
            architecture=qualified(self._module),
            weights=digest(describe(self._module)),
            preprocessing=Preprocessing.model_validate({**held, "settings": digest(describe(self._preprocess))}),
            tap=TAP,
            precision=_PRECISIONS.get(self._dtype, str(self._dtype).removeprefix("torch.")),
        )


class _OwnTower:
    """A module or function of somebody's own, as a tower; see `frozen.Tower`."""

    def __init__(self, module: Module) -> None:
        self.module: Any = module
        self.taps: Mapping[Tap, str | None] = {TAP: None}
        self.anatomy = Anatomy(channels_last=None)

    def read(self, x: torch.Tensor, taps: Collection[Tap]) -> dict[Tap, torch.Tensor]:
        """Run the module once."""
        return {TAP: self.module(x)}


def _rows(found: object, n: int, name: str) -> torch.Tensor:
    """Return what a module gave for `n` images as float32 [n, d] on the CPU."""
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != n:
        got = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
        raise BadInput(
            f"{name} returns {got} for {n} images.",
            hint="Return a tensor [n, d]: one embedding an image. Take one of several outputs, or pool it.",
            key=name,
        )
    if found.is_complex():
        raise BadInput(f"{name} returns complex numbers.", hint="Return real ones.", key=name)
    dense = found.to_dense() if found.layout != torch.strided else found
    return dense.to(device="cpu", dtype=torch.float32)


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise BadInput(
            f"{name!r} cannot be the name of an encoder.", hint="Give it one, such as lab:birdnet.", key="name"
        )
    if (family := name.partition(":")[0]) in FAMILIES:
        raise BadInput(
            f"{name} would be taken for one of {family}'s encoders.",
            hint="Give it another name, such as lab:birdnet.",
            key="name",
        )
    return name


def _freeze(modules: list[torch.nn.Module], device: torch.device, name: str) -> torch.dtype:
    """Freeze modules and move them to the device; return the type of their parameters."""
    found = set()
    for module in modules:
        state = module.state_dict()
        if opaque := [key for key, value in state.items() if not isinstance(value, torch.Tensor)]:
            raise BadInput(
                f"{name} holds {opaque[0]}, whose content cannot be told, as of a quantised module.",
                hint="Wrap the module as it was before it was quantised.",
                key=name,
            )
        lazy = [key for key, value in state.items() if torch.nn.parameter.is_lazy(value) or value.is_meta]
        if lazy:
            raise BadInput(f"{name} has no weights yet: {lazy[0]}.", hint="Load them, or call it once.", key=name)
        check_values(state, name)
        module.eval().to(device)
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        found |= {p.dtype for p in module.parameters() if p.is_floating_point()}
    return found.pop() if len(found) == 1 else torch.float32


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:200]
