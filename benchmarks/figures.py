"""Figures of the code, before and after a change: how large its functions are, and who imports whom.

    python benchmarks/figures.py v0 HEAD      # any two commits; without them, the working tree alone

Read from the syntax trees of the package (not of its tests, benchmarks and examples). Commands of typer are left out of
the counts of functions: their parameters are the declaration of the command line.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
Function = ast.FunctionDef | ast.AsyncFunctionDef
OUTSIDE = ("tests/", "benchmarks/", "examples/", "docs/", ".")
LONGEST = 60
"""Lines of a function, with its docstring left out, above which it does not fit on a screen."""


def sources(commit: str | None) -> dict[str, str]:
    """Return the package's modules, by path."""
    if commit is None:
        listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True)
        found = {path: (ROOT / path).read_text() for path in listed.stdout.split() if (ROOT / path).exists()}
    else:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            files = [m for m in tar.getmembers() if m.name.endswith(".py")]
            found = {m.name: file.read().decode() for m in files if (file := tar.extractfile(m)) is not None}
    return {path: text for path, text in sorted(found.items()) if not path.startswith(OUTSIDE)}


def functions(trees: dict[str, ast.Module]) -> Iterator[tuple[str, Function]]:
    """Yield every function, with the path of its module."""
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def is_command(node: Function) -> bool:
    """Return whether a function declares a command of the command line."""
    names = {ast.unparse(d).partition("(")[0] for d in node.decorator_list}
    return bool(names & {"command", "app.command", "app.callback"})


def parameters(node: Function) -> int:
    """Return how many parameters a caller can give."""
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([a for a in every if a.arg not in ("self", "cls")])


def code_lines(node: Function) -> int:
    """Return the lines of a function without its docstring."""
    doc = node.body[0] if ast.get_docstring(node) is not None else None
    return (node.end_lineno or node.lineno) - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)  # type: ignore[operator]


def untyped(node: Function) -> int:
    """Return how often ``dict[str, Any]`` stands in the signature of a function that other modules may call."""
    if node.name.startswith("_"):
        return 0
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    annotations = [a.annotation for a in every if a.annotation is not None] + ([node.returns] if node.returns else [])
    return sum(ast.unparse(a).count("dict[str, Any]") for a in annotations)


def imports(path: str, tree: ast.Module) -> set[str]:
    """Return the modules of the package that a module imports when it is imported."""
    package = Path(path).parent.parts
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = "/".join([*base, *(node.module.split(".") if node.module else [])])
            found |= {target, *(f"{target}/{name.name}".lstrip("/") for name in node.names)}
    return found


def longest_chain(trees: dict[str, ast.Module]) -> int:
    """Return how many modules stand in the longest chain of imports."""
    names = {path.removesuffix(".py").removesuffix("/__init__"): path for path in trees}
    graph = {n: {i for i in imports(p, trees[p]) if i in names and i != n} for n, p in names.items()}
    underway: set[str] = set()

    @cache
    def depth(name: str) -> int:
        underway.add(name)
        below = [depth(n) for n in sorted(graph[name]) if n not in underway]
        underway.discard(name)
        return 1 + max(below, default=0)

    return max(map(depth, sorted(graph)))


def figures(commit: str | None) -> dict[str, int]:
    """Return the figures of a commit, or of the working tree."""
    texts = sources(commit)
    trees = {path: ast.parse(text) for path, text in texts.items()}
    ours = [node for _, node in functions(trees) if not is_command(node)]
    stores = {
        i
        for path, tree in trees.items()
        if path.startswith("pipeline/")
        for i in imports(path, tree)
        if i.startswith("stores/") and f"{i}.py" in texts
    }
    return {
        "most parameters of a function": max(map(parameters, ours)),
        "functions with more than 8 parameters": sum(parameters(n) > 8 for n in ours),
        f"functions with more than {LONGEST} lines of code": sum(code_lines(n) > LONGEST for n in ours),
        "dict[str, Any] in public signatures": sum(map(untyped, ours)),
        "lines in stores/": sum(t.count("\n") for p, t in texts.items() if p.startswith("stores/")),
        "lines in pipeline/": sum(t.count("\n") for p, t in texts.items() if p.startswith("pipeline/")),
        "modules of stores that pipeline/ imports": len(stores),
        "modules in the longest chain of imports": longest_chain(trees),
        "lines of doctests": sum(
            line.lstrip().startswith((">>> ", "... ")) for t in texts.values() for line in t.split("\n")
        ),
    }


def main() -> None:
    """Print the figures of the commits that are named, side by side."""
    commits: list[str | None] = [*sys.argv[1:]] or [None]
    columns = [figures(commit) for commit in commits]
    print(f"{'':54}" + "".join(f"{commit or 'working tree':>14}" for commit in commits))
    for name in columns[0]:
        print(f"{name:54}" + "".join(f"{column[name]:14,}" for column in columns))


if __name__ == "__main__":
    main()
