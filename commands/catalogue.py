"""Commands that list what can be named."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

import cryoprobe

from .base import Json, Preprocess, command

PANEL = "What can be named"


@command(PANEL)
def models(
    pattern: Annotated[str | None, typer.Argument(help="Part of a name, or with wildcards: 'timm:vit*dino*'.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare this one with its library's own call; exit code 1 if they differ.")
    ] = False,
    tap: Annotated[str | None, typer.Option(help="With --check: which output of an onnx: graph to compare.")] = None,
    preprocess: Preprocess = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="With --check: random weights.")] = False,
    device: Annotated[str, typer.Option(help="With --check: where it is timed.")] = "auto",
    as_json: Json = False,
) -> None:
    """List the models that can be named, with the size of their images, width and parameters; or check one."""
    from .printing import console

    if check:
        report = cryoprobe.check_encoder(
            pattern or "", tap=tap, preprocess=preprocess, untrained=untrained, device=device
        )
        if as_json:
            console.out(json.dumps(report.document))
        else:
            console.table(["check", "found"], report.lines)
        if not report.agrees:
            raise typer.Exit(1)
        return
    found = cryoprobe.list_models(pattern)
    if as_json:
        console.out(json.dumps([asdict(m) for m in found]))
        return
    console.table(
        ["model", "pixels", "width", "parameters", "weights"],
        [
            [
                m.name,
                *("-" if value is None else value for value in (m.image_size, m.width, m.parameters)),
                "" if m.pretrained else "none: --checkpoint or --untrained",
            ]
            for m in found
        ],
    )


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
