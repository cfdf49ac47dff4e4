"""`add`: embeddings that were computed elsewhere become feature sets, which are probed by name like any other.

An encoder that nobody can run is known by what is declared: its name and version. Without a version, the content of the
files stands for it: then all files that belong together are given in one call.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ..amounts import count
from ..arrays import Array, Float64, Targets
from ..canonical import canonical_json, digest
from ..errors import BadInput, Conflict
from ..progress import Reporter
from ..reporting import reporter_for
from ..stores.format.names import Maker, Name, NamedSet
from ..stores.local.sample_index import SampleIndex
from ..stores.opening import open_store
from ..stores.store import RowIndex, Rows, Store, sample_array
from .datasets.label_arrays import read_labels
from .datasets.own import checked_name
from .embedding_files import EmbeddingPart, read_embeddings
from .encoders.registry import FAMILIES
from .makers import this_machine
from .options import UNIT_ROWS
from .provenance import provenance
from .specs import ADDED, ADDED_TAP, DatasetSpec, EncoderSpec, Preprocessing, StoredDtype, samples_digest

_BLOCK = 1 << 16
_NEAR = {"float16": 2e-3, "float32": 1e-5}
"""How far apart two roundings of one embedding of unit norm can be."""


@dataclass(frozen=True)
class AddedSet:
    """A feature set that `add` made or found.

    Parameters
    ----------
    set : str
        Its id.
    split : str
    rows, dim, classes : int
    new : int
        Rows that the store did not have.
    file : str
        Where they came from.
    """

    set: str
    split: str
    rows: int
    dim: int
    classes: int
    new: int
    file: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class _Checked:
    """A part whose rows can be stored."""

    part: EmbeddingPart
    ids: list[bytes]
    names: list[str]
    norms: Float64


def add(
    files: str | Path | Sequence[str | Path],
    store: str | Path | Store,
    *,
    model: str,
    dataset: str,
    split: str | Sequence[str] | None = None,
    model_version: str | None = None,
    labels: str | Path | Sequence[str | Path] | None = None,
    stored_dtype: StoredDtype = "float16",
    progress: bool = True,
    reporter: Reporter | None = None,
) -> list[AddedSet]:
    """Add embeddings from files to a store, as a feature set for each split.

    Parameters
    ----------
    files : str, Path, or several
        ``.npz``, ``.safetensors``, ``.parquet`` or ``.npy``; see `pipeline.embedding_files`.
    store : str, Path or Store
        Made if there is none.
    model, dataset : str
        What they are to be called; `probe` finds them by these names.
    split : str, or several, optional
        Of each file. By default as the file says: by its arrays (``train_embeddings``), a column, or its own name
        (``train.npz``); else ``all``, of which `probe` holds a fifth out.
    model_version : str, optional
        Any text; it changes when the model does. Files of one model and version belong together, whenever they are
        added. Without it, only files of one call do.
    labels : str, Path, or several, optional
        Labels of each ``.npy``: an ``.npy``, a ``.csv`` with a column ``label``, or a ``.txt`` with one a line.
    stored_dtype : {"float16", "float32"}
        In which embeddings of unit norm are kept; norms always in float32.
    progress : bool
        Print what is done on a terminal or in a notebook.
    reporter : Reporter, optional
        Takes the progress instead.

    Returns
    -------
    list of AddedSet

    Raises
    ------
    NotFound, BadInput
        If a file cannot be read, or its rows cannot be stored; nothing is written then.
    Conflict
        If the store has that model with another content, and no version tells them apart; or a row of that version with
        another embedding.
    ReadOnly, Unavailable

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> folder = Path(tempfile.mkdtemp())
    >>> x, y = np.random.default_rng(0).normal(size=(6, 4)), ["cat", "dog"] * 3
    >>> np.savez(folder / "train.npz", embeddings=x, labels=y)
    >>> (added,) = add(folder / "train.npz", folder / "store", model="mine", dataset="pets", progress=False)
    >>> added.split, added.rows, added.new
    ('train', 6, 6)
    """
    reporter = reporter_for(progress, reporter)
    paths, label_files = _paths(files), _paths(labels)
    if not paths:
        raise BadInput("There are no files to add.", hint="Name at least one.", key="files")
    _check_names(model, dataset)
    if stored_dtype not in get_args(StoredDtype):
        raise BadInput(f"stored_dtype is float16 or float32, not {stored_dtype}.", key="stored-dtype")
    splits = [split] if isinstance(split, str) else list(split or ())
    parts = read_embeddings(paths, splits, label_files)
    checked = {name: _checked(name, part) for name, part in parts.items()}
    known = {part.classes for part in parts.values()}
    if len(known) > 1:
        raise BadInput("The files have different lists of classes.", hint="Save the same list in all.", key="classes")
    read = read_labels({name: part.labels for name, part in parts.items()}, known.pop(), str(paths[0]))
    for note in read.notes:
        reporter.note(note)
    for name, part in parts.items():
        if len(read.labels[name]) != len(part.embeddings):
            raise BadInput(
                f"{part.file} ({name}) has {len(part.embeddings)} embeddings and {len(read.labels[name])} labels.",
                hint="Save one label a row.",
                key=str(part.file),
            )
    spec = _encoder(model, model_version, [*paths, *label_files], stored_dtype)
    opened = open_store(store, create=True)
    _check_versions(opened, model, model_version, spec, reporter)
    index = opened.rows_of(spec.id)
    for name, one in checked.items():
        _check_known(index, one, stored_dtype)
        if again := len(one.ids) - len(set(one.ids)):
            reporter.note(f"{again:,} of {count(len(one.ids), 'row')} of {name} repeat the sample of another row")
    with closing(SampleIndex()) as samples:
        me = this_machine(samples)
    run = _Run(opened, index, spec, model, dataset, me, reporter)
    return [run.seal(name, one, read.labels[name], read.classes) for name, one in checked.items()]


def _paths(given: str | Path | Sequence[str | Path] | None) -> list[Path]:
    if given is None:
        return []
    return [Path(given)] if isinstance(given, str | Path) else [Path(path) for path in given]


def _check_names(model: str, dataset: str) -> None:
    checked_name(dataset)
    if not model.strip() or not model.isprintable():
        raise BadInput(
            f"{model!r} cannot be the name of a model.", hint="Give it one, such as lab:birdnet.", key="model"
        )
    if (family := model.partition(":")[0]) in FAMILIES and ":" in model:
        raise BadInput(
            f"{model} would be taken for what extract makes of a {family} encoder.",
            hint=f"Give it another name, such as mine:{model.partition(':')[2]}.",
            key="model",
        )


def _encoder(model: str, version: str | None, files: Sequence[Path], stored_dtype: StoredDtype) -> EncoderSpec:
    """Return the identity of an encoder by what is declared, or else by the content of all files of the call."""
    if version is not None and not version.strip():
        raise BadInput("The version of the model is empty.", hint="Give any text.", key="model-version")
    declared = {"version": version} if version is not None else {"files": sorted(map(_sha256, files))}
    return EncoderSpec(
        family=ADDED,
        architecture=model,
        weights=digest(declared),
        preprocessing=Preprocessing(library=ADDED),
        tap=ADDED_TAP,
        stored_dtype=stored_dtype,
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _check_versions(store: Store, model: str, version: str | None, spec: EncoderSpec, reporter: Reporter) -> None:
    """Refuse to give another content the name of a model that is there, unless a version tells them apart."""
    others = [n for n in store.find(model=model) if n.encoder != spec.id and n.origin is None]
    others = [n for n in others if n.name.stored_dtype == spec.stored_dtype]
    if not others:
        return
    there = ", ".join(dict.fromkeys(f"{n.name.dataset} ({n.name.split})" for n in others[:5]))
    if version is None:
        raise Conflict(
            f"The store {store.url} has {model} already, on {there}, and nothing tells whether these files are of the "
            "same model: without a version, only files of one call are.",
            hint="Give all files in one call; or the same --model-version V with each (any text that changes when the "
            "model does). To start again: cryoprobe rm SET",
            key=model,
        )
    reporter.note(f"the store has other embeddings called {model}, on {there}: version {version!r} is told apart")


def _checked(split: str, part: EmbeddingPart) -> _Checked:
    """Check the rows of a split; tell sample ids, names and norms.

    Raises
    ------
    BadInput
        If they cannot be stored; it names the first row.
    """
    x, what = part.embeddings, f"{part.file} ({split})"
    if x.ndim != 2 or not x.size or x.dtype not in (np.float16, np.float32, np.float64):
        raise BadInput(
            f"The embeddings of {what} are {x.dtype} {list(x.shape)}.",
            hint="Save them as float16, float32 or float64, [rows, width].",
            key=str(part.file),
        )
    norms = np.empty(len(x), np.float64)
    for start in range(0, len(x), _BLOCK):
        rows = np.asarray(x[start : start + _BLOCK], np.float64)
        norms[start : start + _BLOCK] = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    names = _names(part, what)
    for bad, problem in (
        (~np.isfinite(norms), "is not finite"),
        (norms == 0, "is zero, and has no direction"),
        (norms > np.finfo(np.float32).max, "is too large: its norm is beyond float32"),
    ):
        if bad.any():
            row, more = int(bad.argmax()), int(bad.sum()) - 1
            others = f", and so are {count(more, 'other')}" if more else ""
            raise BadInput(
                f"{what}: the embedding of row {row}{_called(names, row)} {problem}{others}.",
                hint="Leave such rows out, with their labels.",
                key=str(part.file),
                found=row,
            )
    if part.norms is not None:
        norms = _given_norms(part, norms, what)
    return _Checked(part, _ids(part, what), names, norms)


def _names(part: EmbeddingPart, what: str) -> list[str]:
    """Return what the samples are called: as the file says, else by their rows."""
    n, names = len(part.embeddings), part.names
    if names is None and part.samples is not None and part.samples.dtype.kind in "US" and not _are_ids(part.samples):
        names = [s if isinstance(s, str) else s.decode("utf-8", "backslashreplace") for s in part.samples.tolist()]
    if names is not None and len(names) != n:
        raise BadInput(f"{what} has {n} embeddings and {len(names)} names.", hint="Save one a row.", key=str(part.file))
    return names if names is not None else [f"row {i}" for i in range(n)]


def _called(names: Sequence[str], row: int) -> str:
    return "" if names[row] == f"row {row}" else f" ({names[row]})"


def _given_norms(part: EmbeddingPart, found: Float64, what: str) -> Float64:
    """Return the norms that a file gives of embeddings of unit norm."""
    given = np.asarray(part.norms, np.float64)
    if given.shape != found.shape or not np.isfinite(given).all() or (given <= 0).any():
        raise BadInput(f"{what}: the norms are not positive numbers, one a row.", key=str(part.file))
    if np.abs(found - 1).max() > 0.01:
        if np.allclose(found, given, rtol=0.01):  # raw embeddings, with their own norms beside
            return found
        raise BadInput(
            f"{what} has norms, but its embeddings are not of unit norm ({found.min():.3g} to {found.max():.3g}).",
            hint="Save embeddings as they are, without norms; or of unit norm, with their norms before.",
            key=str(part.file),
        )
    return given


def _are_ids(samples: Array) -> bool:
    if samples.dtype == np.uint8:
        return samples.ndim == 2 and samples.shape[1] == 32
    if samples.dtype.kind not in "US" or samples.ndim != 1:
        return False
    texts = [s if isinstance(s, str) else s.decode("latin-1") for s in samples.tolist()]
    return all(re.fullmatch(r"[0-9a-f]{64}", text) for text in texts)


def _ids(part: EmbeddingPart, what: str) -> list[bytes]:
    """Return sample ids: those in the file, or made of the rows.

    Of a row: sha256 of the canonical JSON of its dtype and shape, a line feed, and its values, little-endian.
    """
    n, samples = len(part.embeddings), part.samples
    if samples is not None and _are_ids(samples):
        if len(samples) != n:
            raise BadInput(f"{what} has {n} embeddings and {len(samples)} samples.", key=str(part.file))
        if samples.dtype == np.uint8:
            return [row.tobytes() for row in samples]
        return [bytes.fromhex(s if isinstance(s, str) else s.decode()) for s in samples.tolist()]
    if samples is not None and samples.dtype.kind not in "US":
        raise BadInput(
            f"{what}: samples are {samples.dtype} {list(samples.shape)}.",
            hint="Save sha256 as uint8 [n, 32] or as 64 hexadecimal digits each, or names as texts.",
            key=str(part.file),
        )
    x = part.embeddings
    head = canonical_json({"dtype": x.dtype.name, "shape": [x.shape[1]]}) + b"\n"
    little = x.dtype.newbyteorder("<")
    return [hashlib.sha256(head + np.ascontiguousarray(row, little).tobytes()).digest() for row in x]


def _check_known(index: RowIndex, one: _Checked, stored_dtype: StoredDtype) -> None:
    """Refuse rows that the file, or the store under that version, has with another embedding."""
    first: dict[bytes, int] = {}
    again = [(row, first[i]) for row, i in enumerate(one.ids) if first.setdefault(i, row) != row]
    for row, before in again:
        if not np.array_equal(one.part.embeddings[row], one.part.embeddings[before]):
            raise BadInput(
                f"{one.part.file}: rows {before} and {row} have one sample id and different embeddings.",
                hint="Give every sample one id, or leave samples out.",
                key=str(one.part.file),
            )
    there = np.flatnonzero(index.find(one.ids) >= 0)
    for start in range(0, len(there), _BLOCK):
        rows = there[start : start + _BLOCK]
        known = index.gather([one.ids[i] for i in rows.tolist()])
        unit = _unit(one, rows)
        same_width = known.embeddings.shape[1] == unit.shape[1]
        apart = np.abs(known.embeddings.astype(np.float64) - unit).max(axis=1) if same_width else np.ones(len(rows))
        norms_apart = np.abs(known.norms / one.norms[rows] - 1)
        if (differ := (apart > _NEAR[stored_dtype]) | (norms_apart > 1e-3)).any():
            row = int(rows[int(differ.argmax())])
            raise Conflict(
                f"{one.part.file}: row {row}{_called(one.names, row)} is in the store with another embedding of the "
                "same model and version.",
                hint="Give another --model-version: what is stored never changes.",
                key=one.ids[row].hex(),
            )


def _unit(one: _Checked, rows: Any) -> Float64:
    x = np.asarray(one.part.embeddings[rows], np.float64)
    unit: Float64 = x / np.sqrt(np.einsum("nd,nd->n", x, x))[:, None]
    return unit


@dataclass(frozen=True)
class _Run:
    """The sets of one call."""

    store: Store
    index: RowIndex
    spec: EncoderSpec
    model: str
    dataset: str
    me: Maker
    reporter: Reporter

    def seal(self, split: str, one: _Checked, labels: Targets, classes: Sequence[str]) -> AddedSet:
        """Write the rows that the store lacks, seal and name the set."""
        new = self._write(one, split)
        ids = one.ids
        spec = DatasetSpec(
            samples=samples_digest(ids, labels),
            rows=len(ids),
            classes=tuple(classes),
            split=split,
            multilabel=labels.ndim == 2,
        )
        name = Name(
            model=self.model,
            dataset=self.dataset,
            split=split,
            tap=self.spec.tap,
            stored_dtype=self.spec.stored_dtype,
        )
        feature_set, _ = self.store.seal(
            self.index,
            encoder=self.spec.written,
            dataset=spec.written,
            ids=ids,
            labels=labels,
            chunk_rows=UNIT_ROWS,
            provenance=provenance(("numpy",), name=name.model_dump(mode="json"), added=str(one.part.file)),
        )
        self.store.name(NamedSet.of(feature_set.manifest, name, time.time_ns() // 1_000_000, self.me))
        self.store.name_samples(feature_set, one.names)
        return AddedSet(feature_set.id, split, feature_set.rows, feature_set.dim, len(classes), new, str(one.part.file))

    def _write(self, one: _Checked, split: str) -> int:
        """Seal the rows that the store lacks as units; return how many they are."""
        at = {i: row for row, i in reversed(list(enumerate(one.ids)))}
        lacking = list(dict.fromkeys(self.index.missing(one.ids)))
        with self.reporter.task(f"{self.dataset} {split}", len(lacking), "objects"):
            for start in range(0, len(lacking), UNIT_ROWS):
                ids = lacking[start : start + UNIT_ROWS]
                rows = np.array([at[i] for i in ids])
                unit = _unit(one, rows).astype(self.spec.stored_dtype)
                content = Rows(sample_array(ids), unit, one.norms[rows].astype(np.float32))
                self.index.add(self.store.write_unit(self.index.encoder_id, content))
                self.reporter.advance(len(ids))
        return len(lacking)
