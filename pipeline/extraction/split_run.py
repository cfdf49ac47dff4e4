"""The extraction loop: encode what the store lacks of one split, once, and seal it unit by unit.

What `planner` says is missing is decoded ahead by threads, encoded, and sealed as one unit per tap: when a unit's rows
are complete, every `UNIT_SECONDS` however slow the encoder is, and when the run ends early, be it by an error, Ctrl-C
or SIGTERM. So nothing that is encoded is lost, but to a crash, which costs less than a minute. What somebody else is
encoding is looked at again at the end.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import JsonValue

from ...amounts import be
from ...errors import BadInput, Conflict, CryoprobeError
from ...parallel import ordered_map
from ...progress import Reporter
from ...stores.local.sample_index import SampleIndex
from ...stores.store import FailedSample, Rows, Store, sample_array
from ..datasets.base import Advising, Split, UndecodableImage
from ..encoders.base import Encoder
from ..encoders.embedding import NOT_USABLE, ImageLoader, advice_on_all, encode_images, named_failures
from ..passing import patiently
from ..stopping import Interrupts
from .again import Again, Comparison, compare
from .looks import Looks
from .planner import Plan, Planner, Target
from .sample_ids import Identifier, Known
from .unsealed import Unsealed

if TYPE_CHECKING:
    import torch

UNIT_SECONDS = 45.0
"""After this long what is encoded is sealed, be it a whole unit or not."""
_POLL_SECONDS = 0.5
_ONE_IN = 50
"""Of so many rows that the store has, one is encoded again."""
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
        Rows in a unit, if it is not sealed before, and in a chunk.
    max_bad : int
        Failures that are tolerated.
    made_by : mapping
        The versions and the device, recorded with what is encoded.
    max_pixels : int or None
        Images of more are refused; None for the usual limit.
    """

    batch_size: int
    workers: int
    unit_rows: int
    max_bad: int
    made_by: Mapping[str, JsonValue]
    max_pixels: int | None = None


class _Job(NamedTuple):
    """One image of a plan, or the end of the plan where `sample` is None."""

    plan: Plan
    sample: bytes | None = None
    row: int = -1


class _Decoded(NamedTuple):
    """What became of a job: an image, decoded and preprocessed; or why not."""

    job: _Job
    tensor: torch.Tensor | None = None
    error: str | None = None


