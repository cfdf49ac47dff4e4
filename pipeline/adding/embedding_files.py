"""Files with embeddings that were computed elsewhere: what is in them, by split. Nothing is unpickled.

npz and safetensors have arrays ``embeddings`` [n, d] and ``labels``, and perhaps ``samples``, ``names``, ``norms`` and
``classes``; or these once a split, as ``train_embeddings``, ``test_embeddings`` and so on. npy has the embeddings
alone, and its labels in another file. Parquet has a column of lists, or columns e0, e1 …; with a column ``split``, rows
of several splits. What ``cryoprobe export`` writes is read, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ...amounts import be, count
from ...arrays import Array
from ...errors import BadInput, NotFound
from ..datasets.base import ALL
from ..datasets.label_arrays import texts
from ..datasets.split_names import role_of
from ..datasets.splits import status
from .label_files import read_label_file

ENDINGS = (".npz", ".safetensors", ".parquet", ".npy")

_PARTS = ("embeddings", "labels", "samples", "names", "norms", "classes")
_WANTED = "Save embeddings [n, d] and labels [n] under these names; or name an .npy with --labels FILE."


@dataclass(frozen=True)
class EmbeddingPart:
    """The rows of one split.

    Parameters
    ----------
    file : Path
    embeddings : ndarray [n, d]
    labels : ndarray
        Integers or texts [n], or flags [n, C].
    samples : ndarray or None
        Sample ids as they stand in the file, or names.
    names : list of str or None
    norms : ndarray [n] or None
        Of the embeddings before they were normalised.
    classes : tuple of str or None
        Names that integer labels index.
    """

    file: Path
    embeddings: Array
    labels: Array
    samples: Array | None = None
    names: list[str] | None = None
    norms: Array | None = None
    classes: tuple[str, ...] | None = None


def read_embeddings(files: Sequence[Path], splits: Sequence[str], labels: Sequence[Path]) -> dict[str, EmbeddingPart]:
    """Read files, and return the rows of each split.

    Parameters
    ----------
    files : sequence of Path
    splits : sequence of str
        Of each file; empty for what the files say: their arrays' names, a column, their own names (``train.npz``), or
        ``all`` for one file that does not tell.
    labels : sequence of Path
        Of each file in order; empty for files that have their own.

    Raises
    ------
    NotFound, BadInput
        If a file is missing or cannot be read, or lacks something; if it cannot be told which split is which.
    """
    for option, given in (("split", splits), ("labels", labels)):
        if given and len(given) != len(files):
            raise BadInput(
                f"{count(len(files), 'file')} {be(len(files))} given, and {len(given)} with --{option}.",
                hint=f"Give --{option} once for each file, in the same order, or not at all.",
                key=option,
            )
    found: dict[str, EmbeddingPart] = {}
    for i, file in enumerate(files):
        parts = _read(file, labels[i] if labels else None)
        if splits:
            if len(parts) > 1:
                raise BadInput(
                    f"{file} has several splits itself: {', '.join(parts)}.", hint="Leave --split out.", key="split"
                )
            parts = {splits[i]: next(iter(parts.values()))}
        elif ALL in parts:
            parts = {_split_of(file, alone=len(files) == 1): parts[ALL]}
        for split, part in parts.items():
            if split in found:
                raise BadInput(
                    f"{file} and {found[split].file} are both split {split!r}.",
                    hint="Say which is which: --split NAME once for each file.",
                    key="split",
                )
            found[split] = part
    return found


def _split_of(file: Path, *, alone: bool) -> str:
    """Return the split that the name of a file says, or ``all`` of one that is alone."""
    words = re.split(r"[^a-z]+", file.stem.lower())
    named = [word for word in words if role_of(word) is not None]
    if len(named) == 1:
        return named[0]
    if alone:
        return ALL
    raise BadInput(
        f"{file} does not say which split it is.", hint="Give --split NAME once for each file, in order.", key="split"
    )


def _read(file: Path, labels: Path | None) -> dict[str, EmbeddingPart]:
    if (found := status(file)) is None:
        raise NotFound(f"There is no file {file}.", hint="Check the path.", key=str(file))
    if not found.st_size or file.is_dir():
        raise BadInput(f"{file} is {'a folder' if file.is_dir() else 'empty'}.", hint=_WANTED, key=str(file))
    readers = {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet, ".npy": _npy}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise BadInput(
            f"{file} does not end with {', '.join(ENDINGS)}.",
            hint="Save the embeddings as one of these.",
            key=str(file),
        )
    try:
        arrays = reader(file)
    except BadInput:
        raise
    except Exception as e:  # a damaged file fails in a dozen ways: zipfile, zlib, numpy, arrow, memory …
        first = (str(e).splitlines() or [type(e).__name__])[0][:200]
        objects = "allow_pickle" in first
        hint = "Save texts as an array of texts (dtype str), not of objects." if objects else "Save it again."
        raise BadInput(f"{file} cannot be read: {first}.", hint=hint, key=str(file)) from None
    if labels is not None:
        arrays = arrays | read_label_file(labels)
    return _by_split(file, arrays)


def _by_split(file: Path, arrays: Mapping[str, Any]) -> dict[str, EmbeddingPart]:
    """Return parts from arrays by their names: ``embeddings``, or ``train_embeddings`` and ``test_embeddings``."""
    named = {key.removesuffix("_embeddings"): key for key in arrays if key.endswith("_embeddings")}
    if "embeddings" in arrays and named:
        raise BadInput(f"{file} has embeddings, and {' and '.join(named.values())}.", hint=_WANTED, key=str(file))
    if not named and "embeddings" not in arrays:
        have = ", ".join(sorted(arrays)) or "nothing"
        raise BadInput(f"{file} has no array embeddings; it has {have[:200]}.", hint=_WANTED, key=str(file))
    if not named:
        part = _part(file, arrays, "")
        if (splits := arrays.get("split")) is None:
            return {ALL: part}
        return _divided(file, part, texts(np.asarray(splits), f"{file}: split"))
    return {split: _part(file, arrays, f"{split}_") for split in named}


def _part(file: Path, arrays: Mapping[str, Any], prefix: str) -> EmbeddingPart:
    # Class names are the same for all splits.
    found = {
        name: arrays.get(f"{prefix}{name}", arrays.get("classes") if name == "classes" else None) for name in _PARTS
    }
    if found["labels"] is None:
        raise BadInput(f"{file} has {prefix}embeddings and no {prefix}labels.", hint=_WANTED, key=str(file))
    names, classes = (found[name] for name in ("names", "classes"))
    return EmbeddingPart(
        file=file,
        embeddings=np.asarray(found["embeddings"]),
        labels=_as_numbers(np.asarray(found["labels"])),
        samples=None if found["samples"] is None else np.asarray(found["samples"]),
        names=None if names is None else [str(n) for n in texts(np.asarray(names), f"{file}: names").tolist()],
        norms=None if found["norms"] is None else np.asarray(found["norms"]),
        classes=None if classes is None else tuple(texts(np.asarray(classes), f"{file}: classes").tolist()),
    )


def _as_numbers(labels: Array) -> Array:
    """Return labels that are True and False as the classes 0 and 1."""
    return labels.astype(np.int64) if labels.dtype == bool and labels.ndim == 1 else labels


def _divided(file: Path, part: EmbeddingPart, splits: Array) -> dict[str, EmbeddingPart]:
    """Return the rows of each split that a column names."""
    if splits.shape != (len(part.embeddings),):
        raise BadInput(f"{file} has {len(part.embeddings)} rows and {splits.size} splits.", key=str(file))
    parts = {}
    for split in dict.fromkeys(splits.tolist()):
        rows = np.flatnonzero(splits == split)
        parts[split] = replace(
            part,
            embeddings=part.embeddings[rows],
            labels=part.labels[rows],
            samples=None if part.samples is None else part.samples[rows],
            names=None if part.names is None else [part.names[i] for i in rows.tolist()],
            norms=None if part.norms is None else part.norms[rows],
        )
    return parts


def _npz(file: Path) -> dict[str, Any]:
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError("it holds a single array")
    with archive:
        return _with_names({key: archive[key] for key in archive.files})


def _npy(file: Path) -> dict[str, Any]:
    return {"embeddings": np.load(file, allow_pickle=False, mmap_mode="r")}


def _safetensors(file: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as tensors:
        arrays = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
        told = tensors.metadata() or {}
    if "classes" in told and "classes" not in arrays:
        arrays["classes"] = _json_texts(told["classes"])
    return _with_names(arrays)


def _with_names(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return arrays with ``names`` made of their bytes and offsets, as `export` writes them."""
    if "names" in arrays or not {"names_utf8", "names_offsets"} <= arrays.keys():
        return arrays
    joined, ends = arrays["names_utf8"].tobytes(), arrays["names_offsets"].tolist()
    return {**arrays, "names": [joined[a:b].decode() for a, b in pairwise(ends)]}


