"""The weights of a model: their identity, and loading them with nothing missing and nothing left over."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping

import torch

from ...errors import BadInput

NAMED = 4
"""How many keys an error message names."""


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Return the sha256 over the tensors of a state dict, whatever file they came from.

    For each tensor, by ascending name, the hash takes::

        u64 length of name | name in UTF-8 | u64 length of dtype | dtype ("float32", "int64" …)
        u64 number of dimensions | u64 each dimension | u64 number of bytes | the bytes

    where u64 is 8 bytes little-endian and the bytes are the elements in C order, little-endian. Every field carries
    its length, so no two state dicts feed the same bytes.

    Parameters
    ----------
    state : mapping of str to Tensor
        Any dtypes, any devices, any strides.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    h = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        raw = tensor.reshape(-1).view(torch.uint8)  # a view: bfloat16 has no numpy dtype, bytes have
        h.update(_sized(name.encode()) + _sized(str(tensor.dtype).removeprefix("torch.").encode()))
        h.update(struct.pack(f"<{tensor.ndim + 2}Q", tensor.ndim, *tensor.shape, raw.numel()))
        h.update(raw.numpy().data)
    return h.hexdigest()


def _sized(field: bytes) -> bytes:
    return struct.pack("<Q", len(field)) + field


def load_strictly(
    model: torch.nn.Module,
    tensors: Mapping[str, torch.Tensor],
    source: str,
    *,
    may_lack: bool = False,
    may_exceed: bool = False,
) -> None:
    """Load a state dict into a model, or say in one message why it does not fit.

    Parameters
    ----------
    model : Module
    tensors : mapping of str to Tensor
    source : str
        Where the tensors come from, for the message.
    may_lack, may_exceed : bool
        Whether missing and left-over keys are accepted, because the library's own recipe for these weights has them.
        A missing parameter is not if it would be random.

    Raises
    ------
    BadInput
        If keys are missing or left over, a shape differs, or a tensor holds NaN.
    """
    check_values(tensors, source)
    try:
        keys = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # shapes
        mismatches = [line.strip().rstrip(".") for line in str(error).splitlines()[1:]]
        raise _misfit(model, source, [f"{len(mismatches)} of another shape: {_some(mismatches, '; ')}"]) from error
    faults = []
    missing = [key for key in keys.missing_keys if not may_lack or _is_random(model, key)]
    if missing:
        faults.append(f"{len(missing)} missing: {_some(missing)}")
    if keys.unexpected_keys and not may_exceed:
        faults.append(f"{len(keys.unexpected_keys)} unexpected: {_some(sorted(keys.unexpected_keys))}")
    if faults:
        raise _misfit(model, source, faults)


def misfits(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, may_exceed: bool = False) -> int:
    """Return how many keys are missing, left over or of another shape; 0 of a state dict that fills a model.

    Examples
    --------
    >>> layer = torch.nn.Linear(2, 3)
    >>> misfits(layer, layer.state_dict()), misfits(layer, {"weight": torch.zeros(2, 3), "scale": torch.zeros(1)})
    (0, 3)
    """
    own = model.state_dict()
    # Files from before torch 0.4.1 lack the counters of batch norms, and torch loads them all the same.
    missing = [key for key in own if key not in tensors and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in tensors if key not in own]
    shapes = [key for key in own if key in tensors and tensors[key].shape != own[key].shape]
    return len(missing) + len(shapes) + (0 if may_exceed else len(unexpected))


def check_values(tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Refuse weights that hold NaN: every image's embedding would, and the images would be blamed.

    Raises
    ------
    BadInput
        If there is any; it names the tensors, sorted, as a safetensors file may list them in any order.
    """
    counts = {name: int(_wide(t).isnan().sum()) for name, t in tensors.items() if t.is_floating_point()}
    bad = [f"{name} ({n:,} of {tensors[name].numel():,} values)" for name, n in sorted(counts.items()) if n]
    if bad:
        raise BadInput(
            f"{source} has NaN in {len(bad)} of {len(tensors)} tensors: {_some(bad)}.",
            hint="The training that wrote it diverged, or the file is damaged. Take another checkpoint.",
            key=source,
        )


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.element_size() == 1 else tensor  # torch cannot look for NaN in floats of 8 bits


def _is_random(model: torch.nn.Module, key: str) -> bool:
    """Return whether a parameter that was not loaded was drawn: norms and scales start as ones or zeros."""
    parameter = dict(model.named_parameters()).get(key)
    return parameter is not None and parameter.numel() > 0 and bool((parameter != parameter.flatten()[0]).any())


def _misfit(model: torch.nn.Module, source: str, faults: Iterable[str]) -> BadInput:
    return BadInput(
        f"The tensors of {source} do not fit this {type(model).__name__}: {'; '.join(faults)}.",
        hint="Name the architecture that the checkpoint was saved from.",
        key=source,
    )


def _some(names: list[str], between: str = ", ") -> str:
    return between.join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
