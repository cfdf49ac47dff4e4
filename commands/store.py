"""Commands that look at a feature store as a whole, and at the sets in it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import cryoprobe

from .base import (
    ClassNames,
    DatasetPattern,
    ImageColumn,
    Json,
    LabelColumn,
    ModelPattern,
    Sources,
    SplitPattern,
    StoreUrl,
    TapPattern,
    command,
    opened,
)

PANEL = "Stores"


def patterns(
    store: cryoprobe.Store, model: str | None, dataset: str | None, split: str | None, tap: str | None
) -> dict[str, str]:
    """Return the filters that were given, by field of a name; names may be as `extract` takes them."""
    from cryoprobe.pipeline.datasets import dataset_pattern
    from cryoprobe.pipeline.encoders import canonical_model
    from cryoprobe.pipeline.tap_names import tap_pattern

    given = {
        "model": None if model is None else canonical_model(model),
        "dataset": dataset_pattern(dataset),
        "split": split,
        "tap": None if tap is None else tap_pattern(tap, {n.name.tap for n in store.names()}),
    }
    return {field: pattern for field, pattern in given.items() if pattern is not None}


def none_fits(store: cryoprobe.Store, wanted: dict[str, str]) -> str:
    """Say that filters left nothing, and of how many sets."""
    words = " ".join(f"--{field.replace('_', '-')} {pattern}" for field, pattern in wanted.items())
    return f"No set fits {words}: {store.url} has {len(store.set_ids())}."


@command(PANEL)
def ls(
    store: StoreUrl,
    sources: Sources = None,
    model: ModelPattern = None,
    dataset: DatasetPattern = None,
    split: SplitPattern = None,
    tap: TapPattern = None,
    class_names: ClassNames = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    as_json: Json = False,
) -> None:
    """List the feature sets in the store, newest first."""
    from cryoprobe.pipeline.datasets import reading_in_name
    from cryoprobe.pipeline.options import ReadingOptions

    from .printing import console

    reading = ReadingOptions(class_names=class_names, image_column=image_column, label_column=label_column)
    looked_at = opened(store, sources)
    wanted = {**patterns(looked_at, model, dataset, split, tap), **reading_in_name(reading)}
    named = looked_at.ls(**wanted)
    if as_json:
        console.out(json.dumps([n.model_dump(mode="json") for n in named]))
    elif named or not wanted:
        console.named_sets(named)
    else:
        console.err(none_fits(looked_at, wanted))


@command(PANEL)
def show(
    which: Annotated[str, typer.Argument(metavar="ID", help="Id of a set or a trial, or its first digits.")],
    store: StoreUrl,
    sources: Sources = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="List the samples of a set instead: row, id, name and label, as CSV.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="With --samples: only so many, the first ones.")] = None,
    as_json: Json = False,
) -> None:
    """Show everything about a feature set, or about a trial."""
    from .printing import console

    looked_at = opened(store, sources)
    if samples or limit is not None:
        from cryoprobe.pipeline.results import set_with_samples

        from .printing import row_tables

        rows = row_tables.first(samples, limit)
        row_tables.samples(set_with_samples(looked_at, which).samples(rows), as_json=as_json)
    elif looked_at.kind_of(which) == "trial":
        from .printing import trial_tables

        trial = cryoprobe.trial(looked_at, which)
        if as_json:
            console.out(json.dumps(trial.document))
        else:
            trial_tables.shown(trial)
    else:
        description = looked_at.describe(which)
        if as_json:
            console.out(json.dumps(description))
        else:
            console.described(description)


@command(PANEL)
def log(
    store: StoreUrl,
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Ids of sets, or their first digits; all by default.")
    ] = None,
    model: ModelPattern = None,
    dataset: DatasetPattern = None,
    split: SplitPattern = None,
    tap: TapPattern = None,
    as_json: Json = False,
) -> None:
    """Tell who made each set, when, with which versions and by which command, newest first."""
    from .printing import console, keeping_tables

    looked_at = opened(store, None)
    wanted = patterns(looked_at, model, dataset, split, tap)
    entries = cryoprobe.log(looked_at, sets or (), **wanted)
    if as_json:
        console.out(json.dumps([keeping_tables.as_json(e) for e in entries]))
    elif entries or not wanted:
        keeping_tables.history(entries)
    else:
        console.err(none_fits(looked_at, wanted))


@command(PANEL)
def diff(
    a: Annotated[str, typer.Argument(metavar="SET", help="Id of a set, or its first digits.")],
    b: Annotated[str, typer.Argument(metavar="SET", help="Another one.")],
    store: StoreUrl,
    other: Annotated[str, typer.Option(help="The store of the second set, if another.")] = "",
    as_json: Json = False,
) -> None:
    """Show how two sets differ: specs, rows, labels, and the embeddings of the images that both have."""
    from .printing import console, keeping_tables

    found = cryoprobe.diff(store, a, b, other=other or None)
    if as_json:
        console.out(json.dumps(keeping_tables.as_json(found)))
    else:
        keeping_tables.difference(found, (store, other or store))


@command(PANEL)
def du(
    store: StoreUrl,
    model: ModelPattern = None,
    dataset: DatasetPattern = None,
    split: SplitPattern = None,
    tap: TapPattern = None,
    as_json: Json = False,
) -> None:
    """Add up the bytes of sets, models and all the rest; what is shared on the disk counts once."""
    from .printing import console, keeping_tables

    looked_at = opened(store, None)
    wanted = patterns(looked_at, model, dataset, split, tap)
    usage = cryoprobe.du(looked_at, **wanted)
    if as_json:
        console.out(json.dumps(keeping_tables.as_json(usage)))
        return
    keeping_tables.usage(usage)
    if wanted and not usage.sets:
        console.err(none_fits(looked_at.own, wanted))


@command(PANEL)
def verify(
    store: StoreUrl,
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets; the whole store by default.")
    ] = None,
    data: Annotated[bool, typer.Option("--data", help="Read and hash every object; sizes only by default.")] = False,
    subset: Annotated[str, typer.Option(help="With --data: read a random part of the objects only, such as 5%.")] = "",
    seed: Annotated[int, typer.Option(help="Draws that part.")] = 0,
    again: Annotated[
        str, typer.Option("--recompute", help="Encode a random part of the rows again, such as 0.1%, and compare.")
    ] = "",
    checkpoint: Annotated[Path | None, typer.Option(help="With --recompute: the file of the weights.")] = None,
    data_root: Annotated[Path | None, typer.Option(help="With --recompute: folder of torchvision's data.")] = None,
    as_json: Json = False,
) -> None:
    """Check that every object is what was sealed; exit 4 where one is not. With --recompute, encode some rows again."""
    from .parsing import parse_share
    from .printing import console, keeping_tables

    share = parse_share(subset, "subset") if subset else 1.0
    found = cryoprobe.verify(
        store, sets or (), data=data, share=share, seed=seed, reporter=console.reporter(logged=False)
    )
    recomputed = None
    if again:
        recomputed = cryoprobe.recompute(
            store,
            sets or (),
            share=parse_share(again, "recompute"),
            seed=seed,
            checkpoint=checkpoint,
            data_root=data_root,
            reporter=console.reporter(logged=False),
        )
    if as_json:
        more = {} if recomputed is None else {"recomputed": [asdict(r) for r in recomputed]}
        console.out(json.dumps({**asdict(found), **more}))
    else:
        console.verification(found)
        keeping_tables.recomputed(recomputed or ())
    if found.damages:
        raise typer.Exit(cryoprobe.Corrupt.exit_code)
    if any(r.differs for r in recomputed or ()):
        raise typer.Exit(cryoprobe.Conflict.exit_code)
