"""What a tracker is given of a trial, and what a tracker does with it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from ..trials.result import Trial

Value = str | int | float | bool

_LONGEST_VALUE = 500  # MLflow's servers before version 2.8 take no longer parameters


@dataclass(frozen=True)
class TrackedTrial:
    """A trial as trackers know it.

    Parameters
    ----------
    key : str
        The same for the same result, wherever it is asked for: the first digits of the trial's id, and when it was
        fitted. What was run again is another one.
    name : str
        What a person reads in a list: the model, the data set and the probe.
    params : dict
        What was asked for and chosen: ``model``, ``probe``, ``params.C``, ``chosen.C`` …
    scores : dict of str to float
        ``top1``, ``top1.low`` and ``top1.high`` (the ends of its 95 % interval), ``fit_seconds`` … Scores that the rows
        do not define are left out.
    curve : tuple of dict
        For each value that was tried, in order: ``curve.C``, ``curve.nll``, ``curve.top1`` …
    """

    key: str
    name: str
    params: Mapping[str, Value]
    scores: Mapping[str, float]
    curve: tuple[Mapping[str, float], ...]

    @classmethod
    def of(cls, trial: Trial) -> Self:
        """Return what is logged of a trial."""
        intervals = {
            f"{name}.{end}": value
            for name, ends in trial.intervals.items()
            if ends is not None
            for end, value in zip(("low", "high"), ends, strict=True)
        }
        scores = {**trial.metrics, **intervals, "fit_seconds": trial.fit_seconds}
        return cls(
            key=f"{trial.trial[:16]}-{trial.created}",
            name=f"{trial.model} on {trial.dataset}: {trial.what}",
            params=dict(_params(trial)),
            scores=_numbers(scores),
            curve=tuple(_numbers({f"curve.{k}": v for k, v in point.items()}) for point in trial.curve),
        )


class Tracker(Protocol):
    """An open tracker. Whatever it raises is printed in one line; no result is lost by it."""

    def has(self, trial: TrackedTrial) -> bool:
        """Return whether a trial with that key is there, as far as can be told."""
        ...

    def log(self, trial: TrackedTrial) -> None:
        """Log a trial."""
        ...

    def log_page(self, page: Path) -> None:
        """Keep a page, which is one file."""
        ...


@dataclass(frozen=True)
class TrackerKind:
    """A kind of tracker: what ``--log-to NAME[:REST]`` opens.

    Parameters
    ----------
    name : str
    open : callable
        Takes what stands behind the colon, or an empty text, and returns a `Tracker`. It may raise `BadInput` if a
        package is missing, and should reach no server yet: it is called before the trials are run.
    """

    name: str
    open: Callable[[str], Tracker]


def _params(trial: Trial) -> Iterator[tuple[str, Value]]:
    """Yield parameters by name; nested ones are joined by points."""
    fields = ("trial", "model", "dataset", "tap", "protocol", "probe", "metric", "features", "seed", "train", "encoder")
    for field in fields:
        if (value := _flat(trial.get(field))) is not None:
            yield field, value
    yield "test", _flat(trial.test) or ""
    groups = {"params": trial.params, "chosen": trial.chosen, "rows": dict(trial.rows), "draw": dict(trial.draw or {})}
    for group, values in groups.items():
        for name, found in values.items():
            if (value := _flat(found)) is not None:
                yield f"{group}.{name}", value


def _flat(value: object) -> Value | None:
    """Return a value that trackers take; what has parts as JSON."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:_LONGEST_VALUE]


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    """Return those values that are finite numbers."""
    found = {k: v for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}