def _json_texts(text: str) -> list[str]:
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError("its classes are not a list of texts")
    return found


def _parquet(file: Path) -> dict[str, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise BadInput(
            "Parquet files need one more package.",
            hint="Install it: pip install 'cryoprobe[parquet]', or save an .npz.",
            key=str(file),
        ) from None
    table = parquet.read_table(file)
    columns = {name.lower(): table[name].combine_chunks() for name in table.column_names}
    found: dict[str, Any] = {}
    lists = next((columns[name] for name in ("embeddings", "embedding") if name in columns), None)
    numbered = sorted((name for name in columns if re.fullmatch(r"e[0-9]+", name)), key=lambda name: int(name[1:]))
    if lists is not None:
        found["embeddings"] = _matrix(lists)
    elif numbered:
        if numbered != [f"e{i}" for i in range(len(numbered))]:
            raise ValueError(f"its columns {numbered[0]} to {numbered[-1]} are not numbered from e0 on")
        found["embeddings"] = np.stack([_plain(columns[name]) for name in numbered], axis=1)
    for name, others in (
        ("labels", ("labels", "label", "class")),
        ("samples", ("samples", "sample")),
        ("names", ("names", "name", "path")),
        ("norms", ("norms", "norm")),
        ("split", ("split",)),
    ):
        if (column := next((columns[other] for other in others if other in columns), None)) is not None:
            is_list = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
            found[name] = _matrix(column) if is_list else _plain(column)
    told = table.schema.metadata or {}
    if b"classes" in told and found.get("labels", np.empty(0)).dtype.kind in "iu":
        found["classes"] = _json_texts(told[b"classes"].decode())
    return found


def _matrix(column: Any) -> Array:
    """Return a column of lists as an array [n, d]."""
    if column.null_count:
        raise ValueError("a list is missing")
    lengths = set(np.asarray(column.value_lengths()).tolist())
    if len(lengths) > 1:
        raise ValueError(f"its lists have {min(lengths)} to {max(lengths)} values")
    return np.asarray(column.flatten()).reshape(len(column), -1)


def _plain(column: Any) -> Array:
    if column.null_count:
        raise ValueError("a value is missing")
    is_text = any(word in str(column.type) for word in ("string", "dictionary"))
    return np.asarray(column.to_pylist() if is_text else column)
