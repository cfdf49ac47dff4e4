"""The rows of a set as parquet files, and the chunks of the set made of them again, bit by bit.

Columns are ``embedding`` (a list of d values in the stored dtype), ``label`` (a class index) or ``labels`` (a flag for
each class), ``sample`` (the id, hexadecimal), ``name`` (if the store has it) and ``norm``. The metadata of the schema
tell the package datasets the names of the classes.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import Array
from ...class_names import distinct
from ...errors import BadInput, Corrupt
from ..backends.backend import Backend
from ..chunks import check_object, encode_chunk
from ..format.chunk_reading import read_chunk
from ..format.manifest import ARRAYS, Manifest

SHARD_BYTES = 300_000_000
"""About how many bytes of embeddings a file has."""

_GROUP_ROWS = 1024
"""At least so many rows are in a row group, if there are as many."""

COLUMNS = {"embeddings": "embedding", "norms": "norm", "samples": "sample"}


def shard_rows(manifest: Manifest, most_bytes: int = SHARD_BYTES) -> list[range]:
    """Return which rows of a set go into each file: whole row groups, each of whole chunks."""
    group = _group_rows(manifest)
    row_bytes = manifest.dim * np.dtype(manifest.dtype).itemsize
    step = max(group, most_bytes // row_bytes // group * group)
    return [range(start, min(start + step, manifest.rows)) for start in range(0, manifest.rows, step)]


def write_shard(file: Path, source: Backend, manifest: Manifest, names: Sequence[str] | None, rows: range) -> None:
    """Write some rows of a sealed set; what is read is verified, and compared with what will be made of it again.

    Raises
    ------
    Corrupt
        If a chunk is not what was sealed.
    BadInput
        If a chunk would not be made again as it is: another program padded it otherwise.
    """
    pa, parquet = pyarrow()
    schema = _schema(pa, manifest, named=names is not None)
    large = {"compression": "zstd", "use_dictionary": ["label"], "write_statistics": ["label"]}
    with closing(parquet.ParquetWriter(file, schema, **large)) as writer:
        step = _group_rows(manifest)
        for start in range(rows.start, rows.stop, step):
            part = range(start, min(start + step, rows.stop))
            arrays = {name: _stored_rows(source, manifest, name, part) for name in ARRAYS}
            columns = [_embedding(pa, arrays["embeddings"])]
            columns.append(_embedding(pa, arrays["labels"]) if manifest.multilabel else pa.array(arrays["labels"]))
            columns.append(pa.array([sample.tobytes().hex() for sample in arrays["samples"]]))
            if names is not None:
                columns.append(pa.array([_utf8(name) for name in names[part.start : part.stop]], pa.string()))
            columns.append(pa.array(arrays["norms"]))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=step)


class ShardedRows:
    """Reads rows of a set from its parquet files, which may come from a stranger.

    Parameters
    ----------
    manifest : Manifest
    shards : sequence of (str, int, callable)
        The path of each file at its place, how many rows it has, and what returns it on this machine.
    url : str
        Where the files are, for messages.
    """

    def __init__(self, manifest: Manifest, shards: Sequence[tuple[str, int, Callable[[], Path]]], url: str) -> None:
        self._manifest, self._shards, self._url = manifest, shards, url
        self._lock = threading.Lock()  # a parquet file is read by one thread at a time
        self._open: dict[int, tuple[Any, list[int]]] = {}
        self._starts = list(np.cumsum([0, *(rows for _, rows, _ in shards)]))

    def chunk(self, array: str, index: int) -> bytes:
        """Return a chunk of one of the set's arrays.

        Raises
        ------
        Corrupt
            If the files do not have these rows, or have them in another form.
        """
        form = self._manifest.form(array)
        start = index * form.chunk_rows
        rows = range(start, min(start + form.chunk_rows, self._manifest.rows))
        with self._lock:
            return encode_chunk(self._rows(array, rows), form.chunk_rows)

    def _rows(self, array: str, rows: range) -> Array:
        """Return rows of an array [n, …]."""
        pa, _ = pyarrow()
        form = self._manifest.form(array)
        found = np.empty((len(rows), *form.tail), form.dtype)
        at = rows.start
        while at < rows.stop:
            shard = bisect_right(self._starts, at) - 1
            path, _, _ = self._shards[min(shard, len(self._shards) - 1)]
            try:
                part = self._group(shard, array, at)
            except (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError) as e:
                raise self._refused(path, f"it cannot be read ({' '.join(str(e).split())[:200]})") from None
            part = part[: rows.stop - at]
            found[at - rows.start : at - rows.start + len(part)] = part
            at += len(part)
        return found

    def _group(self, shard: int, array: str, row: int) -> Array:
        """Return the rows of a row group from one row of the set on."""
        file, starts = self._file(shard)
        row -= self._starts[shard]
        group = bisect_right(starts, row) - 1
        column = COLUMNS.get(array, "labels" if self._manifest.multilabel else "label")
        table = file.read_row_group(group, columns=[column])
        values = _decoded(table.column(column).combine_chunks(), self._manifest, array)
        if len(values) != starts[group + 1] - starts[group]:
            raise ValueError("a row group has not as many rows as it says")
        return values[row - starts[group] :]

    def _file(self, shard: int) -> tuple[Any, list[int]]:
        """Return an open file, and the first row of each of its row groups."""
        if shard not in self._open:
            path, rows, fetch = self._shards[shard]
            _, parquet = pyarrow()
            file = parquet.ParquetFile(fetch())
            counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            if sum(counts) != rows or min(counts) < 1:
                raise self._refused(path, f"it has {sum(counts)} rows, and not {rows}")
            self._open[shard] = file, [int(start) for start in np.cumsum([0, *counts])]
        return self._open[shard]

    def _refused(self, path: str, problem: str) -> Corrupt:
        return Corrupt(
            f"{path} in {self._url} is not what was pushed: {problem}.",
            hint="Ask whoever pushed it, or pull an earlier commit: hf://datasets/USER/NAME@COMMIT",
            key=path,
        )


def _group_rows(manifest: Manifest) -> int:
    return manifest.chunk_rows * max(1, _GROUP_ROWS // manifest.chunk_rows)


def _stored_rows(source: Backend, manifest: Manifest, array: str, rows: range) -> Array:
    """Return rows of an array of a sealed set, verified, if their chunks can be made of them again."""
    form = manifest.form(array)
    parts = []
    for index in range(rows.start // form.chunk_rows, -(-rows.stop // form.chunk_rows)):
        relative = form.key(array, index)
        key, record = f"{manifest.folder}/{relative}", manifest.objects[relative]
        chunk = read_chunk(source, key, record, form.dtype, (form.chunk_rows, *form.tail))
        first = index * form.chunk_rows
        whole = chunk[: min(form.chunk_rows, manifest.rows - first)]
        again = encode_chunk(whole, form.chunk_rows)
        try:
            check_object(again, record, key=key, url=source.url)
        except Corrupt:
            raise BadInput(
                f"{key} in {source.url} is sealed with other padding than Cryoprobe's: its rows do not make it again.",
                hint="Send that set as an archive: cryoprobe export SET FILE.zip",
                key=key,
            ) from None
        parts.append(whole[max(rows.start - first, 0) : rows.stop - first])
    return np.concatenate(parts)


def _schema(pa: Any, manifest: Manifest, *, named: bool) -> Any:
    classes = distinct([str(name) for name in manifest.dataset["classes"]])
    values = {"float16": pa.float16(), "float32": pa.float32()}[manifest.dtype]
    flags = manifest.multilabel
    fields = [
        ("embedding", pa.list_(values, manifest.dim)),
        ("labels", pa.list_(pa.uint8(), len(classes))) if flags else ("label", pa.int64()),
        ("sample", pa.string()),
        *([("name", pa.string())] if named else []),
        ("norm", pa.float32()),
    ]
    features: dict[str, Any] = {
        "embedding": _sequence(manifest.dtype, manifest.dim),
        "sample": {"dtype": "string", "_type": "Value"},
        "norm": {"dtype": "float32", "_type": "Value"},
    }
    if named:
        features["name"] = {"dtype": "string", "_type": "Value"}
    if flags:
        features["labels"] = _sequence("uint8", len(classes))
    elif classes:
        features["label"] = {"names": list(map(_utf8, classes)), "_type": "ClassLabel"}
    else:
        features["label"] = {"dtype": "int64", "_type": "Value"}
    ordered = {name: features[name] for name, _ in fields}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": ordered}})})


def _sequence(dtype: str, length: int) -> dict[str, Any]:
    """Return a list of fixed length as all versions of the package datasets since 2 read it."""
    return {"feature": {"dtype": dtype, "_type": "Value"}, "length": length, "_type": "Sequence"}


def _embedding(pa: Any, rows: Array) -> Any:
    """Return rows [n, k] as a column of lists of fixed length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def _decoded(column: Any, manifest: Manifest, array: str) -> Array:
    """Return a column's values [n, …] in the form of the set's array; raise `ValueError` for any other form."""
    form = manifest.form(array)
    if column.null_count:
        raise ValueError("values are missing")
    if array == "samples":
        return np.frombuffer(bytes.fromhex("".join(column.to_pylist())), np.uint8).reshape(len(column), *form.tail)
    values = column
    if form.tail:
        if getattr(column.type, "list_size", None) != form.tail[0]:
            raise ValueError(f"{array} are {column.type}")
        values = column.flatten()
    found = values.to_numpy(zero_copy_only=False)
    if values.null_count or found.dtype != np.dtype(form.dtype):
        raise ValueError(f"{array} are {column.type}")
    rows: Array = found.reshape(len(column), *form.tail)
    return rows


def iter_columns(manifest: Manifest, *, named: bool) -> Iterator[tuple[str, str]]:
    """Yield the columns of the files with their types in words: for the card."""
    yield "embedding", f"{manifest.dim} x {manifest.dtype}, of unit norm"
    if manifest.multilabel:
        yield "labels", "a 0 or 1 for each class"
    else:
        yield "label", "index of the class" if manifest.dataset["classes"] else "-1: there are no labels"
    yield "sample", "id of the sample, the sha256 of its file"
    if named:
        yield "name", "what the sample is called"
    yield "norm", "float32; embedding x norm is what the encoder gave"


def pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its module for parquet files."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput(
            "Rows on the Hugging Face Hub are parquet files, which need one more package.",
            hint="Install it: pip install 'cryoprobe[hf]'",
            key="store",
        ) from None
    return pyarrow, pyarrow.parquet


def _utf8(text: str) -> str:
    """Return a text that UTF-8 has: half of a surrogate pair is written as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
