"""`predict`: what a saved probe says of new images, encoded as the images were that it was trained on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Unpack

import numpy as np

from ..amounts import be, count
from ..arrays import Features, Float64, Mask
from ..errors import BadInput, CryoprobeError, NotFound
from ..parallel import ordered_map
from ..progress import Reporter
from ..reporting import reporter_for
from ..stores.store import Store
from .datasets.base import UndecodableImage
from .datasets.folders import images_below
from .datasets.images import decode_file
from .datasets.splits import status
from .encoder_of_probe import encoder_ids, encoder_of, taps_of
from .encoders.allocator import keep_freed_memory, release_memory
from .encoders.base import Encoder, notes_of
from .encoders.checkpoint import CheckpointFile
from .encoders.embedding import (
    GPU_BATCH,
    NOT_USABLE,
    Embeddings,
    ImageLoader,
    advice_on_all,
    encode_images,
    named_failures,
)
from .encoders.tuning import chosen_batch
from .joined_taps import side_by_side
from .keywords import check_names, read, takes
from .loading_threads import loading_threads
from .options import RunArguments, RunOptions
from .passing import patiently
from .saved import SavedProbe, load_probe
from .specs import EncoderSpec, StoredDtype, Tap
from .stored_rows import StoredRows

if TYPE_CHECKING:
    import torch

_MANY_FAILURES = 1000
"""This many failures above what is allowed end a run at once; fewer are collected, to be named all together."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a probe says of one image.

    Parameters
    ----------
    path : Path
        As it was given, or as it was found below a folder that was given.
    labels : tuple of str
        The class; of a multi-label probe any number of them.
    classes : tuple of str
        All that the probe can predict, K.
    values : ndarray, float64 [K]
        Of every class.
    measure : {"probability", "score"}
        What `values` are.
    """

    path: Path
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    values: Float64
    measure: Literal["probability", "score"]

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the k classes with the highest values, the highest first."""
        order = np.argsort(-self.values, kind="stable")[:k]
        return [(self.classes[i], float(self.values[i])) for i in order]

    def of_labels(self) -> list[tuple[str, float]]:
        """Return the labels with their values."""
        return [(label, float(self.values[self.classes.index(label)])) for label in self.labels]


@takes(RunArguments, RunOptions)
def predict(
    probe_file: str | Path | SavedProbe,
    paths: str | Path | Sequence[str | Path],
    *,
    model: str | Encoder | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_key: str | None = None,
    store: str | Path | Store | None = None,
    progress: bool = True,
    reporter: Reporter | None = None,
    **options: Unpack[RunArguments],
) -> Iterator[Predicted]:
    """Encode images with the encoder that a probe was trained on, and predict their labels.

    Parameters
    ----------
    probe_file : str, Path or SavedProbe
        What ``cryoprobe probe --save`` wrote.
    paths : sequence of str or Path
        Image files, and folders whose files are taken at any depth.
    model : str or Encoder, optional
        Instead of the name in the file. It must be the same encoder: what counts is its id.
    checkpoint : str or Path, optional
        The checkpoint file of an encoder that had its weights from one.
    checkpoint_key : str, optional
        Which weights of that file, if several fit and it is not as the probe's name says.
    store : str, Path or Store, optional
        Images of which it has a row of the probe's encoder are not encoded again. If it has all of them, the encoder is
        not loaded.
    progress : bool
        Show a bar on a terminal or in a notebook.
    reporter : Reporter, optional
        Takes the progress instead, and is told of every image that fails.
    **options
        How to run, see `RunOptions`.

    Yields
    ------
    Predicted
        Of every image that is not bad, in the order of `paths`; a few batches are in memory.

    Raises
    ------
    NotFound, BadInput, Corrupt, Incompatible
        If the probe, a path or the encoder cannot be used. Before anything is yielded.
    Conflict
        If the encoder is another one than the probe's; it says in which fields. Before anything is yielded.
    BadInput
        If more than `max_bad` images failed. After everything else was yielded.
    """
    check_names("predict", options, RunOptions)
    running = read(RunOptions, options)
    probe = probe_file if isinstance(probe_file, SavedProbe) else load_probe(probe_file)
    reporter = reporter_for(progress, reporter)
    files = _files([paths] if isinstance(paths, str | Path) else paths, reporter)
    wanted = probe.header.encoder
    stored = StoredRows() if store is None else StoredRows.of(store, encoder_ids(wanted), files, running.threads)
    if store is not None:
        n = len(stored.samples)
        reporter.note(f"{n:,} of {count(len(files), 'image')} {be(n)} in the store, and not encoded")
    new = None
    if any(file not in stored.samples for file in files):
        file = None if checkpoint is None else CheckpointFile(Path(checkpoint), checkpoint_key)
        encoder, spec = encoder_of(wanted, model, file, running.device)
        for note in notes_of(encoder):
            reporter.note(note)
        if str(encoder.device) == "cpu":
            keep_freed_memory()
        new = _New(encoder, spec, running.max_pixels)
    run = _Run(
        probe=probe,
        stored=stored,
        new=new,
        batch_size=GPU_BATCH if new is None else chosen_batch(new.encoder, running.batch_size, reporter.note),
        workers=running.threads,
        max_bad=running.max_bad,
        reporter=reporter,
    )
    return run.over(files)


