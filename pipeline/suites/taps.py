"""Where the cells of a suite read an encoder: what rows ask for, what protocols prescribe, and what the encoder has."""

from __future__ import annotations

from collections.abc import Iterable

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
    asked: dict[str, None] = {}
    prescribed: dict[str, list[str]] = {}
    default = False
    for cell in cells:
        plan = plan_of(cell.asked)
        if (tap := cell.where.tap) is not None:
            asked |= dict.fromkeys(map(normalised, taps_in(tap)))
        elif plan.published is not None and plan.published.taps:
            prescribed[plan.protocol] = [normalised(tap) for tap in taps_in(plan.published.taps[0])]
        elif (tap := prescribed_tap(plan, model.name)) is not None:
            asked[tap] = None
        else:
            default = True
    for protocol, taps in [*prescribed.items()]:
        if (lacking := _lacks(suite, model, taps, reporter)) is not None:
            reporter.note(f"{model.name} has no tap {lacking}, which {protocol} prescribes: its default is read.")
            del prescribed[protocol]
            default = True
    wanted = dict.fromkeys([*asked, *(tap for taps in prescribed.values() for tap in taps)])
    if not wanted:
        return ()
    return tuple(dict.fromkeys([*_default(suite, model, reporter), *wanted] if default else wanted))


def _lacks(suite: Suite, model: ModelRow, taps: list[str], reporter: Reporter) -> str | None:
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
