"""Data sets of the package datasets: from the Hub, saved by it (Arrow), or as the Hub keeps them (parquet).

Images are read as they are encoded there, and are not decoded and encoded anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....amounts import count
from ....errors import BadInput, CryoprobeError, NotFound, Unavailable
from ....stores.local.looks import fingerprint
from ....stores.local.sample_index import settled_stamp
from ...passing import patiently
from ..base import ALL, Dataset, Place, Split
from ..splits import fixed, status
from ..urls import is_hf_path, is_remote
from .columns import Columns, find_columns
from .encoded import EncodedSplit
from .hf_configs import config_files
from .named_labels import class_names
from .parquet import parquet_files
from .patterns import find
from .table_rows import about_classes, image_bytes, labels_of, meaning, path_reader

if TYPE_CHECKING:
    from ...options import SourceOptions

_SAVED = ("dataset_dict.json", "state.json")
"""What `save_to_disk` writes into a folder: of several splits, or of one."""


def hf(name: str, rest: str, asked: SourceOptions) -> Dataset:
    """Open a data set of the Hub, ``NAME[:CONFIG]``; or what lies in a local folder, ``PATH[:CONFIG]``, or file.

    Raises
    ------
    NotFound, BadInput, Unavailable
    """
    if is_remote(rest):
        raise BadInput(f"{name} is a URL.", hint="Name a data set of the Hub, or fetch its files.", key=name)
    if not is_hf_path(rest):
        return _of_hub(name, rest, asked)
    path, config = _place(rest)
    if any((path / file).is_file() for file in _SAVED) and not config:
        return _saved(name, path, asked)
    if path.is_dir() and (of_config := config_files(name, path, config)) is not None:
        return parquet_files(name, of_config.paths, asked, of_config.splits, of_config.note)
    found = status(path)
    if found is None and not any(sign in rest for sign in "*?[{"):
        raise NotFound(f"There is no {path}.", hint="Check the path of the data set.", key=name)
    files = find(rest, (".parquet", ".arrow")).local
    if arrow := [file for file in files if file.suffix == ".arrow"]:
        raise BadInput(
            f"{arrow[0]} is an Arrow file, and {path} has no {' or '.join(_SAVED)} beside it.",
            hint="Name the folder that save_to_disk made.",
            key=name,
        )
    return parquet_files(name, files, asked)


def _place(rest: str) -> tuple[Path, str]:
    """Return the path and the configuration of ``PATH[:CONFIG]``; a path that is there has none."""
    path, colon, config = rest.rpartition(":")
    if colon and status(Path(rest)) is None and Path(path).is_dir():
        return Path(path), config
    return Path(rest), ""


def _package(name: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise BadInput(
            f"{name} needs one more package.", hint="Install it: pip install 'cryoprobe[hf]'", key="dataset"
        ) from None
    return datasets


def _saved(name: str, path: Path, asked: SourceOptions) -> Dataset:
    datasets = _package(name)
    try:
        found = patiently(lambda: datasets.load_from_disk(str(path), keep_in_memory=False), str(path))
    except CryoprobeError:  # some of them are OSErrors
        raise
    except Exception as e:  # whatever its parts raise for damaged files
        raise BadInput(
            f"{path} cannot be opened by the package datasets: {_line(e)}.", hint="Save it anew.", key=name
        ) from None
    return _splits(name, found, path, asked)


def _of_hub(name: str, rest: str, asked: SourceOptions) -> Dataset:
    datasets = _package(name)
    called, _, config = rest.partition(":")
    hint = "Check its name, and HF_TOKEN if it is private." + (
        f" Is it a folder? hf:./{called}" if Path(called).exists() else ""
    )
    try:
        with _quiet(datasets):
            found = datasets.load_dataset(called, config or None)
    except Exception as e:  # of its own, of huggingface_hub, of the network
        text = _line(e)
        if isinstance(e, ConnectionError | TimeoutError) or "offline" in text.lower() or "connect" in text.lower():
            raise Unavailable(
                f"The Hub cannot be reached for {name}: {text}.",
                hint="Check the network (HF_HUB_OFFLINE is not to be set). What lies here is named by its path: "
                f"hf:./{called}",
                key=name,
            ) from None
        if "config" in text.lower():
            hint = f"Name a configuration: hf:{called}:CONFIG"
        raise NotFound(f"{name} cannot be loaded: {text}.", hint=hint, key=name) from None
    return _splits(name, found, Path.cwd(), asked)


def _splits(name: str, found: Any, root: Path, asked: SourceOptions) -> Dataset:
    given = class_names(asked.class_names)
    parts: Mapping[str, Any] = found if isinstance(found, dict) else {str(found.split or ALL): found}
    if empty := [part for part, data in parts.items() if not len(data)]:
        parts = {part: data for part, data in parts.items() if part not in empty}
    if not parts:
        raise BadInput(f"{name} has no rows.", key=name)
    first = next(iter(parts.values()))
    columns = find_columns(first.features.arrow_schema, name, asked.image_column, asked.label_column)
    labels = {part: labels_of(_column(data, columns.label), f"{name} ({part})") for part, data in parts.items()}
    read, more = meaning(labels, columns, given, name)
    made: list[Split] = []
    for part, data in parts.items():
        files = tuple(Path(file["filename"]).absolute() for file in data.cache_files)
        images = _Rows(part, data, columns, files, root)
        made.append(EncodedSplit(part, read.classes, read.labels[part], images, files))
    sizes = ", ".join(f"{part} {len(data):,}" for part, data in parts.items())
    left_out = [f"Left out, as they have no rows: {', '.join(empty)}"] if empty else []
    about = f"{count(len(parts), 'split')} ({sizes}). {columns}. {about_classes(read.classes, columns, given)}"
    return fixed(name, made, [about, *left_out, *more, *read.notes])


def _column(data: Any, column: str) -> Any:
    """Return a column as an Arrow array, in the order of the rows."""
    return data.select_columns([column]).with_format("arrow")[:][column]


def _without_bytes(data: Any, column: str) -> int:
    """Return how many rows of a column of structs hold no bytes."""
    import pyarrow.compute as pc

    return int(pc.struct_field(_column(data, column), "bytes").null_count)


class _Rows:
    """Rows of a split; see `encoded.Encoded`. Its files are mapped into memory by the package itself."""

    def __init__(self, part: str, data: Any, columns: Columns, files: Sequence[Path], root: Path) -> None:
        self._part = part
        self._data = data.select_columns([columns.image]).with_format("arrow")
        self._columns = columns
        self._read = path_reader(root)
        self._place = f"{files[0]}#{len(files)}#{data._fingerprint}#{columns.image}" if files else ""
        self._stamp: str | None = None
        with suppress(OSError):
            # A row without bytes names a file; the dates of the tables tell nothing of it.
            held = columns.form == "bytes" or (columns.form == "struct" and not _without_bytes(data, columns.image))
            if files and held and all(settled_stamp(file) is not None for file in files):
                self._stamp = fingerprint(files).hex()

    def read(self, index: int) -> bytes:
        value = self._data[index][self._columns.image][0].as_py()
        return image_bytes(value, self._columns.form, self._read)

    def describe(self, index: int) -> str:
        return f"row {index}"

    def path(self, index: int) -> Path | None:
        return None

    def place(self, index: int) -> Place | None:
        return None if self._stamp is None else Place(f"{self._place}#{index}", self._stamp)


class _quiet:  # noqa: N801  # a context
    """Keeps the bars of the package to itself."""

    def __init__(self, datasets: Any) -> None:
        self._datasets = datasets

    def __enter__(self) -> None:
        self._datasets.disable_progress_bars()

    def __exit__(self, *_: object) -> None:
        self._datasets.enable_progress_bars()


def _line(e: BaseException) -> str:
    return (" ".join(str(e).split()) or type(e).__name__)[:300].rstrip(".")
