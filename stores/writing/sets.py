"""Assembling a feature set from sealed rows, and sealing it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ...arrays import SampleIds
from ...canonical import canonical_json, digest
from ...errors import BadInput, Corrupt
from ...id_arrays import SAMPLE_BYTES, AnyIds, sample_array
from ...parallel import each, within_memory
from ..backends.backend import Backend
from ..chunks import ArraySpec, ObjectRecord, encode_chunk, record_of, zarr_documents
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
_POLL_SECONDS = 0.5
"""How often to look for another process that is putting the same set together."""
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
    ids : sequence of bytes, or ndarray, uint8 [n, 32]
        Sample ids of the rows, in order.
    labels : ndarray, int64 [n] or uint8 [n, C]
    failed : sequence of FailedSample
    chunk_rows : int
        Rows in a chunk.
    provenance : Provenance
    """

    encoder: Mapping[str, Any]
    dataset: Mapping[str, Any]
    ids: AnyIds
    labels: npt.NDArray[np.int64] | npt.NDArray[np.uint8]
    failed: Sequence[FailedSample] = ()
    chunk_rows: int = 4096
    provenance: Provenance = field(default_factory=Provenance)


def seal_set(
    backend: Backend, index: RowIndex, content: SetContent, goes_on: Callable[[], None] = lambda: None
) -> tuple[Manifest, bool]:
    """Make a feature set, or adopt the one that is sealed.

    A chunk whose rows are exactly a sealed unit, or a chunk of a sealed set, is linked; any other is gathered row by
    row. Several chunks are made at once. Nothing is encoded.

    Parameters
    ----------
    backend : Backend
    index : RowIndex
        Knows a row for every id.
    content : SetContent
    goes_on : callable
        Is called after each chunk.

    Returns
    -------
    manifest : Manifest
    sealed : bool
        Whether this call sealed it, rather than found it sealed.

    Guarantees
    ----------
    Arrays before manifest; the attempt's folder is nobody else's. Of several callers at once one seals, and the
    others get its manifest; those of other processes wait for it as long as they see it at work. Whatever `gc` does
    meanwhile, what this call sealed has its arrays; see `fences`.

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
        while not claims.take(encoder_id, set_) and claims.is_elsewhere(encoder_id, set_):
            goes_on()
            time.sleep(_POLL_SECONDS)
            if (found := sealed_set(backend, encoder_id, set_)) is not None:
                return found, False

        def told() -> None:
            claims.touch()  # from now on it is renewed while chunks come
            goes_on()

        return write_and_seal(
            backend,
            key,
            write=lambda: _write_attempt(backend, index, set_, content, told),
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


def _write_attempt(
    backend: Backend, index: RowIndex, set_: str, content: SetContent, goes_on: Callable[[], None]
) -> Manifest:
    """Write a set under an attempt's own name; return the manifest that it can have."""
    attempt, ids, labels = new_attempt(), sample_array(content.ids), content.labels
    length = min(content.chunk_rows, len(ids))
    writer = _Writer(backend, index, set_folder(set_, attempt), length)

    def make(start: int) -> _Made:
        return writer.chunk(start // length, ids[start : start + length])

    made = []
    for chunk_made in each(make, range(0, len(ids), length), within_memory([4 * (index.dim or 1) * length])):
        made.append(chunk_made)
        goes_on()
    units = [chunk.unit for chunk in made if chunk.unit is not None]
    forms = {(chunk.dim, chunk.dtype) for chunk in made}
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


class _Made(NamedTuple):
    """A chunk that was made: the unit that it is, if it is one, and the form of its embeddings."""

    unit: str | None
    dim: int
    dtype: str


class _Writer:
    """Writes the objects of one attempt, whose chunks are `length` long, and remembers what the manifest will say.

    Several threads may share it.
    """

    def __init__(self, backend: Backend, index: RowIndex, folder: str, length: int) -> None:
        self.objects: dict[str, ObjectRecord] = {}
        self._backend = backend
        self._index = index
        self._folder = folder
        self._length = length

    def put(self, key: str, data: bytes, *, chunk: bool = True) -> None:
        self._backend.put(f"{self._folder}/{key}", data)
        self.objects[key] = record_of(data, chunk=chunk)

    def chunk(self, chunk: int, members: SampleIds) -> _Made:
        """Make the chunk that has the rows of `members`."""
        unit = self._index.unit(unit_id(self._index.encoder_id, members))
        whole: UnitSeal | SetChunk | None = None
        if len(members) == self._length:  # the last chunk is filled up to that length, which no source of fewer rows is
            is_whole = unit is not None and unit.rows == self._length
            whole = unit if is_whole else self._index.chunk(members)
        if whole is not None and self.link(whole, chunk):
            dim, dtype = whole.dim, whole.dtype
        else:
            rows = self._index.gather(members)
            self.write(rows, chunk)
            dim, dtype = rows.embeddings.shape[1], rows.embeddings.dtype.name
        return _Made(None if unit is None else unit.unit, dim, dtype)

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

    def write(self, rows: Rows, chunk: int) -> None:
        for name, array in (("embeddings", rows.embeddings), ("norms", rows.norms), ("samples", rows.samples)):
            self.put(_chunk_key(name, chunk, array.ndim), encode_chunk(array, self._length))

    def discard(self) -> None:
        for key in self.objects:
            self._backend.delete(f"{self._folder}/{key}")


def _chunk_key(name: str, chunk: int, ndim: int) -> str:
    """Return zarr's key of a chunk that spans all columns."""
    return f"{name}/c/{chunk}" + "/0" * (ndim - 1)
