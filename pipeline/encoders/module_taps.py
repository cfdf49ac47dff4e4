"""Taps of any tower by the names of its modules, read by forward hooks in the one pass that fills all taps.

`survey` finds out which modules can be read, and how; `tap_names` has the grammar.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from ...errors import BadInput
from ..specs import TAPS, Tap
from ..tap_names import READINGS, expand, last_blocks, module_tap, near, normalised
from .anatomy import Anatomy, anatomy_of
from .frozen import Tower, choose_taps
from .survey import Reading, Survey, first_tensor, hooked, look


class TappedTower:
    """A tower with further taps: modules, and tokens of the last blocks.

    Parameters
    ----------
    tower : Tower
    through : str
        The tap that the tower is always asked for, so that its head runs too.
    modules : mapping of str to callable
        For each tap of a module, what makes it of the module's output.
    last : mapping of str to (str, int)
        For each tap of the last blocks, what is read of how many; see `tap_names.last_blocks`.
    anatomy : Anatomy
    """

    def __init__(
        self,
        tower: Tower,
        through: Tap,
        modules: Mapping[Tap, Reading],
        last: Mapping[Tap, tuple[Tap, int]],
        anatomy: Anatomy,
    ) -> None:
        self._tower, self._through, self._anatomy = tower, through, anatomy
        self._modules, self._last = dict(modules), dict(last)
        self.module = tower.module
        self.taps: Mapping[Tap, str | None] = {**tower.taps, **dict.fromkeys((*modules, *last))}

    def read(self, x: torch.Tensor, taps: Collection[Tap]) -> dict[Tap, torch.Tensor]:
        """Run the tower once; see `frozen.Tower`."""
        named = dict.fromkeys([*(tap for tap in taps if tap in self._tower.taps), self._through])
        kept: dict[str, dict[str, torch.Tensor]] = {}
        wanted: dict[str, dict[str, Reading]] = {}
        for tap in taps:
            if tap in self._modules:
                wanted.setdefault(tap.partition("@")[0], {})[tap] = self._modules[tap]
            elif tap in self._last:
                kind, n = self._last[tap]
                for block in self._anatomy.blocks[-n:]:
                    wanted.setdefault(block, {})[f"{kind}@"] = self._tokens(kind)

        def keep(name: str, output: Any) -> None:
            tensor, _ = first_tensor(output)
            assert tensor is not None  # the survey saw one
            if name in kept:
                raise BadInput(f"The module {name} ran twice in one pass.", hint="Read another one.", key=name)
            if len(tensor) != len(x):
                rows = f"{len(tensor)} rows for {len(x)} images"
                raise BadInput(f"The module {name} gave {rows}.", hint="Read another one.", key=name)
            # Read at once: what follows may write into the tensor, and only the reading is to be held.
            kept[name] = {key: read(tensor) for key, read in wanted[name].items()}

        with hooked(self.module, wanted, keep):
            out = self._tower.read(x, named)
        for tap in taps:
            if tap in self._modules:
                out[tap] = kept[tap.partition("@")[0]][tap]
            elif tap in self._last:
                kind, n = self._last[tap]
                tokens = [kept[block][f"{kind}@"] for block in self._anatomy.blocks[-n:]]
                out[tap] = torch.cat([self._normed(one, kind) for one in tokens], dim=1)
        return out

    def _tokens(self, kind: Tap) -> Reading:
        prefix = self._anatomy.prefix or 0
        return (lambda out: out[:, 0].clone()) if kind == "cls" else (lambda out: out[:, prefix:].clone())

    def _normed(self, tokens: torch.Tensor, kind: Tap) -> torch.Tensor:
        norm = self._anatomy.norm
        tokens = tokens if norm is None else norm(tokens)
        return tokens if kind == "cls" else tokens.mean(dim=1)


def tapped(
    tower: Tower, asked: Sequence[Tap], default: Tap, name: str, size: Sequence[int]
) -> tuple[Tower, tuple[Tap, ...], list[str]]:
    """Return a tower that reads what is asked for, the taps as they are stored, and what is to be said of them.

    Parameters
    ----------
    tower : Tower
    asked : sequence of str
        As they were written; empty for `default`.
    default : str
    name : str
        Of the encoder.
    size : (int, int)
        Height and width of its images.

    Raises
    ------
    BadInput
        If the model lacks one of them, or its output cannot be told.
    """
    wanted = [normalised(tap) for tap in asked]
    plain = [tap for tap in wanted if tap in tower.taps or _is_plain(tap, tower)]
    if len(plain) == len(wanted):
        return tower, choose_taps(_once(wanted), default, tower, name), []
    choose_taps(plain, default, tower, name)
    anatomy = anatomy_of(tower)
    modules = [tap for tap in wanted if tap not in plain and last_blocks(tap) is None]
    for tap in modules:
        _check_name(tap, tower, anatomy, name)
    survey = look(tower, default, size)
    chosen: list[Tap] = []
    notes: list[str] = []
    last: dict[Tap, tuple[Tap, int]] = {}
    for tap in wanted:
        if tap not in modules:
            chosen.append(tap)
            if tap not in plain and (of := last_blocks(tap)) is not None:
                _check_blocks(of, tap, anatomy, survey, name)
                last[tap] = of
            continue
        found, said = _found(tap, survey, name)
        chosen += [one for one in found if one not in chosen or not module_tap(tap).is_pattern]
        notes += said
    taps = _once(chosen)
    read = {tap: survey.readers[tap] for tap in taps if tap not in plain and tap not in last}
    return TappedTower(tower, default, read, last, anatomy), taps, notes


def _is_plain(tap: Tap, tower: Tower) -> bool:
    """Return whether a tap is a family's name that this family lacks, and no module either."""
    return tap in TAPS and tap not in dict(tower.module.named_modules())


