"""What code a probe of one's own runs: the sources that it imports, and the versions of the packages among them.

Imports are read from the sources (`ast`), not followed while they run, so an import inside a function counts too. What
can't be told so (a module that is imported by a computed name, data that the code reads, a compiled module of one's
own) is a reason not to answer from an earlier run.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.metadata
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from weakref import WeakKeyDictionary

_OURS = "cryoprobe"
"""Not followed: what changes its numbers raises the schema of trials."""

_VERSION_SAYS_ALL = frozenset({_OURS, "sklearn"})

_BY_NAME = frozenset({"__import__", "import_module", "exec", "eval", "run_path", "run_module"})
_READS = frozenset(
    {"open", "load", "loadtxt", "genfromtxt", "fromfile", "memmap", "read_text", "read_bytes", "getenv"}
    | {"read_csv", "read_json", "read_parquet", "read_table", "read_pickle", "load_file", "safe_open", "environ"}
)

_SEEN: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
"""Of each module that runs in this process: its source when it was first looked at."""


@dataclass
class Code:
    """What a probe runs.

    Parameters
    ----------
    sources : dict
        From the names of modules of one's own to the sha256 of their sources.
    versions : dict
        From the names of installed packages to their versions.
    doubts : list of str
        Why a change might not be seen; empty if the rest tells it all.
    """

    sources: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


def code_behind(modules: Iterable[str], packages: Iterable[str] = ()) -> Code:
    """Return what somebody's own code runs: the sources of modules and of all that they import.

    Parameters
    ----------
    modules : iterable of str
        Which were imported already.
    packages : iterable of str
        Top-level modules whose installed files are hashed too, unless their sources are among the own ones: somebody's
        own package is installed again and again under one version.
    """
    code = code_of_modules([name for name in dict.fromkeys(modules) if name])
    own = {name.partition(".")[0] for name in code.sources}
    for top in dict.fromkeys(packages):
        if top not in own and top not in _VERSION_SAYS_ALL:
            code.sources |= installed_code(top)
    if not code.sources and not code.versions:
        code.doubts.append("its source isn't in a file")
    return code


def code_of_modules(names: Sequence[str]) -> Code:
    """Return what imported modules run, with all that they import."""
    found = Code()
    waiting, met = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in met or top == _OURS:
            continue
        met.add(name)
        spec = _spec(name)
        if spec is None or spec.origin in ("built-in", "frozen"):
            continue
        installed = _installed(top)
        if installed is None:
            parents = name.split(".")
            waiting += [".".join(parents[:i]) for i in range(1, len(parents))]
            if spec.origin is not None:  # None: a folder without __init__.py
                waiting += _read(name, spec, found)
        else:
            found.versions |= installed
    return found


def installed_code(top: str) -> dict[str, str]:
    """Return a hash of the code of the installed packages that bring a top-level module, by their names.

    A package of one's own is installed again and again under one version. Its RECORD lists the hashes of its files;
    those of scripts, which hold a path of the machine, are left out.
    """
    found = {}
    for name in _distributions().get(top, []):
        record = importlib.metadata.distribution(name).read_text("RECORD") or ""
        lines = sorted(line for line in record.splitlines() if line.split(",")[0].endswith((".py", ".so", ".pyd")))
        found[name] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return found


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of installed packages, by their names."""
    return {package: importlib.metadata.version(package) for package in packages}


def _read(name: str, spec: ModuleSpec, found: Code) -> list[str]:
    """Hash one module's source into `found`; return the names that it imports."""
    path = Path(str(spec.origin))
    try:
        source = path.read_bytes()
    except OSError:
        found.doubts.append(f"the source of {name} can't be read")
        return []
    found.sources[name] = hashlib.sha256(source).hexdigest()
    if path.suffix != ".py":
        found.doubts.append(f"{name} is compiled, so what it imports isn't known")
        return []
    module = sys.modules.get(name)
    if module is not None and _changed(module, path, source, found.sources[name]):
        found.doubts.append(f"{path} has changed since it was imported: start Python anew to run what it says now")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        found.doubts.append(f"{name} can't be parsed")
        return []
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    if doubt := next(_hidden(tree), None):
        found.doubts.append(f"{name} {doubt}")
    return list(_imports(tree, package))


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the modules that a source may import; ``from a import b`` may mean the module ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")
                kept = above[: len(above) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _hidden(tree: ast.AST) -> Iterator[str]:
    """Yield what a source does that its imports don't show."""
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in _BY_NAME:
            yield f"imports or runs code by name ({name})"
        elif name in _READS:
            yield f"may read data ({name})"


def _changed(module: ModuleType, path: Path, source: bytes, sha256: str) -> bool:
    """Say whether a module that runs in this process is older than its source."""
    if _SEEN.setdefault(module, sha256) != sha256:
        return True
    cached = getattr(module, "__cached__", None)
    try:
        header = Path(str(cached)).read_bytes()[:16] if cached else b""
        modified = int(path.stat().st_mtime)
    except OSError:
        return False
    # Python writes the date and size of the source into what it compiles (PEP 3147); flags of 0: by date.
    if len(header) < 16 or header[4:8] != bytes(4):
        return False
    stamp = (modified & 0xFFFFFFFF).to_bytes(4, "little") + (len(source) & 0xFFFFFFFF).to_bytes(4, "little")
    return header[8:16] != stamp


def _spec(name: str) -> ModuleSpec | None:
    """Find a module without importing it, or its parents; None if there is no such module."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        if (spec := getattr(loaded, "__spec__", None)) is not None:
            return spec if isinstance(spec, ModuleSpec) else None
        file = getattr(loaded, "__file__", None)  # a script that is being run
        return ModuleSpec(name, None, origin=None if file is None else str(file))
    parent, _, _ = name.rpartition(".")
    try:
        if not parent:
            if name in sys.builtin_module_names:
                return ModuleSpec(name, None, origin="built-in")
            return importlib.machinery.PathFinder.find_spec(name)
        above = _spec(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        return importlib.machinery.PathFinder.find_spec(name, list(above.submodule_search_locations))
    except (ImportError, AttributeError, ValueError):
        return None


def _installed(top: str) -> dict[str, str] | None:
    """Return the packages that bring a top-level module, with their versions; None for one's own.

    Empty for Python's standard library.
    """
    spec = _spec(top)
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    paths = [Path(place).resolve() for place in places if place]
    if not paths:
        return None
    if any(path.is_relative_to(folder) for path in paths for folder in _site_folders()):
        names = _distributions().get(top, [])
        return versions_of(sorted(set(names))) or None  # a file that somebody put there: one's own
    library = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")]
    return {} if any(path.is_relative_to(folder) for path in paths for folder in library) else None


def _site_folders() -> list[Path]:
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    folders += [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    # A virtual environment may add the folder of another one by a .pth file.
    folders += [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    return [Path(folder).resolve() for folder in dict.fromkeys(folders)]


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())
