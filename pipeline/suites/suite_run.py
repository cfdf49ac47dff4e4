"""What `run_suite` did: each cell with its trials or its error, the extractions, and the matrix."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property

from pydantic import JsonValue

from ...amounts import count
from ...stores.store import Store
from ...suite_progress import Status
from ..comparing.matrix import Matrix, matrix_of
from ..extraction.result import ExtractedSet
from ..trials.result import Trial
from ..trials.sweep import Sweep, spread


@dataclass(frozen=True)
class Failure:
    """Why a cell, or the extraction that it needs, failed.

    Parameters
    ----------
    error : str
        The message.
    code : int
        The exit code that stands for it.
    """

    error: str
    code: int


@dataclass(frozen=True)
class SuiteCell:
    """A cell of a suite.

    Parameters
    ----------
    model, dataset, what : str
    status : {"stored", "done", "failed"}
        ``stored`` if the store had all of its trials.
    sweep : Sweep or None
        Its trials.
    failure : Failure or None
    seconds : float
        That the trials took, without the extraction.
    command : str
        That runs this cell alone.
    """

    model: str
    dataset: str
    what: str
    status: Status
    sweep: Sweep | None
    failure: Failure | None
    seconds: float
    command: str

    @property
    def score(self) -> str:
        """The score of the largest training set, in words; empty if there is none."""
        return "" if self.sweep is None else score_of(self.sweep)

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        return {
            **{name: getattr(self, name) for name in ("model", "dataset", "what", "status", "seconds", "command")},
            "trials": [] if self.sweep is None else [trial.trial for trial in self.sweep],
            "error": None if self.failure is None else self.failure.error,
            "exit_code": 0 if self.failure is None else self.failure.code,
        }


@dataclass(frozen=True)
class SuiteExtraction:
    """What was extracted of one model and data set.

    Parameters
    ----------
    model, dataset : str
    sets : tuple of ExtractedSet
        Empty if it failed.
    failure : Failure or None
    seconds : float
    """

    model: str
    dataset: str
    sets: tuple[ExtractedSet, ...]
    failure: Failure | None
    seconds: float

    @property
    def encoded(self) -> int:
        """Images that were encoded, for several taps once."""
        return sum({one.split: one.encoded for one in self.sets}.values())

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        sets: list[JsonValue] = [asdict(one) for one in self.sets]
        said = None if self.failure is None else self.failure.error
        return {
            "model": self.model,
            "dataset": self.dataset,
            "encoded": self.encoded,
            "seconds": self.seconds,
            "sets": sets,
            "error": said,
        }


@dataclass(frozen=True, repr=False)
class SuiteRun:
    """What a suite did.

    Parameters
    ----------
    store : Store
    cells : tuple of SuiteCell
        In the order of the rows, failed ones included.
    extractions : tuple of SuiteExtraction
    notes : tuple of str
        What is to be said of the cells, each once.
    seconds : float
    """

    store: Store
    cells: tuple[SuiteCell, ...]
    extractions: tuple[SuiteExtraction, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = field(default=0.0)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, in the order of the cells; one that several cells have is here once."""
        every = [trial for cell in self.cells if cell.sweep is not None for trial in cell.sweep]
        return tuple({trial.trial: trial for trial in reversed(every)}.values())[::-1]

    @property
    def failed(self) -> tuple[SuiteCell, ...]:
        """The cells that failed."""
        return tuple(cell for cell in self.cells if cell.failure is not None)

    @property
    def exit_code(self) -> int:
        """What the command ends with: 0; the code of the failures, if all have the same; else 1."""
        codes = {cell.failure.code for cell in self.failed if cell.failure is not None}
        return codes.pop() if len(codes) == 1 else int(bool(codes))

    @cached_property
    def matrix(self) -> Matrix:
        """Models by data sets and protocols, with intervals and ranks."""
        return matrix_of(self.store, self.trials)

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        return {
            "store": self.store.url,
            "cells": [cell.document for cell in self.cells],
            "extractions": [one.document for one in self.extractions],
            "matrix": self.matrix.document,
            "notes": list(self.notes),
            "seconds": self.seconds,
        }

    def __repr__(self) -> str:
        stored = sum(cell.status == "stored" for cell in self.cells)
        return f"<SuiteRun: {count(len(self.cells), 'cell')}, {stored} from the store, {len(self.failed)} failed>"

    def _repr_html_(self) -> str:
        return self.matrix._repr_html_()


def score_of(sweep: Sweep) -> str:
    """Return what a cell scored, in words: of several sizes of the training set, with the last one."""
    metric = sweep.trials[0].metric
    return f"{metric} {spread(sweep.summary[-1].metrics.get(metric))}" if sweep.summary else ""
