"""Commands that compute: extract, probe, predict."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

import cryoprobe

from .base import (
    Address,
    Background,
    BatchSize,
    CacheSize,
    Checkpoint,
    CheckpointKey,
    ClassNames,
    CpusPerWorker,
    Crop,
    Data,
    DataRoot,
    DatasetPattern,
    Decoder,
    Engine,
    FastDecode,
    GpusPerWorker,
    Ignore,
    ImageColumn,
    ImageSize,
    Interpolation,
    Json,
    LabelColumn,
    Layout,
    LogTo,
    MaxPixels,
    Model,
    ModelPattern,
    Preprocess,
    RankOf,
    Resize,
    Sources,
    StoreUrl,
    StuckSeconds,
    Trust,
    Unlabelled,
    WorkerCount,
    command,
    opened,
    say_place,
    split_list,
    to_write,
)

PANEL = "Encode once, probe many times"


@command(PANEL)
def extract(
    model: Model,
    dataset: Data,
    store: StoreUrl,
    sources: Sources = None,
    trust: Trust = False,
    split: Annotated[str, typer.Option(help="Splits, comma-separated; all by default.")] = "",
    tap: Annotated[
        str,
        typer.Option(help="Taps, in one pass: cls,patch_mean; probe reads cls+patch_mean. Default: the model's own."),
    ] = "",
    checkpoint: Checkpoint = None,
    checkpoint_key: CheckpointKey = None,
    image_size: ImageSize = None,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    background: Background = None,
    fast_decode: FastDecode = None,
    decoder: Decoder = None,
    preprocess: Preprocess = None,
    precision: Annotated[
        str | None, typer.Option(help="Of the encoder: fp32 (the default), tf32, bf16 or fp16.")
    ] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Random weights, with --seed.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of random weights.")] = 0,
    limit: Annotated[int | None, typer.Option(help="A class-balanced subset of each split, of this size.")] = None,
    limit_seed: Annotated[int, typer.Option(help="Seed that draws the subset.")] = 0,
    layout: Layout = None,
    ignore: Ignore = None,
    unlabelled: Unlabelled = False,
    class_names: ClassNames = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    data_root: DataRoot = None,
    download: Annotated[bool, typer.Option("--download", help="Let torchvision download the data set.")] = False,
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Name the data set for everybody: probe --dataset NAME.")
    ] = None,
    stored_dtype: Annotated[str | None, typer.Option(help="float16 (the default) or float32.")] = None,
    unit_rows: Annotated[
        int | None, typer.Option(help="Samples in a unit of work, which a crash can cost; 4096 by default.")
    ] = None,
    max_bad: Annotated[int, typer.Option(help="Samples that may fail.")] = 0,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read, and as many that decode.")] = None,
    device: Annotated[
        str | None, typer.Option(help="auto (the default; all GPUs), cpu, cuda:1, or several: cuda:0,cuda:1.")
    ] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the encoder; a minute at the start.")] = False,
    decode_in: Annotated[str | None, typer.Option(help="threads or processes; by default as is faster.")] = None,
    rank: RankOf = None,
    engine: Engine = None,
    address: Address = None,
    worker_count: WorkerCount = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    stuck_seconds: StuckSeconds = None,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file, whatever its dates say.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Say where the time went.")] = False,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Measure each precision on some images, and write nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be encoded, and write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Encode a data set once, and keep its embeddings and labels in the store."""
    from .printing import console, extraction_tables

    options = cryoprobe.ExtractArguments(
        splits=split_list(split),
        taps=split_list(tap),
        checkpoint=checkpoint,
        checkpoint_key=checkpoint_key,
        image_size=image_size,
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        background=background,
        fast_decode=fast_decode,
        decoder=decoder,
        preprocess=preprocess,
        precision=precision,
        untrained=untrained,
        seed=seed,
        limit=limit,
        limit_seed=limit_seed,
        layout=layout,
        ignore=ignore or (),
        unlabelled=unlabelled,
        class_names=class_names,
        image_column=image_column,
        label_column=label_column,
        data_root=data_root,
        download=download,
        as_name=as_name,
        stored_dtype=cast(Literal["float16", "float32"], stored_dtype),  # checked where it is used
        unit_rows=unit_rows,
        max_bad=max_bad,
        max_pixels=max_pixels,
        batch_size=batch_size,
        workers=workers,
        device=device,
        compile=compile_ or None,
        decode_in=decode_in,
        rank=rank,
        engine=engine,
        address=address,
        worker_count=worker_count,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker,
        stuck_seconds=stuck_seconds,
        rehash=rehash or None,
        profile=profile or None,
    )
    reporter = console.reporter()
    if suggest:
        extraction_tables.suggested(cryoprobe.suggest(model, dataset, reporter=reporter, **options), as_json=as_json)
        return
    run = cryoprobe.plan_extraction if dry_run else cryoprobe.extract
    done = run(model, dataset, to_write(store, sources, trust=trust), reporter=reporter, **options)
    extraction_tables.extracted(done, as_json=as_json)


