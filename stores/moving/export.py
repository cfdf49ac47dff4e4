"""A set as one file: for other programs (npz, safetensors, Parquet), or for another store (zip).

Files are written whole or not at all, and chunk by chunk: memory holds the labels and a few chunks of embeddings.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from ...arrays import Array, Targets
from ...errors import BadInput
from ...files import replacing
from ...progress import Reporter
from ...reporting import reporter_for
from ..feature_set import FeatureSet, Float
from ..opening import open_store
from ..store import Store
from .archive import open_archive, write_archive
from .copying import Moved
from .transfer import take_in

Format = Literal["npz", "safetensors", "parquet", "zip"]
FORMATS: tuple[Format, ...] = ("npz", "safetensors", "parquet", "zip")

_MOST_TEXT_BYTES = 1 << 29
"""What the names of samples may take as an array of texts, all as long as the longest, 4 bytes a character."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Parameters
    ----------
    file : str
    format : str
    set : str
        Set id.
    rows, dim : int
    features : {"unit", "raw"}
        Whether the embeddings have unit norm, or are as the encoder gave them.
    bytes : int
        Of the file.
    """

    file: str
    format: Format
    set: str
    rows: int
    dim: int
    features: Literal["unit", "raw"]
    bytes: int


def export_set(
    store: str | Path | Store,
    set_id: str,
    file: str | Path,
    *,
    form: Format | None = None,
    raw: bool = False,
    progress: bool = True,
    reporter: Reporter | None = None,
) -> Exported:
    """Write a set into one file, replacing a file of that name.

    Parameters
    ----------
    store : str, Path or Store
    set_id : str
        Its id, or the first digits of it that no other set has.
    file : str or Path
    form : {"npz", "safetensors", "parquet", "zip"}, optional
        By default what the file's name ends with. All but ``zip`` have embeddings [n, d], norms [n], labels, sample ids
        and sample names [n], class names and both specs; ``zip`` is an archive of the set itself, for `import_set`.
    raw : bool
        Embeddings as the encoder gave them, float32; otherwise of unit norm, and in the dtype in which they are stored
        (in Parquet float32, which holds the same values).
    progress : bool
        Show a bar if standard error is a terminal, or in a notebook.
    reporter : Reporter, optional
        Is told instead how far it is.

    Returns
    -------
    Exported

    Raises
    ------
    NotFound
        If there is no such store or set.
    BadInput
        If the format is not known, needs a package that is missing, or cannot be `raw`; or the folder is missing.
    Corrupt
        If any object is not what was sealed.
    ReadOnly, Unavailable
        If the file cannot be written.
    """
    chosen = form or _by_ending(Path(file))
    if chosen not in FORMATS:
        raise BadInput(f"There is no format {chosen!r}.", hint=f"Known are {', '.join(FORMATS)}.", key="format")
    if chosen == "zip" and raw:
        raise BadInput("An archive holds a set as it is stored.", hint="Leave --raw out, or name an .npz.", key="raw")
    if chosen == "parquet":
        _parquet()
    reporter = reporter_for(progress, reporter)
    opened = open_store(store)
    feature_set = opened.open(set_id)
    with replacing(file) as out:
        if chosen == "zip":
            write_archive(out, opened.backend, feature_set.manifest.key, reporter)
        else:
            named = [n.name.model_dump(mode="json") for n in opened.names() if n.set == feature_set.id]
            content = _Content(feature_set, named, raw, reporter)
            {"npz": _write_npz, "safetensors": _write_safetensors, "parquet": _write_parquet}[chosen](out, content)
        size = out.seek(0, os.SEEK_END)
    features: Literal["unit", "raw"] = "raw" if raw else "unit"
    return Exported(str(file), chosen, feature_set.id, feature_set.rows, feature_set.dim, features, size)


def import_set(
    store: str | Path | Store,
    file: str | Path,
    *,
    trust: bool = False,
    progress: bool = True,
    reporter: Reporter | None = None,
) -> Moved:
    """Take a set from an archive that `export_set` wrote, which need not be trusted, into a store.

    Unless it is trusted, the set can be listed, read and probed, but its rows and names do not stand in for the store's
    own; see `pull`.

    Parameters
    ----------
    store : str, Path or Store
        Made if there is none.
    file : str or Path
    trust : bool
        Let what the archive holds count as the store's own. By default that is so for files that ``[trust]`` in a
        configuration file lists.
    progress : bool
        Show a bar if standard error is a terminal, or in a notebook.
    reporter : Reporter, optional
        Is told instead how far it is.

    Returns
    -------
    Moved
        As of a `push` from the archive; where the store has the set, nothing of it is taken.

    Raises
    ------
    NotFound, BadInput
        If there is no such file, or it is no zip.
    Corrupt
        If anything in it is not what an archive of this set would have: nothing has been written then.
    Incompatible
        If a newer version wrote it.
    ReadOnly, Unavailable
        If the store cannot be written.

    Guarantees
    ----------
    Every member is compared with the manifest, by name, size and hash, before the first one is written. No member is
    decompressed, and none written under a name other than its object's key.
    """
    reporter = reporter_for(progress, reporter)
    with open_archive(Path(file), reporter) as archive:
        return take_in(store, archive, trust, reporter)


def _by_ending(file: Path) -> Format:
    ending = file.suffix.lower().removeprefix(".")
    found = next((form for form in FORMATS if form == ending), None)
    if found is None:
        raise BadInput(
            f"{file} does not say in which format it is to be written.",
            hint=f"Let its name end with {', '.join(f'.{form}' for form in FORMATS)}.",
            key="file",
        )
    return found


class _Content:
    """What goes into a file, whatever its format."""

    def __init__(self, feature_set: FeatureSet, named: list[dict[str, Any]], raw: bool, reporter: Reporter) -> None:
        self.set = feature_set
        self.raw = raw
        self.dtype: Literal["float16", "float32"] = "float32" if raw else feature_set.manifest.dtype
        self._named = named
        self._reporter = reporter

    def metadata(self) -> dict[str, Any]:
        """Return what is known of the set: ids, specs, class names, names, samples that failed."""
        m = self.set.manifest
        return {
            "set": m.set,
            "features": "raw" if self.raw else "unit",
            "classes": list(self.set.classes),
            "split": self.set.split,
            "encoder_id": m.encoder_id,
            "encoder": m.encoder,
            "dataset_id": m.dataset_id,
            "dataset": m.dataset,
            "names": self._named,
            "failed": [f.model_dump(mode="json") for f in m.failed],
            "provenance": m.provenance.document,
        }

    def names(self) -> list[str] | None:
        """Return what the samples are called, as text that UTF-8 has; None if the store does not have that."""
        names = self.set.sample_names()
        return None if names is None else [_utf8(name).decode() for name in names]

    def texts(self) -> dict[str, str]:
        """Return the metadata as texts, those that are none as JSON."""
        return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in self.metadata().items()}

    def blocks(self, dtype: Float | None = None) -> Iterator[tuple[Array, Targets]]:
        """Yield embeddings [≤ chunk, d] and labels from first row to last, and say how far they are."""
        dtype = dtype or self.dtype
        total = self.set.rows * self.set.dim * np.dtype(dtype).itemsize
        with self._reporter.task("Exporting", total, "bytes"):
            for x, y in self.set.batches(self.set.chunk_rows, dtype, raw=self.raw):
                yield x, y
                self._reporter.advance(x.nbytes)


def _write_npz(out: BinaryIO, content: _Content) -> None:
    """Write what ``numpy.savez`` would, without holding the embeddings; read with ``allow_pickle=False``, as always."""
    s = content.set
    classes = np.array(s.classes, dtype=np.str_)
    small = {"norms": s.norms(), "labels": s.labels(), "samples": s.sample_ids(), "classes": classes}
    if (names := content.names()) is not None:
        small |= _named(names)
    small["metadata"] = np.array(json.dumps(content.metadata(), ensure_ascii=False))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:

        def member(name: str) -> Any:
            return archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True)

        for name, array in small.items():
            with member(name) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        with member("embeddings") as file:
            descr = np.lib.format.dtype_to_descr(np.dtype(content.dtype).newbyteorder("<"))
            header = {"descr": descr, "fortran_order": False, "shape": (s.rows, s.dim)}
            np.lib.format.write_array_header_1_0(file, header)
            for x, _ in content.blocks():
                file.write(_little_endian(x))


def _named(names: list[str]) -> dict[str, Array]:
    """Return names as an array of texts; if one is so long that it would make that huge, as their bytes and offsets."""
    if 4 * len(names) * max(map(len, names)) <= _MOST_TEXT_BYTES:
        return {"names": np.array(names, dtype=np.str_)}
    return _joined(names)


def _joined(names: list[str]) -> dict[str, Array]:
    """Return names one after another in UTF-8, and where each begins and the last ends, int64 [n + 1]."""
    parts = [_utf8(name) for name in names]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return {"names_offsets": offsets, "names_utf8": np.frombuffer(b"".join(parts), np.uint8)}


def _utf8(name: str) -> bytes:
    return name.encode("utf-8", "backslashreplace")  # half of a surrogate pair


def _write_safetensors(out: BinaryIO, content: _Content) -> None:
    """Write the format's header and then each tensor: the library's own writer wants all of them in memory."""
    s = content.set
    small = {"labels": s.labels(), "norms": s.norms()}  # the widest items first, so that each is aligned
    last = {"samples": s.sample_ids()}
    if (names := content.names()) is not None:
        joined = _joined(names)
        small["names_offsets"], last["names_utf8"] = joined["names_offsets"], joined["names_utf8"]
    header: dict[str, Any] = {"__metadata__": content.texts()}
    end = 0
    for name, dtype, shape in (
        *((name, array.dtype.name, array.shape) for name, array in small.items()),
        ("embeddings", content.dtype, (s.rows, s.dim)),
        *((name, array.dtype.name, array.shape) for name, array in last.items()),
    ):
        start, end = end, end + int(np.prod(shape)) * np.dtype(dtype).itemsize
        header[name] = {"dtype": _SAFETENSORS[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    out.write(len(text).to_bytes(8, "little") + text)
    for array in small.values():
        out.write(_little_endian(array))
    for x, _ in content.blocks():
        out.write(_little_endian(x))
    for array in last.values():
        out.write(_little_endian(array))


_SAFETENSORS = {"float16": "F16", "float32": "F32", "int64": "I64", "uint8": "U8"}


def _write_parquet(out: BinaryIO, content: _Content) -> None:
    """Write a row group a chunk: sample (hexadecimal), name, label, class name or flags, norm, embedding."""
    pa, parquet = _parquet()
    s = content.set
    classes = pa.array(s.classes, pa.string())
    if s.multilabel:
        label_fields = [("labels", pa.list_(pa.uint8(), len(s.classes)))]
    else:
        label_fields = [("label", pa.int64()), ("class", pa.dictionary(pa.int32(), pa.string()))]
    names = content.names()
    name_field = [] if names is None else [("name", pa.string())]
    fields = [("sample", pa.string()), *name_field, *label_fields, ("norm", pa.float32())]
    fields.append(("embedding", pa.list_(pa.float32(), s.dim)))
    schema = pa.schema(fields, metadata=content.texts())
    with closing(parquet.ParquetWriter(out, schema)) as writer:
        row = 0
        for x, y in content.blocks("float32"):
            part = slice(row, row := row + len(x))
            if s.multilabel:
                labels = [pa.FixedSizeListArray.from_arrays(pa.array(y.reshape(-1)), len(s.classes))]
            else:
                number = pa.array(y.astype(np.int32), mask=y < 0)  # unlabelled rows have no class
                labels = [pa.array(y), pa.DictionaryArray.from_arrays(number, classes)]
            columns = [
                pa.array([sample.tobytes().hex() for sample in s.sample_ids(part)]),
                *([] if names is None else [pa.array(names[part], pa.string())]),
                *labels,
                pa.array(s.norms(part)),
                pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), s.dim),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput(
            "Parquet files need one more package.",
            hint="Install it: pip install 'cryoprobe[parquet]', or name an .npz or .safetensors file.",
            key="format",
        ) from None
    return pyarrow, pyarrow.parquet


def _little_endian(array: Array) -> memoryview:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data
