"""Assembling a feature set from sealed rows, and sealing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..canonical import digest
from ..errors import BadInput, NotFound
from . import layout
from .backend import Backend
from .chunks import ArraySpec, ObjectRecord, encode_chunk, record_of, zarr_documents
from .manifest import FailedSample, Manifest, find_manifest
from .rows import RowIndex, mixed_forms
from .units import SAMPLE_BYTES, Rows, UnitSeal

_LABEL_CHUNK_ROWS = 1 << 20
_CHUNKED: tuple[tuple[Literal["embeddings", "norms", "samples"], int], ...] = (
    ("embeddings", 2),
    ("norms", 1),
    ("samples", 2),
)
"""The arrays that units have too, and their numbers of dimensions."""


def seal_set(
    backend: Backend,
    index: RowIndex,
    *,
    encoder: Mapping[str, Any],
    dataset: Mapping[str, Any],
    ids: Sequence[bytes],
    labels: npt.NDArray[np.int64] | npt.NDArray[np.uint8],
    failed: Sequence[FailedSample],
    chunk_rows: int,
    provenance: Mapping[str, Any],
) -> tuple[Manifest, bool]:
    """Make the feature set of `encoder` on `dataset`, or adopt the one that is sealed.

    A chunk whose rows are exactly a sealed unit is linked; any other is gathered row by row. Nothing is encoded.

    Parameters
    ----------
    backend : Backend
    index : RowIndex
        Knows a row for every id.
    encoder, dataset : mapping
        The two specs, as JSON values.
    ids : sequence of bytes
        Sample ids of the rows, in order.
    labels : ndarray, int64 [n] or uint8 [n, C]
    failed : sequence of FailedSample
    chunk_rows : int
        Rows in a chunk.
    provenance : mapping

    Returns
    -------
    manifest : Manifest
    sealed : bool
        Whether this call sealed it, rather than found it sealed.

    Guarantees
    ----------
    Arrays before manifest; the attempt's folder is nobody else's. Of several callers at once one seals, and the
    others get its manifest.
    """
    if not len(ids):
        raise BadInput("A feature set needs at least one row, and no image of this data set could be encoded.")
    encoder_id, dataset_id = index.encoder_id, digest(dataset)
    set_ = layout.set_id(encoder_id, dataset_id)
    if (found := find_manifest(backend, encoder_id, set_)) is not None:
        return found, False

    attempt = layout.new_attempt()
    writer = _Writer(backend, layout.set_folder(set_, attempt))
    length = min(chunk_rows, len(ids))
    units = []
    forms: set[tuple[int, str]] = set()
    for chunk, start in enumerate(range(0, len(ids), length)):
        members = ids[start : start + length]
        unit = index.unit(layout.unit_id(encoder_id, members))
        if unit is not None:
            units.append(unit.unit)
        if unit is not None and unit.rows == length:
            writer.link(unit, chunk)
            forms.add((unit.dim, unit.dtype))
        else:
            rows = index.gather(members)
            writer.write(rows, chunk, length)
            forms.add((rows.embeddings.shape[1], rows.embeddings.dtype.name))
    if len(forms) > 1:
        writer.discard()
        raise mixed_forms(encoder_id, backend.url)
    ((dim, dtype),) = forms
    flags = labels.shape[1] if labels.ndim == 2 else 1
    label_length = min(_LABEL_CHUNK_ROWS, len(ids), max(1, _LABEL_CHUNK_ROWS * 64 // flags))
    for chunk, start in enumerate(range(0, len(ids), label_length)):
        writer.put(_chunk_key("labels", chunk, labels.ndim), encode_chunk(labels[start:][:label_length], label_length))

    n = len(ids)
    arrays = {
        "embeddings": ArraySpec((n, dim), dtype, length, ("sample", "feature")),
        "norms": ArraySpec((n,), "float32", length, ("sample",)),
        "labels": ArraySpec(labels.shape, labels.dtype.name, label_length, ("sample", "class")[: labels.ndim]),
        "samples": ArraySpec((n, SAMPLE_BYTES), "uint8", length, ("sample", "byte")),
    }
    attributes = {
        "format": layout.FORMAT,
        "version": layout.FORMAT_VERSION,
        "set": set_,
        "encoder": encoder,
        "dataset": dataset,
        "classes": list(dataset["classes"]),
        "rows": n,
        "failed": [f.model_dump(mode="json") for f in failed],
        "provenance": provenance,
    }
    for key, document in zarr_documents(arrays, attributes).items():
        writer.put(key, document, chunk=False)
    manifest = Manifest(
        set=set_,
        encoder_id=encoder_id,
        dataset_id=dataset_id,
        encoder=dict(encoder),
        dataset=dict(dataset),
        attempt=attempt,
        rows=n,
        dim=dim,
        dtype=dtype,
        chunk_rows=length,
        label_chunk_rows=label_length,
        objects=writer.objects,
        units=tuple(units),
        failed=tuple(failed),
        provenance=dict(provenance),
    )
    backend.put_if_absent(manifest.key, manifest.dump())
    # As with units, what can be read back is the truth, whatever we were told.
    sealed = find_manifest(backend, encoder_id, set_)
    if sealed is None:
        raise NotFound(
            f"The manifest of set {set_} vanished from {backend.url} as it was written.",
            hint="Is somebody deleting objects of this store? Run the same command again.",
            key=manifest.key,
        )
    if sealed.attempt != attempt:
        writer.discard()
    return sealed, sealed.attempt == attempt


class _Writer:
    """Writes the objects of one attempt and remembers what the manifest will say of them."""

    def __init__(self, backend: Backend, folder: str) -> None:
        self.objects: dict[str, ObjectRecord] = {}
        self._backend = backend
        self._folder = folder

    def put(self, key: str, data: bytes, *, chunk: bool = True) -> None:
        self._backend.put(f"{self._folder}/{key}", data)
        self.objects[key] = record_of(data, chunk=chunk)

    def link(self, unit: UnitSeal, chunk: int) -> None:
        """Make a unit's objects the chunks of the set; read them first, so that no damage is sealed anew."""
        for name, ndim in _CHUNKED:
            key = _chunk_key(name, chunk, ndim)
            unit.read(self._backend, name)
            self._backend.copy(unit.key(name), f"{self._folder}/{key}")
            self.objects[key] = unit.objects[name]

    def write(self, rows: Rows, chunk: int, length: int) -> None:
        for name, array in (("embeddings", rows.embeddings), ("norms", rows.norms), ("samples", rows.samples)):
            self.put(_chunk_key(name, chunk, array.ndim), encode_chunk(array, length))

    def discard(self) -> None:
        for key in self.objects:
            self._backend.delete(f"{self._folder}/{key}")


def _chunk_key(name: str, chunk: int, ndim: int) -> str:
    """Return zarr's key of a chunk that spans all columns."""
    return f"{name}/c/{chunk}" + "/0" * (ndim - 1)
