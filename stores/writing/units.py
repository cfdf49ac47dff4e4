"""Units: rows that were encoded together, written once under an attempt name and sealed once.

A unit is done if and only if its seal exists. The first seal wins (see `seals`); whoever comes later adopts the
sealed rows and removes their own, so that one image never has two embeddings in a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..backends.backend import Backend
from ..chunks import encode_chunk, record_of
from ..format.unit_seal import UnitSeal, read_unit_seal
from ..keys import new_attempt, unit_folder, unit_seal_key
from .seals import write_and_seal


@dataclass(frozen=True)
class Rows:
    """Encoded rows, in memory.

    Parameters
    ----------
    samples : ndarray, uint8 [n, 32]
        Sample ids.
    embeddings : ndarray, float16 or float32 [n, d]
        Unit L2 norm.
    norms : ndarray, float32 [n]
        Norms before normalising.
    """

    samples: npt.NDArray[np.uint8]
    embeddings: npt.NDArray[Any]
    norms: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.samples)


def write_unit(
    backend: Backend, encoder_id: str, unit: str, rows: Rows, made_by: Mapping[str, Any] | None = None
) -> UnitSeal:
    """Write `rows` and seal them as `unit`, or adopt what somebody has sealed meanwhile.

    `made_by` says with which versions and on which device, see `Provenance`.

    Guarantees
    ----------
    Data before seal: a seal is never there without its rows, whatever `gc` does meanwhile (see `fences`). Killed at any
    instant, it leaves either a sealed unit or objects that nothing refers to.

    Raises
    ------
    Conflict
        If what it writes is deleted again and again.
    """
    seal, _ = write_and_seal(
        backend,
        unit_seal_key(encoder_id, unit),
        write=lambda: _write_attempt(backend, encoder_id, unit, rows, made_by),
        read=lambda: read_unit_seal(backend, encoder_id, unit),
    )
    return seal


def _write_attempt(
    backend: Backend, encoder_id: str, unit: str, rows: Rows, made_by: Mapping[str, Any] | None
) -> UnitSeal:
    """Write rows under an attempt's own name; return the seal that they can have."""
    attempt = new_attempt()
    folder = unit_folder(encoder_id, unit, attempt)
    objects = {}
    for name, array in (("embeddings", rows.embeddings), ("norms", rows.norms), ("samples", rows.samples)):
        data = encode_chunk(array)
        objects[name] = record_of(data, chunk=True)
        backend.put(f"{folder}/{name}", data)
    return UnitSeal(
        encoder=encoder_id,
        unit=unit,
        attempt=attempt,
        rows=len(rows),
        dim=rows.embeddings.shape[1],
        dtype=rows.embeddings.dtype.name,
        objects=objects,
        made_by=None if made_by is None else dict(made_by),
    )
