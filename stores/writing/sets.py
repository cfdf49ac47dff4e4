"""Assembling a feature set from sealed rows, and sealing it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...canonical import canonical_json, digest
from ...errors import BadInput, Corrupt
from ..backends.backend import Backend
from ..chunks import SAMPLE_BYTES, ArraySpec, ObjectRecord, encode_chunk, record_of, zarr_documents
from ..format.manifest import FailedSample, Manifest, find_manifest
from ..format.marker import FORMAT, FORMAT_VERSION
from ..format.origins import origin_of
from ..format.provenance import Provenance
from ..format.unit_seal import UnitSeal
from ..keys import manifest_key, new_attempt, set_folder, set_id, unit_id
from .claims import Claims
from .fences import settle
from .row_index import RowIndex
from .row_sources import SetChunk, copy_array, mixed_forms
from .seals import is_replaced, write_and_seal
from .units import Rows

_LABEL_CHUNK_ROWS = 1 << 20
_CHUNKED: tuple[tuple[Literal["embeddings", "norms", "samples"], int], ...] = (
    ("embeddings", 2),
    ("norms", 1),
    ("samples", 2),
)
"""The arrays that units have too, and their numbers of dimensions."""


@dataclass(frozen=True)
class SetContent:
    """What a feature set is to hold.

    Parameters
    ----------
    encoder, dataset : mapping
        The two specs, as JSON values.
    ids : sequence of bytes
        Sample ids of the rows, in order.
    labels : ndarray, int64 [n] or uint8 [n, C]
    failed : sequence of FailedSample
    chunk_rows : int
        Rows in a chunk.
    provenance : Provenance
    """

    encoder: Mapping[str, Any]
    dataset: Mapping[str, Any]
    ids: Sequence[bytes]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.uint8]
    failed: Sequence[FailedSample] = ()
    chunk_rows: int = 4096
    provenance: Provenance = field(default_factory=Provenance)


def seal_set(backend: Backend, index: RowIndex, content: SetContent) -> tuple[Manifest, bool]:
    """Make a feature set, or adopt the one that is sealed.

    A chunk whose rows are exactly a sealed unit, or a chunk of a sealed set, is linked; any other is gathered row by
    row. Nothing is encoded.

    Parameters
    ----------
    backend : Backend
    index : RowIndex
        Knows a row for every id.
    content : SetContent

    Returns
    -------
    manifest : Manifest
    sealed : bool
        Whether this call sealed it, rather than found it sealed.

    Guarantees
    ----------
    Arrays before manifest; the attempt's folder is nobody else's. Of several callers at once one seals, and the
    others get its manifest. Whatever `gc` does meanwhile, what this call sealed has its arrays; see `fences`.

    Raises
    ------
    RowsRemoved
        If rows of the index are no longer in the store.
    Conflict
        If what it writes is deleted again and again.
    """
    if not len(content.ids):
        raise BadInput("A feature set needs at least one row, and no image of this data set could be encoded.")
    encoder_id, dataset_id = index.encoder_id, digest(content.dataset)
    set_ = set_id(encoder_id, dataset_id)
    key = manifest_key(encoder_id, set_)
    if (found := sealed_set(backend, encoder_id, set_)) is not None:
        return found, False

    with Claims(backend) as claims:
        claims.take(encoder_id, set_)  # advice to gc; if somebody else has it, they are at this very set
        return write_and_seal(
            backend,
            key,
            write=lambda: _write_attempt(backend, index, set_, content),
            read=lambda: find_manifest(backend, encoder_id, set_),
        )


def sealed_set(backend: Backend, encoder_id: str, set_: str) -> Manifest | None:
    """Return the manifest of a set that is sealed to stay; None if it would be made anew: it has no data, or no trust.

    Raises
    ------
    Corrupt
        If its manifest is damaged.
    """
    # In a layer that is not trusted it is not looked at: it may be damaged.
    if origin_of(backend, manifest_key(encoder_id, set_), "") is not None:
        return None
    found = find_manifest(backend, encoder_id, set_)
    if found is None:
        return None
    settle(backend, found.folder)
    return None if is_replaced(backend, found.key, found) else found


def documents_of(manifest: Manifest) -> dict[str, bytes]:
    """Return the ``zarr.json`` documents of a set, by their keys below its folder."""
    m = manifest
    labels = ArraySpec((m.rows,), "int64", m.label_chunk_rows, ("sample",))
    if m.multilabel:
        labels = ArraySpec((m.rows, len(m.dataset["classes"])), "uint8", m.label_chunk_rows, ("sample", "class"))
    arrays = {
        "embeddings": ArraySpec((m.rows, m.dim), m.dtype, m.chunk_rows, ("sample", "feature")),
        "norms": ArraySpec((m.rows,), "float32", m.chunk_rows, ("sample",)),
        "labels": labels,
        "samples": ArraySpec((m.rows, SAMPLE_BYTES), "uint8", m.chunk_rows, ("sample", "byte")),
    }
    attributes = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "set": m.set,
        "encoder": m.encoder,
        "dataset": m.dataset,
        "classes": list(m.dataset["classes"]),
        "rows": m.rows,
        "failed": [f.model_dump(mode="json") for f in m.failed],
        "provenance": m.provenance.document,
    }
    # In canonical order, so that whoever has the manifest can make the same bytes again.
    return zarr_documents(arrays, json.loads(canonical_json(attributes)))


def _write_attempt(backend: Backend, index: RowIndex, set_: str, content: SetContent) -> Manifest:
    """Write a set under an attempt's own name; return the manifest that it can have."""
    attempt, ids, labels = new_attempt(), content.ids, content.labels
    writer = _Writer(backend, index, set_folder(set_, attempt))
    length = min(content.chunk_rows, len(ids))
    units = []
    forms: set[tuple[int, str]] = set()
    for chunk, start in enumerate(range(0, len(ids), length)):
        members = ids[start : start + length]
        unit = index.unit(unit_id(index.encoder_id, members))
        if unit is not None:
            units.append(unit.unit)
        whole: UnitSeal | SetChunk | None = None
        if len(members) == length:  # the last chunk is filled up to that length, which no source of fewer rows is
            whole = unit if unit is not None and unit.rows == length else index.chunk(members)
        if whole is not None and writer.link(whole, chunk):
            forms.add((whole.dim, whole.dtype))
        else:
            rows = index.gather(members)
            writer.write(rows, chunk, length)
            forms.add((rows.embeddings.shape[1], rows.embeddings.dtype.name))
    if len(forms) > 1:
        writer.discard()
        raise mixed_forms(index.encoder_id, backend.url)
    ((dim, dtype),) = forms
    flags = labels.shape[1] if labels.ndim == 2 else 1
    label_length = min(_LABEL_CHUNK_ROWS, len(ids), max(1, _LABEL_CHUNK_ROWS * 64 // flags))
    for chunk, start in enumerate(range(0, len(ids), label_length)):
        writer.put(_chunk_key("labels", chunk, labels.ndim), encode_chunk(labels[start:][:label_length], label_length))
    manifest = Manifest(
        set=set_,
        encoder_id=index.encoder_id,
        dataset_id=digest(content.dataset),
        encoder=dict(content.encoder),
        dataset=dict(content.dataset),
        attempt=attempt,
        rows=len(ids),
        dim=dim,
        dtype=dtype,
        chunk_rows=length,
        label_chunk_rows=label_length,
        objects={},
        units=tuple(units),
        failed=tuple(content.failed),
        provenance=content.provenance,
    )
    for key, document in documents_of(manifest).items():
        writer.put(key, document, chunk=False)
    return manifest.model_copy(update={"objects": writer.objects})


class _Writer:
    """Writes the objects of one attempt and remembers what the manifest will say of them."""

    def __init__(self, backend: Backend, index: RowIndex, folder: str) -> None:
        self.objects: dict[str, ObjectRecord] = {}
        self._backend = backend
        self._index = index
        self._folder = folder

    def put(self, key: str, data: bytes, *, chunk: bool = True) -> None:
        self._backend.put(f"{self._folder}/{key}", data)
        self.objects[key] = record_of(data, chunk=chunk)

    def link(self, source: UnitSeal | SetChunk, chunk: int) -> bool:
        """Make the objects of a unit, or of another set's chunk, the chunk of this set; return whether they are there.

        The copies are looked at, so that no damage is sealed anew.
        """
        for name, ndim in _CHUNKED:
            key = _chunk_key(name, chunk, ndim)
            try:
                copy_array(self._backend, source, name, f"{self._folder}/{key}")
            except Corrupt:
                if self._index.forget_if_gone(source):
                    self._index.refresh()
                    return False
                raise
            self.objects[key] = source.objects[name]
        return True

    def write(self, rows: Rows, chunk: int, length: int) -> None:
        for name, array in (("embeddings", rows.embeddings), ("norms", rows.norms), ("samples", rows.samples)):
            self.put(_chunk_key(name, chunk, array.ndim), encode_chunk(array, length))

    def discard(self) -> None:
        for key in self.objects:
            self._backend.delete(f"{self._folder}/{key}")


def _chunk_key(name: str, chunk: int, ndim: int) -> str:
    """Return zarr's key of a chunk that spans all columns."""
    return f"{name}/c/{chunk}" + "/0" * (ndim - 1)