@command(PANEL)
def add(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="….npz, ….safetensors, ….parquet, or ….npy with --labels.")
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="What the model is to be called.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="What the data set is to be called.")],
    store: StoreUrl,
    split: Annotated[
        list[str] | None, typer.Option(help="Of each file; by default what its arrays or its name say, else all.")
    ] = None,
    model_version: Annotated[
        str | None, typer.Option(help="Of the model, any text. Files of one version belong together.")
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(help="Of each .npy: .npy, .csv (a column label) or .txt (one a line).")
    ] = None,
    stored_dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    as_json: Json = False,
) -> None:
    """Add embeddings that were computed elsewhere; they are probed by name like any other."""
    from .printing import console

    added = cryoprobe.add(
        files,
        store,
        model=model,
        dataset=dataset,
        split=split or (),
        model_version=model_version,
        labels=labels or (),
        stored_dtype=cast(Literal["float16", "float32"], stored_dtype),  # checked where it is used
        reporter=console.reporter(),
    )
    if as_json:
        console.out(json.dumps([s.document for s in added]))
        return
    console.table(
        ["set", "split", "rows", "dim", "classes", "new", "file"],
        [[s.set[:12], s.split, s.rows, s.dim, s.classes, s.new, s.file] for s in added],
    )


@command(PANEL)
def probe(
    store: StoreUrl,
    sources: Sources = None,
    trust: Trust = False,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Model, as it was extracted; repeatable.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option("--dataset", "-d", help="Data set, as it was extracted, or its name (--as); repeatable."),
    ] = None,
    train: Annotated[str | None, typer.Option(help="Instead of names: id of the train set.")] = None,
    test: Annotated[str | None, typer.Option(help="Id of the test set, or a fraction of train.")] = None,
    train_split: Annotated[str | None, typer.Option(help="Default: train, or all where there are no splits.")] = None,
    test_split: Annotated[str | None, typer.Option(help="A split, or a fraction to hold out of train.")] = None,
    val_split: Annotated[
        str | None,
        typer.Option(help="Chooses: a split, or a fraction of train. Default: val if there is one, else 0.1."),
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="clip, dinov2-knn … (`cryoprobe protocols`); repeatable.")
    ] = None,
    probe: Annotated[
        list[str] | None, typer.Option(help="logreg (default), knn … (`cryoprobe probes`), or sklearn.module.Class.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="Parameter of the probe or protocol, name=value; repeatable.")
    ] = None,
    c: Annotated[str, typer.Option("--C", help="0.316 or 1.0,10 or 1e-3:1e3:7 (log-spaced).")] = "",
    grid: Annotated[
        list[str] | None, typer.Option(help="The same for another parameter, name=values: alpha=0.1,1,10.")
    ] = None,
    choose_by: Annotated[
        str | None, typer.Option(help="Validation score that chooses: nll (default) or top1 (knn's).")
    ] = None,
    shots: Annotated[str, typer.Option(help="Training rows of every class, one trial each: 1,2,4,8,16.")] = "",
    fraction: Annotated[str, typer.Option(help="Shares of the training rows, one trial each: 0.01,0.1.")] = "",
    seeds: Annotated[
        int | None, typer.Option(help="Draws of each size. Default: 5, or the protocol's; 1 where nothing is drawn.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The first. Draws rows and hold-outs; random_state of the probe.")] = 0,
    tap: Annotated[
        str | None,
        typer.Option(help="Which tap of several (extract --tap cls,patch_mean); cls+patch_mean reads two as one."),
    ] = None,
    image_size: ImageSize = None,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    background: Background = None,
    fast_decode: FastDecode = None,
    decoder: Decoder = None,
    precision: Annotated[str | None, typer.Option(help="fp32 unless given, or the only one there is.")] = None,
    preprocess: Preprocess = None,
    limit: Annotated[int | None, typer.Option(help="The subset of this size.")] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Features of random weights.")] = False,
    checkpoint: Checkpoint = None,
    checkpoint_key: CheckpointKey = None,
    model_version: Annotated[
        str | None, typer.Option(help="Of embeddings that were added. Default: the newest.")
    ] = None,
    class_names: ClassNames = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    data_root: DataRoot = None,
    memory: Annotated[
        str, typer.Option(help="At most so much memory, such as 2GiB: features that do not fit are streamed (logreg).")
    ] = "",
    jobs: Annotated[int | None, typer.Option(help="Processes for many trials; by default where that helps.")] = None,
    engine: Engine = None,
    address: Address = None,
    worker_count: WorkerCount = None,
    gpus_per_worker: GpusPerWorker = None,
    cpus_per_worker: CpusPerWorker = None,
    stuck_seconds: StuckSeconds = None,
    save: Annotated[Path | None, typer.Option(help="Write the trained probe here, for `cryoprobe predict`.")] = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Run the trials even if the store has their results; these are replaced.")
    ] = False,
    rank: RankOf = None,
    log_to: LogTo = None,
    cache_size: CacheSize = "",
    per_class: Annotated[bool, typer.Option("--per-class", help="Print every class's scores too.")] = False,
    as_json: Json = False,
) -> None:
    """Train and score a probe on stored features; the encoder is not needed."""
    from cryoprobe.amounts import parse_bytes
    from cryoprobe.pipeline.probes import parse_grid, parse_grids, parse_params

    from .parsing import parse_numbers
    from .printing import console, trial_tables

    if len(probe or ()) > 1:
        raise cryoprobe.BadInput(
            "--probe was given several times, and `probe` takes one.",
            hint="`cryoprobe run` takes several: cryoprobe run --probe logreg --probe knn …",
            key="probe",
        )
    options = cryoprobe.ProbeArguments(
        train=train,
        test=test,
        train_split=train_split,
        test_split=test_split,
        val_split=val_split,
        probe=next(iter(probe or ()), None),
        params=parse_params(param or []),
        C=parse_grid(c) if c else (),
        grid=parse_grids(grid or []),
        choose_by=choose_by,
        shots=[int(k) for k in parse_numbers(shots, "shots", int)],
        fractions=parse_numbers(fraction, "fraction", float),
        seeds=seeds,
        seed=seed,
        tap=tap,
        image_size=image_size,
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        background=background,
        fast_decode=fast_decode,
        decoder=decoder,
        precision=precision,
        preprocess=preprocess,
        limit=limit,
        untrained=untrained,
        checkpoint=checkpoint,
        checkpoint_key=checkpoint_key,
        model_version=model_version,
        class_names=class_names,
        image_column=image_column,
        label_column=label_column,
        data_root=data_root,
        memory=parse_bytes(memory) if memory else None,
        jobs=jobs,
        engine=engine,
        address=address,
        worker_count=worker_count,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker,
        stuck_seconds=stuck_seconds,
        save=save,
        rerun=rerun,
        rank=rank or "auto",
        log_to=log_to or (),
    )
    place = opened(store, sources, cache_size, trust=trust)
    models, datasets, protocols = model or [], dataset or [], protocol or ["plain"]
    if max(len(models), len(datasets), len(protocols)) > 1:
        from .printing import suite_tables

        many = cryoprobe.probe_many(place, models, datasets, protocols, reporter=suite_tables.reporter(), **options)
        suite_tables.ran(many, as_json=as_json)
        if per_class:
            console.note("note: --per-class is for one trial; `cryoprobe show TRIAL` and --json have the classes.")
        raise typer.Exit(many.exit_code)
    options["model"], options["dataset"] = next(iter(models), None), next(iter(datasets), None)
    options["protocol"] = protocols[0]
    result = cryoprobe.probe(place, reporter=console.reporter(), **options)
    if result.rank is not None and result.rank.index:
        console.note(f"rank {result.rank}: done; rank 0 prints the result")
    elif as_json:
        console.out(json.dumps(result.document))
    else:
        trial_tables.probed(result, per_class=per_class)


