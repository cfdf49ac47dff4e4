"""`extract`: run an encoder over a data set once, and keep the embeddings in a store."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from ..stores.names import Name, NamedSet
from ..stores.sample_index import SampleIndex
from ..stores.store import Store, open_store
from .datasets import limit_split, load_dataset
from .datasets.base import Dataset, Split
from .encoders import load_encoder
from .encoders.base import Encoder
from .explain import explain_dataset, explain_encoder
from .extraction import Settings, SplitExtraction, Target
from .progress import Reporter
from .specs import DatasetSpec, StoredDtype, samples_digest

UNIT_ROWS = 4096
BATCH_SIZE = 64


@dataclass(frozen=True)
class ExtractedSet:
    """One feature set that `extract` made or found.

    Parameters
    ----------
    set : str
        Its id.
    split, tap : str
    rows, dim : int
        Shape of the embeddings.
    encoded : int
        Images that this run encoded for it (with several taps, in one pass for all of them).
    reused : int
        Rows that the store had, or that repeat another row's image.
    failed : int
        Samples without a row.
    sealed : bool
        Always true: the set can be read.
    seconds : float
    """

    set: str
    split: str
    tap: str
    rows: int
    dim: int
    encoded: int
    reused: int
    failed: int
    sealed: bool
    seconds: float


@dataclass(frozen=True)
class _Request:
    """The options that become part of a set's name or of how the run goes."""

    settings: Settings
    stored_dtype: StoredDtype
    image_size: int | None
    precision: str
    limit: int | None
    limit_seed: int


