"""What every command has in common: the app, options that recur, and how errors end."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..errors import INTERRUPTED, CryoprobeError

_EXIT_CODES = """
Exit codes: 0 done · 2 wrong arguments or unusable input · 3 not found · 4 corrupt · 5 read-only · 6 format too new ·
7 conflict · 8 storage failed · 9 not signed · 130 interrupted (run the same command again to go on).
"""

_INTERRUPTED = "Interrupted: run the same command again to go on. What was sealed in a store is kept."

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


def command(panel: str) -> Callable[[Command], Command]:
    """Register a command, whose errors end in one message and a documented exit code.

    Parameters
    ----------
    panel : str
        Under which heading `--help` lists it.
    """

    def register(function: Command) -> Command:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            try:
                function(*args, **kwargs)
            except CryoprobeError as e:
                _fail(str(e), e.exit_code)
            except KeyboardInterrupt:
                _fail(
                    "Interrupted: run the same command again to go on. What was sealed in a store is kept.", INTERRUPTED
                )
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has left

        app.command(rich_help_panel=panel)(guarded)
        return function

    return register


def split_list(text: str) -> list[str]:
    """Return the parts between commas, without blanks."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _fail(message: str, code: int) -> None:
    from ..console import plain

    print(f"cryoprobe: {plain(message)}", file=sys.stderr, flush=True)
    raise typer.Exit(code)