@command(PANEL)
def predict(
    probe_file: Annotated[Path, typer.Option(help="What `cryoprobe probe --save` wrote.")],
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Images, and folders; none shows the probe.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Instead of the name in the probe file.")] = None,
    checkpoint: Checkpoint = None,
    checkpoint_key: CheckpointKey = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", "-s", callback=say_place, help="A store: images of which it has a row are not encoded again."
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="csv or json.")] = "csv",
    top: Annotated[int | None, typer.Option(help="The best K classes of every image, a row each.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All classes, a column each.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of printing.")] = None,
    max_bad: Annotated[int, typer.Option(help="Images that may fail.")] = 0,
    max_pixels: MaxPixels = None,
    batch_size: BatchSize = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read, and as many that decode.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
) -> None:
    """Encode images with the encoder of a saved probe, and print their labels and probabilities."""
    from .printing import console, predictions

    predictions.check_layout(form, top, every, output)
    saved = cryoprobe.load_probe(probe_file)
    if not paths:
        if form == "json":
            console.out(saved.header.model_dump_json())
        else:
            console.saved_probe(saved.header)
        return
    found = cryoprobe.predict(
        saved,
        paths,
        model=model,
        checkpoint=checkpoint,
        store=store,
        checkpoint_key=checkpoint_key,
        device=device,
        batch_size=batch_size,
        workers=workers,
        max_bad=max_bad,
        max_pixels=max_pixels,
        reporter=console.reporter(),
    )
    predictions.write(found, saved, form=form, top=top, every=every, file=output)


