"""A hook of mkdocs: every message of an error that stands in the code, with what it says to do about it.

The messages are read from the sources, not from running code: what is put in when one is raised is shown as ``…``.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from cryoprobe import errors

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = "reference/messages.md"

CLASSES = {
    name: found
    for name, found in vars(errors).items()
    if inspect.isclass(found) and issubclass(found, errors.CryoprobeError)
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, _PAGE, content=page()))
    return files


def page() -> str:
    """Return the Markdown of all messages, by the class of the error and by the module that raises it."""
    found = messages()
    lines = [
        "# Messages",
        "",
        f"The {sum(map(len, found.values()))} messages of errors that stand in the code, with what they say to do. "
        "`…` is what a message names when it is raised. [Errors](../errors.md) has the usual causes.",
    ]
    for name, texts in found.items():
        lines += ["", f"## {name} (exit code {CLASSES[name].exit_code})", ""]
        lines += ["| message | what to do |", "| --- | --- |"]
        lines += [f"| {_cell(message)} | {_cell(hint)} |" for message, hint in texts]
    return "\n".join(lines) + "\n"


def messages() -> dict[str, list[tuple[str, str]]]:
    """Return the messages and hints of every class of errors, without repetitions."""
    found: dict[str, dict[tuple[str, str], None]] = {name: {} for name in CLASSES}
    for path in _sources():
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in CLASSES and call.args:
                message = _shown(call.args[0])
                hint = next((_shown(k.value) for k in call.keywords if k.arg == "hint"), "")
                if message.strip("… \n."):  # else the text is made elsewhere
                    found[call.func.id][message, hint] = None
    return {name: sorted(texts) for name, texts in found.items() if texts}


def _sources() -> Iterator[Path]:
    for package in tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]:
        yield from sorted((_ROOT / Path(*package.split(".")[1:])).glob("*.py"))


def _shown(node: ast.expr) -> str:
    return re.sub("…( ?…)+", "…", _text(node))


def _text(node: ast.expr) -> str:
    """Return a text as it stands in the code, with … for each part that is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "…"


def _cell(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_")
    return text.replace("[", "\\[").replace("`", "\\`").replace("\n", "<br>")
