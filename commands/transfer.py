"""Commands that move sets: between stores, and into and out of files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import cryoprobe

from .base import DatasetPattern, Json, ModelPattern, StoreUrl, Trust, command, say_place

PANEL = "Move sets"

Sets = Annotated[
    list[str] | None, typer.Argument(metavar="[SET]...", help="Ids of sets, or their first digits; all by default.")
]
Trials = Annotated[bool, typer.Option("--trials/--no-trials", help="Trials on these sets go with them.")]
Units = Annotated[bool, typer.Option("--units", help="So do all units of their encoders: rows that are in no set yet.")]
Link = Annotated[
    bool,
    typer.Option(
        "--link", help="Between folders on one disk make hard links where possible: damage to one file is then in both."
    ),
]
Private = Annotated[
    bool, typer.Option("--private", help="Of a data set on the Hub that is made: only you and whom you invite see it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would travel.")]


@command(PANEL)
def push(
    to: Annotated[
        str,
        typer.Argument(
            metavar="TO",
            callback=say_place,
            help="The other store, made if there is none; or hf://datasets/USER/NAME, on the Hugging Face Hub.",
        ),
    ],
    store: StoreUrl,
    sets: Sets = None,
    model: ModelPattern = None,
    dataset: DatasetPattern = None,
    trials: Trials = True,
    units: Units = False,
    link: Link = False,
    private: Private = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Copy sets from the store to another one, with their names and trials; only what is missing travels."""
    from cryoprobe.pipeline.datasets import dataset_pattern

    from .printing import console

    found = cryoprobe.push(
        store,
        to,
        sets or (),
        model=model,
        dataset=dataset_pattern(dataset),
        trials=trials,
        units=units,
        link=link,
        private=private,
        dry_run=dry_run,
        reporter=console.reporter(),
    )
    if as_json:
        console.out(json.dumps(asdict(found)))
    else:
        console.moved(found)


@command(PANEL)
def pull(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FROM",
            callback=say_place,
            help="The other store, which is only read; or hf://datasets/USER/NAME[@REVISION].",
        ),
    ],
    store: StoreUrl,
    sets: Sets = None,
    model: ModelPattern = None,
    dataset: DatasetPattern = None,
    trials: Trials = True,
    units: Units = False,
    link: Link = False,
    dry_run: DryRun = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Copy sets from another store into the store, which is made if there is none."""
    from cryoprobe.pipeline.datasets import dataset_pattern

    from .printing import console

    found = cryoprobe.pull(
        store,
        source,
        sets or (),
        model=model,
        dataset=dataset_pattern(dataset),
        trials=trials,
        units=units,
        link=link,
        dry_run=dry_run,
        trust=trust,
        reporter=console.reporter(),
    )
    if as_json:
        console.out(json.dumps(asdict(found)))
    else:
        console.moved(found)


@command(PANEL)
def sync(
    one: Annotated[str, typer.Argument(metavar="A", callback=say_place, help="A store.")],
    other: Annotated[str, typer.Argument(metavar="B", callback=say_place, help="Another one; made if there is none.")],
    sets: Sets = None,
    model: ModelPattern = None,
    dataset: DatasetPattern = None,
    trials: Trials = True,
    units: Units = False,
    link: Link = False,
    dry_run: DryRun = False,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Give each of two stores the sets that only the other has."""
    from cryoprobe.pipeline.datasets import dataset_pattern

    from .printing import console

    found = cryoprobe.sync(
        one,
        other,
        sets or (),
        model=model,
        dataset=dataset_pattern(dataset),
        trials=trials,
        units=units,
        link=link,
        dry_run=dry_run,
        trust=trust,
        reporter=console.reporter(),
    )
    if as_json:
        console.out(json.dumps([asdict(way) for way in found]))
    else:
        for way in found:
            console.moved(way)


@command(PANEL)
def export(
    set_id: Annotated[str, typer.Argument(metavar="SET", help="Id of a set, or its first digits.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="….npz, ….safetensors, ….parquet or ….zip")],
    store: StoreUrl,
    raw: Annotated[bool, typer.Option("--raw", help="Embeddings before normalising, float32.")] = False,
    archive: Annotated[
        bool, typer.Option("--zip", help="The whole set, for `import`, whatever FILE is called.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a set into one file: for other programs, or as an archive for another store."""
    from .printing import console

    done = cryoprobe.export_set(
        store, set_id, file, form="zip" if archive else None, raw=raw, reporter=console.reporter()
    )
    if as_json:
        console.out(json.dumps(asdict(done)))
    else:
        console.exported(done)


@command(PANEL, name="import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote as a zip.")],
    store: StoreUrl,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Check an archive, which need not be trusted, and take its set into the store."""
    from .printing import console

    found = cryoprobe.import_set(store, file, trust=trust, reporter=console.reporter())
    if as_json:
        console.out(json.dumps(asdict(found)))
    else:
        console.moved(found)
