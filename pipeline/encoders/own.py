"""An encoder of one's own: any torch module or function, and what turns an image into its input.

Its identity has what fixes its numbers, as far as it can be seen: the weights, the structure of the module with the
settings that its parts keep, and the code of the module and of the preprocessing with all that they import. A `version`
stands for the code, for whoever says themselves when it has changed.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from ...canonical import digest
from ...errors import BadInput
from ..own_code import code_of_modules
from ..specs import EncoderSpec, Preprocessing, StoredDtype, Tap
from .frozen import choose_device, full_fp32
from .registry import FAMILIES
from .weights import check_values, weights_digest

if TYPE_CHECKING:
    from PIL import Image

Module: TypeAlias = "torch.nn.Module | Callable[[torch.Tensor], torch.Tensor]"

TAP = "embedding"
"""What the one tap of an own encoder is called."""

_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float64: "fp64"}


class Encoder:
    """A frozen encoder made of a module or function of your own.

    Parameters
    ----------
    module : torch.nn.Module or callable
        Maps images [n, …], as `preprocess` gives them, to embeddings [n, d]. A module is put into evaluation mode,
        moved to the device, and its parameters frozen; batches have the type of its parameters.
    preprocess : callable
        Maps a PIL image to a tensor of a fixed shape, such as float32 [3, h, w]. Called from several threads at once.
    name : str
        What people call it, and `probe` finds it by; not part of its identity. Not a name of open_clip's or timm's.
    version : str, optional
        Stands for the code of `module` and `preprocess`: raise it when that changes what comes out. By default their
        sources are part of the identity, with all that they import: any edit makes another encoder.
    device : str
        ``auto`` (CUDA, else MPS, else CPU) or a torch device.

    Raises
    ------
    BadInput
        If an argument is of another kind, the weights hold NaN, or the code cannot be seen and `version` is not given.

    Examples
    --------
    >>> import torch, torchvision
    >>> encoder = Encoder(
    ...     torch.nn.Flatten(), torchvision.transforms.ToTensor(), name="lab:pixels", version="1"
    ... )
    >>> encoder.encode(torch.zeros(2, 3, 8, 8))["embedding"].shape
    torch.Size([2, 192])
    """

    taps: tuple[Tap, ...] = (TAP,)
    untrained = False
    seed: int | None = None
    checkpoint_sha256: str | None = None

    def __init__(
        self,
        module: Module,
        preprocess: Callable[[Image.Image], torch.Tensor],
        *,
        name: str,
        version: str | None = None,
        device: str = "auto",
    ) -> None:
        for what, value in (("module", module), ("preprocess", preprocess)):
            if not callable(value):
                raise BadInput(f"{what} is a {type(value).__name__}, which cannot be called.", key=what)
        self.name = _checked_name(name)
        self.device = choose_device(device)
        self.preprocess = preprocess
        self._module = module
        if version is not None and not (isinstance(version, str) and version):
            raise BadInput(f"version is a text, such as '1.0', not {version!r}.", key="version")
        weights, dtype = _freeze(module, self.device, name)
        self._dtype = dtype
        self._spec = EncoderSpec(
            family="own",
            architecture=_qualified(module),
            weights=weights,
            preprocessing=_preprocessing(module, preprocess, version),
            tap=TAP,
            precision=_PRECISIONS.get(dtype, str(dtype).removeprefix("torch.")),
        )

    def __repr__(self) -> str:
        """Return the name, the identity and the device."""
        return f"Encoder({self.name!r}, id {self._spec.id[:12]}, on {self.device})"

    def spec(self, tap: Tap, stored_dtype: StoredDtype = "float16") -> EncoderSpec:
        """Return the identity of this encoder."""
        return self._spec.model_copy(update={"tap": tap, "stored_dtype": stored_dtype})

    def encode(self, batch: torch.Tensor) -> Mapping[Tap, torch.Tensor]:
        """Encode a batch [n, …]; return float32 CPU tensors [n, d], not normalised.

        Raises
        ------
        BadInput
            If the module returns anything else.
        """
        with torch.inference_mode(), full_fp32(), torch.autocast(self.device.type, enabled=False):
            found = self._module(batch.to(device=self.device, dtype=self._dtype))
            if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != len(batch):
                got = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else type(found).__name__
                raise BadInput(
                    f"{self.name} returns {got} for {len(batch)} images.",
                    hint="Return a tensor [n, d]: one embedding an image. Take one of several outputs, or pool it.",
                    key=self.name,
                )
            features = found.to(device="cpu", dtype=torch.float32)
        # Cloned outside of inference mode, so that callers may normalise in place.
        return {TAP: features.clone(memory_format=torch.contiguous_format)}


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise BadInput(f"{name!r} is no name for an encoder.", hint="Give it one, such as lab:birdnet.", key="name")
    if (family := name.partition(":")[0]) in FAMILIES:
        raise BadInput(
            f"{name} would be taken for one of {family}'s encoders.",
            hint="Give it another name, such as lab:birdnet.",
            key="name",
        )
    return name


def _freeze(module: Module, device: torch.device, name: str) -> tuple[str, torch.dtype]:
    """Freeze a module; return the digest of its weights and structure, and the type of its parameters."""
    if not isinstance(module, torch.nn.Module):
        return digest({"function": _qualified(module)}), torch.float32
    module.eval().requires_grad_(False).to(device)
    tensors = {**dict(module.named_buffers()), **module.state_dict()}  # also those that are not saved
    tensors = {key: value for key, value in tensors.items() if isinstance(value, torch.Tensor)}
    check_values(tensors, name)
    types_ = {p.dtype for p in module.parameters() if p.is_floating_point()}
    dtype = types_.pop() if len(types_) == 1 else torch.float32
    return digest({"structure": list(_structure(module)), "tensors": weights_digest(tensors)}), dtype


def _structure(module: torch.nn.Module) -> Iterator[list[Any]]:
    """Yield the parts of a module by their names: their classes, and the settings that they keep.

    Two modules with equal weights can differ in them: in the number of heads, or a temperature.
    """
    for path, part in module.named_modules():
        kept = {key: _setting(v) for key, v in vars(part).items() if not key.startswith("_") and key != "training"}
        yield [path, _qualified(part), {key: value for key, value in kept.items() if value is not None}]


def _setting(value: Any) -> Any:
    """Return a setting as JSON, None for what is none: whatever is neither a plain value nor a function."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return [_setting(v) for v in value]
    if isinstance(value, torch.dtype):
        return str(value)
    return _qualified(value) if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type) else None


