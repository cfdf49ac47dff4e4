"""What every command has in common: the app, options that recur, and how errors end."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

import cryoprobe

from ..errors import INTERRUPTED, TERMINATED, CryoprobeError, CryoprobeWarning, Terminated
from ..pipeline.stopping import taking, terminate
from ..redaction import redacted
from .quiet import is_quiet, quietly

_EXIT_CODES = """
Exit codes: 0 done · 1 any other error · 2 wrong arguments or unusable input · 3 not found · 4 corrupt · 5 read-only ·
6 format too new · 7 conflict · 8 storage failed · 130 interrupted, 143 terminated (run
the same command again to go on).
"""

_TERMINATED = "Terminated: run the same command again to go on. What was encoded or sealed in a store is kept."
_INTERRUPTED = "Interrupted: run the same command again to go on. What was sealed in a store is kept."


class _Commands(TyperGroup):
    """Takes credentials out of what is said of wrong arguments, too."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _redacting():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _redacting():
            return super().invoke(ctx)


@contextmanager
def _redacting() -> Iterator[None]:
    try:
        yield
    except Exception as e:
        if hasattr(e, "format_message"):  # an error of click's, of which typer may have a copy of its own
            e.message = redacted(str(getattr(e, "message", "")))  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    cls=_Commands,
    help="Score frozen encoders: extract embeddings once into a shared store, probe them many times.",
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    add_completion=True,
)

Command = TypeVar("Command", bound=Callable[..., None])


def say_place(value: Any) -> Any:
    """Say which configuration file decided what a store's name stands for; return the value of the option."""
    from cryoprobe.stores.local import config

    for text in [value] if isinstance(value, str) else value or ():
        with suppress(CryoprobeError):  # the command raises it
            if (file := config.deciding_file(text)) is not None:
                from ..printable import plain

                print(plain(f"store {text}: {config.known_as(text).place} (by {file})"), file=sys.stderr, flush=True)
    return value


Model = Annotated[str, typer.Option("--model", "-m", help="open_clip:ARCH/TAG, timm:NAME … (`cryoprobe models`).")]
Data = Annotated[str, typer.Option("--dataset", "-d", help="folder:PATH, csv:FILE … (`cryoprobe datasets`).")]
StoreUrl = Annotated[
    str,
    typer.Option(
        "--store",
        "-s",
        envvar="CRYOPROBE_STORE",
        callback=say_place,
        help="The feature store: a folder, s3:// (gs://, az://), http(s):// to read, or a name from cryoprobe.toml.",
        show_default=False,
    ),
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="STORE",
        callback=say_place,
        help="A further store, which is only read; repeatable. Trusted if a configuration file lists it.",
        show_default=False,
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Let what comes from the other store or file count as the store's own."),
]
CacheSize = Annotated[
    str,
    typer.Option(
        envvar="CRYOPROBE_CACHE_SIZE",
        help="Keep so much of remote stores on this machine, such as 20GiB (the default); 0 keeps none.",
        show_default=False,
    ),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Weights: .pt, .pth, .ckpt, .bin or .safetensors; never unpickled.")
]
CheckpointKey = Annotated[
    str | None,
    typer.Option(help="Which weights of that file, if several fit: model_ema, teacher.backbone …", metavar="KEY"),
]
ImageSize = Annotated[int | None, typer.Option(help="Side of the encoder's input in pixels, if not the model's own.")]
Resize = Annotated[int | None, typer.Option(help="Bring the shorter side to so many pixels, and crop the centre.")]
Crop = Annotated[
    int | None, typer.Option(help="Side of that crop, if not the model's own input: --resize 256 --crop 224.")
]
Interpolation = Annotated[
    str | None, typer.Option(help="Filter of the resizing: bicubic, bilinear, lanczos or nearest.", show_default=False)
]
Background = Annotated[
    str | None,
    typer.Option(help="white, black or '#rrggbb': lay transparent images on it. By default transparency is dropped."),
]
FastDecode = Annotated[
    bool | None,
    typer.Option("--fast-decode", help="Decode large JPEGs at a fraction of their size (another key).", is_flag=True),
]
Decoder = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="nvjpeg: decode JPEGs on the GPU, not by Pillow (another key)."),
]
BatchSize = Annotated[str | None, typer.Option(help="Images in one forward pass, or auto: measure which is fastest.")]
Preprocess = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL|FILE",
        help="Prepare images as for another model, or as a preprocessor_config.json says; for onnx: and hf:.",
    ),
]
MaxPixels = Annotated[
    int | None, typer.Option(help="Refuse images of more pixels, as they are or resized; 178,956,970 by default.")
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of torchvision's data sets.")]
Layout = Annotated[
    str | None,
    typer.Option(help="class or split: what the top folders of folder:PATH are. By default, as they are called."),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Files and folders of folder:PATH to leave out; repeatable.", show_default=False),
]
Unlabelled = Annotated[
    bool, typer.Option("--unlabelled", help="Take all images of folder: or wds:, at any depth, without classes.")
]
ClassNames = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Names that integer labels of wds:, parquet: and hf: index.")
]
ImageColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of parquet: and hf:, or extension in wds:, of the images.")
]
LabelColumn = Annotated[str | None, typer.Option(metavar="NAME", help="The same of the labels; wds: json.FIELD too.")]
ModelPattern = Annotated[
    str | None, typer.Option("--model", "-m", help="Only of this model; may have wildcards: 'timm:vit*'.")
]
DatasetPattern = Annotated[
    str | None,
    typer.Option("--dataset", "-d", help="Only of this data set, named as for extract, or 'folder:*/birds'."),
]
SplitPattern = Annotated[str | None, typer.Option("--split", help="Only this split, with or without wildcards.")]
TapPattern = Annotated[str | None, typer.Option("--tap", help="Only this tap, with or without wildcards.")]
RankOf = Annotated[
    str | None,
    typer.Option(
        "--rank",
        metavar="I/N",
        help="Which of N processes this is that do the same, from 0; by default as the job tells.",
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="serial (the default): in this process; ray: in workers on a Ray cluster."),
]
LogTo = Annotated[
    list[str] | None,
    typer.Option(metavar="TRACKER", help="Log the trials too: mlflow[:URI] or wandb[:PROJECT]; repeatable."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of the Ray cluster: HOST:PORT, ray://HOST:PORT or auto. Default: $RAY_ADDRESS, or this machine."
    ),
]
WorkerCount = Annotated[
    int | None, typer.Option(help="Workers on the cluster; by default as many as it has room for.", metavar="N")
]
GpusPerWorker = Annotated[
    float | None, typer.Option(help="By default 1 to encode if the cluster has GPUs, else 0; 0.5 shares one.")
]
CpusPerWorker = Annotated[int | None, typer.Option(help="By default a GPU's share of its node, else 1.", metavar="N")]
StuckSeconds = Annotated[
    int | None, typer.Option(help="Replace a worker that shows no progress for so long.", metavar="N")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors: no progress, notes or warnings.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]


