"""Commands that look for what is wrong with the data of stored sets."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import typer

import cryoprobe

from .base import DataRoot, Json, Sources, StoreUrl, command, opened

PANEL = "Encode once, probe many times"

What = Annotated[str, typer.Argument(metavar="SET|TRIAL", help="Id of a set or trial, or its first digits.")]
Several = Annotated[
    list[str],
    typer.Argument(metavar="SET...|TRIAL", help="Ids of sets of one encoder; or a trial: its train and test."),
]
Top = Annotated[int, typer.Option(help="At most so many.")]
MaxRows = Annotated[int | None, typer.Option(help="Look at so many rows of a set, drawn class by class; default: all.")]
Form = Annotated[str, typer.Option("--format", help="table, csv or json.")]


@command(PANEL)
def label_errors(
    what: What,
    store: StoreUrl,
    sources: Sources = None,
    part: Annotated[str, typer.Option(help="Of a trial: train, test or val.")] = "train",
    top: Top = 50,
    folds: Annotated[int, typer.Option(help="Of the cross-validation.")] = 5,
    max_rows: MaxRows = None,
    form: Form = "table",
    as_json: Json = False,
) -> None:
    """List rows whose label is likely wrong, by cross-validated probes on stored features; nothing is encoded."""
    from .printing import inspection_tables

    inspection_tables.check_form(form)
    chosen = cast(Literal["train", "test", "val"], part)  # checked where it is used
    found = cryoprobe.label_errors(opened(store, sources), what, part=chosen, top=top, folds=folds, max_rows=max_rows)
    inspection_tables.label_errors(found, form="json" if as_json else form)


@command(PANEL)
def near_duplicates(
    what: Several,
    store: StoreUrl,
    sources: Sources = None,
    top: Top = 50,
    threshold: Annotated[
        float | None, typer.Option(help="Cosine from which a pair is listed; by default derived from the data.")
    ] = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Compare images, if they are here.")] = True,
    data_root: DataRoot = None,
    max_rows: MaxRows = None,
    form: Form = "table",
    as_json: Json = False,
) -> None:
    """List pairs of rows that show nearly the same image, across train and test and within each."""
    from .printing import inspection_tables

    inspection_tables.check_form(form)
    found = cryoprobe.near_duplicates(
        opened(store, sources),
        what,
        top=top,
        threshold=threshold,
        images=images,
        data_root=data_root,
        max_rows=max_rows,
    )
    inspection_tables.near_duplicates(found, form="json" if as_json else form)


@command(PANEL)
def plain_images(
    what: Several,
    store: StoreUrl,
    sources: Sources = None,
    data_root: DataRoot = None,
    max_rows: MaxRows = None,
    form: Form = "table",
    as_json: Json = False,
) -> None:
    """List rows whose image is of one colour."""
    from .printing import inspection_tables

    inspection_tables.check_form(form)
    found = cryoprobe.plain_images(opened(store, sources), what, data_root=data_root, max_rows=max_rows)
    inspection_tables.plain_images(found, form="json" if as_json else form)
