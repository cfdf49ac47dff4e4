"""The seal of a unit: which attempt is the unit, and what that holds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WrapValidator

from ...checksummed import dump_document
from ...errors import NotFound
from ...id_arrays import SAMPLE_BYTES
from ...validation import Count, first_problem, lenient
from ..backends.backend import Backend, is_key
from ..chunks import ObjectRecord, chunk_size
from ..keys import unit_folder, unit_seal_key
from .chunk_reading import read_chunk
from .documents import damaged, read_document


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
    made_by : dict or None
        With which versions and on which device, as `Provenance` has it; seals of earlier versions do not tell.
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
    made_by: Annotated[dict[str, Any] | None, WrapValidator(lenient)] = None
    checksum: str = Field(default="", exclude=True)

    def dump(self) -> bytes:
        """Return the object to be stored: the seal with a checksum of its own content."""
        return dump_document(self.model_dump(mode="json", exclude_none=True))

    @property
    def folder(self) -> str:
        """Folder of the unit's objects in the store."""
        return unit_folder(self.encoder, self.unit, self.attempt)

    def key(self, array: str) -> str:
        """Return the key of one of the unit's objects."""
        return f"{self.folder}/{array}"

    @property
    def object_keys(self) -> list[str]:
        """Keys of all of the unit's objects."""
        return [self.key(name) for name in self.objects]

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


def read_unit_seal(backend: Backend, encoder_id: str, unit: str) -> UnitSeal | None:
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
