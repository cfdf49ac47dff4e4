"""The command that compares models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import cryoprobe

from .base import DatasetPattern, Json, Sources, StoreUrl, command, opened

PANEL = "Encode once, probe many times"


@command(PANEL)
def compare(
    which: Annotated[
        list[str],
        typer.Argument(metavar="A B...", help="Two or more models, or ids of trials or sets (four digits at least)."),
    ],
    store: StoreUrl,
    sources: Sources = None,
    dataset: DatasetPattern = None,
    protocol: Annotated[str | None, typer.Option(help="Only trials of this protocol.")] = None,
    probe: Annotated[str | None, typer.Option(help="Only trials of this probe.")] = None,
    top: Annotated[int, typer.Option(help="Samples to list that only one model has right.")] = 5,
    png: Annotated[
        Path | None, typer.Option("--png", help="Write the critical-difference diagram of the ranks to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell whether one model is better than another, on the same test samples; nothing is encoded or fitted."""
    from .printing import compare_tables, console

    looked_at = opened(store, sources)
    found = cryoprobe.compare(looked_at, *which, dataset=dataset, protocol=protocol, probe=probe, top=top)
    if png is not None:
        found.write_diagram(png)
    if as_json:
        console.out(json.dumps(found.document))
    else:
        compare_tables.comparison(found)
