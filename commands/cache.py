"""The command on this machine's cache of remote stores."""

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
    """Show what is kept of remote stores on this machine, and where."""
    from .printing import console

    removed = cryoprobe.clear_cache() if clear else None
    state = cryoprobe.cache_state()
    if as_json:
        console.out(json.dumps(state._asdict() | ({"removed": removed._asdict()} if removed else {})))
    else:
        console.cache(state, removed)
