"""Data sets in parquet files: an encoded image or its path, and a label, in every row.

Labels and splits are read when the data set is opened; images in order, a batch of rows at a time, as they are needed.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....amounts import count
from ....arrays import Array
from ....errors import BadInput, Conflict, CryoprobeError
from ....stores.local.sample_index import Stamp, settled_stamp, stamp
from ...passing import is_passing, patiently, unavailable
from ..base import ALL, Dataset, Place, Split
from ..split_names import split_in_name
from ..splits import FileSplit, fixed
from ..urls import is_remote
from .columns import Columns, find_columns
from .encoded import EncodedSplit
from .named_labels import class_names
from .patterns import PARQUET, find
from .table_rows import about_classes, by_split, image_bytes, labels_of, meaning, path_reader

if TYPE_CHECKING:
    from ...options import SourceOptions

_BATCH_BYTES, _MOST_ROWS = 4 << 20, 32
"""Of rows that are unpacked at once, some four at least."""
_HELD_BYTES, _HELD_ROWS = 32 << 20, 96
"""Of rows that were unpacked, for each file; more bytes, if these are fewer rows: so many are asked for at once."""
_BUFFER = 1 << 20


def parquet(name: str, pattern: str, asked: SourceOptions) -> Dataset:
    """Open a parquet file, all in a folder, or those that a pattern names; in the order of their names.

    Splits are told by the column ``split``, or else by the names of the files, if those tell them all.

    Raises
    ------
    NotFound, BadInput, Unavailable
    """
    if is_remote(pattern):
        raise BadInput(
            f"{name} is not a local file.",
            hint="Fetch the files, or give a bucket of images or tar files: folder:s3://…, wds:s3://…",
            key=name,
        )
    return parquet_files(name, find(pattern, PARQUET).local, asked)


def parquet_files(
    name: str, paths: Sequence[Path], asked: SourceOptions, splits: Sequence[str] | None = None, note: str = ""
) -> Dataset:
    """Open parquet files as one data set; see `parquet`.

    Parameters
    ----------
    name : str
    paths : sequence of Path
    asked : SourceOptions
    splits : sequence of str, optional
        Of each file, if it is known; nothing else tells it then.
    note : str
        What is to be said of how the files were found.
    """
    _check_installed()
    given = class_names(asked.class_names)
    files = [_File(path) for path in paths]
    columns = find_columns(files[0].schema, str(paths[0]), asked.image_column, asked.label_column)
    for file in files[1:]:
        own = find_columns(file.schema, str(file.path), columns.image, columns.label)
        if own != columns:
            raise BadInput(
                f"{file.path} and {paths[0]} do not belong together. {own}; of the other {columns}.",
                hint="Name files of one data set.",
                key=name,
            )
    if splits is not None:
        columns = replace(columns, split=None)
    told: Sequence[str | None] = splits or [split_in_name(path.as_posix()) for path in paths]
    notes = [note] if note else []
    if columns.split is None and any(told) and None in told:
        notes.append(f"Read without splits: the name of {paths[told.index(None)].name} tells none")
    named = told if None not in told else [ALL] * len(files)
    rows: dict[str, list[tuple[int, Array]]] = {}
    labels: dict[str, list[Array]] = {}
    for number, file in enumerate(files):
        read = file.columns([columns.label, *([columns.split] if columns.split else [])])
        of_file = labels_of(read[columns.label], str(file.path))
        values = None if columns.split is None else read[columns.split].to_pylist()
        for split, chosen in by_split(values, str(named[number]), file.rows, str(file.path)).items():
            rows.setdefault(split, []).append((number, chosen))
            labels.setdefault(split, []).append(of_file[chosen])
    if not sum(file.rows for file in files):
        raise BadInput(f"{name} has no rows.", key=name)
    of_split = {split: np.concatenate(parts) for split, parts in labels.items()}
    read_, more = meaning(of_split, columns, given, name)
    table = f"{count(len(files), 'parquet file')}, {count(sum(f.rows for f in files), 'row')}. {columns}"
    sources = tuple(paths)
    made: list[Split] = []
    for split, parts in rows.items():
        images = _Rows(files, parts, columns)
        if columns.form == "path":
            where = [paths[number].parent / text for number, text in images.texts()]
            root = Path(os.path.commonpath([path.parent for path in paths]))
            made.append(FileSplit(split, read_.classes, read_.labels[split], where, root, sources))
        else:
            made.append(EncodedSplit(split, read_.classes, read_.labels[split], images, sources))
    about = f"{table}. {about_classes(read_.classes, columns, given)}"
    return fixed(name, made, [about, *notes, *more, *read_.notes])


class _Rows:
    """Rows of some files; see `encoded.Encoded`."""

    def __init__(self, files: Sequence[_File], parts: Sequence[tuple[int, Array]], columns: Columns) -> None:
        self._files = files
        self._file = np.repeat([number for number, _ in parts], [len(rows) for _, rows in parts])
        self._row = np.concatenate([rows for _, rows in parts]).astype(np.int64)
        self._columns = columns

    def _at(self, index: int) -> tuple[_File, int]:
        return self._files[self._file[index]], int(self._row[index])

    def texts(self) -> Iterator[tuple[int, str]]:
        """Yield the paths that the image column holds, each with the number of its file."""
        whole = {n: self._files[n].columns([self._columns.image])[self._columns.image] for n in np.unique(self._file)}
        for number, row in zip(self._file.tolist(), self._row.tolist(), strict=True):
            yield number, whole[number][row].as_py() or ""

    def read(self, index: int) -> bytes:
        file, row = self._at(index)
        value = file.image(self._columns.image, row)
        return image_bytes(value, self._columns.form, path_reader(file.path.parent))

    def describe(self, index: int) -> str:
        file, row = self._at(index)
        return f"{file.path.name} row {row}"

    def path(self, index: int) -> Path | None:
        return None

    def place(self, index: int) -> Place | None:
        file, row = self._at(index)
        # A row without bytes names a file; the date of the table tells nothing of it.
        if file.stamp is None or (self._columns.form == "struct" and not file.holds_all(self._columns.image)):
            return None
        return Place(f"{file.path}#{self._columns.image}#{row}", file.stamp)


class _File:
    """A parquet file. Its rows are unpacked in batches, in order; some of the last ones are held.

    A row before the batch at hand, that is not held any more, is found by beginning anew at its row group.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp = patiently(lambda: settled_stamp(path), str(path))
        self._seen: Stamp = patiently(lambda: stamp(path), str(path))
        with _reading(path):
            self._parquet = _open(path)
            self.schema = self._parquet.schema_arrow
            self._meta = meta = self._parquet.metadata
            self.rows: int = meta.num_rows
            self._starts = [0]
            for group in range(meta.num_row_groups):
                self._starts.append(self._starts[-1] + meta.row_group(group).num_rows)
        self._whole: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._batches: OrderedDict[int, Any] = OrderedDict()
        self._cursor: Iterator[Any] = iter(())
        self._group = self._next = -1
        self._parquet.close()

    def holds_all(self, column: str) -> bool:
        """Say whether it is known that a column of structs has the bytes of every image."""
        if column not in self._whole:
            leaves = [
                group.column(i)
                for group in map(self._meta.row_group, range(self._meta.num_row_groups))
                for i in range(group.num_columns)
                if group.column(i).path_in_schema == f"{column}.bytes"
            ]
            self._whole[column] = bool(leaves) and all(
                leaf.statistics is not None and leaf.statistics.has_null_count and not leaf.statistics.null_count
                for leaf in leaves
            )
        return self._whole[column]

    def columns(self, names: Sequence[str]) -> Any:
        """Read some columns whole."""
        with _reading(self.path), self.path.open("rb") as file:
            import pyarrow.parquet as pq

            found = pq.ParquetFile(file, pre_buffer=False).read(columns=list(names))
            if len(found) != self.rows:
                raise ValueError(f"it has {len(found)} rows where its end promises {self.rows}")
            return found

    def image(self, column: str, row: int) -> Any:
        """Return what a column holds in a row."""
        with self._lock, _reading(self.path):
            group = bisect_right(self._starts, row) - 1
            start = row - (row - self._starts[group]) % self._batch_rows(group)
            if start not in self._batches:
                self._advance(column, group, start)
            return self._batches[start][row - start].as_py()

    def _batch_rows(self, group: int) -> int:
        size = int(self._meta.row_group(group).total_byte_size) // max(1, int(self._meta.row_group(group).num_rows))
        return max(4, min(_MOST_ROWS, _BATCH_BYTES // max(1, size)))

    def _advance(self, column: str, group: int, start: int) -> None:
        """Unpack until the batch that begins with row `start` is held."""
        if group != self._group or start < self._next:
            self._check_unchanged()
            self._close()
            self._parquet = _open(self.path)
            self._cursor = self._parquet.iter_batches(
                batch_size=self._batch_rows(group), row_groups=[group], columns=[column], use_threads=False
            )
            self._group, self._next = group, self._starts[group]
        while self._next <= start:
            found = next(self._cursor).column(0)
            self._batches[self._next] = found
            self._next += self._batch_rows(group)
            if self._next >= self._starts[group + 1]:  # the file is closed before the next one is opened
                self._close()
            while self._holds_much():
                self._batches.popitem(last=False)

    def _holds_much(self) -> bool:
        held = self._batches.values()
        return sum(map(len, held)) > _HELD_ROWS and sum(batch.nbytes for batch in held) > _HELD_BYTES

    def _close(self) -> None:
        self._cursor = iter(())
        self._group = -1
        self._parquet.close()

    def _check_unchanged(self) -> None:
        now = stamp(self.path)
        if (now.size, now.mtime_ns, now.inode) != (self._seen.size, self._seen.mtime_ns, self._seen.inode):
            raise Conflict(f"{self.path} changed while it was used.", hint="Run the command again.", key=str(self.path))


class _reading:  # noqa: N801  # a context
    """Turns what pyarrow raises into one clear error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None or isinstance(error, CryoprobeError) or not isinstance(error, Exception):
            return
        if isinstance(error, OSError) and error.errno is not None and is_passing(error):
            raise unavailable(error, str(self._path)) from error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(
            f"{self._path} cannot be read as parquet: {first[:200]}.", hint="Fetch the file again.", key=str(self._path)
        ) from None


def _open(path: Path) -> Any:
    import pyarrow.parquet as pq

    # Without pre_buffer a column is read page by page, not as a whole.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER, memory_map=False)


def _check_installed() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise BadInput(
            "Parquet files need one more package.", hint="Install it: pip install 'cryoprobe[parquet]'", key="dataset"
        ) from None
