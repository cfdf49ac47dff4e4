"""Where other people's kinds come in: installed packages announce them, and a module of one's own is named.

A package that is installed announces what it brings under an entry point, such as `cryoprobe.encoders`: the name of the
entry point is the kind, and ``KIND:REST`` is opened by calling what it points to with ``REST``. Without installing
anything, ``MODULE:FUNCTION`` names a function that takes no arguments.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import BadInput, CryoprobeError

ENCODERS = "cryoprobe.encoders"
DATASETS = "cryoprobe.datasets"


def announced(group: str) -> dict[str, str]:
    """Return the kinds that installed packages announce, and the package of each."""
    points = importlib.metadata.entry_points(group=group)
    return {point.name: point.dist.name if point.dist is not None else point.value for point in points}


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
    point = next(iter(importlib.metadata.entry_points(group=group, name=kind)), None)
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
            f"{spec} ends with {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}",
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
