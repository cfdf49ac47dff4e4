"""Checkpoint files: their sha256, and the tensors in them, read without ever unpickling an object.

Importing this module does not import torch, so that commands that only need a file's hash stay light.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...errors import BadInput, CryoprobeError, NotFound
from ..passing import patiently

if TYPE_CHECKING:
    import torch

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".tar")
"""Suffixes of files that ``torch.save`` writes; ``.tar`` for the ``.pth.tar`` of many original repositories."""

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")
"""Keys under which training scripts put the state dict; averaged weights before raw ones, as timm prefers them."""

PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every key."""


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


class Checkpoint(NamedTuple):
    """What one read of a checkpoint file gave.

    Parameters
    ----------
    tensors : dict of str to Tensor
    sha256 : str
        Of the very bytes that the tensors are from, 64 hexadecimal digits.
    """

    tensors: dict[str, torch.Tensor]
    sha256: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the state dict in a checkpoint file, on the CPU.

    The file is read once, into memory: the bytes that are hashed are the bytes that are loaded, even if somebody writes
    the file meanwhile.

    A wrapper of a training script (`WRAPPERS`) is opened, and a prefix that every key has (`PREFIXES`) is taken off.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or one that ``torch.save`` wrote (`TORCH_SUFFIXES`).

    Raises
    ------
    NotFound
        If there is no such file.
    BadInput
        If the file is not a checkpoint, is cut short, or holds objects that only unpickling could restore.
    """
    _require_file(path)
    if path.suffix != ".safetensors" and path.suffix not in TORCH_SUFFIXES:
        raise BadInput(
            f"{path} does not end like a checkpoint.",
            hint=f"Known endings: .safetensors {' '.join(TORCH_SUFFIXES)}",
            key=str(path),
        )
    raw = _read(path)
    content = _read_safetensors(raw, path) if path.suffix == ".safetensors" else _read_torch(raw, path)
    return Checkpoint(_without_prefixes(_unwrap(content, path)), hashlib.sha256(raw).hexdigest())


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
        raise _unreadable(path, error) from error


def _read_torch(raw: bytes, path: Path) -> object:
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # what matters is raised
            return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{path} is not loaded: {_reason(error)}, and nothing is ever unpickled.",
            hint="Save the tensors alone, with torch.save(model.state_dict(), …) or as safetensors.",
            key=str(path),
        ) from error
    except Exception as error:  # what torch raises on other bytes is open-ended: OSError, KeyError, EOFError …
        raise _unreadable(path, error) from error


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


def _unwrap(content: object, path: Path) -> dict[str, torch.Tensor]:
    import torch

    if isinstance(content, Mapping):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    tensors: dict[str, torch.Tensor] = {}
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise BadInput(
                f"{path} holds {type(value).__name__} under {key!r} where a state dict holds a tensor.",
                hint=f"A state dict may lie at the top or under one of: {', '.join(WRAPPERS)}.",
                key=str(path),
            )
        tensors[key] = value
    if not tensors:
        raise BadInput(f"{path} holds no state dict.", hint="Save model.state_dict() to it.", key=str(path))
    return tensors


def _without_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for prefix in PREFIXES * 2:  # they nest in either order
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors
