"""`plan_suite`: what `run_suite` would do, without doing it. Nothing is written to the store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import JsonValue

from ...amounts import count
from ...errors import CryoprobeError, NotFound
from ...progress import Reporter
from ...reporting import reporter_for
from ...stores.opening import open_store
from ...stores.store import Store
from ...suite_progress import Relay
from ..extraction.kept import keeping_encoders
from ..extraction.plan import ExtractionPlan
from ..options import ExtractArguments
from ..plan_extraction import plan_extraction
from ..trials.answers import answers, origins_of
from ..trials.find_sets import find_sets
from ..trials.plan import plan_of
from ..trials.planned import plan_trials
from .cells import Cell, Pair, pairs_of
from .commands import store_options
from .read_suite import read_suite
from .run_suite import failure_of, place_of
from .suite import Suite
from .taps import taps_of


@dataclass(frozen=True)
class PlannedExtraction:
    """What would be extracted of a model and a data set.

    Parameters
    ----------
    model, dataset : str
    images : int
        To be encoded; for several taps once.
    bytes : int or None
        What the sets take; None if that is not known.
    seconds : float or None
        At the speed of an earlier extraction; None if none is recorded.
    sealed : bool
        Whether the store has all the sets.
    error : str or None
        Why it would fail.
    """

    model: str
    dataset: str
    images: int = 0
    bytes: int | None = None
    seconds: float | None = None
    sealed: bool = False
    error: str | None = None


@dataclass(frozen=True)
class PlannedCell:
    """What would be run in a cell.

    Parameters
    ----------
    model, dataset, what : str
    status : {"stored", "to run", "fails"}
        ``stored`` if the store has all trials.
    trials : int or None
        How many there are; None if that depends on features that are not there yet.
    stored : int
        How many of them the store has.
    error : str or None
        Why it would fail.
    """

    model: str
    dataset: str
    what: str
    status: Literal["stored", "to run", "fails"]
    trials: int | None = None
    stored: int = 0
    error: str | None = None


@dataclass(frozen=True, repr=False)
class SuitePlan:
    """What `run_suite` would do.

    Parameters
    ----------
    extractions : tuple of PlannedExtraction
    cells : tuple of PlannedCell
    """

    extractions: tuple[PlannedExtraction, ...]
    cells: tuple[PlannedCell, ...]

    @property
    def images(self) -> int:
        """Images to be encoded."""
        return sum(one.images for one in self.extractions)

    @property
    def bytes(self) -> int:
        """What the sets take that are not there, as far as that is known."""
        return sum(one.bytes or 0 for one in self.extractions if not one.sealed)

    @property
    def seconds(self) -> float | None:
        """How long encoding takes; None if that is not known of every extraction."""
        known = [0.0 if not one.images else one.seconds for one in self.extractions]
        return None if None in known else round(sum(s or 0.0 for s in known), 1)

    @property
    def to_run(self) -> int:
        """Cells of which a trial is to be run."""
        return sum(cell.status == "to run" for cell in self.cells)

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        return {
            "images": self.images,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "to_run": self.to_run,
            "extractions": [asdict(one) for one in self.extractions],
            "cells": [asdict(cell) for cell in self.cells],
        }

    def __repr__(self) -> str:
        return f"<SuitePlan: {count(self.images, 'image')} to encode, {count(self.to_run, 'cell')} to run>"


def plan_suite(
    suite: str | Path | Mapping[str, Any] | Suite,
    store: str | Path | Store | None = None,
    *,
    overrides: Sequence[str] = (),
    progress: bool = True,
    reporter: Reporter | None = None,
) -> SuitePlan:
    """Say what `run_suite` with the same arguments would do.

    Parameters
    ----------
    suite, store, overrides, progress, reporter
        As of `run_suite`. A store that is not there is not made.

    Returns
    -------
    SuitePlan

    Raises
    ------
    BadInput, NotFound
    """
    asked = read_suite(suite, overrides)
    place = place_of(asked, store)
    opened = None
    with suppress(NotFound):
        opened = open_store(place)
    pairs = pairs_of(asked, store_options(opened) if opened is not None else ["--store", str(place)])
    said = Relay(reporter_for(progress, reporter))
    extractions, cells = [], []
    with keeping_encoders():
        for pair in pairs:
            of_model = [cell for other in pairs if other.model is pair.model for cell in other.cells]
            first = pair.cells[0]
            try:
                options = cast(ExtractArguments, pair.extraction(asked, taps_of(asked, pair.model, of_model, said)))
                plan = plan_extraction(
                    pair.model.name, pair.data.name, place if opened is None else opened, reporter=said, **options
                )
            except CryoprobeError as error:
                said_so = failure_of(error).error
                extractions.append(PlannedExtraction(first.model, first.dataset, error=said_so))
                cells += [PlannedCell(c.model, c.dataset, c.what, "fails", error=said_so) for c in pair.cells]
                continue
            extractions.append(_priced(first, plan))
            cells += _cells(opened, asked, pair, plan)
    return SuitePlan(tuple(extractions), tuple(cells))


def _priced(cell: Cell, plan: ExtractionPlan) -> PlannedExtraction:
    told = [one.bytes for one in plan.sets]
    return PlannedExtraction(
        cell.model,
        cell.dataset,
        images=plan.encode,
        bytes=None if None in told else sum(size or 0 for size in told),
        seconds=plan.seconds,
        sealed=all(one.sealed for one in plan.sets),
    )


def _cells(store: Store | None, suite: Suite, pair: Pair, plan: ExtractionPlan) -> list[PlannedCell]:
    there = store is not None and all(one.sealed for one in plan.sets)
    among = {one.set for one in plan.sets if one.set is not None}
    return [
        _looked_up(store, suite, cell, among)
        if there and store is not None
        else PlannedCell(cell.model, cell.dataset, cell.what, "to run")
        for cell in pair.cells
    ]


def _looked_up(store: Store, suite: Suite, cell: Cell, among: Collection[str]) -> PlannedCell:
    """Return which of a cell's trials the store has."""
    try:
        plan = plan_of(cell.asked)
        sets = find_sets(store, cell.where, plan, among)
        keys = plan_trials(plan, sets, cell.asked, cell.where, None).keys
        found = answers(store, [key.id for key in keys], origins_of(store, sets), rerun=suite.rerun).results
    except CryoprobeError as error:
        return PlannedCell(cell.model, cell.dataset, cell.what, "fails", error=failure_of(error).error)
    status: Literal["stored", "to run"] = "stored" if len(found) == len(keys) else "to run"
    return PlannedCell(cell.model, cell.dataset, cell.what, status, len(keys), len(found))
