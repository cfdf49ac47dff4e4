"""Commands that list what can be named."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

import cryoprobe

from .base import Json, command

PANEL = "What can be named"


@command(PANEL)
def models(
    pattern: Annotated[str | None, typer.Argument(help="Part of a name, or with wildcards: 'timm:vit*dino*'.")] = None,
    as_json: Json = False,
) -> None:
    """List the models that can be named."""
    from .printing import console

    found = cryoprobe.list_models(pattern)
    if as_json:
        console.out(json.dumps([asdict(m) for m in found]))
    else:
        for m in found:
            console.out(m.name if m.pretrained else f"{m.name}  (no weights: --checkpoint or --untrained)")


@command(PANEL)
def datasets(as_json: Json = False) -> None:
    """List the kinds of data sets, and the names that torchvision knows, with an example each."""
    from .printing import console

    found = cryoprobe.list_datasets()
    if as_json:
        console.out(json.dumps([asdict(d) for d in found]))
    else:
        console.table(["data set", "example", "what it is"], [[d.name, d.example, d.description] for d in found])


@command(PANEL)
def probes(as_json: Json = False) -> None:
    """List the probes that have a short name, with their parameters; installed packages may bring some."""
    from .printing import console, trial_tables

    found = cryoprobe.list_probes()
    if as_json:
        console.out(json.dumps([asdict(p) for p in found]))
    else:
        trial_tables.probes(found)


@command(PANEL)
def protocols(as_json: Json = False) -> None:
    """List the protocols: what each prescribes, and where it is published; installed packages may bring some."""
    from .printing import console, trial_tables

    found = cryoprobe.list_protocols()
    if as_json:
        console.out(json.dumps([asdict(p) for p in found]))
    else:
        trial_tables.protocols(found)