def _once(taps: Sequence[Tap]) -> tuple[Tap, ...]:
    if twice := [tap for i, tap in enumerate(taps) if tap in taps[:i]]:
        raise BadInput(f"A tap is given twice: {twice[0]}.", hint="Give each tap once.", key=twice[0])
    return tuple(taps)


def _check_name(tap: Tap, tower: Tower, anatomy: Anatomy, name: str) -> None:
    """Refuse what is no module of the model, and no pattern of any."""
    names = [module for module, _ in tower.module.named_modules() if module]
    asked = module_tap(tap)
    if asked.module in names or expand(asked.module, {module: ("",) for module in names}):
        return
    have = ", ".join(known for known, refusal in tower.taps.items() if refusal is None)
    meant = f"Did you mean {' or '.join(close)}? " if (close := near(tap, names)) else ""
    what = "no module that matches" if asked.is_pattern else "no module"
    such = ", ".join(examples(names, anatomy))
    raise BadInput(
        f"{name} has no tap {tap}: the model has {what} {asked.module}.",
        hint=f"{meant}Taps of this model: {have}, and its modules by name, such as {such}",
        key=tap,
        expected=have,
    )


def examples(names: Sequence[str], anatomy: Anatomy) -> list[str]:
    """Return the names of a few modules of a model that people may want to read: its last blocks, if it has blocks."""
    if anatomy.blocks:
        return list(anatomy.blocks[-3:])
    top = [name for name in names if name.count(".") <= 1 and name.rpartition(".")[2].isdigit()]
    return (top or [name for name in names if "." not in name])[-3:]


def _check_blocks(of: tuple[Tap, int], tap: Tap, anatomy: Anatomy, survey: Survey, name: str) -> None:
    """Refuse tokens of the last blocks of a model that has none, or too few, or keeps other tokens in them."""
    kind, n = of
    why = "" if anatomy.blocks else "it has no blocks of class and patch tokens"
    if not why and n > len(anatomy.blocks):
        why = f"it has {len(anatomy.blocks)} blocks"
    if not why and kind == "cls" and not anatomy.has_cls:
        why = "it has no class token"
    reading = "cls" if kind == "cls" else "mean"
    unfit = [block for block in anatomy.blocks[-n:] if reading not in survey.readable.get(block, ())]
    if not why and unfit:
        why = f"of {unfit[0]}, {survey.refused.get(unfit[0], 'the output holds no class token')}"
    if why:
        known = examples([*survey.readable], anatomy)
        raise BadInput(
            f"{name} has no tap {tap}: {why}.",
            hint=f"Read a module by its name instead, such as {known[-1]}." if known else None,
            key=tap,
        )


def _found(tap: Tap, survey: Survey, name: str) -> tuple[list[Tap], list[str]]:
    """Return the taps that a module or pattern stands for, and what is to be said of them."""
    asked = module_tap(tap)
    found = expand(tap, survey.readable)
    refused = expand(asked.module, {module: ("",) for module in survey.refused})
    refused = [module.rstrip("@") for module in refused]
    if not found:
        if asked.module in survey.readable:
            have = ", ".join(f"{asked.module}@{reading}" for reading in survey.readable[asked.module])
            raise BadInput(f"{name} has no tap {tap}: its output is of another form.", hint=f"It has {have}", key=tap)
        why = survey.refused.get(refused[0], "") if refused else "its output is of another form"
        inside = [module for module in survey.readable if module.startswith(f"{asked.module}.")]
        hint = f"Read one of its parts: {', '.join(inside[:4])}" if inside else "Read the module before or after it."
        what = f" ({refused[0]})" if refused and refused[0] != asked.module else ""
        raise BadInput(f"{name} has no tap {tap}: {why}{what}.", hint=hint, key=tap)
    notes = []
    if asked.is_pattern:
        numbers = sum(survey.widths[one] for one in found)
        ends = found[0] if len(found) == 1 else f"{found[0]} … {found[-1]}"
        notes.append(
            f"{tap} is {len(found)} tap{'s' if len(found) > 1 else ''}, {ends}: {numbers:,} numbers an image, "
            f"{2 * numbers / 1000:,.1f} kB in float16"
        )
        if refused:
            why = f"such as {refused[0]}: {survey.refused[refused[0]]}"
            notes.append(f"left out of {tap}: {len(refused)} modules, {why}")
    elif asked.reading is None:
        module, _, reading = found[0].partition("@")
        others = [f"{module}@{other}" for other in survey.readable[module] if other != reading]
        also = f"; another reading: {', '.join(others)}" if others else ""
        notes.append(f"{tap} is read as {found[0]}, {READINGS[reading]}{also}")
    if several := [one for one in found if one.partition("@")[0] in survey.several]:
        notes.append(f"{several[0].partition('@')[0]} returns several tensors: the first is read")
    return found, notes
