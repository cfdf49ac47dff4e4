"""Which tensors of a checkpoint are a model's: the prefix under which they fill it exactly.

Training scripts save one model under many names: in a ``state_dict``, as a ``teacher`` beside its ``student``, with
``module.`` before every key, with heads and criteria around it. With keys of nested dictionaries joined by dots, all
of that is a prefix. The prefix that leaves a model's keys, all of them and with their shapes, is found by trying. If
several leave different tensors, the user has to say which are meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from ...amounts import count
from ...errors import BadInput, CryoprobeError
from .weights import NAMED, load_strictly, misfits

Tensors: TypeAlias = Mapping[str, torch.Tensor]

PREFERRED = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")
"""Whose name is said where several have equal tensors, and what published files are read from, as timm does."""

TOP = "."
"""As a key: what has no prefix."""

_SHARE = 0.5
"""Of a model's numbers: a part that has fewer cannot be it, and is not tried."""


@dataclass(frozen=True)
class Part:
    """The tensors of a checkpoint that are a model's.

    Parameters
    ----------
    key : str
        What stood before their names, without the last dot; empty if nothing did.
    tensors : mapping of str to Tensor
        Under the names that the model has for them.
    same : tuple of str
        Other keys that lead to equal tensors.
    left_out : tuple of str
        What else is in the file.
    resampled : tuple of str
        Tensors that were brought to the model's size, with both shapes.
    """

    key: str
    tensors: Tensors
    same: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    resampled: tuple[str, ...] = ()

    def notes(self, file: str) -> list[str]:
        """Return what is to be said of it, a line each; nothing of a file that is the state dict."""
        details = []
        if self.same:
            details.append(f"{_listed(_shown(key) for key in self.same)} holds the same")
        if self.left_out:
            details.append(f"left out: {_listed(self.left_out)}")
        notes = []
        if self.key or details:
            notes.append(f"weights: {_shown(self.key)} of {file}" + (f" ({'; '.join(details)})" if details else ""))
        if self.resampled:
            notes.append(resampling_note(self.resampled))
        return notes


@dataclass(frozen=True)
class Model:
    """A model that takes weights.

    Parameters
    ----------
    module : Module
    prepare : callable
        Brings a state dict to the model's keys, as its library does, and takes out what it does not want; may raise
        anything for those of other models.
    may_lack, may_exceed : bool
        Whether its library accepts missing keys in published weights, and left-over ones.
    """

    module: torch.nn.Module
    prepare: Callable[[dict[str, torch.Tensor]], Tensors]
    may_lack: bool = False
    may_exceed: bool = False


def resampling_note(resampled: Sequence[str]) -> str:
    """Return the line that says which tensors were interpolated; see `resampled_between`."""
    return f"weights: resampled to the input's size: {_listed(resampled)}"


def load_part(tensors: Tensors, model: Model, source: str, *, key: str | None = None, published: bool = False) -> Part:
    """Load that part of a checkpoint which is the model's, or say in one message why nothing fits; see `part_of`.

    Raises
    ------
    BadInput
        See `part_of` and `weights.load_strictly`.
    """
    part = part_of(tensors, model, source, key=key, published=published)
    where = f"{source} (under {part.key})" if part.key else source
    load_strictly(model.module, part.tensors, where, may_lack=published and model.may_lack, may_exceed=model.may_exceed)
    return part


def part_of(tensors: Tensors, model: Model, source: str, *, key: str | None, published: bool) -> Part:
    """Return the part of a checkpoint that fills a model; if none does, the one that comes nearest.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        As `read_checkpoint` gives them.
    model : Model
    source : str
        The file, for messages.
    key : str or None
        Where to look; `TOP` for what has no prefix.
    published : bool
        Of several that fit, take what the library takes.

    Raises
    ------
    BadInput
        If several fit whose tensors differ, or if nothing is under `key`.
    """
    tried = [_try(tensors, prefix, model) for prefix in _prefixes(tensors, model.module, source, key)]
    inner = [t.prefix for t in tried if not t.misfits]
    # Weights at the top, with others below a key beside them, are weights too.
    tried = [_try(tensors, t.prefix, model, without=inner) if t.misfits and inner else t for t in tried]
    tried = [t for t in tried if key != TOP or not t.prefix]
    tried.sort(key=lambda t: (t.misfits, -t.familiar, t.rank))
    best = tried[0]
    fitting = [t for t in tried if not t.misfits] or [best]
    if published:
        fitting = [min(fitting, key=lambda t: t.rank)]
    same = [t for t in fitting if _equal(t.prepared, fitting[0].prepared)]
    if len(same) < len(fitting):
        raise _several(fitting, source)
    chosen = same[0]
    rest = [name for name in tensors if not any(name.startswith(t.prefix) for t in same)]
    return Part(
        key=chosen.key,
        tensors=chosen.prepared,
        same=tuple(t.key for t in same[1:] if t.familiar),
        left_out=_groups(rest, chosen.prefix) + _dropped(tensors, chosen),
        resampled=resampled_between(_below(tensors, chosen.prefix), chosen.prepared),
    )