@dataclass
class Own:
    """What this process has encoded of a split, if rows were removed meanwhile in several runs.

    Parameters
    ----------
    encoded : int
        Images.
    units : set of str
        Ids of the units that it sealed.
    """

    encoded: int = 0
    units: set[str] = field(default_factory=set)


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
    own : Own
        What this process has encoded, counted on from what was given.
    failed : dict of int to FailedSample
        By row of the split.
    checks : dict of str to Comparison
        By the encoder id of the target: how rows that the store had compare with what their images are encoded to now.
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
        own: Own | None = None,
    ) -> None:
        self.own = own or Own()
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
        self._reused = 0
        self._undecodable: dict[bytes, str] = {}
        self._unsealed = Unsealed(store, targets, settings.made_by, self.own.units)
        self.checks: dict[str, Comparison] = {}
        self._ended: list[Plan] = []
        self._interrupts = Interrupts()

    def run(self, known: Known | None = None) -> list[bytes | None]:
        """Encode until every sample of the split has a row for every target, or an error.

        Parameters
        ----------
        known : Known, optional
            What has been looked up of its samples, and spot-checked.

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
        workers = ThreadPoolExecutor(self._settings.workers, thread_name_prefix="cryoprobe-load")
        scout = ThreadPoolExecutor(1, thread_name_prefix="cryoprobe-identify")
        try:
            identifier = Identifier(self._split, self._samples, workers, known)
            if known is None:
                identifier.distrust_if_changed(self._reporter)
            with self._interrupts, self._store.claims() as claims:
                planner = Planner(
                    len(self._split),
                    self._settings.unit_rows,
                    self._targets,
                    identifier=identifier,
                    scout=scout,
                    claims=claims,
                    hopeless=self._undecodable,
                )
                self._encode_all(planner, workers)
        finally:
            scout.shutdown(wait=False, cancel_futures=True)
            workers.shutdown(wait=False, cancel_futures=True)
        for row, sample_id in enumerate(planner.ids):
            if sample_id in self._undecodable:  # further samples with the bytes of one that failed
                self._fail(row, sample_id, self._undecodable[sample_id])
        self._check_failures(self._settings.max_bad)
        self.checks = self._encode_some_again(planner)
        return planner.ids

    def _encode_all(self, planner: Planner, workers: ThreadPoolExecutor) -> None:
        """Go through the split until nothing is left; seal what is encoded, also if that is interrupted."""
        waiting = False
        while not planner.is_over:
            before = self.own.encoded + len(self.failed)
            try:
                self._encode_pass(planner, workers)
            except BaseException:
                with self._interrupts.held(), suppress(CryoprobeError):  # the first error is the one to be told
                    self._unsealed.seal()
                raise
            planner.next_pass()
            self._count_reused(planner)
            if not planner.is_over and self.own.encoded + len(self.failed) == before:
                if not waiting:
                    self._reporter.note("Waiting for another extractor, which is encoding the rest.")
                    waiting = True
                time.sleep(_POLL_SECONDS)

    def _encode_pass(self, planner: Planner, workers: ThreadPoolExecutor) -> None:
        window = 2 * self._settings.batch_size + self._settings.workers
        batch: list[_Decoded] = []
        for decoded in ordered_map(workers, self._decode, self._jobs(planner), window):
            plan = decoded.job.plan
            if decoded.job.sample is None:
                self._ended.append(plan)
            elif decoded.error is not None:
                self._fail(decoded.job.row, decoded.job.sample, decoded.error)
            else:
                batch.append(decoded)
            ends_unit = decoded.job.sample is None and plan.ends_unit
            if len(batch) == self._settings.batch_size or (ends_unit and batch):
                self._encode(batch, planner)
                batch = []
            if ends_unit or (not batch and self._unsealed.age > UNIT_SECONDS):
                self._seal(planner)
                self._check_failures(self._settings.max_bad + _MANY_FAILURES)

    def _jobs(self, planner: Planner) -> Iterator[_Job]:
        for plan in planner.plans():
            for row, error in planner.unreadable.items():
                self._fail(row, None, error)
            self._count_reused(planner)
            yield from (_Job(plan, sample_id, row) for sample_id, row in plan.rows.items())
            yield _Job(plan)

    def _encode_some_again(self, planner: Planner) -> dict[str, Comparison]:
        """Encode a few of the rows that the store had, and compare: at most one in fifty, and 32."""
        found = planner.found
        images = []
        for row in random.sample(found.rows, min(len(found.rows), -(-found.of // _ONE_IN))):
            sample_id = planner.ids[row]
            with suppress(OSError, UndecodableImage):  # it could be read when it was stored
                if sample_id is not None:
                    images.append(Again(row, sample_id, self._read_again(row, sample_id, self._split.describe(row))))
        loader = replace(self._images, see=None)
        batch_size, checks = self._settings.batch_size, {}
        for target in self._targets:
            others = [i for i in images if target.index.sources([i.sample])[0].id not in self.own.units]
            stored = target.index.gather([i.sample for i in others]).embeddings if others else np.empty((0, 1))
            checks[target.encoder_id] = compare(loader, target.spec, self._split, others, stored, batch_size)
        return checks

    def _decode(self, job: _Job) -> _Decoded:
        if job.sample is None:
            return _Decoded(job)
        what = self._split.describe(job.row)
        try:
            raw = job.plan.raw.pop(job.row, None) or self._read_again(job.row, job.sample, what)
        except CryoprobeError:  # some of them are OSErrors
            raise
        except OSError as e:
            return _Decoded(job, error=f"cannot be read: {e.strerror or e}")
        except UndecodableImage as e:
            return _Decoded(job, error=str(e))
        try:
            return _Decoded(job, self._images.load(self._split.decode, raw, what))
        except UndecodableImage as e:
            return _Decoded(job, error=str(e))

    def _read_again(self, row: int, sample_id: bytes, what: str) -> bytes:
        """Read a sample whose id the sample index knows, or which was put off."""
        raw = patiently(partial(self._split.read, row), what)
        if hashlib.sha256(raw).digest() != sample_id:
            raise Conflict(
                f"{what} changed while it was being extracted.",
                hint="Run the same command again, with --rehash if the file's dates cannot be trusted.",
                key=what,
            )
        return raw

    def _encode(self, decoded: Sequence[_Decoded], planner: Planner) -> None:
        """Encode a batch, but for what somebody else has begun to encode meanwhile."""
        batch: list[_Decoded] = []
        for plan, of_plan in groupby(decoded, key=lambda d: d.job.plan):
            listed = list(of_plan)
            mine = planner.still_mine(plan, [d.job.sample for d in listed if d.job.sample is not None])
            batch.extend(d for d in listed if d.job.sample in mine)
        if batch:
            with self._interrupts.held():
                self._encode_batch(batch)

    def _encode_batch(self, batch: Sequence[_Decoded]) -> None:
        images = [d.tensor for d in batch if d.tensor is not None]
        outputs = [(t.spec.tap, t.spec.stored_dtype) for t in self._targets]
        usable, encoded = encode_images(self._encoder, images, outputs)
        for i in map(int, np.flatnonzero(~usable)):
            self._fail(batch[i].job.row, batch[i].job.sample, NOT_USABLE)
        good = [d for d, is_usable in zip(batch, usable, strict=True) if is_usable]
        samples = sample_array([d.job.sample for d in good if d.job.sample is not None])
        rows = []
        for t, (unit, norms) in enumerate(encoded):
            keep = np.array([d.job.plan.is_claimed(d.job.sample, t) for d in good if d.job.sample is not None], bool)
            rows.append(Rows(samples[keep], unit[keep], norms[keep]))
        self._unsealed.add(rows)
        self.own.encoded += len(good)
        self._usable += len(good)
        self._reporter.advance(encoded=len(good))

    def _seal(self, planner: Planner) -> None:
        """Seal what is encoded, and give back the claims on what was planned and is over."""
        with self._interrupts.held():
            self._unsealed.seal()
            for plan in self._ended:
                planner.release(plan)
            self._ended = []

    def _count_reused(self, planner: Planner) -> None:
        """Report the rows that the store has turned out to have."""
        new = planner.reused - self._reused
        self._reused += new
        self._usable += new
        if new:
            self._reporter.advance(reused=new)

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
            f"{self._settings.max_bad} {be(self._settings.max_bad)} tolerated:\n" + "\n".join(named),
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