def _files(paths: Sequence[str | Path], reporter: Reporter) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        if status(path) is None:
            raise NotFound(f"There is no file or folder {path}.", hint="Check the path.", key=str(path))
        if not path.is_dir():
            found.append(path)
            continue
        below, notes = images_below(path)
        for note in notes:
            reporter.note(note)
        if not below:
            raise BadInput(f"The folder {path} has no images.", hint="Name images, or a folder of them.", key=str(path))
        found += below
    if not found:
        raise BadInput("There are no images to predict.", hint="Name images, or folders of them.")
    return found


class _Decoded(NamedTuple):
    """An image to be encoded; or one that the store has, without a tensor; or one that failed."""

    path: Path
    tensor: torch.Tensor | None
    error: str | None


class _New:
    """Encodes the images that are in no store.

    Parameters
    ----------
    encoder : Encoder
    spec : EncoderSpec
        Of the probe's encoder; its tap may stand for several of the encoder's.
    max_pixels : int or None
    """

    def __init__(self, encoder: Encoder, spec: EncoderSpec, max_pixels: int | None) -> None:
        self.encoder = encoder
        self._outputs: list[tuple[Tap, StoredDtype]] = [(t, spec.stored_dtype) for t in taps_of(encoder, spec.tap)]
        self._images = ImageLoader(encoder, spec.preprocessing, max_pixels)

    def load(self, raw: bytes, what: str) -> torch.Tensor:
        """Decode and preprocess one image."""
        return self._images.load(decode_file, raw, what)

    def encode(self, images: Sequence[torch.Tensor]) -> tuple[Mask, list[Embeddings]]:
        """Return which of the images have an embedding, and those at each tap."""
        return encode_images(self.encoder, images, self._outputs)


