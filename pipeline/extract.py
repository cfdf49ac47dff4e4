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
from .encoders import canonical_model
from .encoders.allocator import keep_freed_memory, release_memory
from .encoders.base import Encoder, notes_of
from .encoders.embedding import default_batch
from .extraction.differences import explain_encoder
from .extraction.missing import check_files
from .extraction.opening import open_data, open_encoder
from .extraction.planner import Target
from .extraction.result import ExtractedSet
from .extraction.run import ExtractionRun, made_by
from .extraction.split_run import Settings
from .keywords import check_names, read, takes
from .options import ExtractArguments, ExtractionOptions, ExtractRunOptions


@takes(ExtractArguments, ExtractionOptions, ExtractRunOptions)
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
        ``float32``; how to run, see `RunOptions` and `ExtractRunOptions`.

    Returns
    -------
    list of ExtractedSet
        In the order of the splits, and of the taps within each.

    Raises
    ------
    BadInput, NotFound, Conflict, ReadOnly, Unavailable, Corrupt
    """
    check_names("extract", options, ExtractionOptions, ExtractRunOptions)
    asked, running = read(ExtractionOptions, options), read(ExtractRunOptions, options)
    reporter = reporter_for(progress, reporter)
    data = open_data(dataset, asked, reporter)
    for part in data.parts:
        check_files(part, data.absent, running.max_bad)
    encoder = open_encoder(model, asked, running)
    for note in notes_of(encoder):
        reporter.note(note)
    if str(encoder.device) == "cpu":
        keep_freed_memory()
    opened = open_store(store, create=True)
    specs = [encoder.spec(tap, asked.stored_dtype) for tap in encoder.taps]
    targets = [Target(spec, spec.id, opened.rows_of(spec.id)) for spec in specs]
    for target in targets:
        if not len(target.index) and (why := explain_encoder(opened, target.spec)):
            reporter.note(why)
    settings = Settings(
        batch_size=running.batch_size or default_batch(encoder),
        workers=running.threads,
        unit_rows=running.unit_rows,
        max_bad=running.max_bad,
        made_by=made_by(encoder),
        max_pixels=running.max_pixels,
    )
    called = canonical_model(model) if isinstance(model, str) else encoder.name
    run = ExtractionRun(called, encoder, data, targets, opened, asked, settings, reporter)
    samples = SampleIndex(trust=not running.rehash)
    try:
        return run.run(samples)
    finally:
        samples.close()
        release_memory()
