"""The command that runs suites: models × data sets × protocols."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

import cryoprobe

from .base import (
    Address,
    BatchSize,
    CpusPerWorker,
    Engine,
    GpusPerWorker,
    Json,
    LogTo,
    Sources,
    StuckSeconds,
    Trust,
    WorkerCount,
    command,
    say_place,
    to_write,
)

PANEL = "Encode once, probe many times"


@command(PANEL)
def run(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUITE.toml KEY=VALUE",
            help="A suite (docs/suites.md), and options: batch_size=64, models.0.untrained=true, data.0.limit=1000.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Repeatable; with a SUITE: only these of its models.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", "-d", help="Repeatable; with a SUITE: only these of its data sets.")
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="clip, dinov2-knn … Repeatable; with a SUITE: only these of its protocols.")
    ] = None,
    probe: Annotated[
        list[str] | None, typer.Option(help="logreg, knn … Repeatable; with a SUITE: only these of its probes.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", "-s", callback=say_place, help="Instead of the suite's own. Default: $CRYOPROBE_STORE."
        ),
    ] = None,
    sources: Sources = None,
    trust: Trust = False,
    batch_size: BatchSize = None,
    device: Annotated[
        str | None, typer.Option(help="auto (the default; all GPUs), cpu, cuda:1, or several: cuda:0,cuda:1.")
    ] = None,
    engine: Engine = None,
    address: Address = None,
    worker_count: WorkerCount = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    stuck_seconds: StuckSeconds = None,
    log_to: LogTo = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be encoded and run, and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Extract and probe every model on every data set by every protocol; what is there is not done again."""
    from .parsing import split_overrides
    from .printing import suite_tables

    file, overrides = split_overrides(arguments or [])
    given = {
        "batch_size": batch_size,
        "device": device,
        "engine": engine,
        "address": address,
        "worker_count": worker_count,
        "gpus_per_worker": gpus_per_worker,
        "cpus_per_worker": cpus_per_worker,
        "stuck_seconds": stuck_seconds,
        "log_to": json.dumps(log_to) if log_to else None,
    }
    overrides += [f"{name}={value}" for name, value in given.items() if value is not None]
    rows = {"models": model or [], "data": dataset or [], "protocols": protocol or [], "probes": probe or []}
    suite = cryoprobe.read_suite(cryoprobe.suite_of(**rows) if file is None else file, overrides)
    suite = suite if file is None else suite.only(**rows)
    place = store or suite.store or os.environ.get("CRYOPROBE_STORE")
    where = place and to_write(place, sources, trust=trust)
    if dry_run:
        suite_tables.planned(cryoprobe.plan_suite(suite, where, reporter=suite_tables.plan_reporter()), as_json=as_json)
        return
    done = cryoprobe.run_suite(suite, where, reporter=suite_tables.reporter())
    suite_tables.ran(done, as_json=as_json)
    if done.exit_code:
        raise typer.Exit(done.exit_code)
