"""What people see of a suite: a line for each cell in logs, the matrix, what failed, and a plan. Formatting only."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...amounts import count
from ...progress import Reporter
from ...suite_progress import FINISHED, CellState, SuiteReporter
from ..quiet import is_quiet
from . import console
from .matrix_tables import matrix
from .wording import size

if TYPE_CHECKING:
    from ...pipeline.suites.plan_suite import SuitePlan
    from ...pipeline.suites.suite_run import SuiteCell, SuiteRun

_MOST_NOTES = 12
"""That are printed; ``--json`` has all."""


def reporter() -> Reporter:
    """Return a live table if a person watches standard error; else a line for each cell. Nothing if quiet."""
    if is_quiet.get():
        return Reporter()
    if sys.stderr.isatty():
        from ...suite_table import LiveTable

        return LiveTable()
    return CellLines()


def plan_reporter() -> Reporter:
    """Return what shows how far a plan is."""
    return console.reporter(logged=False)


class CellLines(console.Lines, SuiteReporter):
    """A line for each cell that is finished, and one every ten seconds of a long task."""

    def cells(self, states: Sequence[CellState]) -> None:  # noqa: D102
        self._all, self._finished = len(states), 0

    def cell(self, number: int, state: CellState) -> None:  # noqa: D102
        if state.status not in FINISHED:
            return
        self._finished += 1
        how = "from the store" if state.status == "stored" else f"{state.seconds:.1f} s"
        said = f"failed: {state.score}" if state.status == "failed" else f"{state.score}, {how}"
        console.err(f"[{self._finished}/{self._all}] {state.model} · {state.dataset} · {state.what}: {said}")


def ran(run: SuiteRun, *, as_json: bool) -> None:
    """Print what a suite did."""
    if as_json:
        console.out(json.dumps(run.document))
        return
    for note in run.notes[:_MOST_NOTES]:
        console.note(f"note: {note}")
    if len(run.notes) > _MOST_NOTES:
        console.note(f"{count(len(run.notes) - _MOST_NOTES, 'further note')} (--json has all)")
    if run.trials:
        matrix(run.matrix)
    stored = sum(cell.status == "stored" for cell in run.cells)
    encoded = sum(one.encoded for one in run.extractions)
    images = f", {count(encoded, 'image')} encoded" if run.extractions else ""
    console.out(f"{count(len(run.cells), 'cell')}, {stored:,} from the store{images}, {run.seconds:.1f} s in all")
    if run.trials:
        console.out("The page with charts, and the commands that reproduce each cell:")
        console.out(f"  cryoprobe report --store {shlex.quote(run.store.url)} -o report.html")
    _failures(run)


def _failures(run: SuiteRun) -> None:
    """Print on standard error what failed: each error once, with the commands that repeat its cells."""
    by_error: dict[str, list[SuiteCell]] = {}
    for cell in run.failed:
        if cell.failure is not None:
            by_error.setdefault(cell.failure.error, []).append(cell)
    if not by_error:
        return
    console.err(f"{count(len(run.failed), 'cell')} of {len(run.cells):,} failed:")
    for error, cells in by_error.items():
        first, *more = error.splitlines() or [""]
        console.err(f"\n{first}")
        for line in more:
            console.err(f"  {line}")
        for cell in cells:
            console.err(f"  {cell.model} · {cell.dataset} · {cell.what}:\n    {cell.command}")


def planned(plan: SuitePlan, *, as_json: bool) -> None:
    """Print what a suite would do: a row for each extraction, then for each cell, and what both amount to."""
    if as_json:
        console.out(json.dumps(plan.document))
        return
    console.table(
        ["model", "data set", "images to encode", "time", "size", "sets"],
        [
            [
                *(one.model, one.dataset, one.images),
                _time(one.images, one.seconds),
                "?" if one.bytes is None else size(one.bytes),
                "fails" if one.error else "there" if one.sealed else "to make",
            ]
            for one in plan.extractions
        ],
    )
    console.out("")
    console.table(
        ["model", "data set", "protocol", "trials", "in the store", "is"],
        [[c.model, c.dataset, c.what, "?" if c.trials is None else c.trials, c.stored, c.status] for c in plan.cells],
    )
    errors = [one.error for one in plan.extractions if one.error] + [cell.error for cell in plan.cells if cell.error]
    for error in dict.fromkeys(errors):
        console.err(f"\n{error}")
    stored = sum(cell.status == "stored" for cell in plan.cells)
    unknown = sum(one.seconds is None and one.images > 0 and not one.error for one in plan.extractions)
    known = sum(one.seconds or 0.0 for one in plan.extractions)
    took = f"some {known:,.0f} s at the recorded speed" if known or not unknown else "no speed is recorded"
    more = f", and of {count(unknown, 'extraction')} no speed is recorded" if unknown and known else ""
    console.note(
        f"{count(plan.images, 'image')} to encode, {took}{more}; {size(plan.bytes)} to write. "
        f"{count(plan.to_run, 'cell')} to run, {stored:,} in the store. Nothing was written to the store."
    )


def _time(images: int, seconds: float | None) -> str:
    return "-" if not images else "?" if seconds is None else f"{seconds:,.0f} s"
