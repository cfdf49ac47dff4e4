"""Where other people's kinds come in: installed packages announce them, and a module of one's own is named.

A package that is installed announces what it brings under an entry point. For encoders and data sets
(`cryoprobe.encoders`, `cryoprobe.datasets`) the name of the entry point is the kind, and ``KIND:REST`` is opened by
calling what it points to with ``REST``. Without installing anything, ``MODULE:FUNCTION`` names a function that takes no
arguments. Probes, protocols and trackers (`cryoprobe.probes`, `cryoprobe.protocols`, `cryoprobe.trackers`) are
objects: the entry point has the object's own name and points to it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ..errors import BadInput, CryoprobeError, CryoprobeWarning

ENCODERS = "cryoprobe.encoders"
DATASETS = "cryoprobe.datasets"
PROBES = "cryoprobe.probes"
PROTOCOLS = "cryoprobe.protocols"
TRACKERS = "cryoprobe.trackers"


class Named(Protocol):
    """An object that has a name."""

    @property
    def name(self) -> str:
        """What people write."""
        ...


T = TypeVar("T", bound=Named)
_Places = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Brought(Generic[T]):
    """An object of an installed package.

    Parameters
    ----------
    thing : object
    package : str
        Which package announces it.
    module : str
        Where the entry point points to.
    """

    thing: T
    package: str
    module: str


@dataclass(frozen=True)
class Broken:
    """An entry point that cannot be used.

    Parameters
    ----------
    name, package : str
    problem : str
        Why, in one line.
    """

    name: str
    package: str
    problem: str


def announced(group: str) -> dict[str, str]:
    """Return the names that installed packages announce, and the package of each; imports nothing of theirs."""
    return {point.name: _package(point) for point in _points(group)}


def brought(name: str, group: str, kind: type[T]) -> Brought[T] | None:
    """Return the object that an installed package announces under a name; None if none does.

    Parameters
    ----------
    name : str
    group : str
        Of entry points.
    kind : type
        What the object must be.

    Raises
    ------
    BadInput
        If it cannot be imported, is of another kind or has another name, or if several packages announce it.
    """
    points = [point for point in _points(group) if point.name == name]
    if not points:
        return None
    point, *others = points
    if others:
        packages = sorted({_package(point) for point in points})
        raise BadInput(
            f"Several packages announce {name} under {group}: {', '.join(packages)}.",
            hint="Uninstall all of them but one.",
            key=name,
        )
    where = f"{point.value} of the package {_package(point)}"
    try:
        found = point.load()
    except (Exception, SystemExit) as error:  # importing runs a stranger's code
        raise BadInput(
            f"{name} cannot be imported from {where}: {_line(error)}",
            hint="Correct the package, or uninstall it.",
            key=name,
        ) from error
    if not isinstance(found, kind):
        raise BadInput(
            f"{name}: {where} is a {type(found).__name__}, not a {kind.__name__}.",
            hint=f"Let the entry point lead to a cryoprobe.{kind.__name__}.",
            key=name,
        )
    if found.name != name:
        raise BadInput(
            f"{name}: {where} has another name, {found.name!r}.",
            hint="Give the entry point and the object the same name.",
            key=name,
        )
    return Brought(found, _package(point), point.module)


def all_brought(group: str, kind: type[T], taken: Collection[str]) -> Iterator[Brought[T] | Broken]:
    """Yield what installed packages announce, ordered by name; what cannot be used as `Broken`.

    Parameters
    ----------
    group : str
    kind : type
    taken : collection of str
        Cryoprobe's own names. Entry points that have one are left out, with a warning.
    """
    for name, package in sorted(announced(group).items()):
        if name in taken:
            warn_if_taken(name, group)
            continue
        try:
            found = brought(name, group, kind)
        except BadInput as error:
            yield Broken(name, package, error.message)
        else:
            if found is not None:
                yield found


def warn_if_taken(name: str, group: str) -> None:
    """Warn, once in a process, if an installed package announces one of Cryoprobe's own names."""
    _warn_if_taken(name, group, _places())


@cache
def _warn_if_taken(name: str, group: str, places: _Places) -> None:
    if (package := announced(group).get(name)) is not None:
        warnings.warn(
            f"The package {package} announces {name} under {group}. That is a name of Cryoprobe's own, so the "
            "package's is ignored; it needs another name.",
            CryoprobeWarning,
            stacklevel=4,
        )


def may_be_own(spec: str, group: str) -> bool:
    """Say whether a name has the form of somebody's own; imports nothing."""
    kind, _, rest = spec.partition(":")
    module = all(part.isidentifier() for part in kind.split(".")) and rest.isidentifier()
    return bool(kind and rest) and (module or kind in announced(group))


def opener(spec: str, group: str) -> Callable[[], Any] | None:
    """Return what makes an object of somebody's own; None if the name is nobody's.

    Parameters
    ----------
    spec : str
        ``KIND:REST`` of an installed package, or ``MODULE:FUNCTION``.
    group : str
        Of entry points.

    Returns
    -------
    callable or None
        Raises `BadInput` if what is named cannot be imported, or ends with an error of its own.
    """
    if not may_be_own(spec, group):
        return None
    kind, _, rest = spec.partition(":")
    point = next((point for point in _points(group) if point.name == kind), None)
    if point is not None:
        return partial(_called, spec, lambda: point.load()(rest))
    with _here():
        try:
            if importlib.util.find_spec(kind) is None:
                return None
        except (ImportError, ValueError):  # of a parent that is none
            return None
        except Exception:  # a stranger's code: what is wrong is said when it is called
            pass
    return partial(_called, spec, lambda: _attribute(kind, rest, spec)())


def _attribute(module: str, name: str, spec: str) -> Any:
    found = getattr(importlib.import_module(module), name, None)
    if not callable(found):
        what = "has none" if found is None else f"has a {type(found).__name__}"
        raise BadInput(f"{spec}: the module {module} {what} of that name.", hint="Name a function in it.", key=spec)
    return found


def _called(spec: str, make: Callable[[], Any]) -> Any:
    try:
        with _here():
            return make()
    except CryoprobeError:
        raise
    except Exception as error:  # a stranger's code
        raise BadInput(
            f"{spec} ends with {_line(error)}",
            hint="Correct the code that the name stands for.",
            key=spec,
        ) from error


@contextmanager
def _here() -> Iterator[None]:
    """Let modules of the working folder be found, as `python` does and an installed command does not."""
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _points(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group; they are read again when a folder of `sys.path` has changed."""
    return _read_points(group, _places())


@lru_cache(maxsize=16)
def _read_points(group: str, places: _Places) -> tuple[EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=group))


def _places() -> _Places:
    """Return the folders in which packages are installed, and when each was last changed."""
    found = []
    for entry in sys.path:
        try:
            found.append((entry, Path(entry).stat().st_mtime_ns))
        except OSError:  # a path need not exist
            found.append((entry, 0))
    return tuple(found)
