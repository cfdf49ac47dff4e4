"""Commands on a feature store as a whole, and on the sets in it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import cryoprobe
from cryoprobe.errors import UNSIGNED

from .base import Json, StoreUrl, command

PANEL = "Stores"


@command(PANEL)
def ls(
    store: StoreUrl,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only of this model.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only of this data set.")] = None,
    as_json: Json = False,
) -> None:
    """List the feature sets in the store, newest first."""
    from cryoprobe import console

    named = cryoprobe.open_store(store).find(model=model, dataset=dataset)
    if as_json:
        console.out(json.dumps([n.model_dump(mode="json") for n in named]))
    else:
        console.named_sets(named)


@command(PANEL)
def show(
    set_id: Annotated[str, typer.Argument(metavar="SET", help="Id of a set, or its first digits.")],
    store: StoreUrl,
    as_json: Json = False,
) -> None:
    """Show what a feature set is, where it came from and how to open it."""
    from cryoprobe import console

    opened = cryoprobe.open_store(store)
    description = opened.describe(set_id)
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
    key: Annotated[
        list[Path] | None, typer.Option("--key", "-k", help="Public key that should have signed the sets; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that every object is what was sealed; exit 4 where one is not, 9 where a set is not signed by --key."""
    from cryoprobe import console

    found = cryoprobe.verify(store, sets or (), data=data)
    signatures = cryoprobe.check_signatures(store, key, sets or ()) if key else []
    if as_json:
        signed = {"signatures": [asdict(s) for s in signatures]} if key else {}
        console.out(json.dumps({**asdict(found), **signed}))
    else:
        console.signatures(signatures)
        console.verification(found)
    statuses = {s.status for s in signatures}
    if found.damages or "bad signature" in statuses:
        raise typer.Exit(cryoprobe.Corrupt.exit_code)
    if "not signed" in statuses:
        raise typer.Exit(UNSIGNED)
