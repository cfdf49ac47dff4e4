"""The command on what this machine keeps of remote storage: objects of stores, and shards of data sets."""

from __future__ import annotations

import json
from typing import Annotated

import typer

import cryoprobe

from .base import Json, command
from .store import PANEL


@command(PANEL)
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything; it is fetched again when needed.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is kept of remote stores and of remote tar files on this machine, and where."""
    from .printing import console

    removed = (cryoprobe.clear_cache(), cryoprobe.clear_spool()) if clear else None
    state, spool = cryoprobe.cache_state(), cryoprobe.spool_state()
    if as_json:
        more = {"removed": removed[0]._asdict() | {"shards": removed[1].files}} if removed else {}
        console.out(json.dumps(state._asdict() | {"shards": spool._asdict()} | more))
    else:
        console.cache(state, spool, removed)