@dataclass
class _Run:
    """One pass over images; see `predict`."""

    probe: SavedProbe
    stored: StoredRows
    new: _New | None
    batch_size: int
    workers: int
    max_bad: int
    reporter: Reporter

    def __post_init__(self) -> None:
        self.failed: list[tuple[Path, str]] = []

    def over(self, files: Sequence[Path]) -> Iterator[Predicted]:
        pool = loading_threads(self.workers)
        self.reporter.begin("predict", len(files))
        try:
            batch: list[_Decoded] = []
            for decoded in ordered_map(pool, self._decode, files, 2 * self.batch_size + self.workers):
                if decoded.error is not None:
                    self._fail(decoded.path, decoded.error)
                    continue
                batch.append(decoded)
                if len(batch) == self.batch_size:
                    yield from self._predict(batch)
                    batch = []
            if batch:
                yield from self._predict(batch)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self.reporter.end()
            release_memory()
        if len(self.failed) > self.max_bad:
            raise self._none() if 1 < len(self.failed) == len(files) else self._too_many()

    def _decode(self, path: Path) -> _Decoded:
        if path in self.stored.samples:
            return _Decoded(path, None, None)
        assert self.new is not None
        what = _shown(path)
        try:
            return _Decoded(path, self.new.load(patiently(path.read_bytes, what), what), None)
        except CryoprobeError:  # some of them are OSErrors
            raise
        except OSError as e:
            return _Decoded(path, None, f"cannot be read: {e.strerror or e}")
        except UndecodableImage as e:
            return _Decoded(path, None, str(e))

    def _predict(self, batch: Sequence[_Decoded]) -> Iterator[Predicted]:
        rows = {**self._read([d.path for d in batch if d.tensor is None]), **self._encode(batch)}
        paths = [d.path for d in batch if d.path in rows]
        if not paths:
            return
        labels, values = self.probe.outputs(np.stack([rows[path] for path in paths]))
        classes = self.probe.classes
        for path, label, value in zip(paths, labels, values, strict=True):
            chosen = np.flatnonzero(label) if self.probe.header.multilabel else [int(label)]
            yield Predicted(path, tuple(classes[i] for i in chosen), classes, value, self.probe.measure)

    def _read(self, paths: Sequence[Path]) -> dict[Path, Features]:
        """Return the features of images that the store has."""
        if not paths:
            return {}
        rows = self.stored.of_files(paths)
        self.reporter.advance(reused=len(paths))
        return dict(zip(paths, self._features([Embeddings(r.embeddings, r.norms) for r in rows]), strict=True))

    def _encode(self, batch: Sequence[_Decoded]) -> dict[Path, Features]:
        """Return the features of the other images, but for those that cannot be encoded."""
        new = [(d.path, d.tensor) for d in batch if d.tensor is not None]
        if not new:
            return {}
        assert self.new is not None
        usable, embeddings = self.new.encode([tensor for _, tensor in new])
        for i in map(int, np.flatnonzero(~usable)):
            self._fail(new[i][0], NOT_USABLE)
        self.reporter.advance(encoded=int(usable.sum()))
        paths = [path for (path, _), good in zip(new, usable, strict=True) if good]
        return dict(zip(paths, self._features(embeddings), strict=True))

    def _features(self, embeddings: Sequence[Embeddings]) -> Features:
        """Return the features [n, d] that the probe was trained on; of several taps as `joined_taps` has it."""
        unit = self.probe.header.features == "unit"
        if unit and len(embeddings) == 1:
            return embeddings[0].unit.astype(np.float32)
        return side_by_side([e.unit.astype(np.float32) * e.norms[:, None] for e in embeddings], unit=unit)

    def _fail(self, path: Path, error: str) -> None:
        self.failed.append((path, error))
        self.reporter.advance(failed=1)
        if len(self.failed) <= self.max_bad:
            self.reporter.note(f"left out: {_shown(path)}: {error}")
        elif len(self.failed) > self.max_bad + _MANY_FAILURES:
            raise self._too_many()

    def _none(self) -> BadInput:
        failed = [(_shown(path), error) for path, error in self.failed]
        return BadInput(
            f"None of the {count(len(failed), 'image')} can be used:\n" + "\n".join(named_failures(failed, most=5)),
            hint=advice_on_all(failed),
            found=len(failed),
        )

    def _too_many(self) -> BadInput:
        failed = [(_shown(path), error) for path, error in self.failed]
        return BadInput(
            f"{count(len(failed), 'image')} cannot be used; {self.max_bad} {be(self.max_bad)} tolerated:\n"
            + "\n".join(named_failures(failed)),
            hint=f"Mend or remove them, or go on without them: --max-bad {len(self.failed)}",
            expected=self.max_bad,
            found=len(self.failed),
        )


def _shown(path: Path) -> str:
    # A name that is not UTF-8 must still be printable.
    return os.fsencode(path).decode("utf-8", "backslashreplace")
