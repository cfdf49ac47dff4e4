"""The command line: puts the commands together. They parse, call the public API, and format; there is no logic."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import cryoprobe
from cryoprobe.commands.base import app
from cryoprobe.pipeline.provenance import record_command

# Each registers its commands, and `--help` lists them in this order.
# isort: off
from cryoprobe.commands import work as _work  # noqa: F401
from cryoprobe.commands import report as _report  # noqa: F401
from cryoprobe.commands import comparing as _comparing  # noqa: F401
from cryoprobe.commands import store as _store  # noqa: F401
from cryoprobe.commands import cache as _cache  # noqa: F401
from cryoprobe.commands import transfer as _transfer  # noqa: F401
from cryoprobe.commands import keeping as _keeping  # noqa: F401
from cryoprobe.commands import catalogue as _catalogue  # noqa: F401
# isort: on


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


def main() -> None:
    """Run the command line."""
    record_command(["cryoprobe", *sys.argv[1:]])
    app(prog_name="cryoprobe")


if __name__ == "__main__":
    main()
