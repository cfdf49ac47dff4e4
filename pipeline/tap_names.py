"""How taps are written: the names of a family, class tokens of the last blocks, modules of a model, and patterns.

====================  ==================================================================================================
``cls``               a tap that a family of encoders has a name for
``cls@4``             class tokens of the last four blocks, each after the final norm, side by side in their order
``blocks.11``         the output of a module, by its name in the model, read as is usual for its shape
``blocks.11@mean``    the same, and how it is read: see `READINGS`
``blocks.*``          every module that the pattern matches: ``*`` is one level, ``**`` any number of them
====================  ==================================================================================================

Each has one spelling under which it is stored: ``blocks.11`` becomes ``blocks.11@cls``, and ``cls@1`` becomes ``cls``.
Several with ``+`` between them are read as one when a probe is trained; see `joined_taps`. No model is looked at here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..errors import BadInput
from .specs import Tap

READINGS: dict[str, str] = {
    "vector": "its output [n, d] as it is",
    "cls": "the class token of its output [n, tokens, d]",
    "mean": "the mean of its patch tokens, or over the places of its map",
}
"""What can stand behind a module's name, and what it means."""

LAST = ("cls", "patch_mean")
"""Taps that there are of the last blocks too."""

Readable = Mapping[str, Sequence[str]]
"""The modules of a model that can be read, in its order, each with its readings; the first is the usual one."""

_LAST_BLOCKS = re.compile(rf"({'|'.join(LAST)})@0*([0-9]+)")


class ModuleTap(NamedTuple):
    """A module, or a pattern of modules, and how it is read; None as is usual for it."""

    module: str
    reading: str | None

    @property
    def is_pattern(self) -> bool:
        """Whether it may stand for several."""
        return any(sign in self.module for sign in "*?[")

    @property
    def name(self) -> Tap:
        """As it is written."""
        return self.module if self.reading is None else f"{self.module}@{self.reading}"


def normalised(tap: str) -> Tap:
    """Return the spelling of a tap that needs no model: of the last blocks, as few characters as say it.

    Examples
    --------
    >>> normalised("cls@1"), normalised(" cls@04"), normalised("blocks.1@mean")
    ('cls', 'cls@4', 'blocks.1@mean')
    """
    tap = tap.strip()
    if (last := last_blocks(tap)) is None:
        return tap
    kind, n = last
    return kind if n == 1 else f"{kind}@{n}"


def last_blocks(tap: Tap) -> tuple[Tap, int] | None:
    """Return what is read of the last blocks, and of how many; None for another tap.

    Examples
    --------
    >>> last_blocks("cls@4"), last_blocks("cls")
    (('cls', 4), None)
    """
    found = _LAST_BLOCKS.fullmatch(tap)
    if found is None:
        return None
    if not int(found[2]):
        raise BadInput(f"{tap} is of no block.", hint=f"Give a number from 1: {found[1]}@4", key=tap)
    return found[1], int(found[2])


def module_tap(tap: Tap) -> ModuleTap:
    """Return the module and the reading that a tap names.

    Raises
    ------
    BadInput
        If there is no such reading.

    Examples
    --------
    >>> module_tap("layer4"), module_tap("blocks.3.mlp@mean").reading
    (ModuleTap(module='layer4', reading=None), 'mean')
    """
    module, at, reading = tap.partition("@")
    if at and reading not in READINGS:
        known = "; ".join(f"{module}@{name}: {what}" for name, what in READINGS.items())
        raise BadInput(f"There is no reading {reading!r} of a module's output.", hint=known, key=tap)
    return ModuleTap(module, reading or None)


def expand(tap: Tap, readable: Readable) -> list[Tap]:
    """Return the taps that a module or a pattern stands for, as they are stored; none if nothing fits.

    A pattern with a reading takes the modules that can be read so.

    Examples
    --------
    >>> vit = {"blocks.0": ("cls", "mean"), "blocks.0.mlp": ("cls", "mean"), "blocks.1": ("cls", "mean")}
    >>> expand("blocks.*", vit), expand("blocks.1@mean", vit), expand("blocks.0.**", vit), expand("head", vit)
    (['blocks.0@cls', 'blocks.1@cls'], ['blocks.1@mean'], ['blocks.0.mlp@cls'], [])
    """
    asked = module_tap(tap)
    if asked.is_pattern:
        pattern = asked.module.split(".")
        modules = [name for name in readable if matches(name.split("."), pattern)]
    else:
        modules = [asked.module] if asked.module in readable else []
    found = [(module, asked.reading or readable[module][0]) for module in modules]
    return [f"{module}@{reading}" for module, reading in found if reading in readable[module]]


def matches(levels: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether a name fits a pattern, both cut at their dots.

    Examples
    --------
    >>> matches(["blocks", "0", "mlp"], ["blocks", "*"]), matches(["blocks", "0", "mlp"], ["**", "mlp"])
    (False, True)
    """
    if not pattern:
        return not levels
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return any(matches(levels[i:], rest) for i in range(len(levels) + 1)) if rest else bool(levels)
    return bool(levels) and fnmatchcase(levels[0], first) and matches(levels[1:], rest)


def near(tap: Tap, names: Iterable[str], most: int = 4) -> list[str]:
    """Return names of modules that may be meant.

    Examples
    --------
    >>> near("block.3", ["stem", "blocks.3", "blocks.4"])
    ['blocks.3', 'blocks.4']
    """
    module, names = tap.partition("@")[0], list(names)
    ends = [name for name in names if matches(name.split("."), ["**", *module.split(".")])]
    return (ends or difflib.get_close_matches(module.replace("*", "0"), names, n=most, cutoff=0.6))[:most]


def as_stored(tap: Tap, there: Iterable[Tap]) -> Tap:
    """Return which of the taps of a store is meant by one: ``blocks.11`` by the only reading of it that there is.

    Raises
    ------
    BadInput
        If there are several.

    Examples
    --------
    >>> as_stored("blocks.11", ["cls", "blocks.11@cls"]), as_stored("cls@1", ["cls"]), as_stored("layer4", ["cls"])
    ('blocks.11@cls', 'cls', 'layer4')
    """
    tap, there = normalised(tap), set(there)
    if tap in there or "@" in tap:
        return tap
    found = sorted(name for name in (f"{tap}@{reading}" for reading in READINGS) if name in there)
    if len(found) > 1:
        raise BadInput(f"{tap} is stored in several readings.", hint=f"Name one: {', '.join(found)}", key=tap)
    return found[0] if found else tap


def tap_pattern(pattern: str, there: Iterable[Tap]) -> str:
    """Return what filters the taps of a store: a spelling becomes the stored one, a module stands for its readings.

    Examples
    --------
    >>> there = ["cls", "blocks.11@cls", "blocks.11@mean"]
    >>> tap_pattern("cls@1", there), tap_pattern("blocks.11", there), tap_pattern("blocks.*", there)
    ('cls', 'blocks.11@*', 'blocks.*')
    """
    tap, there = normalised(pattern), set(there)
    readings = there.intersection(f"{tap}@{reading}" for reading in READINGS)
    return f"{tap}@*" if readings and tap not in there else tap
