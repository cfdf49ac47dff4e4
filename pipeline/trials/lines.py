"""Trials line by line: the draws of one setting are one line, with their mean and standard deviation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...canonical import plain_json
from ...errors import BadInput
from ..protocols import PROTOCOLS
from .result import Trial
from .sweep import SizeSummary, summarised

ORDERS: dict[str, Callable[[Line], Any]] = {
    "score": lambda line: -line.mean if line.mean is not None else float("inf"),
    "model": lambda line: str(line.first.model),
    "dataset": lambda line: str(line.first.dataset),
    "probe": lambda line: line.first.what,
    "run": lambda line: -max(trial.created for trial in line.trials),
}
"""Orders of lines by their name: the best score first, the newest first; text from a to z."""


@dataclass(frozen=True)
class Line:
    """Trials that differ in nothing but the seed of what was drawn.

    Parameters
    ----------
    trials : tuple of Trial
    """

    trials: tuple[Trial, ...]

    @property
    def first(self) -> Trial:
        """The first of them, which says what all have in common."""
        return self.trials[0]

    @cached_property
    def _summary(self) -> SizeSummary:
        protocol = PROTOCOLS.get(self.first.protocol)
        (summary,) = summarised(self.trials, 1 if protocol is None else protocol.ddof)
        return summary

    def spread(self, score: str) -> dict[str, float | None] | None:
        """Return the mean and the standard deviation of a score; None unless every trial has it."""
        return self._summary.metrics.get(score)

    @property
    def mean(self) -> float | None:
        """Mean of the score that counts."""
        spread = self.spread(self.first.metric)
        return None if spread is None else spread["mean"]


def lines_of(trials: Sequence[Trial], sort: str = "") -> list[Line]:
    """Put the draws of one setting together.

    Of two trials of one seed, as of a probe whose code changed, the older one is in a line of its own.

    Parameters
    ----------
    trials : sequence of Trial
    sort : str
        One of `ORDERS`; by default as the first trial of each line stands in `trials`.

    Raises
    ------
    BadInput
        If there is no such order.
    """
    if sort and sort not in ORDERS:
        raise BadInput(f"Results cannot be sorted by {sort!r}.", hint=f"Give one of {', '.join(ORDERS)}.", key="sort")
    groups: dict[tuple[bytes, int], list[Trial]] = {}
    older = _older(trials)
    for trial in trials:
        groups.setdefault((_setting(trial), older[trial.trial]), []).append(trial)
    lines = [Line(tuple(group)) for group in groups.values()]
    return sorted(lines, key=ORDERS[sort]) if sort else lines


def _older(trials: Sequence[Trial]) -> dict[str, int]:
    """Return for the id of each trial how many newer ones there are of its setting and seed."""
    seen: dict[tuple[bytes, int], int] = {}
    found = {}
    for trial in sorted({trial.trial: trial for trial in trials}.values(), key=lambda trial: -trial.created):
        place = _setting(trial), trial.seed
        found[trial.trial] = seen.get(place, 0)
        seen[place] = found[trial.trial] + 1
    return found


def _setting(trial: Trial) -> bytes:
    """Return what the draws of one setting have in common."""
    fields = ("protocol", "probe", "params", "grid", "draw", "metric", "schema", "train", "test", "name", "features")
    document = trial.document
    return plain_json([document.get(field) for field in (*fields, "val", "chosen_by")])