def _preprocessing(module: Module, preprocess: Callable[..., Any], version: str | None) -> Preprocessing:
    """Return what stands for the preprocessing, and for the code of both.

    Raises
    ------
    BadInput
        If the code cannot be seen, and no version stands for it.
    """
    described = repr(preprocess)
    told: dict[str, Any] = {"library": "own", "name": _qualified(preprocess)}
    if " at 0x" not in described and not isinstance(preprocess, types.FunctionType):
        told["settings"] = described
    if version is not None:
        return Preprocessing.model_validate({**told, "version": version})
    doubts = [f"of {what}, {doubt}" for what, doubt in _doubts(module, preprocess, told)]
    code = code_of_modules([module_of for f in (module, preprocess) if (module_of := _module_of(f))])
    if not code.sources and not code.versions:
        doubts.append("its source is not in a file")
    if found := [*doubts, *code.doubts]:
        raise BadInput(
            f"A change of the encoder's code could not be seen: {found[0]}.",
            hint="Give a version (version='1'), and raise it when the code changes what comes out.",
            key="version",
        )
    return Preprocessing.model_validate({**told, "sources": code.sources, "versions": code.versions})


def _doubts(module: Module, preprocess: Callable[..., Any], told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what holds values that neither sources nor descriptions show."""
    for what, function in (("module", module), ("preprocess", preprocess)):
        if isinstance(function, torch.nn.Module):
            continue
        if isinstance(function, types.FunctionType):
            if function.__closure__ or function.__name__ == "<lambda>":
                yield what, "the values that the function holds cannot be seen"
        elif what == "module" or "settings" not in told:
            yield what, "the settings cannot be seen"


def _qualified(value: Any) -> str:
    owner = value if hasattr(value, "__qualname__") else type(value)
    return f"{owner.__module__}.{owner.__qualname__}"


def _module_of(value: Any) -> str:
    return str(getattr(value if hasattr(value, "__qualname__") else type(value), "__module__", None) or "")
