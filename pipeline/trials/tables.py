"""Trials as a table: a row for each, its settings and scores in columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...notebook import Cell, data_frame, html_table
from .result import Trial

if TYPE_CHECKING:
    import pandas

    from ...stores.store import Store
    from ..comparing.matrix import Matrix

_SHOWN = ("dataset", "model", "tap", "probe", "shots", "fraction", "seed", "chosen", "metric", "score", "trial")
"""Columns that a notebook shows; a table has all."""


def row_of(trial: Trial) -> dict[str, Cell]:
    """Return what a trial is and what it scored, by column; every score that is one number has a column."""
    draw = trial.draw
    low, high = trial.intervals.get(trial.metric) or (None, None)
    return {
        "trial": trial.trial,
        "dataset": trial.dataset,
        "model": trial.model,
        "tap": trial.tap,
        "protocol": trial.protocol,
        "probe": trial.probe,
        "params": ", ".join(f"{k}={v}" for k, v in trial.params.items()),
        "shots": None if draw is None else draw.shots,
        "fraction": None if draw is None else draw.fraction,
        "seed": trial.seed,
        "chosen": trial.chosen_values(),
        "train_rows": trial.rows.train + trial.rows.val,
        "test_rows": trial.rows.test,
        "metric": trial.metric,
        "score": trial.score,
        "low": low,
        "high": high,
        **{name: value for name, value in trial.metrics.items() if isinstance(value, float)},
        "converged": trial.converged,
        "created": trial.created,
    }


class Trials(list[Trial]):
    """Trials in a list, which shows itself as a table.

    Parameters
    ----------
    trials : iterable of Trial
    store : Store, optional
        That they are from; `pivot` reads their predictions there.
    """

    def __init__(self, trials: Iterable[Trial] = (), store: Store | None = None) -> None:
        super().__init__(trials)
        self._store = store

    def pivot(self) -> Matrix:
        """Return the matrix of models by data sets: scores, intervals, what cannot be told apart, and mean ranks.

        Raises
        ------
        ValueError
            If these trials are not from `results`.
        """
        from ..comparing.matrix import matrix_of

        if self._store is None:
            raise ValueError("These trials are of no store: pivot what cryoprobe.results returns.")
        return matrix_of(self._store, self)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row for each trial.

        ``score`` is the metric that counts, ``low`` and ``high`` are the ends of its 95 % interval, and ``created`` is
        a time in milliseconds since 1970.

        Raises
        ------
        NotFound
            If pandas is not installed.
        """
        return data_frame([row_of(trial) for trial in self])

    def _repr_html_(self) -> str:
        rows = [row_of(trial) for trial in self]
        shown = [name for name in _SHOWN if any(row[name] is not None for row in rows)]
        return html_table("", shown, ([row[name] for name in shown] for row in rows))
