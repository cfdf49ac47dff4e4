"""The extraction loop: encode what the store lacks of one split, once, and seal it unit by unit.

Of each block, what `planner` says is missing is decoded ahead by threads, encoded, and sealed as one unit per tap
before the next block is encoded, so that a crash costs one unit. Blocks that somebody else has claimed are looked at
again at the end.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...arrays import Mask
from ...errors import BadInput, Conflict, CryoprobeError
from ...parallel import ordered_map
from ...progress import Reporter
from ...stores.local.sample_index import SampleIndex
from ...stores.store import FailedSample, Rows, Store, sample_array
from ..datasets.base import Advising, Split, UndecodableImage
from ..encoders.base import Encoder
from ..encoders.embedding import NOT_USABLE, ImageLoader, advice_on_all, encode_images, named_failures
from ..passing import patiently
from .looks import Looks
from .planner import Plan, Planner, Target
from .sample_ids import Identifier

if TYPE_CHECKING:
    import torch

_POLL_SECONDS = 0.5
_MANY_FAILURES = 1000
"""This many failures above what is allowed end a run at once; fewer are collected, to be named all together."""


@dataclass(frozen=True)
class Settings:
    """How to run; nothing here changes a number that is stored.

    Parameters
    ----------
    batch_size : int
        Images in one forward pass.
    workers : int
        Threads that read and decode.
    unit_rows : int
        Samples in a block, and so rows in a unit and in a chunk.
    max_bad : int
        Failures that are tolerated.
    max_pixels : int or None
        Images of more are refused; None for the usual limit.
    """

    batch_size: int
    workers: int
    unit_rows: int
    max_bad: int
    max_pixels: int | None = None


class _Decoded(NamedTuple):
    """One image of a plan, decoded and preprocessed; or why not."""

    plan: Plan
    sample: bytes
    row: int
    tensor: torch.Tensor | None
    error: str | None


class SplitRun:
    """Encodes what a store lacks of one split.

    Parameters
    ----------
    split : Split
    encoder : Encoder
    targets : sequence of Target
        One for each of ``encoder.taps``, in that order.
    store : Store
    samples : SampleIndex
    settings : Settings
    reporter : Reporter

    Attributes
    ----------
    encoded : int
        Images that this process encoded.
    failed : dict of int to FailedSample
        By row of the split.
    looks : Looks
        What the images looked like that this process decoded.
    """

    def __init__(
        self,
        split: Split,
        encoder: Encoder,
        targets: Sequence[Target],
        *,
        store: Store,
        samples: SampleIndex,
        settings: Settings,
        reporter: Reporter,
    ) -> None:
        self.encoded = 0
        self.failed: dict[int, FailedSample] = {}
        self._split = split
        self._encoder = encoder
        preprocessing = targets[0].spec.preprocessing
        self.looks = Looks(preprocessing)
        self._images = ImageLoader(encoder, preprocessing, settings.max_pixels, self.looks.see)
        self._targets = targets
        self._store = store
        self._samples = samples
        self._settings = settings
        self._reporter = reporter
        self._usable = 0
        self._undecodable: dict[bytes, str] = {}
        self._finished: set[int] = set()

    def run(self) -> list[bytes | None]:
        """Encode until every sample of the split has a row for every target, or an error.

        Returns
        -------
        list of bytes or None
            The sample id of every sample; None where it could not be read.

        Raises
        ------
        BadInput
            If more samples failed than are tolerated; it names them.
        Conflict
            If a file changed while it was used.
        Unavailable
            If the machine does not let a sample be read: nothing is sealed without it.
        """
        settings, split = self._settings, self._split
        workers = ThreadPoolExecutor(settings.workers, thread_name_prefix="cryoprobe-load")
        scout = ThreadPoolExecutor(1, thread_name_prefix="cryoprobe-identify")
        try:
            identifier = Identifier(split, self._samples, workers)
            with self._store.claims() as claims:
                planner = Planner(
                    len(split),
                    settings.unit_rows,
                    self._targets,
                    identifier=identifier,
                    scout=scout,
                    claims=claims,
                    hopeless=self._undecodable,
                )
                todo = list(range(len(planner.blocks)))
                waiting = False
                while todo:
                    before = self.encoded + len(self.failed)
                    self._encode_blocks(todo, planner, workers)
                    todo = [b for b in todo if not planner.is_complete(b)]
                    if todo and self.encoded + len(self.failed) == before:
                        if not waiting:
                            self._reporter.note("Waiting for another extractor, which is encoding the rest.")
                            waiting = True
                        time.sleep(_POLL_SECONDS)  # others are encoding them
                        planner.refresh()
                ids = [sample_id for block in range(len(planner.blocks)) for sample_id in planner.ids(block)]
        finally:
            scout.shutdown(wait=False, cancel_futures=True)
            workers.shutdown(wait=False, cancel_futures=True)
        for row, sample_id in enumerate(ids):
            if sample_id in self._undecodable:  # further samples with the bytes of one that failed
                self._fail(row, sample_id, self._undecodable[sample_id])
        self._check_failures(settings.max_bad)
        return ids

    def _encode_blocks(self, blocks: Sequence[int], planner: Planner, workers: ThreadPoolExecutor) -> None:
        jobs = ((plan, sample_id, row) for plan in self._plans(blocks, planner) for sample_id, row in plan.rows.items())
        window = 2 * self._settings.batch_size + self._settings.workers
        decoded = ordered_map(workers, self._decode, jobs, window)
        for plan, images in groupby(decoded, key=lambda d: d.plan):
            self._seal(plan, self._encode(images))
            planner.release(plan)
            self._finish(plan.block, planner, len(plan.rows))
            self._check_failures(self._settings.max_bad + _MANY_FAILURES)

    def _plans(self, blocks: Sequence[int], planner: Planner) -> Iterator[Plan]:
        for block, plan in planner.plans(blocks):
            for row, error in planner.unreadable(block).items():
                self._fail(row, None, error)
            if plan is not None:
                yield plan
            elif planner.is_complete(block):
                self._finish(block, planner)

    def _decode(self, job: tuple[Plan, bytes, int]) -> _Decoded:
        plan, sample_id, row = job
        what = self._split.describe(row)
        try:
            raw = patiently(partial(self._split.read, row), what)
        except CryoprobeError:  # some of them are OSErrors
            raise
        except OSError as e:
            return _Decoded(plan, sample_id, row, None, f"cannot be read: {e.strerror or e}")
        except UndecodableImage as e:
            return _Decoded(plan, sample_id, row, None, str(e))
        if hashlib.sha256(raw).digest() != sample_id:
            raise Conflict(
                f"{what} changed while it was being extracted.",
                hint="Run the same command again, with --rehash if the file's dates cannot be trusted.",
                key=what,
            )
        try:
            image = self._images.load(self._split.decode, raw, what)
            return _Decoded(plan, sample_id, row, image, None)
        except UndecodableImage as e:
            return _Decoded(plan, sample_id, row, None, str(e))

    def _encode(self, images: Iterator[_Decoded]) -> list[Rows | None]:
        """Encode the images of one plan; return for each target their rows."""
        parts: list[list[Rows]] = [[] for _ in self._targets]
        batch: list[_Decoded] = []
        for image in images:
            if image.error is not None:
                self._fail(image.row, image.sample, image.error)
                continue
            batch.append(image)
            if len(batch) == self._settings.batch_size:
                self._encode_batch(batch, parts)
                batch = []
        if batch:
            self._encode_batch(batch, parts)
        return [_joined(p) if p else None for p in parts]

    def _encode_batch(self, batch: Sequence[_Decoded], parts: list[list[Rows]]) -> None:
        images = [d.tensor for d in batch if d.tensor is not None]
        outputs = [(t.spec.tap, t.spec.stored_dtype) for t in self._targets]
        usable, encoded = encode_images(self._encoder, images, outputs)
        for i in map(int, np.flatnonzero(~usable)):
            self._fail(batch[i].row, batch[i].sample, NOT_USABLE)
        samples = sample_array([d.sample for d in batch])[usable]
        for part, (unit, norms) in zip(parts, encoded, strict=True):
            part.append(Rows(samples, unit, norms))
        self.encoded += int(usable.sum())
        self._usable += int(usable.sum())
        self._reporter.advance(encoded=int(usable.sum()))

    def _seal(self, plan: Plan, encoded: Sequence[Rows | None]) -> None:
        """Write and seal one unit per target."""
        for target, ids, unit, rows in zip(self._targets, plan.missing, plan.units, encoded, strict=True):
            if rows is not None:
                rows = _only(rows, ids)
                if len(rows):
                    target.index.add(self._store.write_unit(target.encoder_id, unit, rows))

    def _finish(self, block: int, planner: Planner, tried: int = 0) -> None:
        """Report the samples of a block that needed no encoding."""
        if block not in self._finished:
            self._finished.add(block)
            reused = len(planner.blocks[block]) - len(planner.unreadable(block)) - tried
            self._usable += reused
            self._reporter.advance(reused=reused)

    def _fail(self, row: int, sample_id: bytes | None, error: str) -> None:
        if sample_id is not None:
            self._undecodable[sample_id] = error
        if row not in self.failed:
            name = self._split.describe(row)
            self.failed[row] = FailedSample(name=name, sample=sample_id.hex() if sample_id else None, error=error)
            self._reporter.advance(failed=1)

    def _check_failures(self, most: int) -> None:
        if len(self.failed) == len(self._split) or (len(self.failed) > most and not self._usable):
            raise self._nothing_usable()
        if len(self.failed) <= most:
            return
        named = named_failures([(f.name, f.error) for _, f in sorted(self.failed.items())])
        raise BadInput(
            f"{len(self.failed)} of {len(self._split)} samples of split {self._split.name!r} cannot be used; "
            f"{self._settings.max_bad} are tolerated:\n" + "\n".join(named),
            hint=f"Mend or remove them, or go on without them: --max-bad {len(self.failed)}. What was encoded is kept.",
            key=self._split.name,
            expected=self._settings.max_bad,
            found=len(self.failed),
        )

    def _nothing_usable(self) -> BadInput:
        """Return the error for a split of which no sample can be used: a matter of the request, not of some images."""
        failed = [(f.name, f.error) for _, f in sorted(self.failed.items())]
        which = "None" if len(failed) == len(self._split) else f"None of the first {len(failed)}"
        advice = self._split.advice() if isinstance(self._split, Advising) else ""
        return BadInput(
            f"{which} of the {len(self._split)} samples of split {self._split.name!r} can be used:\n"
            + "\n".join(named_failures(failed, most=5)),
            hint=advice_on_all(failed, advice),
            key=self._split.name,
            found=len(failed),
        )


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([p.samples for p in parts]),
        np.concatenate([p.embeddings for p in parts]),
        np.concatenate([p.norms for p in parts]),
    )


def _only(rows: Rows, ids: Sequence[bytes]) -> Rows:
    """Return those rows whose sample id is in `ids`."""
    wanted = set(ids)
    keep: Mask = np.array([s.tobytes() in wanted for s in rows.samples], bool)
    return rows if keep.all() else Rows(rows.samples[keep], rows.embeddings[keep], rows.norms[keep])