@command(PANEL)
def results(
    store: StoreUrl,
    sources: Sources = None,
    model: ModelPattern = None,
    dataset: DatasetPattern = None,
    probe: Annotated[str | None, typer.Option(help="Only of this probe, with or without wildcards.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only of this protocol, with or without wildcards.")] = None,
    sort: Annotated[
        str, typer.Option(help="score, model, dataset, probe or run. Default: data set, model, time.")
    ] = "",
    pivot: Annotated[
        bool, typer.Option("--pivot", help="Models by data sets; marked is what no other is significantly better than.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="table, csv, json, md, latex or parquet.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for --format parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Tabulate the trials in the store: the draws of one setting in a line, with mean ± standard deviation."""
    from .printing import console, matrix_tables, trial_tables

    looked_at = opened(store, sources)
    filters = {"model": model, "dataset": dataset, "probe": probe, "protocol": protocol}
    trials = cryoprobe.results(looked_at, **filters)
    form = "json" if as_json else form
    matrix_tables.check_options(form, sort=sort, pivot=pivot, file=output)
    if pivot and (trials or form != "table"):
        matrix_tables.matrix(trials.pivot(), form=form, file=output)
    elif trials or form != "table" or not any(filters.values()):
        trial_tables.trials(trials, form=form, sort=sort, file=output)
    else:
        console.err(f"No trial in {looked_at.url} fits.")


@command(PANEL)
def mistakes(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Id of a trial, or its first digits (`results`).")],
    store: StoreUrl,
    sources: Sources = None,
    top: Annotated[int, typer.Option(help="At most so many.")] = 50,
    class_name: Annotated[str | None, typer.Option("--class", help="Only rows of this class.")] = None,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
    as_json: Json = False,
) -> None:
    """List the test rows that a trial's probe got wrong, the most confident first; nothing is encoded or fitted."""
    from .printing import row_tables

    row_tables.check_form(form)
    found = cryoprobe.mistakes(opened(store, sources), trial, top=top, class_name=class_name)
    row_tables.mistakes(found, form="json" if as_json else form)


@command(PANEL)
def quickstart(
    store: Annotated[
        str, typer.Option("--store", "-s", help="Folder for the features; a new temporary one by default.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Extract and probe scikit-learn's digits with real ImageNet weights, without a network."""
    from .printing import console

    done = cryoprobe.quickstart(store or tempfile.mkdtemp(prefix="cryoprobe-"), console.reporter())
    if as_json:
        console.out(json.dumps(done.document))
    else:
        console.quickstart(done)
