"""`probe_many`: several models, data sets or protocols, on features that the store has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from ...errors import BadInput
from ...progress import Reporter
from ...stores.opening import open_store
from ...stores.store import Store
from ..keywords import check_names, read
from ..options import PLAIN, EngineOptions, ProbeArguments, ProbeOptions, SetOptions, TrialRunOptions
from ..probe import check_engine
from ..trials.plan import plan_of
from .cells import Cell
from .commands import probe_command, store_options
from .reporting import suite_reporter
from .run_suite import Cells
from .suite import ProtocolRow
from .suite_run import SuiteRun

_OF_ONE = {"train": "a set is of one model and one data set", "test": "a set is of one data set"}


def probe_many(
    store: str | Path | Store,
    models: Sequence[str],
    datasets: Sequence[str],
    protocols: Sequence[str] = (PLAIN,),
    *,
    progress: bool = True,
    reporter: Reporter | None = None,
    **options: Unpack[ProbeArguments],
) -> SuiteRun:
    """Probe every model on every data set by every protocol; nothing is encoded.

    A cell that fails does not stop the others.

    Parameters
    ----------
    store : str, Path or Store
    models, datasets, protocols : sequence of str
        See `probe`.
    progress : bool
        Show a live table on a terminal or in a notebook.
    reporter : Reporter, optional
        Takes the progress instead; a `SuiteReporter` that of the cells too.
    **options
        Of `probe`, the same for all; but for ``model``, ``dataset``, ``protocol``, ``train``, ``test``, ``save`` and
        ``rank``.

    Returns
    -------
    SuiteRun

    Raises
    ------
    BadInput, NotFound
        If an option is wrong, or the store is not there. What fails within a cell is in its `SuiteCell`.
    """
    check_names("probe_many", options, SetOptions, ProbeOptions, TrialRunOptions, EngineOptions)
    given = {name: of for name, of in options.items() if of not in (None, (), [], {}, False) and name != "rank"}
    _check(given)
    _check_named({"model": models, "dataset": datasets, "protocol": protocols})
    opened = open_store(store)
    running, engine = read(TrialRunOptions, given), read(EngineOptions, given)
    check_engine(engine, running)
    cells = [
        _cell(store_options(opened), {"model": model, "dataset": dataset, "protocol": protocol, **given})
        for model in models
        for dataset in datasets
        for protocol in protocols
    ]
    different = list({cell.command: cell for cell in cells}.values())
    run = Cells(opened, running, engine, different, suite_reporter(progress, reporter))
    with run.shown():
        for i in range(len(different)):
            run.probe(i)
    return run.result()


def _check(given: Mapping[str, Any]) -> None:
    for option in ("train", "test", "save"):
        if option in given:
            why = _OF_ONE.get(option, "it writes one trained probe")
            raise BadInput(
                f"--{option} cannot be combined with several models, data sets or protocols: {why}.",
                hint="Give one of each, or leave it out.",
                key=option,
            )


def _check_named(rows: Mapping[str, Sequence[str]]) -> None:
    for option, names in rows.items():
        if not names:
            raise BadInput(
                f"Several models, data sets or protocols are probed by name, and --{option} is missing.",
                hint=f"Give --{option}; `cryoprobe ls` shows what the store has.",
                key=option,
            )


def _cell(store: Sequence[str], options: Mapping[str, Any]) -> Cell:
    where, asked = read(SetOptions, options), read(ProbeOptions, options)
    plan_of(asked)  # refuses what is wrong of it before any cell is run
    called = ProtocolRow.model_validate({name: getattr(asked, name) for name in asked.model_fields_set}).called
    return Cell(str(where.model), str(where.dataset), called, where, asked, probe_command(store, options))
