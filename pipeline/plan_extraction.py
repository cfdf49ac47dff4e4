"""`plan_extraction`: what `extract` would do, without doing it. Nothing is written to the store."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ..arrays import Mask, SampleIds
from ..errors import CryoprobeError, NotFound
from ..progress import Reporter
from ..reporting import reporter_for
from ..stores.local.looks import Look
from ..stores.local.sample_index import SampleIndex
from ..stores.opening import open_store
from ..stores.store import Store
from .datasets.base import Dataset, Split
from .defaults import with_defaults
from .encoders.base import Encoder
from .extraction.content import spec_of
from .extraction.hits import identify_all
from .extraction.opening import open_data
from .extraction.plan import ExtractionPlan, PlannedSet
from .extraction.promise import OtherEncoder, Promise
from .extraction.sealed import about_failed, among, sealed_set
from .keywords import check_names, read, takes
from .options import EngineOptions, ExtractArguments, ExtractionOptions, ExtractRunOptions
from .specs import EncoderSpec

_FEW = 100
"""Images of which a speed is not believed: loading and warming up took most of the time."""
_ROW_BYTES = 32 + 4
"""Of a sample id and a norm."""


@takes(ExtractArguments, ExtractionOptions, ExtractRunOptions, EngineOptions)
def plan_extraction(
    model: str | Encoder,
    dataset: str | Dataset,
    store: str | Path | Store,
    *,
    progress: bool = True,
    reporter: Reporter | None = None,
    **options: Unpack[ExtractArguments],
) -> ExtractionPlan:
    """Say what `extract` with the same arguments would do.

    Files that the sample index does not know are read and hashed, which it remembers. Of the encoder no more is loaded
    than is needed to know who it is, and how long its embeddings are.

    Parameters
    ----------
    model, dataset, store, progress, reporter, **options
        As of `extract`. A store that is not there is not made.

    Returns
    -------
    ExtractionPlan

    Raises
    ------
    BadInput, NotFound, Unavailable, Corrupt
    """
    check_names("plan_extraction", options, ExtractionOptions, ExtractRunOptions, EngineOptions)
    read(EngineOptions, options)  # makes no difference here, but must be right
    reporter = reporter_for(progress, reporter)
    told = with_defaults(options, model, reporter)
    asked, running = read(ExtractionOptions, told), read(ExtractRunOptions, told)
    data = open_data(dataset, asked, reporter)
    promise = Promise(model, asked, running, reporter, trust=not running.rehash)
    opened = _opened(store)
    samples = SampleIndex(trust=not running.rehash)
    try:
        common = _Planning(promise, opened, samples, running, asked, reporter)
        splits = zip(data.parts, data.looks, strict=True)
        planned = [p for split, look in splits for p in _planned(split, look, common)]
    finally:
        samples.close()
    return ExtractionPlan(tuple(planned))


@dataclass(frozen=True)
class _Planning:
    """What all splits have in common."""

    promise: Promise
    store: Store | None
    samples: SampleIndex
    running: ExtractRunOptions
    asked: ExtractionOptions
    reporter: Reporter
    to_encode: set[bytes] = field(default_factory=set)
    """Sample ids that an earlier split has let be encoded."""

    @property
    def specs(self) -> list[EncoderSpec]:
        return self.promise.known.stored_as(self.asked.stored_dtype)

    def open(self) -> Encoder:
        with suppress(OtherEncoder):  # what is planned is planned for the one that there is
            return self.promise.open()
        return self.promise.open()


def _opened(store: str | Path | Store) -> Store | None:
    try:
        return open_store(store)
    except NotFound:
        return None


def _planned(split: Split, look: Look, common: _Planning) -> list[PlannedSet]:
    """Plan one split, for each tap."""
    common.reporter.begin(f"{split.name}: identify", len(split))
    try:
        with ThreadPoolExecutor(common.running.threads, thread_name_prefix="cryoprobe-load") as pool:
            found = identify_all(split, look, common.samples, pool, common.reporter)
    finally:
        common.reporter.end()
    if found.read:
        common.reporter.note(f"{split.name}: {found.read} files were read, which the sample index did not know.")
    known = found.known
    ids = known.ids[known.there]
    first = np.unique(ids.view("V32").ravel(), return_index=True)[1] if len(ids) else np.empty(0, np.int64)
    different = ids[first]
    there = [_there(common.store, spec.id, different) for spec in common.specs]
    sealed = [None if common.store is None else sealed_set(common.store, spec, split, known) for spec in common.specs]
    failed = [() if kept is None else kept.manifest.failed for kept in sealed]
    bad = [among(different, of) for of in failed]
    done = np.logical_and.reduce([has | hopeless for (_, has), hopeless in zip(there, bad, strict=True)])
    missing = {i.tobytes() for i in different[~done]} - common.to_encode
    common.to_encode.update(missing)
    speed = _speed(common, bool(missing))
    unreadable = int((~known.there).sum())
    labels = split.labels
    label_bytes = 8 if labels.ndim == 1 else labels.shape[1]
    dataset = None if unreadable else spec_of(split, ids, labels)
    planned = []
    for spec, (own, has), kept, of, hopeless in zip(common.specs, there, sealed, failed, bad, strict=True):
        made = _set_id(spec, dataset.id) if dataset is not None else None
        without = int(among(ids, of).sum())
        if kept is not None and of:
            common.reporter.note(about_failed(split, kept))
        dim = _dim(common, spec, bool(has.any()))
        width = dim * (2 if spec.stored_dtype == "float16" else 4) + _ROW_BYTES + label_bytes
        planned.append(
            PlannedSet(
                set=made if kept is None else kept.id,
                split=split.name,
                tap=spec.tap,
                sealed=kept is not None,
                samples=len(split),
                there=int(own.sum()),
                elsewhere=int((has & ~own).sum()),
                encode=int((~(has | hopeless)).sum()),
                images=len(missing),
                duplicates=len(ids) - without - int((~hopeless).sum()),
                unreadable=unreadable,
                read=found.read,
                failed=without,
                bytes=(len(ids) - without) * width,
                images_per_second=speed,
                seconds=0.0 if not missing else None if speed is None else round(len(missing) / speed, 1),
            )
        )
    return planned


def _set_id(spec: EncoderSpec, dataset_id: str) -> str:
    from ..stores.store import set_id

    return set_id(spec.id, dataset_id)


def _there(store: Store | None, encoder_id: str, ids: SampleIds) -> tuple[Mask, Mask]:
    """Return which of the samples the store itself has, and which it or a store that it reads from."""
    nothing = np.zeros(len(ids), bool)
    if store is None or not len(ids):
        return nothing, nothing
    has = store.rows_of(encoder_id).has(ids)
    own = nothing
    with suppress(NotFound):  # an upper store that is still to be made
        own = has if (upper := store.own) is store else upper.rows_of(encoder_id).has(ids)
    return own & has, has


def _dim(common: _Planning, spec: EncoderSpec, has_rows: bool) -> int:
    """Return the length of an embedding: as the store has them, else of one that is made of a grey image."""
    if has_rows and common.store is not None and (dim := common.store.rows_of(spec.id).dim) is not None:
        return dim
    import torch
    from PIL import Image

    encoder = common.open()
    image = encoder.preprocess(Image.new("RGB", (256, 256), "grey"))
    return int(encoder.encode(torch.stack([image]))[spec.tap].shape[1])


def _speed(common: _Planning, is_needed: bool) -> float | None:
    """Return images per second of the largest extraction with this encoder on such a device that is recorded."""
    if not is_needed or common.store is None:
        return None
    encoders = {spec.id for spec in common.specs}
    recorded = [
        told
        for set_ in {n.set for n in common.store.names() if n.encoder in encoders}
        if (told := _recorded(common.store, set_)) is not None
    ]
    if not recorded:
        return None
    device = common.running.device
    if device == "auto":
        device = str(common.open().device)
    alike = [(images, speed) for kind, images, speed in recorded if kind == device.partition(":")[0]]
    return round(max(alike)[1], 1) if alike else None


def _recorded(store: Store, set_: str) -> tuple[str, int, float] | None:
    """Return on what kind of device a set was encoded, how many images, and how many in a second."""
    with suppress(CryoprobeError):
        told: Mapping[str, Any] = store.open(set_).manifest.provenance.document
        images, ms, device = (told.get(name) for name in ("encoded", "encoded_in_ms", "device"))
        if isinstance(images, int) and isinstance(ms, int) and isinstance(device, str) and images >= _FEW and ms > 0:
            return device.partition(":")[0], images, 1000 * images / ms
    return None
