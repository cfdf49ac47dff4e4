"""Which modules of a tower can be read as taps, and how: one pass of blank images through it.

What an output means comes from what the model says of itself (`Anatomy`) and from the layers that a module is made of
(`layouts`), never from its shape alone. A module whose output cannot be told is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ..specs import Tap
from .anatomy import Anatomy, anatomy_of
from .frozen import Tower
from .layouts import channels_last

Reading = Callable[[torch.Tensor], torch.Tensor]
"""From the output of a module to [n, d], in memory of its own."""

_IMAGES = 2
"""With one, an output that has no axis of images would look as if it had one."""


class _Untold(Exception):
    """Why an output cannot be read."""


@dataclass
class Survey:
    """Which modules of a model can be read, and how.

    Parameters
    ----------
    readable : dict of str to tuple of str
        Readings of each, the usual one first; see `tap_names.Readable`.
    refused : dict of str to str
        Why others cannot be.
    widths : dict of str to int
        Of every tap.
    several : set of str
        Modules that return several tensors; the first is read.
    readers : dict of str to callable
        For every tap, what makes it [n, d] of its module's output.
    """

    readable: dict[str, tuple[str, ...]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    widths: dict[Tap, int] = field(default_factory=dict)
    several: set[str] = field(default_factory=set)
    readers: dict[Tap, Reading] = field(default_factory=dict)


def look(tower: Tower, through: Tap, size: Sequence[int]) -> Survey:
    """Send blank images through a tower, and return which of its modules can be read."""
    anatomy = anatomy_of(tower)
    modules = {name: module for name, module in tower.module.named_modules() if name}
    calls = dict.fromkeys(modules, 0)
    shapes: dict[str, torch.Size | None] = {}
    survey = Survey()

    def note(name: str, output: Any) -> None:
        calls[name] += 1
        tensor, several = first_tensor(output)
        shapes[name] = None if tensor is None else tensor.shape
        if several:
            survey.several.add(name)

    tower.module.eval()
    with torch.inference_mode(), hooked(tower.module, modules, note):
        parameter = next(tower.module.parameters(), torch.zeros(0))
        tower.read(torch.zeros(_IMAGES, 3, *size, device=parameter.device, dtype=parameter.dtype), [through])
    final = shapes.get(anatomy.final)
    tokens = final[1] if final is not None and len(final) == 3 else None
    for name in modules:
        shape = shapes.get(name)
        if not calls[name]:
            survey.refused[name] = "it does not run by itself when an image is encoded"
        elif calls[name] > 1:
            survey.refused[name] = f"it runs {calls[name]} times when an image is encoded"
        elif shape is None:
            survey.refused[name] = "it returns no tensor"
        elif len(shape) < 2 or shape[0] != _IMAGES:
            survey.refused[name] = f"its output {list(shape)} for {_IMAGES} images is not a row for each"
        else:
            try:
                reads, width = _readings(name, shape, tower.module, anatomy, tokens, size)
            except _Untold as why:
                survey.refused[name] = str(why)
                continue
            survey.readable[name] = tuple(reads)
            for reading, read in reads.items():
                survey.readers[f"{name}@{reading}"] = read
                survey.widths[f"{name}@{reading}"] = width
    return survey


def first_tensor(output: Any) -> tuple[torch.Tensor | None, bool]:
    """Return the tensor that an output is, or the first in it, and whether it is one of several."""
    if isinstance(output, torch.Tensor):
        return output, False
    values = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(values, list | tuple):
        for value in values:
            tensor, several = first_tensor(value)
            if tensor is not None:
                return tensor, several or len(values) > 1
    return None, False


@contextmanager
def hooked(module: torch.nn.Module, names: Collection[str], seen: Callable[[str, Any], None]) -> Iterator[None]:
    """Tell `seen` the output of each named module, when it has run."""

    def hook(name: str) -> Callable[[Any, Any, Any], None]:
        return lambda _module, _inputs, output: seen(name, output)

    handles = [module.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _readings(
    name: str, shape: Sequence[int], body: torch.nn.Module, anatomy: Anatomy, tokens: int | None, size: Sequence[int]
) -> tuple[dict[str, Reading], int]:
    """Return what can be read of an output, the usual reading first, and how wide it is."""
    if len(shape) == 2:
        return {"vector": lambda out: out.clone()}, shape[1]
    if len(shape) == 3:
        return _of_tokens(shape[1], anatomy, tokens), shape[2]
    if len(shape) != 4:
        raise _Untold(f"its output has {len(shape)} axes")
    last = channels_last(name, body, anatomy.channels_last)
    if last is None:
        if _is_map(shape[1:3], size) and _is_map(shape[2:], size):
            raise _Untold(f"neither its layers nor its output {list(shape)} tell which axis holds its channels")
        last = _is_map(shape[1:3], size)
    if not _is_map(shape[1:3] if last else shape[2:], size):
        layout = "height and width, channels last" if last else "channels, height and width"
        raise _Untold(f"its output {list(shape)} is not {layout} of a {size[0]} x {size[1]} image")
    axes = (1, 2) if last else (2, 3)
    return {"mean": lambda out: out.mean(dim=axes)}, shape[3] if last else shape[1]


def _is_map(sides: Sequence[int], size: Sequence[int]) -> bool:
    """Return whether sides have the proportions of the image; the tokens of several heads, for one, have not."""
    return abs(sides[0] * size[1] - sides[1] * size[0]) <= max(size)


def _of_tokens(count: int, anatomy: Anatomy, tokens: int | None) -> dict[str, Reading]:
    """Return what can be read of so many tokens, if the model ends with `tokens`."""
    prefix = anatomy.prefix
    if prefix is None:
        raise _Untold(f"the model does not say which of its {count} tokens are of patches")
    if prefix and tokens is None:
        raise _Untold(f"the model does not say whether its {count} tokens hold the class token")
    if not prefix or count == (tokens or 0) - prefix:
        return {"mean": lambda out: out.mean(dim=1)}
    if count != tokens:
        raise _Untold(f"it has {count} tokens, and the model ends with {tokens}, {prefix} of which are not of patches")
    mean: dict[str, Reading] = {"mean": lambda out: out[:, prefix:].mean(dim=1)}
    return {"cls": lambda out: out[:, 0].clone(), **mean} if anatomy.has_cls else mean
