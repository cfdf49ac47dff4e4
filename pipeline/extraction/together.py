"""An extraction that several processes do together: each encodes its share and what is left, and one of them seals."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ...arrays import Indices
from ...canonical import digest
from ...stores.feature_set import FeatureSet
from ...stores.local.sample_index import SampleIndex
from ...stores.store import SharedWork
from ..datasets.base import Split
from ..encoders.allocator import release_memory
from ..ranks import Rank
from .content import spec_of
from .result import ExtractedSet
from .run import ExtractionRun
from .sample_ids import SPOT_CHECKS, Identifier, Known
from .sealed import among
from .settings import Own
from .shares import Shares, shared_work

_POLL_SECONDS = 0.5
_ASK_SECONDS = 3.0
"""How often is asked whether who seals the set is still at work."""


@dataclass
class _Part:
    """One split, and what this process knows and has done of it."""

    number: int
    split: Split
    shares: Shares
    work: SharedWork
    own: Own
    started: float
    is_alone: bool = False
    """Whether what others seal is of other samples."""


class Together:
    """One call of `extract` of several that do the same.

    Parameters
    ----------
    one : ExtractionRun
        What each of them would do alone.
    rank : Rank
        Which of them this is.
    """

    def __init__(self, one: ExtractionRun, rank: Rank) -> None:
        self._one = one
        self._rank = rank

    def run(self, samples: SampleIndex) -> list[ExtractedSet]:
        """Extract every split; return its sets, in the order of the taps. When this returns, they are sealed."""
        with self._one.profiled():
            parts = [self._shared(n, split, samples) for n, split in enumerate(self._one.data.parts)]
            return self._sealed(parts, samples)

    def _shared(self, number: int, split: Split, samples: SampleIndex) -> _Part:
        """Encode what is left of a split until others have encoded the rest."""
        one = self._one
        target = digest([target.encoder_id for target in one.targets])
        work = shared_work(one.store, one.data.name, split, target, afresh=one.running.rehash)
        shares = Shares(split, self._rank, one.running.unit_rows, work)
        part = _Part(number, split, shares, work, Own(), time.monotonic())
        if len(split) and not self._is_done(part, samples):
            one.reporter.begin(f"{one.data.name} {split.name}", len(split))
            try:
                one.split_run(split, samples, part.own).share(part.shares)
            finally:
                one.reporter.end()
            release_memory()
        return part

    def _is_done(self, part: _Part, samples: SampleIndex) -> bool:
        """Return whether the store has all rows of a split, told without reading its files nor loading the encoder."""
        if not part.shares.has_ended_before:
            return False
        known = self._believed(part, samples)
        return bool(known.there.all()) and all(target.index.has(known.ids).all() for target in self._one.targets)

    def _sealed(self, parts: Sequence[_Part], samples: SampleIndex) -> list[ExtractedSet]:
        """Seal the sets of each split, unless another process does; then wait for it."""
        done: dict[int, list[ExtractedSet]] = {}
        asked = float("-inf")
        while True:
            ask = time.monotonic() - asked > _ASK_SECONDS
            for part in (part for part in parts if part.number not in done):
                if (found := self._found(part, samples) or (self._made(part, samples) if ask else None)) is not None:
                    done[part.number] = found
            if len(done) == len(parts):
                return [extracted for part in parts for extracted in done[part.number]]
            asked = time.monotonic() if ask else asked
            self._one.reporter.wait()
            time.sleep(_POLL_SECONDS)

    def _made(self, part: _Part, samples: SampleIndex) -> list[ExtractedSet] | None:
        """Seal the sets of a split; None if another process is about to, or has done so."""
        one = self._one
        with one.store.claims() as claims:
            if not claims.take(one.targets[0].encoder_id, part.work.name):
                return None
            if (found := self._found(part, samples)) is not None:
                return found
            part.own.goes_on = claims.touch
            known = self._believed(part, samples)
            done = one.extract(part.split, one.data.looks[part.number], samples, part.own, known)
            part.work.tell_sealed({extracted.tap: extracted.set for extracted in done})
        return done

    def _believed(self, part: _Part, samples: SampleIndex) -> Known:
        """Return what is known of the samples of a split: by their dates, and as others have told; some are read."""
        shares, look = part.shares, self._one.data.looks[part.number]
        with self._identifier(part, samples) as identifier:
            identifier.distrust_if_changed(self._one.reporter)
            known, told = identifier.look_up_all(look), shares.believed(look)
            others = np.flatnonzero(told.there & shares.is_by_others)
            if self._differs(others, told, identifier):
                told.there[others] = False
        new = told.there & ~known.there
        known.ids[new], known.there[new] = told.ids[new], True
        known.is_certain = bool(shares.is_certain[new].all())
        return known

    @contextmanager
    def _identifier(self, part: _Part, samples: SampleIndex) -> Iterator[Identifier]:
        with ThreadPoolExecutor(self._one.running.threads, thread_name_prefix="cryoprobe-read") as pool:
            yield Identifier(part.split, samples, pool)

    def _differs(self, rows: Indices, told: Known, identifier: Identifier) -> bool:
        """Read some rows of which others have told; return whether one has other content here, and say so."""
        some = [int(rows[at]) for at in random.sample(range(len(rows)), min(SPOT_CHECKS, len(rows)))]
        other = identifier.other_than(list(zip(some, (i for i in told.of(some) if i is not None), strict=True)))
        if other is not None:
            self._one.reporter.note(
                f"{other} has other content here than another process has read: what the others have told is not "
                "believed, and all files are read again."
            )
        return other is not None

    def _found(self, part: _Part, samples: SampleIndex) -> list[ExtractedSet] | None:
        """Describe the sets of a split that another process has sealed; None if none has, or of other samples."""
        if part.is_alone or (sets := part.work.sealed()) is None:
            return None
        with self._identifier(part, samples) as identifier:
            by_others = np.flatnonzero(part.shares.is_by_others)
            part.is_alone = self._differs(by_others, part.shares.known, identifier)
        if part.is_alone:
            return None
        found = [(spec.tap, self._one.store.open(sets[spec.tap])) for spec in self._one.specs]
        if any(self._dataset_id(part, feature_set) != feature_set.dataset_id for _, feature_set in found):
            return None
        seconds = round(time.monotonic() - part.started, 3)
        return [
            ExtractedSet.of(
                feature_set,
                part.split.name,
                tap,
                part.own.encoded,
                failed=len(feature_set.manifest.failed),
                seconds=seconds,
            )
            for tap, feature_set in found
        ]

    def _dataset_id(self, part: _Part, feature_set: FeatureSet) -> str:
        """Return the id of the split's content without the samples that a set is without."""
        split, known, failed = part.split, part.shares.known, feature_set.manifest.failed
        rows = np.flatnonzero(known.there)
        rows = rows[~among(known.ids[rows], failed)]
        return spec_of(split, known.ids[rows], split.labels[rows], failed).id
