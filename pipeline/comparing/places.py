"""Where a trial stands in a matrix: its row is a model and how it was extracted, its column what was measured on what.

What all trials have in common is not in these names; what tells two of them apart is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...canonical import plain_json
from ...stores.format.names import options_in, spelled
from ..trials.result import Trial
from ..trials.sweep import size_of

_OF_DATA = ("limit", "limit-seed", "image-column", "label-column", "class-names")
"""Options of an extraction that say which data were read; the others say how."""


@dataclass(frozen=True)
class Column:
    """What was measured, and on what.

    Parameters
    ----------
    dataset : str
        Its name, with the options that chose a part of it, and the test rows if there are several kinds.
    what : str
        ``protocol clip``, ``logreg``, ``knn k=20`` …
    metric : str
        The score that counts.
    draw : str
        Of the training rows: ``all``, ``4 a class``, ``10 %``.

    Examples
    --------
    >>> Column("birds", "knn k=20", "top1", "4 a class").text
    'birds, knn k=20, 4 a class: top1'
    """

    dataset: str
    what: str
    metric: str
    draw: str

    @property
    def text(self) -> str:
        """The column in one line."""
        drawn = "" if self.draw == "all" else f", {self.draw}"
        return f"{self.dataset}, {self.what}{drawn}: {self.metric}"


def rows_and_columns(trials: Sequence[Trial]) -> list[tuple[str, Column]]:
    """Return the row and the column of every trial.

    Parameters
    ----------
    trials : sequence of Trial

    Returns
    -------
    list of tuple
        The name of the row, and the column, in the order of `trials`.
    """
    parts, whats = _datasets(trials), _whats(trials)
    columns = [
        Column(dataset, what, trial.metric, size_of(_drawn(trial)))
        for trial, dataset, what in zip(trials, parts, whats, strict=True)
    ]
    return list(zip(_models(trials, columns), columns, strict=True))


def _drawn(trial: Trial) -> dict[str, int | float] | None:
    return None if trial.draw is None else trial.draw.model_dump(exclude_none=True)


def _models(trials: Sequence[Trial], columns: Sequence[Column]) -> list[str]:
    """Return the model of each trial, with what tells apart several extractions of it.

    A tap does so only if two are measured in one column: a protocol may prescribe another one than the rest reads.
    """
    options = [_encoding(trial) for trial in trials]
    several: dict[str, set[bytes]] = {}
    taps: dict[tuple[str, bytes, Column], set[str]] = {}
    for trial, given, column in zip(trials, options, columns, strict=True):
        several.setdefault(str(trial.model), set()).add(plain_json(given))
        taps.setdefault((str(trial.model), plain_json(given), column), set()).add(str(trial.tap))
    tapped = {model for (model, _, _), found in taps.items() if len(found) > 1}
    names = []
    for trial, given in zip(trials, options, strict=True):
        model = str(trial.model)
        told = [str(trial.tap)] if model in tapped else []
        if len(several[model]) > 1 or given.get("untrained"):
            told += [spelled({name: value}).removeprefix("--") for name, value in given.items()]
        names.append(f"{model} ({', '.join(told)})" if told else model)
    return names


def _encoding(trial: Trial) -> dict[str, Any]:
    """Return the options that say how a trial's features were made."""
    return {name: value for name, value in options_in(trial.name).items() if name not in _OF_DATA}


def _datasets(trials: Sequence[Trial]) -> list[str]:
    """Return the data set of each trial, with the options that chose a part of it, and the test rows if they differ."""
    given = [options_in(trial.name) for trial in trials]
    names = [_of_part(str(trial.dataset), options) for trial, options in zip(trials, given, strict=True)]
    tested = [_tested(trial) for trial in trials]
    kinds: dict[str, set[str]] = {}
    for name, test in zip(names, tested, strict=True):
        kinds.setdefault(name, set()).add(test)
    return [
        f"{name} (tested on {test})" if len(kinds[name]) > 1 and test else name
        for name, test in zip(names, tested, strict=True)
    ]


def _of_part(dataset: str, options: Mapping[str, Any]) -> str:
    chosen = {name: value for name, value in options.items() if name in _OF_DATA}
    return f"{dataset} ({spelled(chosen)})" if chosen else dataset


def _tested(trial: Trial) -> str:
    """Return on which split a trial is tested, or which share of train, in words; empty if it does not say so."""
    if isinstance(trial.test, dict):
        share = trial.test.get("fraction")
        shown = f"{100 * share:g} %" if isinstance(share, int | float) else "a share"
        return f"{shown} of train, seed {trial.test.get('seed')}"
    split = trial.splits.get("test") if isinstance(trial.splits, dict) else None
    return str(split) if split is not None else ""


def _whats(trials: Sequence[Trial]) -> list[str]:
    """Return the probe or protocol of each trial, with its only value, and parameters that tell two of them apart."""
    seen: dict[str, dict[str, set[bytes]]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            seen.setdefault(trial.what, {}).setdefault(name, set()).add(plain_json(value))
    return [" ".join([trial.what, *_fixed(trial), *_told_apart(trial, seen.get(trial.what, {}))]) for trial in trials]


def _fixed(trial: Trial) -> list[str]:
    """Return values that were given and not chosen, such as ``k=20``."""
    grid = trial.grid if isinstance(trial.grid, dict) else {}
    one = {name: values[0] for name, values in grid.items() if isinstance(values, list) and len(values) == 1}
    return [f"{name}={value:g}" for name, value in one.items() if isinstance(value, int | float)]


def _told_apart(trial: Trial, seen: Mapping[str, set[bytes]]) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(trial.params.items()) if len(seen.get(name, ())) > 1]
