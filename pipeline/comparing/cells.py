"""The cells of a matrix: which trials stand in one, and their score with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from ...amounts import count
from ..trials.lines import Line, lines_of
from ..trials.result import Trial
from .places import Column

_DIFFERS = ("train", "test", "val", "grid", "params", "encoder", "features", "schema", "protocol", "probe", "splits")
"""What settings of one cell can differ in, for the note."""


@dataclass(frozen=True)
class Cell:
    """The score of a model in a column.

    Parameters
    ----------
    model : str
        The row.
    column : Column
    trials : tuple of Trial
        The draws of one setting.
    score : float or None
        Mean over the draws of the metric that counts; None if one of them does not define it.
    std : float or None
        Standard deviation over the draws; None for a single one.
    low, high : float or None
        Ends of the 95 % interval; see `interval_of`.
    best : bool
        Whether no cell of the column has a higher score.
    tied : bool
        Whether it is not significantly worse than the best; True for the best.
    """

    model: str
    column: Column
    trials: tuple[Trial, ...]
    score: float | None
    std: float | None
    low: float | None
    high: float | None
    best: bool = False
    tied: bool = False

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form; trials by their ids."""
        named: dict[str, JsonValue] = {"model": self.model, "column": asdict(self.column)}
        named["trials"] = [trial.trial for trial in self.trials]
        fields = ("score", "std", "low", "high", "best", "tied")
        return named | {field: getattr(self, field) for field in fields}


def cell_of(model: str, column: Column, trials: Sequence[Trial]) -> tuple[Cell, str | None]:
    """Return a cell, and what is to be said of it if only one of several settings counts, the newest.

    Parameters
    ----------
    model : str
    column : Column
    trials : sequence of Trial
        All that stand in this row and column.
    """
    lines = sorted(lines_of(trials), key=lambda line: max(trial.created for trial in line.trials))
    newest = lines[-1]
    spread = newest.spread(column.metric)
    low, high = interval_of(newest, column.metric) or (None, None)
    score, std = (None, None) if spread is None else (spread["mean"], spread["std"])
    cell = Cell(model, column, newest.trials, score, std, low, high)
    if len(lines) == 1:
        return cell, None
    settings = count(len(lines), "setting")
    return cell, (
        f"{model} on {column.text}: {settings} (they differ in {_difference(lines)}); "
        f"the newest counts (trial {newest.first.trial[:12]})"
    )


def interval_of(line: Line, metric: str) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean over the draws of a setting; None if it is not known.

    Of one trial it is the interval that it has, which is over test rows. Of D draws it is m ± h, in which

        h^2 = (t s / sqrt(D))^2 + w^2

    with the standard deviation s of the scores over draws, the quantile t of Student's distribution of D - 1 degrees of
    freedom, and the half width w of the draws' own intervals, on average. Draws share their test rows, and so their
    mean varies with these about as much as one of them: at most w. The interval is of other draws *and* other test
    rows, and rather too wide than too narrow.

    Parameters
    ----------
    line : Line
    metric : str
    """
    found = [trial.intervals.get(metric) for trial in line.trials]
    own = [interval for interval in found if interval is not None]
    spread = line.spread(metric)
    if spread is None or spread["mean"] is None or len(own) < len(found):
        return None
    if spread["std"] is None:
        return float(own[0][0]), float(own[0][1])
    from scipy.stats import t

    mean, draws = spread["mean"], len(own)
    within = sum(high - low for low, high in own) / (2 * draws)
    half = math.hypot(float(t.ppf(0.975, draws - 1)) * spread["std"] / math.sqrt(draws), within)
    return max(mean - half, 0.0), min(mean + half, 1.0)


def _difference(lines: Sequence[Line]) -> str:
    """Say in which fields settings differ."""
    documents = [line.first.document for line in lines]
    differing = [field for field in _DIFFERS if any(d.get(field) != documents[0].get(field) for d in documents)]
    if {"train", "test"} & {*differing} and "encoder" in differing:
        differing = [field for field in differing if field not in ("train", "test", "val")]  # ids of its sets
    return ", ".join(differing) or "names"
