"""Where the cells of a suite read an encoder: what rows ask for, what protocols prescribe, and what the encoder has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...errors import BadInput
from ...progress import Reporter
from ..extraction.promise import Promise
from ..joined_taps import taps_in
from ..keywords import read
from ..options import EncoderOptions, RunOptions
from ..tap_names import normalised
from ..trials.plan import plan_of, prescribed_tap
from ..trials.query import default_taps_of
from .cells import Cell
from .suite import ModelRow, Suite


def taps_of(suite: Suite, model: ModelRow, cells: Iterable[Cell], reporter: Reporter) -> tuple[str, ...]:
    """Return the taps at which the cells of a model read it; empty for the default alone.

    Taps that a protocol prescribes and the encoder does not have are left out, with a note: the protocol then reads
    what it has, and its result remarks that.

    Raises
    ------
    BadInput, NotFound
        If the encoder had to be loaded to know them, and cannot be.
    """
    wanted = _wanted(model, cells)
    if not wanted.asked and not wanted.prescribed:
        return ()
    every = _with_default(suite, model, wanted, reporter)
    if not wanted.prescribed or _lacks(suite, model, every, reporter) is None:
        return every  # known without loading it, if it was extracted at these before
    for protocol, taps in [*wanted.prescribed.items()]:
        if (lacking := _lacks(suite, model, taps, reporter)) is not None:
            reporter.note(f"{model.name} has no tap {lacking}, which {protocol} prescribes: its default is read.")
            del wanted.prescribed[protocol]
            wanted.default = True
    return _with_default(suite, model, wanted, reporter) if wanted.asked or wanted.prescribed else ()


@dataclass
class _Wanted:
    """Taps that are asked for, those that each protocol prescribes, and whether the encoder's default is wanted."""

    asked: dict[str, None] = field(default_factory=dict)
    prescribed: dict[str, list[str]] = field(default_factory=dict)
    default: bool = False

    @property
    def named(self) -> list[str]:
        return [*self.asked, *(tap for taps in self.prescribed.values() for tap in taps)]


def _wanted(model: ModelRow, cells: Iterable[Cell]) -> _Wanted:
    found = _Wanted()
    for cell in cells:
        plan = plan_of(cell.asked)
        if (tap := cell.where.tap) is not None:
            found.asked |= dict.fromkeys(map(normalised, taps_in(tap)))
        elif plan.published is not None and plan.published.taps:
            found.prescribed[plan.protocol] = [normalised(tap) for tap in taps_in(plan.published.taps[0])]
        elif (tap := prescribed_tap(plan, model.name)) is not None:
            found.asked[tap] = None
        else:
            found.default = True
    return found


def _with_default(suite: Suite, model: ModelRow, wanted: _Wanted, reporter: Reporter) -> tuple[str, ...]:
    """Return all taps, each once, the encoder's default first."""
    usual = _default(suite, model, reporter) if wanted.default else ()
    return tuple(dict.fromkeys([*usual, *wanted.named]))


def _lacks(suite: Suite, model: ModelRow, taps: Sequence[str], reporter: Reporter) -> str | None:
    """Return which of some taps an encoder does not have; None if it has all."""
    try:
        _promise(suite, model, tuple(taps), reporter)
    except BadInput as error:
        if error.key in taps:
            return error.key
        raise
    return None


def _default(suite: Suite, model: ModelRow, reporter: Reporter) -> tuple[str, ...]:
    """Return the default tap of an encoder."""
    known = default_taps_of(model.name)
    if len(known) == 1:
        return known
    return tuple(spec.tap for spec in _promise(suite, model, (), reporter).known.specs)


def _promise(suite: Suite, model: ModelRow, taps: tuple[str, ...], reporter: Reporter) -> Promise:
    asked = {name: getattr(model, name) for name in EncoderOptions.model_fields}
    running = read(RunOptions, {"device": suite.device})
    return Promise(model.name, read(EncoderOptions, {**asked, "taps": taps}), running, reporter)
