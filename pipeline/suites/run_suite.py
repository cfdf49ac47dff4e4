"""`run_suite`: extract each model and data set once, and run every protocol on them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ...errors import BadInput, CryoprobeError
from ...progress import Reporter
from ...stores.opening import open_store
from ...stores.store import Store
from ...suite_progress import CellState, Status, SuiteReporter
from ..extract import extract
from ..extraction.kept import keeping_encoders
from ..extraction.result import ExtractedSet
from ..options import EngineOptions, ExtractArguments, TrialRunOptions
from ..probe import probe_sets
from ..ranks import Rank, rank_here
from ..trials.sweep import Sweep
from .cells import Cell, Pair, engine, pairs_of, running
from .commands import store_options
from .read_suite import read_suite
from .reporting import suite_reporter
from .suite import ModelRow, Suite
from .suite_run import Failure, SuiteCell, SuiteExtraction, SuiteRun, score_of
from .taps import taps_of


def run_suite(
    suite: str | Path | Mapping[str, Any] | Suite,
    store: str | Path | Store | None = None,
    *,
    overrides: Sequence[str] = (),
    progress: bool = True,
    reporter: Reporter | None = None,
) -> SuiteRun:
    """Run models × data sets × protocols: encode what the store lacks, and run the trials that it does not have.

    A cell that fails does not stop the others. Interrupted at any instant, the same call goes on.

    Parameters
    ----------
    suite : str, Path, mapping or Suite
        A TOML file, its content, or what `read_suite` made of them.
    store : str, Path or Store, optional
        Made if there is none. By default the suite's own.
    overrides : sequence of str
        See `read_suite`.
    progress : bool
        Show a live table on a terminal or in a notebook.
    reporter : Reporter, optional
        Takes the progress instead; a `SuiteReporter` that of the cells too.

    Returns
    -------
    SuiteRun

    Raises
    ------
    BadInput, NotFound
        If the suite is wrong, or the store is none. What fails within a cell is in its `SuiteCell`.
    """
    asked = read_suite(suite, overrides)
    place = place_of(asked, store)
    opened = open_store(place, create=True)
    pairs = pairs_of(asked, store_options(opened))
    run = Cells(
        opened, running(asked), engine(asked), [c for p in pairs for c in p.cells], suite_reporter(progress, reporter)
    )
    rank = asked.rank if isinstance(asked.rank, Rank) else rank_here()
    with run.shown(), keeping_encoders():
        taps: dict[int, tuple[str, ...] | Failure] = {}
        for pair in pairs:
            of_model = [cell for other in pairs if other.model is pair.model for cell in other.cells]
            run.pair(asked, pair, taps, of_model, rank)
    return run.result()


def place_of(suite: Suite, store: str | Path | Store | None) -> str | Path | Store:
    """Return the store of a suite.

    Raises
    ------
    BadInput
        If none is given.
    """
    place = suite.store if store is None else store
    if place is None:
        raise BadInput(
            "The suite names no store.", hint='Give --store, or write store = "features" into it.', key="store"
        )
    return place


@dataclass
class Cells:
    """Cells that are run one after the other, each whatever became of the others."""

    store: Store
    running: TrialRunOptions
    engine: EngineOptions
    cells: Sequence[Cell]
    reporter: SuiteReporter
    done: dict[int, SuiteCell] = field(default_factory=dict)
    extractions: list[SuiteExtraction] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def shown(self) -> _Shown:
        """Return a context in which the cells are shown."""
        return _Shown(self)

    def pair(
        self,
        suite: Suite,
        pair: Pair,
        taps: dict[int, tuple[str, ...] | Failure],
        of_model: Sequence[Cell],
        rank: Rank | None,
    ) -> None:
        """Extract a model and a data set, and run the cells on them.

        Parameters
        ----------
        suite : Suite
        pair : Pair
        taps : dict
            Of the models that were looked at, by the identity of their rows.
        of_model : sequence of Cell
            All cells of the model: its taps are the same on all data sets.
        rank : Rank or None
            Which of several processes this is; each begins with its share of the cells.
        """
        numbers = [i for i, cell in enumerate(self.cells) if any(cell is own for own in pair.cells)]
        for i in numbers:
            self._tell(i, "encoding")
        extraction = self._extracted(suite, pair, taps, of_model)
        self.extractions.append(extraction)
        if extraction.failure is not None:
            for i in numbers:
                self._failed(i, extraction.failure, 0.0)
            return
        for i in numbers:
            self._tell(i, "waiting")
        among = {one.set for one in extraction.sets}
        first = 0 if rank is None else rank.share(len(numbers)).start
        for i in [*numbers[first:], *numbers[:first]]:
            self.probe(i, among)

    def probe(self, i: int, among: Collection[str] | None = None) -> None:
        """Run a cell.

        Parameters
        ----------
        i : int
            Its number.
        among : collection of str, optional
            Ids of the only sets that it is run on.
        """
        cell = self.cells[i]
        self._tell(i, "probing")
        started = time.monotonic()
        try:
            # Trials of one cell tell of each; cells are told by themselves.
            sweep = probe_sets(self.store, cell.where, cell.asked, self.running, self.engine, Reporter(), among)
        except Exception as error:  # whatever it is, the other cells are worth running
            self._failed(i, failure_of(error), round(time.monotonic() - started, 3))
            return
        status: Status = "stored" if sweep.cached == len(sweep) else "done"
        self.done[i] = SuiteCell(cell.model, cell.dataset, cell.what, status, sweep, None, sweep.seconds, cell.command)
        self._take_notes(sweep)
        self._tell(i, status, score_of(sweep), sweep.seconds)

    def result(self) -> SuiteRun:
        """Return what was done."""
        notes = [note if n == 1 else f"{note} ({n} cells)" for note, n in self.notes.items()]
        cells = tuple(self.done[i] for i in range(len(self.cells)))
        return SuiteRun(
            self.store, cells, tuple(self.extractions), tuple(notes), round(time.monotonic() - self.started, 3)
        )

    def _extracted(
        self, suite: Suite, pair: Pair, known: dict[int, tuple[str, ...] | Failure], of_model: Sequence[Cell]
    ) -> SuiteExtraction:
        started = time.monotonic()
        model, dataset = pair.cells[0].model, pair.cells[0].dataset
        done: list[ExtractedSet] = []
        failure = None
        try:
            taps = self._taps(suite, pair.model, known, of_model)
            if isinstance(taps, Failure):
                failure = taps
            else:
                options = cast(ExtractArguments, pair.extraction(suite, taps))
                done = extract(pair.model.name, pair.data.name, self.store, reporter=self.reporter, **options)
        except Exception as error:  # as above
            failure = failure_of(error)
        return SuiteExtraction(model, dataset, tuple(done), failure, round(time.monotonic() - started, 3))

    def _taps(
        self,
        suite: Suite,
        model: ModelRow,
        known: dict[int, tuple[str, ...] | Failure],
        of_model: Sequence[Cell],
    ) -> tuple[str, ...] | Failure:
        if id(model) not in known:
            try:
                known[id(model)] = taps_of(suite, model, of_model, self.reporter)
            except CryoprobeError as error:
                known[id(model)] = failure_of(error)
        return known[id(model)]

    def _failed(self, i: int, failure: Failure, seconds: float) -> None:
        cell = self.cells[i]
        self.done[i] = SuiteCell(cell.model, cell.dataset, cell.what, "failed", None, failure, seconds, cell.command)
        self._tell(i, "failed", failure.error.partition("\n")[0], seconds)

    def _tell(self, i: int, status: Status, score: str = "", seconds: float = 0.0) -> None:
        cell = self.cells[i]
        self.reporter.cell(i, CellState(cell.model, cell.dataset, cell.what, status, score, seconds))

    def _take_notes(self, sweep: Sweep) -> None:
        for note in dict.fromkeys([*sweep.notes, *sweep.remarks, *(w for trial in sweep for w in trial.warnings)]):
            if "\n" not in note:  # the command for one model, of which a remark says what it is about
                self.notes[note] = self.notes.get(note, 0) + 1


class _Shown:
    """Shows cells on their reporter for as long as it is entered."""

    def __init__(self, run: Cells) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._run.reporter.cells([CellState(c.model, c.dataset, c.what) for c in self._run.cells])

    def __exit__(self, *_: object) -> None:
        self._run.reporter.close()


def failure_of(error: Exception) -> Failure:
    """Return what is to be said of an error."""
    if isinstance(error, CryoprobeError):
        return Failure(str(error), error.exit_code)
    return Failure(f"{type(error).__name__}: {error}", 1)
