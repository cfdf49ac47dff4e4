"""Commands on a feature store as a whole, and on the sets in it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

import cryoprobe

from .base import Json, Sources, StoreUrl, command, opened

PANEL = "Stores"


@command(PANEL)
def ls(
    store: StoreUrl,
    sources: Sources = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only of this model.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only of this data set.")] = None,
    as_json: Json = False,
) -> None:
    """List the feature sets in the store, newest first."""
    from cryoprobe import console

    named = opened(store, sources).find(model=model, dataset=dataset)
    if as_json:
        console.out(json.dumps([n.model_dump(mode="json") for n in named]))
    else:
        console.named_sets(named)


@command(PANEL)
def show(
    set_id: Annotated[str, typer.Argument(metavar="SET", help="Id of a set, or its first digits.")],
    store: StoreUrl,
    sources: Sources = None,
    as_json: Json = False,
) -> None:
    """Show what a feature set is, where it came from and how to open it."""
    from cryoprobe import console

    description = opened(store, sources).describe(set_id)
    if as_json:
        console.out(json.dumps(description))
    else:
        console.described(description)


@command(PANEL)
def verify(
    store: StoreUrl,
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets; the whole store by default.")
    ] = None,
    data: Annotated[bool, typer.Option("--data", help="Read and hash every object; sizes only by default.")] = False,
    as_json: Json = False,
) -> None:
    """Check that every object is what was sealed; exit 4 where one is not."""
    from cryoprobe import console

    found = cryoprobe.verify(store, sets or (), data=data)
    if as_json:
        console.out(json.dumps(asdict(found)))
    else:
        console.verification(found)
    if found.damages:
        raise typer.Exit(cryoprobe.Corrupt.exit_code)
