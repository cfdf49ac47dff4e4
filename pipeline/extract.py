"""`extract`: run an encoder over a data set once, and keep the embeddings in a store."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from ..progress import Reporter
from ..reporting import reporter_for
from ..stores.local.sample_index import SampleIndex
from ..stores.opening import open_store
from ..stores.store import Store
from .datasets.base import Dataset
from .defaults import with_defaults
from .encoders import canonical_model
from .encoders.allocator import release_memory
from .encoders.base import Encoder
from .extraction.missing import check_files
from .extraction.opening import open_data
from .extraction.promise import OtherEncoder, Promise
from .extraction.result import ExtractedSet
from .extraction.run import ExtractionRun
from .extraction.together import Together
from .keywords import check_names, read, takes
from .options import EngineOptions, ExtractArguments, ExtractionOptions, ExtractRunOptions
from .ranks import rank_here, untold


@takes(ExtractArguments, ExtractionOptions, ExtractRunOptions, EngineOptions)
def extract(
    model: str | Encoder,
    dataset: str | Dataset,
    store: str | Path | Store,
    *,
    progress: bool = True,
    reporter: Reporter | None = None,
    **options: Unpack[ExtractArguments],
) -> list[ExtractedSet]:
    """Encode what the store lacks of a data set, and seal one feature set per split and tap.

    Parameters
    ----------
    model : str or Encoder
        Such as ``open_clip:ViT-B-32/openai``, ``timm:vit_small_patch14_dinov2``, ``hf:facebook/dinov2-small``,
        ``onnx:FILE`` or ``quickstart:efficientnet_lite0``.
    dataset : str or Dataset
        Such as ``folder:PATH``, ``csv:FILE`` or ``torchvision:CIFAR100``.
    store : str, Path or Store
        Made if there is none.
    progress : bool
        Show a bar on a terminal or in a notebook.
    reporter : Reporter, optional
        Takes the progress instead.
    **options
        Of the encoder, see `EncoderOptions`; of the data set, see `DatasetOptions`; ``stored_dtype``, ``float16`` or
        ``float32``; how to run, see `RunOptions` and `ExtractRunOptions`; in which processes, see `EngineOptions`.

    Returns
    -------
    list of ExtractedSet
        In the order of the splits, and of the taps within each.

    Raises
    ------
    BadInput, NotFound, Conflict, ReadOnly, Unavailable, Corrupt
    """
    check_names("extract", options, ExtractionOptions, ExtractRunOptions, EngineOptions)
    reporter = reporter_for(progress, reporter)
    told = with_defaults(options, model, reporter)
    asked, running, engine = read(ExtractionOptions, told), read(ExtractRunOptions, told), read(EngineOptions, told)
    if engine.engine == "ray":
        from .engines.extraction import extract_on_ray

        return extract_on_ray(model, dataset, store, asked, running, engine, reporter)
    if running.rank in (None, "auto"):
        running = running.model_copy(update={"rank": rank_here()})
        if (said := untold()) is not None:
            reporter.note(said)
    if (rank := running.rank) is not None and rank.of > 1:
        reporter.note(f"This is process {rank} ({rank.told_by}), counted from 0.")
    return extract_here(model, dataset, store, asked, running, reporter)


def extract_here(
    model: str | Encoder,
    dataset: str | Dataset,
    store: str | Path | Store,
    asked: ExtractionOptions,
    running: ExtractRunOptions,
    reporter: Reporter,
) -> list[ExtractedSet]:
    """Do in this process what `extract` was asked for; see there."""
    rank = running.rank if running.rank is not None and running.rank.of > 1 else None
    data = open_data(dataset, asked, reporter)
    if rank is None:  # otherwise each looks at the files of its share
        for part, look in zip(data.parts, data.looks, strict=True):
            check_files(part, look.absent, running.max_bad)
    promise = Promise(model, asked, running, reporter, trust=not running.rehash)
    for note in promise.known.notes:
        reporter.note(note)
    opened = open_store(store, create=True)
    samples = SampleIndex(trust=not running.rehash)

    def run() -> list[ExtractedSet]:
        called = canonical_model(model) if isinstance(model, str) else promise.known.name
        one = ExtractionRun(called, promise, data, opened, asked, running, reporter)
        return one.run(samples) if rank is None else Together(one, rank).run(samples)

    try:
        try:
            return run()
        except OtherEncoder:  # what was known of it is right by now
            return run()
    finally:
        samples.close()
        release_memory()