def extract(
    model: str | Encoder,
    dataset: str | Dataset,
    store: str | Path | Store,
    *,
    splits: Sequence[str] = (),
    taps: Sequence[str] = (),
    checkpoint: Path | None = None,
    image_size: int | None = None,
    precision: str = "fp32",
    untrained: bool = False,
    seed: int = 0,
    limit: int | None = None,
    limit_seed: int = 0,
    data_root: Path | None = None,
    download: bool = False,
    stored_dtype: StoredDtype = "float16",
    unit_rows: int = UNIT_ROWS,
    max_bad: int = 0,
    batch_size: int = BATCH_SIZE,
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
    data_root, download : Path, bool
        For torchvision's data sets.
    stored_dtype : {"float16", "float32"}
    unit_rows : int
        Rows in a unit of work, which is what a crash can cost.
    max_bad : int
        Samples that may fail.
    batch_size, workers, device
        How to run.
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
    for name, value, least in (("unit-rows", unit_rows, 1), ("batch-size", batch_size, 1), ("max-bad", max_bad, 0)):
        if value < least:
            raise BadInput(f"--{name} must be {least} or more, not {value}.", key=name)
    if stored_dtype not in ("float16", "float32"):
        raise BadInput(f"Embeddings are stored as float16 or float32, not {stored_dtype}.", key="stored-dtype")
    reporter = reporter or Reporter()
    data = load_dataset(dataset, data_root=data_root, download=download) if isinstance(dataset, str) else dataset
    parts = [data.split(name) for name in splits or data.splits]
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
        encoder = model
    opened = store if isinstance(store, Store) else open_store(store, create=True)
    settings = Settings(batch_size, workers or min(8, os.cpu_count() or 1), unit_rows, max_bad)
    request = _Request(settings, stored_dtype, image_size, precision, limit, limit_seed)

    specs = [encoder.spec(tap, stored_dtype) for tap in encoder.taps]
    targets = [Target(spec, spec.id, opened.rows_of(spec.id)) for spec in specs]
    for target in targets:
        if not len(target.index) and (why := explain_encoder(opened, target.spec)):
            reporter.note(why)
    samples = SampleIndex(trust=not rehash)
    try:
        return [
            extracted
            for part in parts
            for extracted in _extract_split(part, data.name, encoder, targets, opened, samples, request, reporter)
        ]
    finally:
        samples.close()


def summary(sets: Sequence[ExtractedSet]) -> dict[str, Any]:
    """Return what `extract` did as one JSON object.

    ``set`` and ``dim`` are those of the first set; counts and seconds are summed over the splits, images that were
    encoded for several taps counting once; ``sets`` has each set by itself.
    """
    per_split = list({s.split: s for s in reversed(sets)}.values())
    return {
        "set": sets[0].set,
        "rows": sum(s.rows for s in per_split),
        "dim": sets[0].dim,
        "encoded": sum(s.encoded for s in per_split),
        "reused": sum(s.reused for s in per_split),
        "failed": sum(s.failed for s in per_split),
        "sealed": all(s.sealed for s in sets),
        "seconds": round(sum(s.seconds for s in per_split), 3),
        "sets": [asdict(s) for s in sets],
    }


def _extract_split(
    split: Split,
    dataset: str,
    encoder: Encoder,
    targets: Sequence[Target],
    store: Store,
    samples: SampleIndex,
    request: _Request,
    reporter: Reporter,
) -> list[ExtractedSet]:
    started = time.monotonic()
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
    keep = [row for row in range(len(split)) if row not in run.failed]
    kept: list[bytes] = [i for row, i in enumerate(ids) if i is not None and row not in run.failed]
    labels = split.labels[np.asarray(keep, np.int64)]
    failed = [f for _, f in sorted(run.failed.items())]
    spec = DatasetSpec(
        samples=samples_digest(kept, labels),
        rows=len(kept),
        classes=split.classes,
        split=split.name,
        multilabel=labels.ndim == 2,
        failed=tuple(sorted(f.sample or "" for f in failed)),
    )
    limited = request.limit is not None
    extracted = []
    for target in targets:
        name = Name(
            model=encoder.name,
            dataset=dataset,
            split=split.name,
            tap=target.spec.tap,
            image_size=request.image_size,
            limit=request.limit,
            limit_seed=request.limit_seed if limited else None,
            precision=request.precision,
            stored_dtype=request.stored_dtype,
            untrained=encoder.untrained,
            seed=encoder.seed,
            checkpoint=encoder.checkpoint_sha256,
        )
        earlier = store.find(**name.model_dump())
        feature_set, new = store.seal(
            target.index,
            encoder=target.spec.model_dump(mode="json"),
            dataset=spec.model_dump(mode="json"),
            ids=kept,
            labels=labels,
            failed=failed,
            chunk_rows=request.settings.unit_rows,
            provenance=_provenance(name, encoder, request, run.encoded),
        )
        comparable = [n for n in earlier if n.encoder == target.encoder_id and n.set != feature_set.id]
        if new and comparable:
            why = explain_dataset(store.open(comparable[0].set), spec, kept, labels, split.name)
            if why:
                reporter.note(why)
        store.name(
            NamedSet(
                name=name,
                set=feature_set.id,
                encoder=target.encoder_id,
                rows=feature_set.rows,
                dim=feature_set.dim,
                failed=len(failed),
                size=feature_set.manifest.size,
                named=time.time_ns() // 1_000_000,
            )
        )
        extracted.append(
            ExtractedSet(
                set=feature_set.id,
                split=split.name,
                tap=target.spec.tap,
                rows=feature_set.rows,
                dim=feature_set.dim,
                encoded=run.encoded,
                reused=feature_set.rows - run.encoded,
                failed=len(failed),
                sealed=True,
                seconds=0.0,
            )
        )
    samples.record_view(name.view, split.sources, spec.id, keep=split.path(0) is None)
    seconds = round(time.monotonic() - started, 3)
    return [replace(e, seconds=seconds) for e in extracted]


def _provenance(name: Name, encoder: Encoder, request: _Request, encoded: int) -> dict[str, Any]:
    """Return who, when, where and with what. Integers and strings only, so that any language hashes it alike."""
    versions = {"python": platform.python_version()}
    for package in ("cryoprobe", "torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow", "zarr"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    user = None
    with suppress(KeyError, OSError):  # a container may run as a user that has no name
        user = getpass.getuser()
    return {
        "name": name.model_dump(mode="json"),
        "created": time.time_ns() // 1_000_000,
        "host": socket.gethostname(),
        "user": user,
        "versions": versions,
        "batch_size": request.settings.batch_size,
        "workers": request.settings.workers,
        "device": str(getattr(encoder, "device", "unknown")),
        "encoded": encoded,
    }