@dataclass(frozen=True)
class _Tried:
    prefix: str
    prepared: Tensors
    misfits: int
    familiar: int
    """How many keys the file has as the model does: of two prefixes, a library may take off one by itself."""

    @property
    def key(self) -> str:
        return self.prefix.removesuffix(".")

    @property
    def rank(self) -> tuple[int, int]:
        first = self.key.split(".")[0]
        return PREFERRED.index(first) if first in PREFERRED else len(PREFERRED), len(self.prefix)


def _try(tensors: Tensors, prefix: str, model: Model, without: Sequence[str] = ()) -> _Tried:
    beside = tuple(inner for inner in without if inner != prefix)
    found = _below({name: tensor for name, tensor in tensors.items() if not name.startswith(beside)}, prefix)
    familiar = len(found.keys() & model.module.state_dict().keys())
    try:
        prepared = model.prepare(dict(found))
    except CryoprobeError:
        raise
    except Exception:  # another model's tensors, for which a library's filter fails as it likes
        prepared = found
    return _Tried(prefix, prepared, misfits(model.module, prepared, may_exceed=model.may_exceed), familiar)


def _prefixes(tensors: Tensors, module: torch.nn.Module, source: str, key: str | None) -> list[str]:
    """Return the prefixes that have enough numbers to be the model, in the order of the file."""
    within = f"{key.removesuffix('*').removesuffix('.')}." if key and key != TOP else ""
    numbers: dict[str, int] = {within: 0}  # first, so that it is there even if it is small
    for name, tensor in tensors.items():
        if name.startswith(within):
            steps = [i + 1 for i in range(len(within), len(name)) if name[i] == "."]
            for end in [len(within), *steps]:
                numbers[name[:end]] = numbers.get(name[:end], 0) + tensor.numel()
    if not numbers[within] and not any(name.startswith(within) for name in tensors):
        keys = sorted({name.partition(".")[0] for name in tensors})
        raise BadInput(
            f"{source} has nothing under the key {key!r}.", hint=f"It has: {_listed(keys)}", key=source, found=key
        )
    least = _SHARE * sum(tensor.numel() for tensor in module.state_dict().values())
    return [prefix for prefix, n in numbers.items() if n >= least or prefix == within]


def _below(tensors: Tensors, prefix: str) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(_same_bytes(one[name], other[name]) for name in one)


def _same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (one, other)))


def _several(fitting: list[_Tried], source: str) -> BadInput:
    """Return the error that lists what fits; of keys with equal tensors, the first."""
    distinct: list[_Tried] = []
    for t in fitting:
        if not any(_equal(t.prepared, d.prepared) for d in distinct):
            distinct.append(t)
    return BadInput(
        f"{source} holds {len(distinct)} sets of weights that fit the model, and they differ: "
        f"{', '.join(_shown(t.key) for t in distinct)}.",
        hint="Say which one: " + " or ".join(f"--checkpoint-key {t.key or TOP}" for t in distinct),
        key=source,
        expected="one",
        found=[t.key for t in distinct],
    )


def _groups(names: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Return names in short: each up to the first step that it has not in common with a prefix."""
    known = prefix.split(".")[:-1]
    groups: dict[str, int] = {}
    for name in names:
        steps = name.split(".")
        common = 0
        while common < min(len(known), len(steps) - 1) and steps[common] == known[common]:
            common += 1
        short = ".".join(steps[: common + 1])
        short += ".*" if len(steps) > common + 1 else ""
        groups[short] = groups.get(short, 0) + 1
    return tuple(groups)


def _dropped(tensors: Tensors, chosen: _Tried) -> tuple[str, ...]:
    """Return the names under the prefix that were taken out, such as a classifier's."""
    if not chosen.familiar:
        return ()  # the library has its own names for all of them
    gone = [n for n in _below(tensors, chosen.prefix) if n not in chosen.prepared]
    return _groups((chosen.prefix + name for name in gone), chosen.prefix)


def resampled_between(before: Tensors, after: Tensors) -> tuple[str, ...]:
    """Return the tensors that a library has interpolated, with their shapes before and after.

    Examples
    --------
    >>> resampled_between({"pos_embed": torch.zeros(1, 17, 8)}, {"pos_embed": torch.zeros(1, 26, 8)})
    ('pos_embed 1x17x8 → 1x26x8',)
    """
    positions = {tensor.numel() for name, tensor in before.items() if "pos" in name}
    found = []
    for name, tensor in after.items():
        if name in before and before[name].numel() != tensor.numel():
            found.append(f"{name} {_shape(before[name])} → {_shape(tensor)}")
        elif name not in before and "pos" in name and positions and tensor.numel() not in positions:
            found.append(f"{name} → {_shape(tensor)}")
    return tuple(found)


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _shown(key: str) -> str:
    return f"{key}.*" if key else "the top level"


def _listed(names: Iterable[str]) -> str:
    all_ = list(names)
    more = len(all_) - NAMED
    return ", ".join(all_[:NAMED]) + (f" and {count(more, 'other')}" if more > 0 else "")
