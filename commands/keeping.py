"""Commands that change what a feature store keeps: remove, pin, collect, repair."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

import cryoprobe

from .base import Json, StoreUrl, Trust, command

PANEL = "Keeping a store"

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@command(PANEL)
def rm(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of sets or trials, or their first digits.")],
    store: StoreUrl,
    now: Annotated[bool, typer.Option("--now", help="Delete their data at once, not at the next gc.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove sets: readers see them no more, and `gc` deletes their data. Pinned sets are refused. Or remove trials."""
    from .printing import console, keeping_tables

    if not yes:
        keeping_tables.confirm_removal(cryoprobe.open_store(store), ids, sys.stdin)
    removed = cryoprobe.rm(store, ids, now=now, reporter=console.reporter(logged=False))
    if as_json:
        console.out(json.dumps(keeping_tables.as_json(removed)))
    else:
        keeping_tables.removed(removed, now=now)


@command(PANEL)
def pin(
    store: StoreUrl,
    set_id: Annotated[
        str | None, typer.Argument(metavar="[SET]", help="Id of a set, or its first digits; none lists the pins.")
    ] = None,
    why: Annotated[str, typer.Option(help="What it is kept for.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take the pin away.")] = False,
    as_json: Json = False,
) -> None:
    """Pin a set, so that it cannot be removed; or take the pin away."""
    from .printing import console, keeping_tables

    if set_id is None and (remove or why):
        raise cryoprobe.BadInput("Say which set.", hint=f"cryoprobe pin {'--remove ' if remove else ''}SET")
    found = cryoprobe.pins(store) if set_id is None else [cryoprobe.pin(store, set_id, why=why, remove=remove)]
    if as_json:
        console.out(json.dumps(keeping_tables.as_json(found)))
    else:
        keeping_tables.pins(found, removed=remove)


@command(PANEL)
def gc(
    store: StoreUrl,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is due; otherwise it is only listed.")] = False,
    grace: Annotated[
        str, typer.Option(help="How long something must have been found before it is deleted: 24h, 7d, 0s …")
    ] = "24h",
    as_json: Json = False,
) -> None:
    """Find what nobody needs: abandoned attempts, removed sets, rows twice there; delete it after a grace period."""
    from .parsing import parse_seconds
    from .printing import console, keeping_tables

    found = cryoprobe.gc(
        store, delete=delete, grace=parse_seconds(grace, "grace"), reporter=console.reporter(logged=False)
    )
    if as_json:
        console.out(json.dumps({**keeping_tables.as_json(found), "freed": found.freed}))
    else:
        keeping_tables.collected(found)


@command(PANEL)
def repair(
    store: StoreUrl,
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets; the whole store by default.")
    ] = None,
    source: Annotated[str, typer.Option("--from", help="Another store, which may have what is damaged here.")] = "",
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Hash every object, and put right what is damaged; exit 4 where that cannot be done."""
    from .printing import console, keeping_tables

    done = cryoprobe.repair(
        store, sets or (), source=source or None, trust=trust, reporter=console.reporter(logged=False)
    )
    if as_json:
        console.out(json.dumps(keeping_tables.as_json(done)))
    else:
        keeping_tables.repaired(done)
    if any(r.action == "not repaired" for r in done):
        raise typer.Exit(cryoprobe.Corrupt.exit_code)
