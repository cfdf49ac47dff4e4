"""Stand-ins for the classes that a checkpoint file names: `torch.load` gets these instead, so nothing of a file runs.

Training scripts save their arguments, paths and metrics beside the weights: ``argparse.Namespace``, numpy scalars,
configurations. Torch's reader of weights refuses a file for any of them. Here each unknown name becomes an empty class
of ours that takes whatever it is given and keeps none of it. No class of a library is imported, and none is called.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections import OrderedDict
from contextlib import suppress
from typing import Any

_UNKNOWN = re.compile(r"GLOBAL (\S+) was not an allowed global")
_NO_MAPPING = re.compile(r"Can only SETITEMS? for .*but got <class '([^']+)'>", re.DOTALL)


_MOST = 256
"""Names that may be replaced in one file; training scripts save a dozen."""


class Inert:
    """An object of a checkpoint that was not made: nothing of it is kept."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return an empty object, whatever it is made of."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _InertMapping(Inert):
    """Where the file puts items into the object: torch lets it do so in plain dictionaries alone."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


def load_tensors(raw: bytes) -> tuple[object, tuple[str, ...]]:
    """Read what ``torch.save`` wrote, on the CPU, with a stand-in for every class that is not torch's own.

    Parameters
    ----------
    raw : bytes
        The file.

    Returns
    -------
    content : object
        Tensors, plain values and `Inert` ones, in the dictionaries and lists in which they were saved.
    classes : tuple of str
        Names that were replaced by stand-ins, sorted.

    Raises
    ------
    UnpicklingError
        If the file asks for more than making objects, or names a module of the operating system.
    """
    import torch

    kinds: dict[str, type] = dict.fromkeys(_named_in(raw), Inert)
    while True:
        stands: list[Any] = [_stand_in(name, kind) for name, kind in kinds.items()]
        try:
            with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(stands):
                content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if len(kinds) > _MOST:
                raise
            if (name := _unknown(error)) is not None and name not in kinds:
                kinds[name] = Inert
            elif (name := _no_mapping(error)) in kinds and kinds[name] is Inert:
                kinds[name] = _InertMapping
            else:
                raise
        else:
            return content, tuple(sorted(kinds))


def _named_in(raw: bytes) -> list[str]:
    """Return the unknown names of a file, so that it need not be read once for each; none of an old file's."""
    import torch

    with suppress(Exception):  # what is wrong is said when it is loaded
        return torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(raw))
    return []


def _stand_in(name: str, kind: type) -> Any:
    """Return a class that torch knows by the name in the file."""
    module, _, own = name.rpartition(".")
    return type(own, (kind,), {"__module__": module, "__qualname__": own})


def _unknown(error: Exception) -> str | None:
    found = _UNKNOWN.search(str(error))
    if found is None:
        return None
    return found[1] if "." in found[1] else f"builtins.{found[1]}"  # torch leaves out the module of these


def _no_mapping(error: Exception) -> str:
    found = _NO_MAPPING.search(str(error))
    return found[1] if found is not None else ""
