"""Checkpoint files: their sha256, and the tensors in them, read without ever unpickling an object.

Which of the tensors are a model's is found in `parts`.

Importing this module does not import torch, so that commands that only need a file's hash stay light.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...errors import BadInput, CryoprobeError, NotFound
from ..first_bytes import recognised
from ..passing import patiently
from .files_read import note_file

if TYPE_CHECKING:
    import torch

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
"""Suffixes of files that ``torch.save`` writes: Lightning's ``.ckpt``, and ``.pth.tar`` of many repositories, too."""

_DEEPEST = 8
"""Dictionaries in dictionaries that are looked into."""
_NAMED = 4
"""How many classes an error message names."""


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, as 64 hexadecimal digits.

    Raises
    ------
    NotFound
        If there is no such file.
    """
    _require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class CheckpointFile(NamedTuple):
    """A file that a user gave, and which part of it is meant.

    Parameters
    ----------
    path : Path
    key : str or None
        What leads to the tensors, see `parts`; None if it is to be found.
    """

    path: Path
    key: str | None = None


class Checkpoint(NamedTuple):
    """What one read of a checkpoint file gave.

    Parameters
    ----------
    tensors : dict of str to Tensor
        All of the file, by the keys that lead to them, joined by dots: ``state_dict.module.conv1.weight``.
    sha256 : str
        Of the very bytes that the tensors are from, 64 hexadecimal digits.
    """

    tensors: dict[str, torch.Tensor]
    sha256: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors in a checkpoint file, on the CPU.

    The file is read once, into memory: the bytes that are hashed are the bytes that are loaded, even if somebody writes
    the file meanwhile.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or one that ``torch.save`` wrote (`TORCH_SUFFIXES`).

    Raises
    ------
    NotFound
        If there is no such file.
    BadInput
        If the file is not a checkpoint, is cut short, or holds no tensor but in objects that only unpickling could
        restore.
    """
    _require_file(path)
    if path.suffix != ".safetensors" and path.suffix not in TORCH_SUFFIXES:
        raise BadInput(
            f"{path} does not end like a checkpoint.",
            hint=f"Known endings: .safetensors {' '.join(TORCH_SUFFIXES)}",
            key=str(path),
        )
    note_file(path)
    raw = _read(path)
    content, classes = (_read_safetensors(raw, path), ()) if path.suffix == ".safetensors" else _read_torch(raw, path)
    tensors = _flattened(content, path)
    if not tensors:
        raise _without_tensors(content, classes, path)
    return Checkpoint(tensors, hashlib.sha256(raw).hexdigest())


def _read(path: Path) -> bytes:
    try:
        return patiently(path.read_bytes, str(path))
    except CryoprobeError:  # some of them are OSErrors
        raise
    except OSError as e:
        raise BadInput(f"{path} cannot be read: {e.strerror or e}.", hint="Check your rights.", key=str(path)) from e


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise NotFound(f"There is no checkpoint file {path}.", hint="Check the path.", key=str(path))


def _read_safetensors(raw: bytes, path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(raw)
    except (SafetensorError, OSError, ValueError) as error:
        raise _other_file(raw, path) or _unreadable(path, error) from error


def _read_torch(raw: bytes, path: Path) -> tuple[object, tuple[str, ...]]:
    from .inert import load_tensors

    try:
        return load_tensors(raw)
    except pickle.UnpicklingError as error:
        raise _other_file(raw, path) or BadInput(
            f"{path} is not loaded: {_reason(error)}, and nothing is ever unpickled.",
            hint="Save the tensors alone, with torch.save(model.state_dict(), …) or as safetensors.",
            key=str(path),
        ) from error
    except Exception as error:  # what torch raises on other bytes is open-ended: OSError, KeyError, EOFError …
        raise _other_file(raw, path) or _unreadable(path, error) from error


def _other_file(raw: bytes, path: Path) -> BadInput | None:
    """Return the error that says what a file is that does not load, if its first bytes tell."""
    found = recognised(raw)
    return found and BadInput(f"{path} is not a checkpoint, but {found[0]}: {found[1]}.", key=str(path))


def _unreadable(path: Path, error: Exception) -> BadInput:
    if "TorchScript" in str(error):
        return BadInput(
            f"{path} is a TorchScript archive: code, not only tensors.",
            hint="Save its state dict instead, with torch.save(model.state_dict(), …) or as safetensors.",
            key=str(path),
        )
    detail = str(error).strip().split("\n")[0]
    return BadInput(
        f"{path} is cut short or is not a checkpoint ({type(error).__name__}{': ' + detail if detail else ''}).",
        hint="Copy or download it again.",
        key=str(path),
    )


def _reason(error: pickle.UnpicklingError) -> str:
    """Pick from torch's long explanation the one line that says what it met."""
    named = [line.strip() for line in str(error).splitlines() if "nsupported" in line and "file an issue" not in line]
    return f"it holds more than tensors ({named[0].rstrip('.')})" if named else "it holds more than tensors"


def _flattened(content: object, path: Path) -> dict[str, torch.Tensor]:
    """Return all tensors in nested dictionaries by their dotted names; other values are no weights."""
    import torch

    tensors: dict[str, torch.Tensor] = {}

    def walk(node: Mapping[object, object], prefix: str, depth: int) -> None:
        for key, value in node.items():
            if not isinstance(key, str):
                continue  # numbered states of an optimizer
            if isinstance(value, Mapping) and depth < _DEEPEST:
                walk(value, f"{prefix}{key}.", depth + 1)
            elif isinstance(value, torch.Tensor):
                if prefix + key in tensors:
                    raise BadInput(
                        f"{path} holds two tensors that are both called {prefix}{key}.",
                        hint="Save one state dict alone, with torch.save(model.state_dict(), …).",
                        key=str(path),
                    )
                tensors[prefix + key] = value

    if isinstance(content, Mapping):
        walk(content, "", 1)
    return tensors


def _without_tensors(content: object, classes: Sequence[str], path: Path) -> BadInput:
    """Return the error for a file without named tensors; it says what is there instead."""
    objects = f": {', '.join(classes[:_NAMED])}" if classes else ""
    if not isinstance(content, Mapping):
        what = f"is a pickled object{objects}" if classes else f"is a {type(content).__name__}"
    else:
        keys = ", ".join(repr(key) for key in list(content)[:_NAMED])
        what = f"has {f'only {keys}' if keys else 'nothing in it'}" + (
            f", and pickled objects{objects}" if classes else ""
        )
    why = ", and nothing is ever unpickled" if classes else ""
    return BadInput(
        f"{path} holds no state dict: it {what}{why}.",
        hint="Save the tensors alone, with torch.save(model.state_dict(), …) or as safetensors.",
        key=str(path),
    )
