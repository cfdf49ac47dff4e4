"""A hook of mkdocs: the reference of the command line, by typer's own generator, under the headings of ``--help``."""

from __future__ import annotations

import re
import subprocess
import sys

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import cryoprobe.cli as _registered  # noqa: F401
from cryoprobe.commands.base import app

_PAGE = "reference/command-line.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, _PAGE, content=page()))
    return files


def page() -> str:
    """Return the Markdown of every command with all of its arguments and options."""
    command = [sys.executable, "-m", "typer", "cryoprobe.cli", "utils", "docs", "--name", "cryoprobe"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    root, *commands = re.split(r"^## ", made, flags=re.MULTILINE)
    # Its list of commands cuts their texts; the contents beside the page lists them too.
    root = root.partition("**Commands**")[0].replace("# `cryoprobe`", "# Command line", 1)
    texts = {re.match(r"`cryoprobe ([\w-]+)`", text)[1]: text for text in commands}  # type: ignore[index]
    panels: dict[str, list[str]] = {}
    for registered in app.registered_commands:
        name = registered.name or registered.callback.__name__.replace("_", "-")  # type: ignore[union-attr]
        text = texts.pop(name).replace(f"`cryoprobe {name}`", f"cryoprobe {name}", 1)
        panels.setdefault(str(registered.rich_help_panel), []).append(f"### {text}")
    if texts:
        raise ValueError(f"commands without a heading in --help: {', '.join(texts)}")
    return root + "".join(f"## {panel}\n\n{''.join(texts)}" for panel, texts in panels.items())
