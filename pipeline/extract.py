"""`extract`: run an encoder over a data set once, and keep the embeddings in a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..amounts import count
from ..errors import BadInput, Conflict, CryoprobeError, ReadOnly
from ..progress import Reporter
from ..stores import layout
from ..stores.feature_set import FeatureSet
from ..stores.manifest import FailedSample
from ..stores.names import Name, NamedSet
from ..stores.origins import Origin
from ..stores.rows import Withdrawn
from ..stores.sample_index import SampleIndex, fingerprint
from ..stores.store import Store, open_store
from .datasets import as_dataset, is_listed, is_own, limit_split, load_dataset
from .datasets.base import Dataset, Labels, Noting, Split
from .encoders import as_encoder, load_encoder
from .encoders.allocator import release_memory
from .encoders.base import Encoder
from .encoding import default_batch
from .explain import explain_dataset, explain_encoder
from .extracted import ExtractedSet
from .extraction import Settings, SplitExtraction
from .health import SharedEmbeddings, find_shared, recorded
from .meaning import encoder_view
from .options import check_ranges
from .planning import Target
from .provenance import provenance
from .specs import DatasetSpec, StoredDtype, samples_digest

UNIT_ROWS = 4096
_MOST_WITHDRAWALS = 8
"""How often in a row an extraction may find that rows which it reuses were removed."""
_PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow", "zarr")
"""Whose versions are recorded with a set."""


@dataclass(frozen=True)
class _Request:
    """The options that become part of a set's name or of how the run goes."""

    settings: Settings
    model: str
    stored_dtype: StoredDtype
    image_size: int | None
    limit: int | None
    limit_seed: int | None
    listed_again: bool


@dataclass(frozen=True)
class _Content:
    """What a split amounts to, once its samples are known: the rows that it has for any encoder."""

    spec: DatasetSpec
    ids: list[bytes]
    labels: Labels
    failed: list[FailedSample]
    name_of: Callable[[int], str]


