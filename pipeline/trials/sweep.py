"""Sweeps: what many trials of one probe amount to, mean and standard deviation over draws."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, JsonValue

from ...errors import BadInput
from ..probes import Draw
from ..ranks import Rank
from .result import Trial
from .tables import Trials

if TYPE_CHECKING:
    import pandas

DRAWS = 5
"""Of the training rows, where their number is asked for and nothing else is said."""


_SEEDS = 2**32
"""Generators of numpy's legacy kind take no larger ones."""


def draws_of(shots: Sequence[int], fractions: Sequence[float], prescribed: Sequence[int]) -> list[Draw]:
    """Return the draws that are asked for, or else a protocol's, or else one of all rows.

    Raises
    ------
    BadInput
        If a number of shots or a fraction is out of range.
    """
    if wrong := [k for k in shots if k < 1]:
        raise BadInput(f"{wrong[0]} shots cannot be drawn.", hint="Give 1 or more: --shots 1,2,4,8,16", key="shots")
    if bad := [f for f in fractions if not 0 < f <= 1]:
        raise BadInput(f"A fraction is above 0 and at most 1, not {bad[0]:g}.", key="fraction", found=bad[0])
    wanted = [Draw(shots=k) for k in dict.fromkeys(shots)]
    wanted += [Draw() if f == 1 else Draw(fraction=f) for f in dict.fromkeys(fractions)]  # all rows are no draw
    return wanted or [Draw(shots=k) for k in prescribed] or [Draw()]


def seeds_of(count: int | None, first: int, prescribed: Sequence[int], *, drawn: bool) -> list[int]:
    """Return the seeds of the draws: so many from the first, or a protocol's own, or `DRAWS` where rows are drawn.

    Raises
    ------
    BadInput
        If the number is below 1.
    """
    if count is not None and count < 1:
        raise BadInput(f"--seeds is a number of draws, 1 or more, not {count}.", key="seeds", found=count)
    usual = len(prescribed) if len(prescribed) > 1 else (DRAWS if drawn else 1)
    start = first or min(prescribed, default=0)
    if start + (count or usual) > _SEEDS:
        raise BadInput(f"Seeds are below {_SEEDS}.", hint="Give a smaller --seed.", key="seed", found=start)
    return list(range(start, start + (count or usual)))


