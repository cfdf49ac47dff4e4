"""Units: rows that were encoded together, written once under an attempt name and sealed once.

A unit is done if and only if its seal exists. The first seal wins (see `sealing`); whoever comes later adopts the
sealed rows and removes their own, so that one image never has two embeddings in a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..checksummed import dump_document
from ..errors import NotFound
from ..validation import Count, first_problem
from .backends.backend import Backend, is_key
from .chunks import SAMPLE_BYTES, ObjectRecord, chunk_size, encode_chunk, record_of
from .fences import is_whole
from .format.documents import damaged, read_document
from .keys import new_attempt, unit_folder, unit_seal_key
from .reading import read_chunk
from .sealing import write_and_seal


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


class UnitSeal(BaseModel):
    """The seal of a unit: which attempt it is, and what that holds.

    Parameters
    ----------
    encoder, unit, attempt : str
    rows, dim : int
        Shape of the embeddings. Fewer rows than the unit was cut for where images could not be decoded.
    dtype : str
        Of the embeddings.
    objects : dict
        ``embeddings``, ``norms``, ``samples``: the record of each.
    checksum : str
        Of the seal as it was read; empty for one that was not.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    encoder: str
    unit: str
    attempt: str
    rows: Count
    dim: Count
    dtype: Literal["float16", "float32"]
    objects: dict[str, ObjectRecord]
    checksum: str = Field(default="", exclude=True)

    def dump(self) -> bytes:
        """Return the object to be stored: the seal with a checksum of its own content."""
        return dump_document(self.model_dump(mode="json"))

    @property
    def folder(self) -> str:
        """Folder of the unit's objects in the store."""
        return unit_folder(self.encoder, self.unit, self.attempt)

    def key(self, array: str) -> str:
        """Return the key of one of the unit's objects."""
        return f"{self.folder}/{array}"

    def is_whole(self, backend: Backend) -> bool:
        """Return whether the unit's objects are there to stay, once it is sealed; see `fences`."""
        return is_whole(backend, self.folder, [self.key(name) for name in self.objects])

    def is_sealed(self, backend: Backend) -> bool:
        """Return whether the unit, which was just sealed, and its objects are there to stay; see `fences`."""

        def is_there() -> bool:
            found = read_seal(backend, self.encoder, self.unit)
            return found is not None and found.attempt == self.attempt

        return is_whole(
            backend,
            self.folder,
            [self.key(name) for name in self.objects],
            seal=unit_seal_key(self.encoder, self.unit),
            is_sealed=is_there,
        )

    def discard(self, backend: Backend) -> None:
        """Remove the unit's objects."""
        for name in self.objects:
            backend.delete(self.key(name))

    def read(self, backend: Backend, array: Literal["embeddings", "norms", "samples"]) -> npt.NDArray[Any]:
        """Read one array of the unit, verified; raise `Corrupt` where it is not what was sealed."""
        return read_chunk(backend, self.key(array), self.objects[array], *self.form(array))

    def form(self, array: str) -> tuple[str, tuple[int, ...]]:
        """Return dtype and shape of an array."""
        return self._forms[array]

    @property
    def _forms(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return dtype and shape of each array."""
        return {
            "embeddings": (self.dtype, (self.rows, self.dim)),
            "norms": ("float32", (self.rows,)),
            "samples": ("uint8", (self.rows, SAMPLE_BYTES)),
        }

    def contradiction(self) -> str | None:
        """Return what of the seal does not fit together, so that no unit can be as it says; None for a sound one."""
        folder = unit_folder(self.encoder, self.unit, self.attempt)
        if "/" in self.attempt or not is_key(folder):
            return "its attempt is not a name"
        for name, form in self._forms.items():
            record = self.objects.get(name)
            if record is None or record.crc32c is None or record.size != chunk_size(*form):
                return f"what it says of {name} does not fit its rows"
        if set(self.objects) != set(self._forms):
            return "it names other objects than a unit has"
        return None


def sample_array(ids: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """Return sample ids as an array, uint8 [n, 32]."""
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, SAMPLE_BYTES)


def read_seal(backend: Backend, encoder_id: str, unit: str) -> UnitSeal | None:
    """Return the seal of a unit, or None while it is not sealed; raise `Corrupt` where it is damaged."""
    key = unit_seal_key(encoder_id, unit)
    what, hint = "unit seal", f"Set it aside, and run extract again: cryoprobe repair --store {backend.url}"
    try:
        seal = UnitSeal.model_validate(read_document(backend, key, what, hint))
    except NotFound:
        return None
    except ValidationError as e:
        raise damaged(backend, key, what, first_problem(e), hint) from None
    problem = seal.contradiction()
    if (seal.encoder, seal.unit) != (encoder_id, unit):
        problem = "it is the seal of another unit"
    if problem is not None:
        raise damaged(backend, key, what, problem, hint)
    return seal


def write_unit(backend: Backend, encoder_id: str, unit: str, rows: Rows) -> UnitSeal:
    """Write `rows` and seal them as `unit`, or adopt what somebody has sealed meanwhile.

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
        write=lambda: _write_attempt(backend, encoder_id, unit, rows),
        read=lambda: read_seal(backend, encoder_id, unit),
    )
    return seal


def _write_attempt(backend: Backend, encoder_id: str, unit: str, rows: Rows) -> UnitSeal:
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
    )
