"""Commands on signatures: make a key, sign sets. `verify --key` checks them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import cryoprobe

from .base import Json, StoreUrl, command

PANEL = "Stores"


@command(PANEL)
def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="For the private key; FILE.pub gets the public one.")],
    as_json: Json = False,
) -> None:
    """Make a pair of keys to sign sets with; CRYOPROBE_KEY_PASSPHRASE encrypts the private one."""
    from .printing import console

    mark = cryoprobe.generate_key(file, os.environ.get("CRYOPROBE_KEY_PASSPHRASE"))
    if as_json:
        console.out(json.dumps({"private": str(file), "public": f"{file}.pub", "key": mark}))
    else:
        console.out(f"Keep {file} to yourself, and give {file}.pub to whoever reads your sets.\nkey {mark}")


@command(PANEL)
def sign(
    store: StoreUrl,
    key: Annotated[Path, typer.Option("--key", "-k", help="Private key, as `cryoprobe keygen` made it.")],
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets; the whole store by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Vouch for sets as they are now: others see it with `verify --key`."""
    from .printing import console

    done = cryoprobe.sign_sets(store, key, sets or (), passphrase=os.environ.get("CRYOPROBE_KEY_PASSPHRASE"))
    if as_json:
        console.out(json.dumps([asdict(s) for s in done]))
    else:
        console.table(
            ["set", "key", "is"], [[s.set[:12], s.key[:16], "signed" if s.new else "signed before"] for s in done]
        )