def extract(
    model: str | Encoder,
    dataset: str | Dataset,
    store: str | Path | Store,
    *,
    splits: Sequence[str] | str = (),
    taps: Sequence[str] | str = (),
    checkpoint: str | Path | None = None,
    image_size: int | None = None,
    precision: str = "fp32",
    untrained: bool = False,
    seed: int = 0,
    limit: int | None = None,
    limit_seed: int = 0,
    layout: str | None = None,
    ignore: Sequence[str] | str = (),
    data_root: str | Path | None = None,
    download: bool = False,
    stored_dtype: StoredDtype = "float16",
    unit_rows: int = UNIT_ROWS,
    max_bad: int = 0,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    rehash: bool = False,
    reporter: Reporter | None = None,
) -> list[ExtractedSet]:
    """Encode what the store lacks of a data set, and seal one feature set per split and tap.

    Parameters
    ----------
    model : str or Encoder
        Such as ``open_clip:ViT-B-32/openai``, ``timm:vit_small_patch14_dinov2`` or ``quickstart:efficientnet_lite0``.
    dataset : str or Dataset
        Such as ``folder:PATH``, ``csv:FILE`` or ``torchvision:CIFAR100``.
    store : str, Path or Store
        Made if there is none.
    splits : sequence of str
        All that the data set has, by default.
    taps : sequence of str
        Where to read the encoder; its default tap by default. Several are filled in one pass over the images.
    checkpoint : Path, optional
        Weights to load; never unpickled.
    image_size : int, optional
        Side of the input in pixels, instead of what the model prescribes.
    precision : str
    untrained, seed : bool, int
        Random weights, and their seed.
    limit, limit_seed : int, optional
        A seeded class-balanced subset of each split.
    layout : {"class", "split"}, optional
        What the top folders of ``folder:PATH`` are; see `load_dataset`.
    ignore : sequence of str
        Patterns of files and folders of ``folder:PATH`` to leave out.
    data_root, download : Path, bool
        For torchvision's data sets.
    stored_dtype : {"float16", "float32"}
    unit_rows : int
        Rows in a unit of work, which is what a crash can cost.
    max_bad : int
        Samples that may fail.
    batch_size, workers, device
        How to run. The batch is that of `encoding` by default.
    rehash : bool
        Read every file, whatever the sample index says.
    reporter : Reporter, optional

    Returns
    -------
    list of ExtractedSet
        In the order of the splits, and of the taps within each.

    Raises
    ------
    BadInput, NotFound, Conflict, ReadOnly, Unavailable, Corrupt
    """
    check_ranges(
        ("unit-rows", unit_rows, 1),
        ("batch-size", batch_size, 1),
        ("workers", workers, 1),
        ("max-bad", max_bad, 0),
        ("limit", limit, 1),
        ("limit-seed", limit_seed, 0),
        ("seed", seed, 0),
    )
    if stored_dtype not in ("float16", "float32"):
        raise BadInput(f"Embeddings are stored as float16 or float32, not {stored_dtype}.", key="stored-dtype")
    reporter = reporter or Reporter()
    splits = [splits] if isinstance(splits, str) else splits
    taps = [taps] if isinstance(taps, str) else taps
    checkpoint = None if checkpoint is None else Path(checkpoint)
    data_root = None if data_root is None else Path(data_root)
    ignore = [ignore] if isinstance(ignore, str) else ignore
    data = dataset
    if isinstance(data, str):
        data = load_dataset(data, data_root=data_root, download=download, layout=layout, ignore=ignore)
    else:
        data = as_dataset(data)
        options = {"layout": layout, "ignore": ignore, "data_root": data_root, "download": download}
        if given := [what for what, value in options.items() if value]:
            raise BadInput(f"{given[0]} is for data sets that are named.", hint="Give it to load_dataset.")
    parts = [data.split(name) for name in splits or data.splits]
    for note in data.notes() if isinstance(data, Noting) else ():
        reporter.note(note)
    for part in parts:
        _check_labels(part, data.name)
    states = [fingerprint(part.sources) for part in parts]  # before anything is read
    if limit is not None:
        parts = [limit_split(part, limit, limit_seed) for part in parts]
    if isinstance(model, str):
        encoder = load_encoder(
            model,
            taps=taps,
            checkpoint=checkpoint,
            image_size=image_size,
            precision=precision,
            untrained=untrained,
            seed=seed,
            device=device,
        )
    else:
        encoder = as_encoder(model)
        asked: dict[str, Any] = {"taps": taps, "checkpoint": checkpoint, "image_size": image_size, "seed": seed}
        asked |= {"untrained": untrained, "precision": precision != "fp32", "device": device != "auto"}
        if given := [what for what, value in asked.items() if value]:
            raise BadInput(
                f"{given[0]} is for encoders that are named, and {encoder.name} is loaded already.",
                hint="Give it to what made the encoder, such as load_encoder.",
                key=given[0],
            )
    opened = open_store(store, create=True)
    batch_size = batch_size or default_batch(encoder)
    settings = Settings(batch_size, workers or min(8, os.cpu_count() or 1), unit_rows, max_bad)
    called = dataset if isinstance(dataset, str) and is_own(dataset) else data.name
    request = _Request(
        settings,
        model if isinstance(model, str) else encoder.name,
        stored_dtype,
        image_size,
        limit,
        None if limit is None else limit_seed,
        listed_again=is_listed(data.name) and layout is None and not ignore,
    )

    specs = [encoder.spec(tap, stored_dtype) for tap in encoder.taps]
    targets = [Target(spec, spec.id, opened.rows_of(spec.id)) for spec in specs]
    for target in targets:
        if not len(target.index) and (why := explain_encoder(opened, target.spec)):
            reporter.note(why)
    samples = SampleIndex(trust=not rehash)
    try:
        return [
            extracted
            for part, state in zip(parts, states, strict=True)
            for extracted in _extract_split(part, state, called, encoder, targets, opened, samples, request, reporter)
        ]
    finally:
        samples.close()
        release_memory()


