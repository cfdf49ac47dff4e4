"""The extraction loop: encode what the store lacks of one split, once, and seal it unit by unit.

Stages with threads of their own, and bounded queues between them: `planner` says what is missing, `decoding` makes
images of it, `encoding` features, and `unsealed` writes them as one unit per tap: when a unit's rows are complete,
every `UNIT_SECONDS` however slow the encoder is, and when the run ends early, be it by an error, Ctrl-C or SIGTERM. So
nothing that is encoded is lost, but to a crash, which costs less than a minute. The main thread, here, joins the stages
and keeps the books. What somebody else is encoding is looked at again at the end.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from ...errors import CryoprobeError
from ...parallel import ordered_map, prefetched
from ...progress import Reporter
from ...stores.local.sample_index import SampleIndex
from ...stores.store import FailedSample, Rows, Store, sample_array
from ..datasets.base import Split, UndecodableImage
from ..encoders.base import Encoder
from ..encoders.embedding import NOT_USABLE, ImageLoader, normalised
from ..loading_threads import loading_threads
from ..specs import Tap
from ..stopping import Interrupts
from .again import Again, Comparison, compare
from .decoding import Decoded, Decoding, Job
from .decoding_processes import DecodingProcesses, work_of
from .encoding import EncodingStage
from .failures import Failures
from .looks import Looks
from .planner import Plan, Planner, Target
from .sample_ids import Identifier, Known
from .settings import Own, Settings
from .unsealed import Unsealed
from .walk import AllRows, Walk

if TYPE_CHECKING:
    import torch

UNIT_SECONDS = 45.0
"""After this long what is encoded is sealed, be it a whole unit or not."""
_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.5, 1.0
"""How long to wait before it is looked again what others have done: first, and at most."""
_FEWEST_PROCESSES, _FEWEST_IMAGES = 6, 10_000
"""Fewer threads decode as fast as processes, and fewer images are decoded before processes have started."""
_ONE_IN = 50
"""Of so many rows that the store has, one is encoded again."""


class SplitRun:
    """Encodes what a store lacks of one split.

    Parameters
    ----------
    split : Split
    encoders : sequence of Encoder
        The same on each device.
    targets : sequence of Target
        One for each of the encoder's taps, in that order.
    store : Store
    samples : SampleIndex
    settings : Settings
    reporter : Reporter

    Attributes
    ----------
    own : Own
        What this process has encoded, counted on from what was given.
    checks : dict of str to Comparison
        By the encoder id of the target: how rows that the store had compare with what their images are encoded to now.
    looks : Looks
        What the images looked like that this process decoded.
    """

    def __init__(
        self,
        split: Split,
        encoders: Sequence[Encoder],
        targets: Sequence[Target],
        *,
        store: Store,
        samples: SampleIndex,
        settings: Settings,
        reporter: Reporter,
        own: Own | None = None,
    ) -> None:
        self.own = own or Own()
        self.checks: dict[str, Comparison] = {}
        preprocessing = targets[0].spec.preprocessing
        self.looks = self.own.looks = self.own.looks or Looks(preprocessing)
        self._split = split
        self._encoders = encoders
        self._targets = targets
        self._outputs = [(t.spec.tap, t.spec.stored_dtype) for t in targets]
        self._store = store
        self._samples = samples
        self._settings = settings
        self._reporter = reporter
        self._loader = ImageLoader(encoders[0], preprocessing, settings.max_pixels, self.looks.see)
        self._processes = self._decoding_processes()
        self._encoding: EncodingStage[Decoded] = EncodingStage(encoders, _tensor, settings.batch_size, settings.profile)
        self._decoding = Decoding(split, self._processes or self._loader, settings.profile, self._encoding.idle)
        self._failures = Failures(split, settings.max_bad, lambda: reporter.advance(failed=1))
        self._unsealed = Unsealed(store, targets, settings.made_by, self.own.units, settings.profile)
        self._usable = 0
        self._reused = 0
        self._ended: list[Plan] = []
        self._interrupts = Interrupts()

    @property
    def failed(self) -> dict[int, FailedSample]:
        """Samples that cannot be used, by row of the split."""
        return self._failures.samples

    def run(self, known: Known | None = None) -> Known:
        """Encode until every sample of the split has a row for every target, or an error.

        Parameters
        ----------
        known : Known, optional
            What has been looked up of its samples, and spot-checked.

        Returns
        -------
        Known
            The sample id of every sample; not where it could not be read.

        Raises
        ------
        BadInput
            If more samples failed than are tolerated; it names them.
        Conflict
            If a file changed while it was used.
        Unavailable
            If the machine does not let a sample be read: nothing is sealed without it.
        """
        planner = self._encode_all(AllRows(len(self._split), self._settings.unit_rows), known)
        if self._failures.undecodable:
            for row, sample_id in enumerate(planner.ids.of(range(len(self._split)))):
                if sample_id in self._failures.undecodable:  # further samples with the bytes of one that failed
                    self._failures.add(row, sample_id, self._failures.undecodable[sample_id])
        self._failures.check(self._usable)
        self.checks = self._encode_some_again(planner)
        return planner.ids

    def share(self, walk: Walk) -> None:
        """Encode what is left of the split until others have encoded the rest; see `shares`.

        Whether samples failed is for who seals the set to judge.
        """
        self._encode_all(walk)

    def _encode_all(self, walk: Walk, known: Known | None = None) -> Planner:
        started = time.monotonic()
        with ExitStack() as stack:
            stack.callback(self._unsealed.close)
            stack.callback(self._encoding.close)
            if self._processes is not None:
                stack.callback(self._processes.close)
            stack.enter_context(self._interrupts)
            claims = stack.enter_context(self._store.claims())
            planning = stack.enter_context(ThreadPoolExecutor(1, "cryoprobe-plan"))
            scout = _given_up(stack, ThreadPoolExecutor(1, "cryoprobe-identify"))
            # Two pools: an image that waits for its turn to be decoded must not keep others from being read.
            readers = _given_up(stack, ThreadPoolExecutor(self._settings.workers, "cryoprobe-read"))
            decoders = _given_up(stack, loading_threads(self._settings.workers))
            identifier = Identifier(self._split, self._samples, readers, known)
            if known is None:
                identifier.distrust_if_changed(self._reporter)
            planner = Planner(
                walk,
                self._settings.unit_rows,
                self._targets,
                identifier=identifier,
                scout=scout,
                claims=claims,
                hopeless=self._failures.undecodable,
            )
            if known is not None and planner.has_all(known):
                self._count_reused(planner)
            else:
                self._encode_in_passes(planner, planning, decoders)
        self.own.seconds += time.monotonic() - started
        return planner

    def _decoding_processes(self) -> DecodingProcesses | None:
        asked = self._settings.decode_in
        if asked == "threads" or (asked is None and not self._is_worth_processes()):
            return None
        work = work_of(self._split, self._loader)
        if work is None:
            if asked is not None:
                self._reporter.note("Images of this data set or for this encoder can be decoded in threads alone.")
            return None
        return DecodingProcesses(self._loader, work, self.looks)

    def _is_worth_processes(self) -> bool:
        gpu = self._encoders[0].device.type == "cuda"
        return gpu and self._settings.workers >= _FEWEST_PROCESSES and len(self._split) >= _FEWEST_IMAGES

    def _encode_in_passes(self, planner: Planner, planning: ThreadPoolExecutor, decoders: ThreadPoolExecutor) -> None:
        """Go through the split until nothing is left; seal what is encoded, also if that is interrupted."""
        waiting = 0
        if planner.is_over:
            planner.next_pass()  # others may have told of all rows, and have encoded none
        while not planner.is_over:
            before = self.own.encoded + len(self._failures)
            try:
                self._encode_pass(planner, planning, decoders)
            except BaseException:
                with self._interrupts.held():
                    self._keep_what_is_encoded()
                raise
            planner.next_pass()
            self._count_reused(planner)
            if not planner.is_over and self.own.encoded + len(self._failures) == before:
                if not waiting:
                    self._reporter.note("Waiting for another extractor, which is encoding the rest.")
                self._reporter.wait()
                pause = min(_POLL_SECONDS * 1.2**waiting, _LONGEST_POLL_SECONDS)
                time.sleep(pause)
                self.own.seconds -= pause  # in which nothing was encoded
                waiting += 1

    def _encode_pass(self, planner: Planner, planning: ThreadPoolExecutor, decoders: ThreadPoolExecutor) -> None:
        batch: list[Decoded] = []
        for decoded in self._decoded(planner, planning, decoders):
            while self._encoding.is_ready:
                self._take()
            if decoded.error is not None:
                self._failures.add(decoded.job.row, decoded.job.sample, decoded.error)
            elif decoded.has_changed:
                planner.distrust(decoded.job.row)
            elif decoded.tensor is not None:
                batch.append(decoded)
            ends_plan = decoded.job.sample is None
            is_due = (ends_plan and decoded.job.plan.ends_unit) or self._unsealed.age > UNIT_SECONDS
            if len(batch) >= self._settings.batch_size.images or (is_due and batch):
                self._encode(batch, planner)
                batch = []
            if ends_plan:
                self._ended.append(decoded.job.plan)
            # After a slow batch now, rather than with the next image, which would then be a batch of its own.
            if is_due or (not batch and self._unsealed.age > UNIT_SECONDS):
                self._seal(planner)
        if batch:
            self._encode(batch, planner)
        if self._ended:  # no unit ended with the last of them: others have told of the rows that follow
            self._seal(planner)
        self._unsealed.wait()

    def _decoded(
        self, planner: Planner, planning: ThreadPoolExecutor, decoders: ThreadPoolExecutor
    ) -> Iterator[Decoded]:
        """Yield the images that are to be encoded, and where plans end; decoded ahead."""
        window = 2 * len(self._encoders) * self._settings.batch_size.images + self._settings.workers
        found = ordered_map(decoders, self._decoding.decode, self._jobs(planner, planning), window)
        while True:
            with self._settings.profile.waiting("decode"):
                decoded = next(found, None)
            if decoded is None:
                return
            yield decoded

    def _jobs(self, planner: Planner, planning: ThreadPoolExecutor) -> Iterator[Job]:
        plans = prefetched(planning, planner.plans())
        while True:
            with self._settings.profile.waiting("plan"):
                plan = next(plans, None)
            if plan is None:
                return
            for row, error in plan.unreadable.items():
                self._failures.add(row, None, error)
            self._count_reused(planner)
            yield from (Job(plan, sample_id, row) for sample_id, row in plan.rows.items())
            yield Job(plan)

    def _encode(self, decoded: Sequence[Decoded], planner: Planner) -> None:
        """Let a batch be encoded, but for what somebody else has begun to encode meanwhile."""
        batch: list[Decoded] = []
        for plan, of_plan in groupby(decoded, key=lambda d: d.job.plan):
            listed = list(of_plan)
            mine = planner.still_mine(plan, [d.job.sample for d in listed if d.job.sample is not None])
            batch.extend(d for d in listed if d.job.sample in mine)
        if batch:
            with self._interrupts.held():
                self._encoding.put(batch)
            while self._encoding.is_full:
                self._take()

    def _take(self) -> None:
        """Take in the oldest batch that is on its way."""
        with self._settings.profile.waiting("encode"):
            self._encoding.wait()
            with self._interrupts.held():
                self._add(*self._encoding.take())

    def _add(self, batch: Sequence[Decoded], features: Mapping[Tap, torch.Tensor]) -> None:
        usable, encoded = normalised(features, self._outputs)
        for i in map(int, np.flatnonzero(~usable)):
            self._failures.add(batch[i].job.row, batch[i].job.sample, NOT_USABLE)
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
        """Let what is encoded be sealed, and the claims on what was planned and is over be given back."""
        while len(self._encoding):
            self._take()
        self._unsealed.wait()
        ended, self._ended = self._ended, []

        def release() -> None:
            for plan in ended:
                planner.release(plan)

        with self._interrupts.held():
            self._unsealed.seal(then=release)
        self._failures.check(self._usable, early=True)

    def _keep_what_is_encoded(self) -> None:
        """Seal what there is when the run ends early; the first error is the one to be told."""
        self._encoding.abandon()
        while len(self._encoding):
            with suppress(BaseException):  # also what ended the run, once more
                self._take()
        with suppress(CryoprobeError):
            self._unsealed.wait()
        with suppress(CryoprobeError):
            self._unsealed.seal(then=lambda: None)
            self._unsealed.wait()

    def _encode_some_again(self, planner: Planner) -> dict[str, Comparison]:
        """Encode a few of the rows that the store had, and compare: at most one in fifty, and 32."""
        found = planner.found
        images = []
        for row in random.sample(found.rows, min(len(found.rows), -(-found.of // _ONE_IN))):
            (sample_id,) = planner.ids.of([row])
            with suppress(OSError, UndecodableImage):  # it could be read when it was stored
                if sample_id is not None:
                    raw = self._decoding.read_again(row, sample_id, self._split.describe(row))
                    images.append(Again(row, sample_id, raw))
        loader, checks = replace(self._loader, see=None), {}
        for target in self._targets:
            others = [i for i in images if target.index.sources([i.sample])[0].id not in self.own.units]
            stored = target.index.gather([i.sample for i in others]).embeddings if others else np.empty((0, 1))
            size = self._settings.batch_size.images
            checks[target.encoder_id] = compare(loader, target.spec, self._split, others, stored, size)
        return checks

    def _count_reused(self, planner: Planner) -> None:
        """Report the rows that the store has turned out to have."""
        new = planner.reused - self._reused
        self._reused += new
        self._usable += new
        if new:
            self._reporter.advance(reused=new)


def _tensor(decoded: Decoded) -> torch.Tensor:
    assert decoded.tensor is not None
    return decoded.tensor


def _given_up(stack: ExitStack, pool: ThreadPoolExecutor) -> ThreadPoolExecutor:
    """Return threads of which, at the end, nobody waits for what they are at."""
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    return pool
