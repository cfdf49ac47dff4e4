"""The command line: parse, call the public API, format. No logic."""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

import cryoprobe
from cryoprobe.errors import INTERRUPTED, BadInput, CryoprobeError

_EXIT_CODES = """
Exit codes: 0 done · 2 wrong arguments or unusable input · 3 not found · 4 corrupt · 5 read-only · 6 format too new ·
7 conflict · 8 storage failed · 130 interrupted (run the same command again to go on).
"""

app = typer.Typer(
    help="Score frozen encoders: extract embeddings once into a shared store, probe them many times.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Command = TypeVar("Command", bound=Callable[..., None])

Model = Annotated[str, typer.Option("--model", "-m", help="open_clip:ARCH/TAG, timm:NAME … (`cryoprobe models`).")]
Data = Annotated[str, typer.Option("--dataset", "-d", help="folder:PATH, csv:FILE … (`cryoprobe datasets`).")]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        "-s",
        envvar="CRYOPROBE_STORE",
        help="The feature store: a folder, s3:// (gs://, az://), http(s):// to read, or a name from cryoprobe.toml.",
        show_default=False,
    ),
]
Checkpoint = Annotated[Path | None, typer.Option(help="Weights: .pt, .pth, .bin or .safetensors; never unpickled.")]
ImageSize = Annotated[int | None, typer.Option(help="Side of the encoder's input in pixels, if not the model's own.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of torchvision's data sets.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]


def _command(function: Command) -> Command:
    """Register a command whose errors end in one message and a documented exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except CryoprobeError as e:
            _fail(str(e), e.exit_code)
        except KeyboardInterrupt:
            _fail("Interrupted: run the same command again to go on. What was sealed in a store is kept.", INTERRUPTED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has left

    app.command()(guarded)
    return function


def _fail(message: str, code: int) -> None:
    print(f"cryoprobe: {message}", file=sys.stderr, flush=True)
    raise typer.Exit(code)


def _version(value: bool) -> None:
    if value:
        print(f"cryoprobe {cryoprobe.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@_command
def extract(
    model: Model,
    dataset: Data,
    store: StoreUrl,
    split: Annotated[str, typer.Option(help="Splits, comma-separated; all by default.")] = "",
    tap: Annotated[
        str, typer.Option(help="Taps, comma-separated, filled in one pass; the model's own by default.")
    ] = "",
    checkpoint: Checkpoint = None,
    image_size: ImageSize = None,
    precision: Annotated[str, typer.Option(help="Arithmetic of the encoder.")] = "fp32",
    untrained: Annotated[bool, typer.Option("--untrained", help="Random weights, with --seed.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of random weights.")] = 0,
    limit: Annotated[int | None, typer.Option(help="A class-balanced subset of each split, of this size.")] = None,
    limit_seed: Annotated[int, typer.Option(help="Seed that draws the subset.")] = 0,
    data_root: DataRoot = None,
    download: Annotated[bool, typer.Option("--download", help="Let torchvision download the data set.")] = False,
    stored_dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    unit_rows: Annotated[int, typer.Option(help="Samples in a unit of work, which a crash can cost.")] = 4096,
    max_bad: Annotated[int, typer.Option(help="Samples that may fail.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Images in one forward pass.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read and decode.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file, whatever its dates say.")] = False,
    as_json: Json = False,
) -> None:
    """Encode a data set once, and keep its embeddings and labels in the store."""
    from cryoprobe import console

    if stored_dtype not in ("float16", "float32"):
        raise BadInput(f"--stored-dtype is float16 or float32, not {stored_dtype}.")
    sets = cryoprobe.extract(
        model,
        dataset,
        store,
        splits=_list(split),
        taps=_list(tap),
        checkpoint=checkpoint,
        image_size=image_size,
        precision=precision,
        untrained=untrained,
        seed=seed,
        limit=limit,
        limit_seed=limit_seed,
        data_root=data_root,
        download=download,
        stored_dtype="float32" if stored_dtype == "float32" else "float16",
        unit_rows=unit_rows,
        max_bad=max_bad,
        batch_size=batch_size,
        workers=workers,
        device=device,
        rehash=rehash,
        reporter=console.reporter(),
    )
    if as_json:
        console.out(json.dumps(cryoprobe.summary(sets)))
        return
    console.table(
        ["set", "split", "tap", "rows", "dim", "encoded", "reused", "failed", "seconds"],
        [[s.set[:12], s.split, s.tap, s.rows, s.dim, s.encoded, s.reused, s.failed, s.seconds] for s in sets],
    )


@_command
def probe(
    store: StoreUrl,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model, as it was extracted.")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Data set, as it was extracted.")] = None,
    train: Annotated[str | None, typer.Option(help="Instead of names: id of the train set.")] = None,
    test: Annotated[str | None, typer.Option(help="Id of the test set, or a fraction of train.")] = None,
    train_split: Annotated[str | None, typer.Option(help="Default: train, or all where there are no splits.")] = None,
    test_split: Annotated[str | None, typer.Option(help="A split, or a fraction to hold out of train.")] = None,
    val_split: Annotated[
        str | None, typer.Option(help="Chooses: a split, or a fraction of train. Default: 0.1, or the protocol's.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="clip, dinov2-knn … (`cryoprobe protocols`).")] = "plain",
    probe: Annotated[
        str | None, typer.Option(help="logreg (default), knn … (`cryoprobe probes`), or sklearn.module.Class.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="Parameter of the probe or protocol, name=value; repeatable.")
    ] = None,
    c: Annotated[str, typer.Option("--C", help="0.316 or 1.0,10 or 1e-3:1e3:7 (log-spaced).")] = "",
    grid: Annotated[
        list[str] | None, typer.Option(help="The same for another parameter, name=values: alpha=0.1,1,10.")
    ] = None,
    choose_by: Annotated[str | None, typer.Option(help="Validation score that chooses: nll (default) or top1.")] = None,
    shots: Annotated[str, typer.Option(help="Training rows of every class, one trial each: 1,2,4,8,16.")] = "",
    fraction: Annotated[str, typer.Option(help="Shares of the training rows, one trial each: 0.01,0.1.")] = "",
    seeds: Annotated[
        int | None, typer.Option(help="Draws of each size. Default: 5, or the protocol's; 1 where nothing is drawn.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The first. Draws rows and hold-outs; random_state of the probe.")] = 0,
    tap: Annotated[str | None, typer.Option(help="Which tap, where several were extracted.")] = None,
    image_size: ImageSize = None,
    limit: Annotated[int | None, typer.Option(help="The subset of this size.")] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Features of random weights.")] = False,
    checkpoint: Checkpoint = None,
    data_root: DataRoot = None,
    memory: Annotated[
        str, typer.Option(help="At most so much memory, such as 2GiB: features that do not fit are streamed (logreg).")
    ] = "",
    jobs: Annotated[int | None, typer.Option(help="Processes for many trials; by default where that helps.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the trained probe here, for `cryoprobe predict`.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Print every class's scores too.")] = False,
    as_json: Json = False,
) -> None:
    """Train and score a probe on stored features; the encoder is not needed."""
    from cryoprobe import console, trial_tables
    from cryoprobe.pipeline.options import parse_bytes, parse_numbers
    from cryoprobe.pipeline.probes import parse_grid, parse_grids, parse_params

    result = cryoprobe.probe(
        store,
        model=model,
        dataset=dataset,
        train=train,
        test=test,
        train_split=train_split,
        test_split=test_split,
        val_split=val_split,
        protocol=protocol,
        probe=probe,
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
        limit=limit,
        untrained=untrained,
        checkpoint=checkpoint,
        data_root=data_root,
        memory=parse_bytes(memory) if memory else None,
        jobs=jobs,
        save=save,
        reporter=console.reporter(),
    )
    if as_json:
        console.out(json.dumps(result))
    else:
        trial_tables.probed(result, per_class=per_class)


@_command
def predict(
    probe_file: Annotated[Path, typer.Option(help="What `cryoprobe probe --save` wrote.")],
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Images, and folders; none shows the probe.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Instead of the name in the probe file.")] = None,
    checkpoint: Checkpoint = None,
    form: Annotated[str, typer.Option("--format", help="csv or json.")] = "csv",
    top: Annotated[int | None, typer.Option(help="The best K classes of every image, a row each.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All classes, a column each.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of printing.")] = None,
    max_bad: Annotated[int, typer.Option(help="Images that may fail.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Images in one forward pass.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read and decode.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
) -> None:
    """Encode images with the encoder of a saved probe, and print their labels and probabilities."""
    from cryoprobe import console, predictions

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
        device=device,
        batch_size=batch_size,
        workers=workers,
        max_bad=max_bad,
        reporter=console.reporter(),
    )
    predictions.write(found, saved, form=form, top=top, every=every, file=output)


@_command
def results(store: StoreUrl, as_json: Json = False) -> None:
    """Tabulate every trial in the store."""
    from cryoprobe import console, trial_tables

    trials = cryoprobe.results(store)
    if as_json:
        console.out(json.dumps(trials))
    else:
        trial_tables.trials(trials)


@_command
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


@_command
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


@_command
def verify(
    store: StoreUrl,
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets; the whole store by default.")
    ] = None,
    data: Annotated[bool, typer.Option("--data", help="Read and hash every object; sizes only by default.")] = False,
    as_json: Json = False,
) -> None:
    """Check that every object is what was sealed; exit 4 where one is not."""
    from cryoprobe import console

    found = cryoprobe.verify(store, sets or (), data=data)
    if as_json:
        console.out(json.dumps(asdict(found)))
    else:
        console.verification(found)
    if found.damages:
        raise typer.Exit(cryoprobe.Corrupt.exit_code)


@_command
def models(
    pattern: Annotated[str | None, typer.Argument(help="Part of a name, or with wildcards: 'timm:vit*dino*'.")] = None,
    as_json: Json = False,
) -> None:
    """List the models that can be named."""
    from cryoprobe import console

    found = cryoprobe.list_models(pattern)
    if as_json:
        console.out(json.dumps([asdict(m) for m in found]))
    else:
        for m in found:
            console.out(m.name if m.pretrained else f"{m.name}  (no weights: --checkpoint or --untrained)")


@_command
def datasets(as_json: Json = False) -> None:
    """List the kinds of data sets, and the names that torchvision knows, with an example each."""
    from cryoprobe import console

    found = cryoprobe.list_datasets()
    if as_json:
        console.out(json.dumps([asdict(d) for d in found]))
    else:
        console.table(["data set", "example", "what it is"], [[d.name, d.example, d.description] for d in found])


@_command
def probes(as_json: Json = False) -> None:
    """List the probes that have a short name, with their parameters."""
    from cryoprobe import console

    found = cryoprobe.list_probes()
    if as_json:
        console.out(json.dumps([asdict(p) for p in found]))
        return
    rows = [[p.name, " ".join(f"{k}={json.dumps(v)}" for k, v in p.parameters.items()), p.description] for p in found]
    console.table(["probe", "parameters", "what it is"], rows)


@_command
def protocols(as_json: Json = False) -> None:
    """List the published protocols: what each prescribes, and where it is published."""
    from cryoprobe import console, trial_tables

    found = cryoprobe.list_protocols()
    if as_json:
        console.out(json.dumps([asdict(p) for p in found]))
    else:
        trial_tables.protocols(found)


@_command
def quickstart(
    store: Annotated[
        str, typer.Option("--store", "-s", help="Folder for the features; a new temporary one by default.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Extract and probe scikit-learn's digits with real ImageNet weights, without a network."""
    from cryoprobe import console

    done = cryoprobe.quickstart(store or tempfile.mkdtemp(prefix="cryoprobe-"), console.reporter())
    if as_json:
        console.out(json.dumps(asdict(done)))
    else:
        console.quickstart(done)


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def main() -> None:
    """Run the command line."""
    app(prog_name="cryoprobe")


if __name__ == "__main__":
    main()