def _check_labels(part: Split, dataset: str) -> None:
    """Refuse labels of somebody's own data set that no set can hold, before anything is written."""
    labels, n = part.labels, len(part.classes)
    one = labels.ndim == 1 and labels.dtype == np.int64 and bool(((labels >= 0) & (labels < n)).all())
    flags = labels.ndim == 2 and labels.dtype == np.uint8 and labels.shape[1] == n
    if not (one or flags) or len(labels) != len(part):
        form = f"{labels.dtype} {list(labels.shape)}"
        raise BadInput(
            f"The labels of {dataset} ({part.name}) are {form}; it has {len(part)} samples and {n} classes.",
            hint="Labels are int64 [n], places in the list of classes, or uint8 flags [n, classes].",
            key=dataset,
        )


def _extract_split(
    split: Split,
    state: bytes,
    dataset: str,
    encoder: Encoder,
    targets: Sequence[Target],
    store: Store,
    samples: SampleIndex,
    request: _Request,
    reporter: Reporter,
) -> list[ExtractedSet]:
    """Encode what is missing of one split, then seal and name a set for each target."""
    started = time.monotonic()
    for _ in range(_MOST_WITHDRAWALS):
        try:
            extracted = _extract_once(split, state, dataset, encoder, targets, store, samples, request, reporter)
        except Withdrawn:
            reporter.note("Rows were removed from the store meanwhile; looking again.")
            for target in targets:
                target.index.refresh()
        else:
            seconds = round(time.monotonic() - started, 3)
            return [replace(e, seconds=seconds) for e in extracted]
    raise Conflict(
        f"Rows are removed from {store.url} again and again as they are used.",
        hint="Is somebody running rm or gc? Run the same command again: what is sealed is kept.",
        key=dataset,
    )


def _extract_once(
    split: Split,
    state: bytes,
    dataset: str,
    encoder: Encoder,
    targets: Sequence[Target],
    store: Store,
    samples: SampleIndex,
    request: _Request,
    reporter: Reporter,
) -> list[ExtractedSet]:
    if not len(split):
        raise BadInput(f"Split {split.name!r} of {dataset} has no samples.", key=dataset)
    reporter.begin(f"{dataset} {split.name}", len(split))
    try:
        run = SplitExtraction(
            split, encoder, targets, store=store, samples=samples, settings=request.settings, reporter=reporter
        )
        ids = run.run()
    finally:
        reporter.end()
    content = _content(split, ids, run.failed)
    for note in _unused(targets, store) if run.encoded else ():
        reporter.note(note)
    extracted = []
    for target in targets:
        name = _name(encoder, dataset, split.name, target, request)
        shared = _shared(target, content, store)
        remark = shared.remark(split.name, [content.name_of(row) for row in shared.example])
        if remark is not None:
            reporter.note(remark)
        feature_set = _seal(target, content, name, encoder, store, request, run.encoded, shared, reporter)
        extracted.append(
            ExtractedSet(
                set=feature_set.id,
                split=split.name,
                tap=target.spec.tap,
                rows=feature_set.rows,
                dim=feature_set.dim,
                encoded=run.encoded,
                reused=feature_set.rows - run.encoded,
                failed=len(content.failed),
                sealed=True,
                seconds=0.0,
                shared=shared.shared,
                remarks=() if remark is None else (remark,),
            )
        )
    # A folder without options is listed again by stat calls; all else had to be opened, which `probe` must not do.
    for view in (name.view, *(encoder_view(name, target.encoder_id) for target in targets)):
        samples.record_view(view, split.sources, state, content.spec.id, keep=not request.listed_again)
    return extracted


def _unused(targets: Sequence[Target], store: Store) -> Iterator[str]:
    """Say which rows of the encoder the store has and does not use, since they are not trusted."""
    unused: dict[Origin, int] = {}
    for target in targets:
        for origin, n in target.index.unused.items():
            unused[origin] = unused.get(origin, 0) + n
    for origin, n in unused.items():
        yield (
            f"{count(n, 'row')} of this encoder from {origin.place} {'is' if n == 1 else 'are'} not used, since that "
            f"is not trusted. To trust it: {origin.remedy(store.url)}"
        )


