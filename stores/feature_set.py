"""Reading a sealed feature set: verified, in parallel, whole or in bounded memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import Array, Float32, Indices, SampleIds, Targets
from ..class_names import distinct
from ..errors import BadInput
from ..notebook import html_table
from ..parallel import each, run_each
from .backends.backend import Backend
from .chunks import ObjectRecord, aligned, corrupt
from .format.chunk_reading import read_chunk, read_chunk_into
from .format.manifest import FailedSample, Manifest
from .format.sample_names import read_sample_names
from .samples import Samples

Float = Literal["float16", "float32", "float64"]
RowChoice = slice | Sequence[int] | npt.NDArray[np.integer[Any]] | None

_Rows = range | Indices

_READERS = 8
_AHEAD_BYTES = 64 * 2**20


class _Part(NamedTuple):
    """Rows of one chunk.

    Parameters
    ----------
    chunk : int
    members : slice or ndarray of int
        Which of the rows that are wanted they are.
    local : slice or ndarray of int
        Which of the chunk's rows they are.
    """

    chunk: int
    members: slice | npt.NDArray[np.intp]
    local: slice | Indices


_UNPROVEN_BYTES = 64 << 20
"""How much memory is taken on a manifest's word alone."""


class FeatureSet:
    """The embeddings and labels of one data set by one encoder; immutable.

    Whatever is read is verified: size and crc32c of each chunk, and that the checksum is the one that was sealed.

    Parameters
    ----------
    backend : Backend
    manifest : Manifest
        Its seal.
    """

    def __init__(self, backend: Backend, manifest: Manifest) -> None:
        self.manifest = manifest
        self._backend = backend
        self._found = False  # whether the objects have been looked for

    def __repr__(self) -> str:
        return f"<FeatureSet {self.id[:12]} [{self.rows}, {self.dim}] {self.manifest.dtype}>"

    def _repr_html_(self) -> str:
        name = self.manifest.provenance.name
        known = {field: name.get(field) for field in ("model", "dataset", "split", "tap")}
        shown = {**known, "rows": self.rows, "dim": self.dim, "classes": len(self.classes), "failed": len(self.failed)}
        return html_table(f"FeatureSet {self.id[:12]}", [*shown], [[*shown.values()]])

    def __len__(self) -> int:
        return self.rows

    @property
    def id(self) -> str:
        """Set id, 64 hexadecimal digits."""
        return self.manifest.set

    @property
    def encoder_id(self) -> str:
        """Id of the encoder, 64 hexadecimal digits."""
        return self.manifest.encoder_id

    @property
    def dataset_id(self) -> str:
        """Id of the data set, 64 hexadecimal digits."""
        return self.manifest.dataset_id

    @property
    def rows(self) -> int:
        """Number of samples, n."""
        return self.manifest.rows

    @property
    def dim(self) -> int:
        """Width of the embeddings, d."""
        return self.manifest.dim

    @property
    def chunk_rows(self) -> int:
        """Rows in a chunk of the embeddings."""
        return self.manifest.chunk_rows

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; labels are indices into them. Of several classes of one name the second is ``name (2)``.

        `class_names` has them as the data set spells them.
        """
        return tuple(distinct(self.class_names))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes as the data set spells them; several classes may share one."""
        return tuple(self.manifest.dataset["classes"])

    @property
    def split(self) -> str:
        """The data set's name of this part."""
        return str(self.manifest.dataset["split"])

    @property
    def multilabel(self) -> bool:
        """Whether labels are uint8 [n, C] flags rather than int64 [n] class indices."""
        return self.manifest.multilabel

    @property
    def unlabelled(self) -> bool:
        """Whether the samples have no labels: there are no classes, and every label is -1."""
        return not self.manifest.dataset["classes"]

    @property
    def failed(self) -> tuple[FailedSample, ...]:
        """Samples of the data set that have no row."""
        return self.manifest.failed

    @property
    def path(self) -> str:
        """Where the zarr group is: ``zarr.open_group(feature_set.path)``."""
        return f"{self.home}/{self.manifest.folder}"

    @property
    def home(self) -> str:
        """Which store it is in, where several are read as one."""
        return self._backend.home(self.manifest.key)

    def load(self, rows: RowChoice = None, dtype: Float = "float32", *, raw: bool = False) -> tuple[Array, Targets]:
        """Read embeddings and labels into memory, chunks in parallel.

        Parameters
        ----------
        rows : slice or sequence of int, optional
            Which rows, in which order; all of them by default.
        dtype : str
            Of the result.
        raw : bool
            Undo the normalisation: multiply each embedding by its norm.

        Returns
        -------
        x : ndarray [n, d]
        y : ndarray, int64 [n] or uint8 [n, C]

        Raises
        ------
        Corrupt
            If any chunk read is not what was sealed.
        BadInput
            If a row is asked for that is not there, or a dtype that cannot hold embeddings.
        """
        wanted = self._choose(rows)
        x = self._allocate((len(wanted), self.dim), _floating(dtype))
        norms = self._small("norms", wanted) if raw else None

        def fill(part: _Part) -> None:
            self._read_rows("embeddings", part, x)
            if norms is not None:
                x[part.members] *= norms[part.members, None]

        run_each(fill, _by_chunk(wanted, self.chunk_rows), self._readers)
        return x, self._small("labels", wanted)

    def batches(self, n: int, dtype: Float = "float32", *, raw: bool = False) -> Iterator[tuple[Array, Targets]]:
        """Yield (x [≤ n, d], y) from first row to last, while the next chunks are being read.

        In memory are one batch, the chunk that it is cut from, and the chunks read ahead: as many as fit into 64 MiB,
        but at least one and at most eight.
        """
        if n < 1:
            raise BadInput(f"A batch holds at least one row, not {n}.")
        dtype = _floating(dtype)
        ahead = max(1, min(self._readers, _AHEAD_BYTES // self._object("embeddings", 0)[1].size))
        chunks = range(-(-self.rows // self.chunk_rows))
        with closing(each(partial(self._chunk, "embeddings"), chunks, ahead, ahead=ahead)) as read:
            held, held_index = None, -1
            labels, norms = self.labels(), self.norms() if raw else None
            for start in range(0, self.rows, n):
                stop = min(start + n, self.rows)
                x = np.empty((stop - start, self.dim), dtype)
                at = start
                while at < stop:
                    index = at // self.chunk_rows
                    if index != held_index:
                        held, held_index = next(read), index
                    assert held is not None
                    to = min(stop, (index + 1) * self.chunk_rows)
                    x[at - start : to - start] = held[at - index * self.chunk_rows : to - index * self.chunk_rows]
                    at = to
                if norms is not None:
                    x *= norms[start:stop, None]
                yield x, labels[start:stop]

    def as_torch(self, dtype: Float = "float32", *, raw: bool = False) -> TorchView:
        """Return a map-style data set for ``torch.utils.data.DataLoader``; it reads what is asked for, as it is asked.

        The store does not import torch: items are NumPy, and the loader's own collation makes tensors of them. Over a
        store in a bucket a loader with workers needs ``multiprocessing_context="spawn"``.
        """
        return TorchView(self, dtype, raw)

    def labels(self, rows: RowChoice = None) -> Targets:
        """Return labels, int64 [n] or uint8 [n, C]."""
        return self._small("labels", self._choose(rows))

    def norms(self, rows: RowChoice = None) -> Float32:
        """Return the embeddings' norms before normalising, float32 [n]."""
        return self._small("norms", self._choose(rows))

    def sample_ids(self, rows: RowChoice = None) -> SampleIds:
        """Return sample ids, uint8 [n, 32]."""
        return self._small("samples", self._choose(rows))

    def sample_names(self) -> list[str] | None:
        """Return what the samples are called, in the order of the rows; None if the store does not have that."""
        return read_sample_names(self._backend, self.manifest)

    def samples(self, rows: RowChoice = None) -> Samples:
        """Return id, name and label of each row, as a sequence of `Sample`.

        Names are paths relative to the data set, or ``row 17``, as they were when the set was extracted.

        Parameters
        ----------
        rows : slice or sequence of int, optional
            Which rows, in which order; all of them by default.

        Raises
        ------
        Corrupt
            If what is read is not what was written.
        """
        wanted = self._choose(rows)
        names = self.sample_names()
        chosen = None if names is None else [names[row] for row in wanted]
        return Samples(self._small("samples", wanted), self._small("labels", wanted), self.classes, chosen)

    @property
    def _readers(self) -> int:
        """How many chunks are read at once: from a disk, or its cache, more than processors only get in their way."""
        return _READERS if self._backend.remote else min(_READERS, os.cpu_count() or 1)

    def _choose(self, rows: RowChoice) -> _Rows:
        if rows is None or isinstance(rows, slice):
            chosen = range(self.rows)[rows if rows is not None else slice(None)]
            if chosen.step == 1:
                return chosen
            if len(chosen) * np.dtype(np.int64).itemsize > _UNPROVEN_BYTES:
                self._look_for_objects()
            return np.arange(chosen.start, chosen.stop, chosen.step, dtype=np.int64)
        try:
            wanted = np.asarray(rows)
        except ValueError as e:  # nested, and not rectangular
            raise BadInput(f"Rows are chosen by a flat list of integers: {e}.") from None
        if wanted.ndim != 1 or (wanted.dtype.kind not in "iu" and len(wanted)):
            found = f"{wanted.dtype} of shape {wanted.shape}"
            raise BadInput(f"Rows are chosen by a slice or a flat list of integers, not by {found}.")
        wanted = wanted.astype(np.int64)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= self.rows):
            raise BadInput(
                f"Set {self.id[:12]} has rows 0 to {self.rows - 1}; asked for {wanted.min()}…{wanted.max()}."
            )
        return wanted

    def _small(self, name: str, wanted: _Rows) -> Array:
        """Read one of the narrow arrays."""
        form = self.manifest.form(name)
        result = self._allocate((len(wanted), *form.tail), form.dtype)
        run_each(lambda part: self._read_rows(name, part, result), _by_chunk(wanted, form.chunk_rows), self._readers)
        return result

    def _allocate(self, shape: tuple[int, ...], dtype: str) -> Array:
        """Return an array to be filled. What a manifest promises is looked for before much memory is taken for it."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size > _UNPROVEN_BYTES:
            self._look_for_objects()
        try:
            return aligned(shape, dtype)
        except MemoryError:
            raise BadInput(
                f"{shape[0]:,} rows of set {self.id[:12]} need {size:,} bytes of memory, which are not there.",
                hint="Read fewer rows at a time (rows=…, batches), or probe with --memory.",
                key=self.id,
            ) from None

    def _look_for_objects(self) -> None:
        """Raise `Corrupt` unless the set's objects have the sizes that the manifest says, by one listing."""
        if self._found:
            return
        folder = f"{self.manifest.folder}/"
        sizes = {info.key.removeprefix(folder): info.size for info in self._backend.list(folder)}
        for key, record in self.manifest.objects.items():
            if (found := sizes.get(key)) != record.size:
                raise corrupt(
                    folder + key,
                    self._backend.url,
                    "is missing" if found is None else "has the wrong size",
                    f"{record.size} bytes",
                    "no object" if found is None else f"{found} bytes",
                )
        self._found = True

    def _object(self, name: str, index: int) -> tuple[str, ObjectRecord]:
        """Return key and record of a chunk."""
        relative = self.manifest.form(name).key(name, index)
        return f"{self.manifest.folder}/{relative}", self.manifest.objects[relative]

    def _chunk(self, name: str, index: int) -> Array:
        """Read one chunk, verified, at its full stored length."""
        form = self.manifest.form(name)
        return read_chunk(self._backend, *self._object(name, index), form.dtype, (form.chunk_rows, *form.tail))

    def _read_rows(self, name: str, part: _Part, result: Array) -> None:
        """Read some rows of a chunk to where they belong in `result`; without a copy where these are all."""
        dtype, _, chunk_rows = self.manifest.form(name)
        whole = slice(0, min(chunk_rows, self.rows - part.chunk * chunk_rows))
        same = result.dtype == np.dtype(dtype).newbyteorder("<")
        if same and isinstance(part.members, slice) and isinstance(part.local, slice) and part.local == whole:
            read_chunk_into(self._backend, *self._object(name, part.chunk), result[part.members], chunk_rows)
        else:
            result[part.members] = self._chunk(name, part.chunk)[part.local]


def _by_chunk(wanted: _Rows, chunk_rows: int) -> list[_Part]:
    """Divide rows by the chunk that they lie in."""
    if not len(wanted):
        return []
    if isinstance(wanted, range):
        parts = []
        for chunk in range(wanted.start // chunk_rows, -(-wanted.stop // chunk_rows)):
            first, stop = max(wanted.start, chunk * chunk_rows), min(wanted.stop, (chunk + 1) * chunk_rows)
            members = slice(first - wanted.start, stop - wanted.start)
            parts.append(_Part(chunk, members, slice(first - chunk * chunk_rows, stop - chunk * chunk_rows)))
        return parts
    chunks = wanted // chunk_rows
    chosen: list[tuple[int, slice | npt.NDArray[np.intp]]]
    if (np.diff(chunks) >= 0).all():  # contiguous runs: slices instead of index arrays
        present, starts = np.unique(chunks, return_index=True)
        ends = [*starts[1:], len(wanted)]
        chosen = [(int(c), slice(int(a), int(b))) for c, a, b in zip(present, starts, ends, strict=True)]
    else:
        chosen = [(int(c), np.flatnonzero(chunks == c)) for c in np.unique(chunks)]
    return [_Part(chunk, members, _local(wanted[members], chunk * chunk_rows)) for chunk, members in chosen]


def _floating(dtype: Float) -> Float:
    """Return `dtype` if embeddings survive in it: as integers they would all be 0."""
    try:
        if np.dtype(dtype).kind == "f":
            return dtype
    except TypeError:
        pass
    raise BadInput(f"Embeddings are read as float16, float32 or float64, not as {dtype}.")


def _local(rows: Indices, start: int) -> slice | Indices:
    """Return `rows` counted from `start`; as a slice where they are consecutive, which spares numpy a copy."""
    first, last = int(rows[0]) - start, int(rows[-1]) - start
    if last - first == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(first, last + 1)
    return rows - start


class TorchView:
    """A feature set as a map-style data set of (x [d], y); see `FeatureSet.as_torch`."""

    def __init__(self, feature_set: FeatureSet, dtype: Float, raw: bool) -> None:
        self._set = feature_set
        self._dtype = dtype
        self._raw = raw

    def __len__(self) -> int:
        return len(self._set)

    def __getitem__(self, index: int) -> tuple[Array, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")  # what ends a loop over a sequence
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Array, Any]]:
        """Read one batch: what a DataLoader calls where it is there."""
        x, y = self._set.load(indices, self._dtype, raw=self._raw)
        return list(zip(x, y, strict=True))
