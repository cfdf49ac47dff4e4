"""`predict`: what a saved probe says of new images, encoded as the images were that it was trained on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Unpack

import numpy as np

from ..amounts import count
from ..arrays import Float64
from ..errors import BadInput, Conflict, CryoprobeError, NotFound
from ..parallel import ordered_map
from ..progress import Reporter
from ..reporting import reporter_for
from .datasets.base import UndecodableImage
from .datasets.folders import images_below
from .datasets.images import decode_file
from .datasets.splits import status
from .encoders import load_encoder
from .encoders.allocator import keep_freed_memory, release_memory
from .encoders.base import Encoder, notes_of
from .encoders.checkpoint import CheckpointFile
from .encoders.embedding import NOT_USABLE, advice_on_all, default_batch, encode_images, load_image, named_failures
from .extraction.differences import differences
from .keywords import check_names, read, takes
from .options import RunArguments, RunOptions
from .passing import patiently
from .saved import SavedProbe, load_probe
from .saved.header import EncoderRecord
from .specs import EncoderSpec, StoredDtype, Tap

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
    file = None if checkpoint is None else CheckpointFile(Path(checkpoint), checkpoint_key)
    encoder, spec = _encoder_of(probe.header.encoder, model, file, running.device)
    for note in notes_of(encoder):
        reporter.note(note)
    if str(encoder.device) == "cpu":
        keep_freed_memory()
    run = _Run(
        probe=probe,
        encoder=encoder,
        output=(spec.tap, spec.stored_dtype),
        batch_size=running.batch_size or default_batch(encoder),
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


def _encoder_of(
    wanted: EncoderRecord, model: str | Encoder | None, checkpoint: CheckpointFile | None, device: str
) -> tuple[Encoder, EncoderSpec]:
    """Return the encoder of a probe, and its identity at the probe's tap.

    Raises
    ------
    Conflict
        If it is another encoder.
    """
    try:
        spec = EncoderSpec.model_validate(wanted.spec)
    except ValueError as e:
        raise BadInput(
            f"This version of Cryoprobe cannot load the probe's encoder: {str(e).splitlines()[-1].strip()}",
            hint="Upgrade Cryoprobe: pip install -U cryoprobe",
        ) from None
    tap, dtype = spec.tap, spec.stored_dtype
    if model is None or isinstance(model, str):
        encoder = _load(wanted, spec, model, checkpoint, device)
    elif tap not in model.taps:
        raise Conflict(f"{model.name} is not read at the tap {tap}, as the probe's encoder is.", key=tap)
    else:
        encoder = model
    found = encoder.spec(tap, dtype)
    if found.id != wanted.id:
        why = ", ".join(differences(wanted.spec, found))
        raise Conflict(
            f"{encoder.name} is not the encoder that the probe was trained on: its id is {found.id[:12]}, not "
            f"{wanted.id[:12]}. They differ in {why}.",
            hint="Use the model and the checkpoint file that the features were extracted with.",
            key="encoder",
            expected=wanted.id,
            found=found.id,
        )
    return encoder, found


def _load(
    wanted: EncoderRecord, spec: EncoderSpec, model: str | None, checkpoint: CheckpointFile | None, device: str
) -> Encoder:
    name = wanted.name
    if model is None and name is None:
        raise BadInput("The probe file does not say how its encoder is called.", hint="Give --model NAME.", key="model")
    if name is not None and name.checkpoint is not None and checkpoint is None and model is None:
        raise BadInput(
            f"The weights of {name.model} came from a checkpoint file (sha256 {name.checkpoint[:12]}…).",
            hint="Give it again: --checkpoint FILE",
            key="checkpoint",
        )
    path, key = checkpoint or (None, None)
    if key is None and path is not None and name is not None:
        key = name.checkpoint_key
    untrained = name is not None and name.untrained and checkpoint is None
    seed = name.seed if name is not None and name.seed is not None else 0

    def load(image_size: int | None) -> Encoder:
        return load_encoder(
            model or (name.model if name is not None else ""),
            taps=[spec.tap],
            checkpoint=path,
            checkpoint_key=key,
            image_size=image_size,
            precision=spec.precision,
            untrained=untrained,
            seed=seed,
            device=device,
        )

    encoder = load(None if name is None else name.image_size)
    size = spec.preprocessing.image_size
    found = encoder.spec(spec.tap, spec.stored_dtype).preprocessing.image_size
    if size is not None and found != size and size[0] == size[1]:
        # A name does not have the size of an encoder that a program had loaded. Where this one refuses it, it is
        # another one, and its id will tell.
        with suppress(BadInput):
            encoder = load(size[0])
    return encoder


class _Decoded(NamedTuple):
    path: Path
    tensor: torch.Tensor | None
    error: str


@dataclass
class _Run:
    """One pass over images; see `predict`."""

    probe: SavedProbe
    encoder: Encoder
    output: tuple[Tap, StoredDtype]
    batch_size: int
    workers: int
    max_bad: int
    reporter: Reporter

    def __post_init__(self) -> None:
        self.failed: list[tuple[Path, str]] = []
        self._preprocessing = self.encoder.spec(*self.output).preprocessing

    def over(self, files: Sequence[Path]) -> Iterator[Predicted]:
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="cryoprobe-load")
        self.reporter.begin("predict", len(files))
        try:
            batch: list[_Decoded] = []
            for decoded in ordered_map(pool, self._decode, files, 2 * self.batch_size + self.workers):
                if decoded.tensor is None:
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
        what = _shown(path)
        try:
            raw = patiently(path.read_bytes, what)
            return _Decoded(path, load_image(self.encoder, self._preprocessing, decode_file, raw, what), "")
        except CryoprobeError:  # some of them are OSErrors
            raise
        except OSError as e:
            return _Decoded(path, None, f"cannot be read: {e.strerror or e}")
        except UndecodableImage as e:
            return _Decoded(path, None, str(e))

    def _predict(self, batch: Sequence[_Decoded]) -> Iterator[Predicted]:
        images = [d.tensor for d in batch if d.tensor is not None]
        usable, (embeddings,) = encode_images(self.encoder, images, [self.output])
        for i in map(int, np.flatnonzero(~usable)):
            self._fail(batch[i].path, NOT_USABLE)
        x = embeddings.unit.astype(np.float32)
        if self.probe.header.features == "raw":
            x *= embeddings.norms[:, None]
        labels, values = self.probe.outputs(x)
        self.reporter.advance(encoded=len(x))
        paths = [d.path for d, good in zip(batch, usable, strict=True) if good]
        classes = self.probe.classes
        for path, label, value in zip(paths, labels, values, strict=True):
            chosen = np.flatnonzero(label) if self.probe.header.multilabel else [int(label)]
            yield Predicted(path, tuple(classes[i] for i in chosen), classes, value, self.probe.measure)

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
            f"None of the {len(failed)} images can be used:\n" + "\n".join(named_failures(failed, most=5)),
            hint=advice_on_all(failed),
            found=len(failed),
        )

    def _too_many(self) -> BadInput:
        failed = [(_shown(path), error) for path, error in self.failed]
        return BadInput(
            f"{count(len(failed), 'image')} cannot be used; {self.max_bad} are tolerated:\n"
            + "\n".join(named_failures(failed)),
            hint=f"Mend or remove them, or go on without them: --max-bad {len(self.failed)}",
            expected=self.max_bad,
            found=len(self.failed),
        )


def _shown(path: Path) -> str:
    # A name that is not UTF-8 must still be printable.
    return os.fsencode(path).decode("utf-8", "backslashreplace")
