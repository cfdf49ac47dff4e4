"""`add`: embeddings that were computed elsewhere become feature sets, which are probed by name like any other.

An encoder that nobody can run is known by what is declared: its name and version. Without a version, the content of the
files stands for it: then all files that belong together are given in one call.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ..amounts import count
from ..arrays import Targets
from ..canonical import digest
from ..errors import BadInput, Conflict
from ..progress import Reporter
from ..reporting import reporter_for
from ..stores.format.names import Maker, Name, NamedSet
from ..stores.local.sample_index import SampleIndex
from ..stores.opening import open_store
from ..stores.store import RowIndex, Rows, Store, sample_array
from .adding.embedding_files import read_embeddings
from .adding.rows import AddedRows, check_known, check_together, checked_rows, unit_rows
from .datasets.label_arrays import read_labels
from .datasets.own import checked_name
from .encoders.registry import FAMILIES
from .keywords import check_names, read, takes
from .makers import this_machine
from .option_values import several
from .options import UNIT_ROWS, AddArguments, AddOptions
from .provenance import provenance
from .specs import ADDED, ADDED_TAP, DatasetSpec, EncoderSpec, Preprocessing, StoredDtype, samples_digest


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


@takes(AddArguments, AddOptions)
def add(
    files: str | Path | Sequence[str | Path],
    store: str | Path | Store,
    *,
    model: str,
    dataset: str,
    progress: bool = True,
    reporter: Reporter | None = None,
    **options: Unpack[AddArguments],
) -> list[AddedSet]:
    """Add embeddings from files to a store, as a feature set for each split.

    Parameters
    ----------
    files : str, Path, or several
        ``.npz``, ``.safetensors``, ``.parquet`` or ``.npy``; see `pipeline.adding.embedding_files`.
    store : str, Path or Store
        Made if there is none.
    model, dataset : str
        What they are to be called; `probe` finds them by these names.
    progress : bool
        Print what is done on a terminal or in a notebook.
    reporter : Reporter, optional
        Takes the progress instead.
    **options
        ``split``, ``model_version``, ``labels`` and ``stored_dtype``: see `AddOptions`.

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
    check_names("add", options, AddOptions)
    asked, reporter = read(AddOptions, options), reporter_for(progress, reporter)
    paths, label_files = [Path(file) for file in several(files)], list(asked.labels)
    if not paths:
        raise BadInput("There are no files to add.", hint="Name at least one.", key="files")
    _check_names(model, dataset)
    parts = read_embeddings(paths, list(asked.split), label_files)
    checked = {name: checked_rows(name, part) for name, part in parts.items()}
    known = {part.classes for part in parts.values()}
    if len(known) > 1:
        raise BadInput("The files have different lists of classes.", hint="Save the same list in all.", key="classes")
    found = read_labels({name: part.labels for name, part in parts.items()}, known.pop(), str(paths[0]))
    for note in found.notes:
        reporter.note(note)
    for name, part in parts.items():
        if len(found.labels[name]) != len(part.embeddings):
            raise BadInput(
                f"{part.file} ({name}) has {len(part.embeddings)} embeddings and {len(found.labels[name])} labels.",
                hint="Save one label a row.",
                key=str(part.file),
            )
    check_together(list(checked.values()), asked.stored_dtype)
    spec = _encoder(model, asked.model_version, [*paths, *label_files], asked.stored_dtype)
    opened = open_store(store, create=True)
    _check_versions(opened, model, asked.model_version, spec, reporter)
    index = opened.rows_of(spec.id)
    for name, one in checked.items():
        check_known(index, one, asked.stored_dtype)
        if again := len(one.ids) - len(set(one.ids)):
            reporter.note(f"{again:,} of {count(len(one.ids), 'row')} of {name} repeat the sample of another row")
    with closing(SampleIndex()) as samples:
        me = this_machine(samples)
    run = _Run(opened, index, spec, model, asked.model_version, dataset, me, reporter)
    return [run.seal(name, one, found.labels[name], found.classes) for name, one in checked.items()]


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


@dataclass(frozen=True)
class _Run:
    """The sets of one call."""

    store: Store
    index: RowIndex
    spec: EncoderSpec
    model: str
    version: str | None
    dataset: str
    me: Maker
    reporter: Reporter

    def seal(self, split: str, one: AddedRows, labels: Targets, classes: Sequence[str]) -> AddedSet:
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
            model_version=self.version,
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

    def _write(self, one: AddedRows, split: str) -> int:
        """Seal the rows that the store lacks as units; return how many they are."""
        at = {i: row for row, i in reversed(list(enumerate(one.ids)))}
        lacking = list(dict.fromkeys(self.index.missing(one.ids)))
        with self.reporter.task(f"{self.dataset} {split}", len(lacking), "objects"):
            for start in range(0, len(lacking), UNIT_ROWS):
                ids = lacking[start : start + UNIT_ROWS]
                rows = np.array([at[i] for i in ids])
                unit = unit_rows(one, rows).astype(self.spec.stored_dtype)
                content = Rows(sample_array(ids), unit, one.norms[rows].astype(np.float32))
                self.index.add(self.store.write_unit(self.index.encoder_id, content))
                self.reporter.advance(len(ids))
        return len(lacking)
