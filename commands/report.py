"""The command that writes results as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import cryoprobe

from .base import DataRoot, DatasetPattern, Json, LogTo, ModelPattern, Sources, StoreUrl, command, opened
from .work import PANEL


@command(PANEL)
def report(
    store: StoreUrl,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path("report.html"),
    sources: Sources = None,
    model: ModelPattern = None,
    dataset: DatasetPattern = None,
    probe: Annotated[str | None, typer.Option(help="Only of this probe, with or without wildcards.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only of this protocol, with or without wildcards.")] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Show images of data sets that are at hand.")
    ] = True,
    data_root: DataRoot = None,
    png: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write every chart as a PNG file into this folder, too.")
    ] = None,
    log_to: LogTo = None,
    as_json: Json = False,
) -> None:
    """Write the results as one HTML page: leaderboard, charts, data health, provenance. It requests nothing."""
    from .printing import console
    from .printing.wording import size

    found = cryoprobe.report(
        opened(store, sources),
        output,
        title=title,
        images=images,
        data_root=data_root,
        png=png,
        log_to=log_to or (),
        model=model,
        dataset=dataset,
        probe=probe,
        protocol=protocol,
    )
    if as_json:
        console.out(json.dumps(found.document))
        return
    what = f"{found.models} models, {found.columns} columns, {found.trials} trials, {len(found.charts)} charts"
    console.out(f"{found.path}: {what}, {size(found.size)}")
    if found.pictures:
        console.out(f"{png}: {len(found.pictures)} PNG files")
    for note in found.notes:
        console.note(note)
