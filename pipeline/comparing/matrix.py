"""The matrix of models and data sets: a score in each cell, with its interval, and which cells cannot be told apart.

A cell holds the draws of one setting: its score is their mean. The best of a column is marked together with every cell
that is not significantly worse; see `matrix_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from ...amounts import count
from ...notebook import Cell as Shown
from ...notebook import data_frame, html_table
from ...stores.store import Store
from ..trials.result import Trial
from .aligned import PredictionReader
from .cells import Cell, cells_of
from .column_tests import marked
from .places import Column
from .ranks import ranks
from .trusted import came_from, placed

if TYPE_CHECKING:
    import pandas

__all__ = ["Cell", "Column", "Matrix", "matrix_of"]


@dataclass(frozen=True, eq=False, repr=False)
class Matrix:
    """Models by columns.

    Parameters
    ----------
    models : tuple of str
        Rows: a model, and what tells apart several extractions of it.
    columns : tuple of Column
    cells : mapping
        By row and column; what was not measured is missing.
    mean_ranks : mapping of str to float
        Of each model the mean of its ranks over the columns that all models have: 1 is the best. Empty without such.
    notes : tuple of str
        What is to be said of it: what was left out, or could not be tested.
    """

    models: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[str, Column], Cell]
    mean_ranks: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def in_column(self, column: Column) -> list[Cell]:
        """Return the cells of a column, in the order of `models`."""
        return [self.cells[model, column] for model in self.models if (model, column) in self.cells]

    def is_marked(self, cell: Cell) -> bool:
        """Return whether tables mark a cell as not worse than the best: not if no other of its column is worse."""
        return cell.tied and any(
            not (other.tied or other.apart) for other in self.in_column(cell.column) if other.score is not None
        )

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        cells: list[JsonValue] = [cell.document for column in self.columns for cell in self.in_column(column)]
        return {
            "models": list(self.models),
            "columns": [asdict(column) for column in self.columns],
            "cells": cells,
            "mean_ranks": dict(self.mean_ranks),
            "notes": list(self.notes),
        }

    def to_pandas(self, *, wide: bool = False) -> pandas.DataFrame:
        """Return a table with a row for each cell; or, if it is to be wide, for each model; see `wide_rows`.

        Raises
        ------
        NotFound
            If pandas is not installed.
        """
        return data_frame(self.wide_rows() if wide else self.rows())

    def wide_rows(self) -> list[dict[str, Shown]]:
        """Return a row for each model: its mean rank, and the scores by the text of their column.

        After a score come ``std`` (if there are several draws), ``low``, ``high`` and ``tied``, which is None of a cell
        that is not compared with the others.
        """
        found = []
        for model in self.models:
            row: dict[str, Shown] = {"model": model, "mean_rank": self.mean_ranks.get(model)}
            for column in self.columns:
                cell = self.cells.get((model, column))
                several = any(other.std is not None for other in self.in_column(column))
                row[column.text] = None if cell is None else cell.score
                for field in ("std", "low", "high", "tied") if several else ("low", "high", "tied"):
                    unknown = cell is None or (field == "tied" and cell.apart)
                    row[f"{column.text} {field}"] = None if unknown else getattr(cell, field)
            found.append(row)
        return found

    def rows(self) -> list[dict[str, Shown]]:
        """Return the cells as rows of a long table, with their ranks' mean and the ids of their trials."""
        return [
            {
                "model": cell.model,
                **asdict(column),
                "score": cell.score,
                "std": cell.std,
                "low": cell.low,
                "high": cell.high,
                "best": cell.best,
                "tied": cell.tied,
                "apart": cell.apart,
                "draws": len(cell.trials),
                "mean_rank": self.mean_ranks.get(cell.model),
                "trials": " ".join(trial.trial for trial in cell.trials),
            }
            for column in self.columns
            for cell in self.in_column(column)
        ]

    def __repr__(self) -> str:
        """Say how large it is."""
        of = f"{count(len(self.models), 'model')} x {count(len(self.columns), 'column')}"
        return f"<Matrix of {of}: {count(len(self.cells), 'cell')}>"

    def _repr_html_(self) -> str:
        heads = ["model", *(column.text for column in self.columns)]
        scores = [[model, *(self._score(model, column) for column in self.columns)] for model in self.models]
        return html_table(repr(self)[1:-1], heads, scores)

    def _score(self, model: str, column: Column) -> float | None:
        cell = self.cells.get((model, column))
        return None if cell is None else cell.score


def matrix_of(store: Store, trials: Sequence[Trial]) -> Matrix:
    """Put trials into a matrix of models and columns.

    Of several settings in one column (another grid, data that grew, weights that changed) the one that most models have
    counts, then the newest, and a note says so. Trials of a store that is not trusted are left out where there are
    others; see docs/comparing.md.

    Parameters
    ----------
    store : Store
        That has the predictions of the trials.
    trials : sequence of Trial

    Returns
    -------
    Matrix
        Models and columns in the order in which they first come in `trials`, columns of one data set together.
    """
    counting, notes = placed(trials)
    groups: dict[Column, dict[str, list[Trial]]] = {}
    for one in counting:
        groups.setdefault(one.column, {}).setdefault(one.row, []).append(one.trial)
    models = tuple(dict.fromkeys(one.row for one in counting))
    datasets = [*dict.fromkeys(column.dataset for column in groups)]
    columns = tuple(sorted(groups, key=lambda column: datasets.index(column.dataset)))
    reader = PredictionReader(store)
    cells: dict[tuple[str, Column], Cell] = {}
    ranked = []
    for column in columns:
        found, said = cells_of(column, [(m, groups[column][m]) for m in models if m in groups[column]])
        judged = marked(reader, found)
        cells |= {(cell.model, column): cell for cell in judged.cells}
        notes += [*said, *judged.notes]
        ranked += [column] if judged.same_rows else []
    trusted = {one.row for one in counting if came_from(one.trial) is None}
    compared = [model for model in models if model in trusted or not trusted]
    means, said = _mean_ranks(compared, ranked, cells, len(columns))
    if means and len(compared) < len(models):
        said.append("mean ranks are without the models that are not trusted")
    return Matrix(models, columns, cells, means, (*notes, *said))


def _mean_ranks(
    models: Sequence[str], columns: Sequence[Column], cells: Mapping[tuple[str, Column], Cell], every: int
) -> tuple[dict[str, float], list[str]]:
    """Return the mean ranks over those of `columns` in which all models have a score, and what was left out."""
    rows = [[_ranked(cells.get((m, c))) for m in models] for c in columns]
    shared = [[score for score in row if score is not None] for row in rows if None not in row]
    if len(models) < 2 or not every:
        return {}, []
    if not shared:
        return {}, ["no mean ranks: no column has a score of every model that can be compared"]
    means = ranks(shared).mean(axis=0)
    left = every - len(shared)
    said = [f"mean ranks are over the {count(len(shared), 'column')} that all models have, not over {left} others"]
    return dict(zip(models, map(float, means), strict=True)), said if left else []


def _ranked(cell: Cell | None) -> float | None:
    return None if cell is None or cell.apart else cell.score