def command(panel: str, name: str | None = None) -> Callable[[Command], Command]:
    """Register a command, whose errors end in one message and a documented exit code.

    Parameters
    ----------
    panel : str
        Under which heading `--help` lists it.
    name : str, optional
        What it is called, if not as the function.
    """

    def register(function: Command) -> Command:
        @functools.wraps(function)
        def guarded(*args: Any, quiet: bool = False, **kwargs: Any) -> None:
            try:
                with quietly(quiet), _warnings_as_notes(), taking({signal.SIGTERM: [signal.SIG_DFL]}, terminate):
                    function(*args, **kwargs)
            except CryoprobeError as e:
                _fail(str(e), e.exit_code)
            except KeyboardInterrupt:
                _fail(_INTERRUPTED, INTERRUPTED)
            except Terminated:
                _fail(_TERMINATED, TERMINATED)
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has left

        # typer makes an option of each parameter: every command has this one.
        usual = inspect.signature(function, eval_str=True)
        parameter = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)
        guarded.__signature__ = usual.replace(parameters=[*usual.parameters.values(), parameter])  # type: ignore[attr-defined]
        # Evaluated once: typer would evaluate each again.
        guarded.__annotations__ = {p.name: p.annotation for p in (*usual.parameters.values(), parameter)}
        app.command(name, rich_help_panel=panel)(guarded)
        return function

    return register


def opened(store: str, sources: list[str] | None, cache_size: str = "", *, trust: bool = False) -> cryoprobe.Store:
    """Open the store that `--store`, `--from` and `--cache-size` mean together."""
    from ..amounts import parse_bytes

    size = parse_bytes(cache_size, "cache-size", least=0) if cache_size else None
    return cryoprobe.open_store(store, sources=sources or (), cache_size=size, trust=trust)


def to_write(store: str, sources: list[str] | None, *, trust: bool = False) -> str | cryoprobe.Store:
    """Return the same for a command that makes the store itself, when it has what is to be written."""
    return opened(store, sources, trust=trust) if sources else store


def split_list(text: str) -> list[str]:
    """Return the parts between commas, without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Print Cryoprobe's own warnings as one line, without the place in the code."""
    usual = warnings.formatwarning

    def formatted(message: Any, category: type[Warning], *place: Any, **more: Any) -> str:
        own = issubclass(category, CryoprobeWarning)
        if own and is_quiet.get():
            return ""
        return f"note: {message}\n" if own else usual(message, category, *place, **more)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _fail(message: str, code: int) -> None:
    from ..printable import plain

    print(f"cryoprobe: {plain(message)}", file=sys.stderr, flush=True)
    raise typer.Exit(code)
