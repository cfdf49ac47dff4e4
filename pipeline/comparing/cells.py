"""The cells of a matrix: which trials stand in one, and their score with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from ...amounts import count
from ...canonical import plain_json
from ..trials.lines import Line, lines_of
from ..trials.result import Trial
from .places import Column
from .settings import difference, setting_of

_DIFFERS = (
    "train",
    "test",
    "val",
    "grid",
    "params",
    "encoder",
    "features",
    "schema",
    "protocol",
    "probe",
    "splits",
    "chosen_by",
)
"""What settings of one cell can differ in, for the note."""


_BY_CHANCE = ("sgd", "mlp")
"""Probes of ours that a seed makes."""


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
    apart : bool
        Whether it is not compared with the others, since its setting is another, or its score is in doubt: it is
        neither `best` nor `tied`, and has no rank in its column.
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
    apart: bool = False

    @property
    def single(self) -> bool:
        """Whether it is one draw of several that there could be: nothing is known of the others."""
        return len(self.trials) == 1 and self.varies

    @property
    def varies(self) -> bool:
        """Whether other seeds give other probes: by other training rows, or by chance in the training."""
        return self.trials[0].draw is not None or self.trials[0].probe in _BY_CHANCE

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form; trials by their ids."""
        named: dict[str, JsonValue] = {"model": self.model, "column": asdict(self.column)}
        named["trials"] = [trial.trial for trial in self.trials]
        fields = ("score", "std", "low", "high", "best", "tied", "apart")
        return named | {field: getattr(self, field) for field in fields}


def cells_of(column: Column, groups: Sequence[tuple[str, Sequence[Trial]]]) -> tuple[list[Cell], list[str]]:
    """Return the cells of a column, each of one setting, and what is to be said of it.

    The setting that most models have counts, of several the newest. A model that lacks it has its own newest one, and
    its cell stands apart.

    Parameters
    ----------
    column : Column
    groups : sequence of (str, sequence of Trial)
        Of each model all its trials in this column.
    """
    lines = [sorted(lines_of(trials), key=_created) for _, trials in groups]
    models: dict[bytes, int] = {}
    newest: dict[bytes, int] = {}
    for own in lines:
        for key in {_key(line) for line in own}:
            models[key] = models.get(key, 0) + 1
        for line in own:
            newest[_key(line)] = max(newest.get(_key(line), 0), _created(line))
    usual = max(models, key=lambda key: (models[key], newest[key]))
    cells, notes = [], []
    for (model, _), own in zip(groups, lines, strict=True):
        line = next((one for one in reversed(own) if _key(one) == usual), own[-1])
        cells.append(_cell(model, column, line, apart=_key(line) != usual))
        if len(own) > 1:
            which = "the newest" if line is own[-1] else "the one that most models have"
            notes.append(
                f"{model} on {column.text}: {count(len(own), 'setting')} (they differ in {_difference(own)}); "
                f"{which} counts (trial {line.first.trial[:12]})"
            )
    like = next(cell for cell in cells if not cell.apart).trials[0]
    apart: dict[str, list[str]] = {}
    for cell in cells:
        if cell.apart:
            apart.setdefault(difference(cell.trials[0], like), []).append(cell.model)
    notes += [
        f"{column.text}: {', '.join(found)} not compared with the others, because of another {what}"
        for what, found in apart.items()
    ]
    return cells, notes


def _created(line: Line) -> int:
    return max(trial.created for trial in line.trials)


def _key(line: Line) -> bytes:
    return plain_json(setting_of(line.first))


def _cell(model: str, column: Column, line: Line, *, apart: bool) -> Cell:
    spread = line.spread(column.metric)
    low, high = interval_of(line, column.metric) or (None, None)
    score, std = (None, None) if spread is None else (spread["mean"], spread["std"])
    return Cell(model, column, line.trials, score, std, low, high, apart=apart)


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
    return ", ".join(differing) or "nothing that is recorded, such as own code"