def _content(split: Split, ids: Sequence[bytes | None], failures: Mapping[int, FailedSample]) -> _Content:
    """Leave out the samples that failed; describe the rest."""
    rows = [row for row in range(len(split)) if row not in failures]
    kept = [i for row, i in enumerate(ids) if i is not None and row not in failures]
    labels = split.labels[np.asarray(rows, np.int64)]
    failed = [f for _, f in sorted(failures.items())]
    spec = DatasetSpec(
        samples=samples_digest(kept, labels),
        rows=len(kept),
        classes=split.classes,
        split=split.name,
        multilabel=labels.ndim == 2,
        failed=tuple(sorted(f.sample or "" for f in failed)),
    )
    return _Content(spec, kept, labels, failed, lambda position: split.describe(rows[position]))


def _shared(target: Target, content: _Content, store: Store) -> SharedEmbeddings:
    """Count the different images with one embedding; where the store has the set already, as it was counted then."""
    set_ = layout.set_id(target.encoder_id, content.spec.id)
    with suppress(CryoprobeError):  # there is none yet, or it is damaged and will be made again
        manifest = store.open(set_).manifest
        known = recorded(manifest.provenance.get("shared_embeddings"), manifest.rows)
        if known is not None:
            return known
    return find_shared(target.index, content.ids)


def _name(encoder: Encoder, dataset: str, split: str, target: Target, request: _Request) -> Name:
    return Name(
        model=request.model,
        dataset=dataset,
        split=split,
        tap=target.spec.tap,
        image_size=request.image_size,
        limit=request.limit,
        limit_seed=request.limit_seed,
        precision=target.spec.precision,
        stored_dtype=request.stored_dtype,
        untrained=encoder.untrained,
        seed=encoder.seed,
        checkpoint=encoder.checkpoint_sha256,
    )


def _seal(
    target: Target,
    content: _Content,
    name: Name,
    encoder: Encoder,
    store: Store,
    request: _Request,
    encoded: int,
    shared: SharedEmbeddings,
    reporter: Reporter,
) -> FeatureSet:
    """Seal the set of one target, give it its name, and say how it differs from the one that had the name before."""
    earlier = store.find(**name.model_dump())
    feature_set, new = store.seal(
        target.index,
        encoder=target.spec.written,
        dataset=content.spec.written,
        ids=content.ids,
        labels=content.labels,
        failed=content.failed,
        chunk_rows=request.settings.unit_rows,
        provenance={
            **provenance(_PACKAGES),
            "name": name.model_dump(mode="json"),
            "batch_size": request.settings.batch_size,
            "workers": request.settings.workers,
            "device": str(encoder.device),
            "encoded": encoded,
            "shared_embeddings": shared.model_dump(mode="json"),
        },
    )
    before = next((n.set for n in earlier if n.encoder == target.encoder_id and n.set != feature_set.id), None)
    if new and before is not None:
        with suppress(CryoprobeError):  # an explanation is a courtesy: what is damaged is reported where it is used
            why = explain_dataset(store.open(before), content.spec, content.ids, content.labels, name.split)
            if why:
                reporter.note(why)
    named = NamedSet(
        name=name,
        set=feature_set.id,
        encoder=target.encoder_id,
        rows=feature_set.rows,
        dim=feature_set.dim,
        failed=len(content.failed),
        size=feature_set.manifest.size,
        named=time.time_ns() // 1_000_000,
    )
    if feature_set.home != store.url:
        reporter.note(
            f"set {feature_set.id[:12]} is in {feature_set.home}, and nothing of it is in {store.url}: read both, or "
            f"cryoprobe pull {feature_set.home} {feature_set.id[:12]} --store {store.url}"
        )
    try:
        store.name(named)
    except ReadOnly:
        if not any((n.name, n.set) == (name, feature_set.id) for n in earlier):
            raise
    return feature_set
