"""The command line: puts the commands together. They parse, call the public API, and format; there is no logic."""

from __future__ import annotations

from typing import Annotated

import typer

import cryoprobe
from cryoprobe.commands.base import app

# Each registers its commands, and `--help` lists them in this order.
# isort: off
from cryoprobe.commands import work as _work  # noqa: F401
from cryoprobe.commands import store as _store  # noqa: F401
from cryoprobe.commands import signing as _signing  # noqa: F401
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
    app(prog_name="cryoprobe")


if __name__ == "__main__":
    main()