class SizeSummary(BaseModel):
    """What the trials of one size of the training set amount to.

    Parameters
    ----------
    draw : dict or None
        ``{"shots": k}`` or ``{"fraction": f}``; None for all rows.
    trials : int
        How many there are.
    train : int
        Training rows, of the first.
    metrics : dict
        For every score that is one number in every trial its ``mean`` and ``std``, the standard deviation; None if
        there is one trial only.
    """

    model_config = ConfigDict(frozen=True)

    draw: dict[str, int | float] | None
    trials: int
    train: int
    metrics: dict[str, dict[str, float | None]]


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """What `probe` returns: one trial, or many with a summary over their draws.

    Its JSON form can be read by items; if there is one trial, so can that of the trial: ``sweep["metrics"]["top1"]``.

    Parameters
    ----------
    trials : tuple of Trial
        At least one, in the order in which they were asked for.
    summary : tuple of SizeSummary
        For every size of the training set.
    seconds : float
        That the call took.
    notes : tuple of str
        What is to be said of this call: what was guessed, left unused, or may have changed.
    rank : Rank or None
        Which of the ranks this is, if several ran the trials together. All of them return the same trials.
    """

    trials: tuple[Trial, ...]
    summary: tuple[SizeSummary, ...]
    seconds: float
    notes: tuple[str, ...]
    rank: Rank | None = None

    @property
    def trial(self) -> Trial:
        """The only trial; see `trials` for several.

        Raises
        ------
        ValueError
            If there are several.
        """
        if len(self.trials) > 1:
            raise ValueError(f"These are {len(self.trials)} trials: read .trials, or .summary.")
        return self.trials[0]

    @property
    def cached(self) -> int:
        """How many of the trials the store had."""
        return sum(bool(trial.cached) for trial in self.trials)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What sets the results apart from what is published or asked for, each once."""
        return tuple(dict.fromkeys(remark for trial in self.trials for remark in trial.remarks))

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        first = self.trials[0].document
        return {
            **{name: first[name] for name in _COMMON if name in first},
            "remarks": list(self.remarks),
            "summary": [row.model_dump() for row in self.summary],
            "trials": [trial.document for trial in self.trials],
            "cached": self.cached,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }

    @property
    def _fields(self) -> dict[str, Any]:
        only = self.trials[0].document if len(self.trials) == 1 else {}
        return only | self.document

    def __getitem__(self, name: str | int | slice) -> Any:
        """Return a field of the JSON form, or of that of the only trial; by a number, a trial."""
        return self._fields[name] if isinstance(name, str) else self.trials[name]

    def __contains__(self, name: object) -> bool:
        """Return whether there is such a field, or such a trial."""
        return name in self._fields if isinstance(name, str) else name in self.trials

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field, or a default."""
        return self._fields.get(name, default)

    def keys(self) -> KeysView[str]:
        """Return the names of the fields."""
        return self._fields.keys()

    def __iter__(self) -> Iterator[Trial]:
        """Iterate over the trials."""
        return iter(self.trials)

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.trials)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row for each trial; see `Trials.to_pandas`."""
        return Trials(self.trials).to_pandas()

    def __repr__(self) -> str:
        """Describe the trial, or a line for each size of the training set."""
        if len(self.trials) == 1:
            return repr(self.trials[0])
        first = self.trials[0]
        lines = [f"<Sweep of {len(self.trials)} trials: {first.what} on {first.model}, {first.dataset}"]
        for row in self.summary:
            lines.append(f"  {size_of(row.draw)}: {first.metric} {spread(row.metrics.get(first.metric))}")
        return "\n".join(lines) + ">"

    def _repr_html_(self) -> str:
        return self.trials[0]._repr_html_() if len(self.trials) == 1 else Trials(self.trials)._repr_html_()


_COMMON = (
    *("protocol", "probe", "params", "metric", "features"),
    *("model", "dataset", "tap", "untrained", "name", "encoder", "splits"),
)
"""What all trials of a sweep have in common."""


def size_of(draw: Mapping[str, int | float] | None) -> str:
    """Return the size of a training set in words.

    Examples
    --------
    >>> size_of({"shots": 4}), size_of({"fraction": 0.1}), size_of(None)
    ('4 a class', '10 %', 'all')
    """
    if draw is None:
        return "all"
    return f"{draw['shots']} a class" if "shots" in draw else f"{100 * draw['fraction']:g} %"


def spread(score: Mapping[str, float | None] | None) -> str:
    """Return a mean and its standard deviation.

    Examples
    --------
    >>> spread({"mean": 0.5, "std": 0.01}), spread({"mean": 0.5, "std": None}), spread(None)
    ('0.5000 ± 0.0100', '0.5000', '-')
    """
    if score is None or score["mean"] is None:
        return "-"
    return f"{score['mean']:.4f}" + (f" ± {score['std']:.4f}" if score["std"] is not None else "")


def summarised(trials: Sequence[Trial], ddof: int = 1) -> tuple[SizeSummary, ...]:
    """Return for every size of the training set the mean and standard deviation of each score over its draws.

    Parameters
    ----------
    trials : sequence of Trial
        In the order of their draws.
    ddof : {1, 0}
        1 for the standard deviation of a sample (divided by n - 1), 0 for that of numpy (divided by n).
    """
    rows = []
    for _, group in groupby(trials, key=lambda trial: str(trial.draw)):
        same = list(group)
        # A score that some draws do not have, such as the nll of votes, would be a mean over the others.
        each = [trial.metrics for trial in same]
        numbers = [name for name in each[0] if all(isinstance(m.get(name), float) for m in each)]
        metrics = {}
        for name in numbers:
            values = [scores[name] for scores in each]
            deviation = statistics.stdev if ddof else statistics.pstdev
            std = deviation(values) if len(values) > 1 else None
            metrics[name] = {"mean": statistics.fmean(values), "std": std}
        drawn = same[0].draw
        draw = None if drawn is None else drawn.model_dump(exclude_none=True)
        rows.append(SizeSummary(draw=draw, trials=len(same), train=same[0].rows.train, metrics=metrics))
    return tuple(rows)
