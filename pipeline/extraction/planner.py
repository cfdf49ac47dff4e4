"""What is left to encode of a split: identify, subtract what the store has and what others are at, claim the rest.

The rows are gone through in passes. In the first all are identified, block by block, as the `Walk` tells; what somebody
else is encoding, or what this process is about to seal, is put off to the next pass. There is no more to do when
nothing is put off. A pass in which nothing could be claimed is followed by one that overtakes whoever is slow.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

import numpy as np

from ...parallel import wait_until_ended
from ...stores.store import RowIndex, SampleClaim, SampleClaims
from ..specs import EncoderSpec
from .sample_ids import Identified, Identifier, Known
from .walk import Walk

_AHEAD = 2
"""Blocks that are identified while an earlier one is encoded."""

_FEWEST_ROWS, _MOST_ROWS = 256, 4096
"""Rows of the first block, and of the longest."""
_BLOCK_SECONDS = 5.0
"""As long as a block takes less, the next one is twice as long: a claim costs a few requests to the storage."""
_LOOK_SECONDS = 10.0
"""After so long it is looked whether somebody has overtaken us; so much ahead is out of their reach."""


@dataclass(frozen=True)
class Target:
    """One tap of the encoder, and the rows that the store has of it."""

    spec: EncoderSpec
    encoder_id: str
    index: RowIndex


@dataclass(eq=False)
class Plan:
    """What is to be encoded of one block.

    Parameters
    ----------
    rows : dict of bytes to int
        Sample ids that some target lacks, each with a row of the split that has it.
    raw : dict of int to bytes
        By row, the content of those that have been read already.
    claims : list of SampleClaim or None
        For each target, the claim on those of them that it lacks.
    ends_unit : bool
        Whether what is encoded by then is to be sealed: the next row is the first of another unit, or there is none.
    unreadable : dict of int to str
        Rows of the block that could not be read, and why.
    told : set of int
        Rows whose ids somebody else has told.
    encoded, reach : int
        Up to which of `rows`, by number, they have been encoded or are about to be; and up to which there is no need
        to look whether the claims still hold, before `look_at`.
    began, look_at : float
        When its first batch was encoded, and when that is looked at next, by `time.monotonic`.
    lost : set of bytes
        Sample ids that were no longer ours, for some target, when it was looked.
    """

    rows: dict[bytes, int]
    raw: dict[int, bytes]
    claims: list[SampleClaim | None]
    ends_unit: bool
    unreadable: dict[int, str]
    told: set[int] = field(default_factory=set)
    encoded: int = 0
    reach: int = 0
    began: float = 0.0
    look_at: float = 0.0
    lost: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.places = {sample_id: place for place, sample_id in enumerate(self.rows)}

    def is_claimed(self, sample_id: bytes, target: int) -> bool:
        """Return whether this process has claimed a sample for a target."""
        claim = self.claims[target]
        return claim is not None and sample_id in claim.ids


class Sampled:
    """A random sample of rows, taken while it is not known yet how many there will be.

    Attributes
    ----------
    rows : list of int
    of : int
        How many there were.
    """

    MOST = 32

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.of = 0

    def add(self, row: int) -> None:
        """Take one more into account."""
        self.of += 1
        if len(self.rows) < self.MOST:
            self.rows.append(row)
        elif (place := random.randrange(self.of)) < self.MOST:
            self.rows[place] = row


class Planner:
    """Plans the encoding of a split, block by block.

    `plans` may run in a thread of its own; `release` in a third.

    Parameters
    ----------
    walk : Walk
        Tells which rows are identified, and in which order.
    unit_rows : int
        Rows of a unit.
    targets : sequence of Target
    identifier : Identifier
    scout : Executor
        Identifies the next blocks meanwhile; it has one thread.
    claims : SampleClaims
    hopeless : container of bytes
        Sample ids to ask no more for, as it stands whenever a plan is made: they could not be encoded.

    Attributes
    ----------
    ids : Known
        Sample ids by row; not of a sample that is not identified, or that could not be read.
    reused : int
        Rows that turned out to be in the store, so far.
    found : Sampled
        Some of those, without what others have sealed meanwhile.
    """

    def __init__(
        self,
        walk: Walk,
        unit_rows: int,
        targets: Sequence[Target],
        *,
        identifier: Identifier,
        scout: Executor,
        claims: SampleClaims,
        hopeless: Container[bytes],
    ) -> None:
        self.ids = walk.known
        self.reused = 0
        self.found = Sampled()
        self._walk = walk
        self._unit_rows = unit_rows
        # In the order of their ids: of two extractors with the same taps, who is first at one is first at all.
        self._targets = targets
        self._order = sorted(range(len(targets)), key=lambda t: targets[t].encoder_id)
        self._identifier = identifier
        self._scout = scout
        self._claims = claims
        self._hopeless = hopeless
        self._underway: set[bytes] = set()
        self._lock = threading.Lock()  # of what is under way and what is put off
        self._block_rows = min(_FEWEST_ROWS, unit_rows)
        self._pending: Sequence[int] = ()
        self._put_off: list[int] = []
        self._has_claimed = True  # in the last pass
        self._overtakes = False
        self._pace = 0.0  # images a second

    def has_all(self, known: Known) -> bool:
        """Return whether the store has the rows of all samples, which are known; then nothing is left to be planned."""
        if not (known.there.all() and all(target.index.has(known.ids).all() for target in self._targets)):
            return False
        self.ids = known
        self.reused = self.found.of = len(known.there)
        self.found.rows = random.sample(range(self.reused), min(self.reused, Sampled.MOST))
        return True

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be planned."""
        return not self._pending and not self._walk.next_rows(1)

    def plans(self) -> Iterator[Plan]:
        """Go through the rows that are left; yield what is to be encoded of each block, claimed."""
        started, self._has_claimed = time.monotonic(), False
        for found, ends_unit in self._blocks(self._pending):
            yield self._plan(found, ends_unit)
            now = time.monotonic()
            if now - started < _BLOCK_SECONDS:
                self._block_rows = min(2 * self._block_rows, self._unit_rows, _MOST_ROWS)
            started = now

    def next_pass(self) -> None:
        """Look again at what was put off, when all that was planned is sealed or given back."""
        for target in self._targets:
            target.index.refresh()
        rows = np.concatenate([np.asarray(self._put_off, np.int64), self._walk.told()])
        rows, self._put_off = rows[self.ids.there[rows]], []
        has = np.logical_and.reduce([target.index.has(self.ids.ids[rows]) for target in self._targets])
        self.reused += int(has.sum())
        left = rows[~has].tolist()
        self._pending = [row for row, i in zip(left, self.ids.of(left), strict=True) if i not in self._hopeless]
        self._overtakes = not self._has_claimed

    def still_mine(self, plan: Plan, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of the ids of a plan that nobody else has begun to encode; the others are put off.

        Two who claim the same at one moment see each other just after it: so the storage is asked before the first
        batch; and then from time to time, and before more is encoded than others know of.
        """
        now = time.monotonic()
        self._claims.touch()
        before, plan.encoded = plan.encoded, max((plan.places[i] + 1 for i in ids), default=plan.encoded)
        if now >= plan.look_at or plan.encoded > plan.reach:
            plan.began = plan.began or now
            if before:
                self._pace = before / max(now - plan.began, 1e-3)
            plan.look_at = now + _LOOK_SECONDS
            plan.reach = plan.encoded + self._reach
            for target, claim in zip(self._targets, plan.claims, strict=True):
                if claim is None:
                    continue
                mine = {*self._claims.still_mine(claim, claim.ids, _begun(claim, plan))}
                if before:  # who has overtaken us may have sealed that by now, and have given his claim back
                    target.index.refresh()
                    mine.intersection_update(target.index.missing(list(mine)))
                plan.lost |= claim.ids.keys() - mine
        with self._lock:
            self._put_off.extend(plan.rows[i] for i in ids if i in plan.lost)
        return {i for i in ids if i not in plan.lost}

    def distrust(self, row: int) -> None:
        """Identify a row again, whose sample is not the one that somebody else has told."""
        self._walk.distrust(row)

    def release(self, plan: Plan) -> None:
        """Give a plan's claims back, when all that was encoded of it is sealed."""
        with self._lock:
            self._underway.difference_update(plan.rows)
        for claim in plan.claims:
            if claim is not None:
                self._claims.release_samples(claim)

    def _blocks(self, pending: Sequence[int]) -> Iterator[tuple[Identified, bool]]:
        """Yield the rows that are left in blocks, identified, and whether each ends a unit."""
        at = 0

        def identify() -> tuple[Identified, bool] | None:
            """Run in the scout's one thread, which alone moves `at` and the walk."""
            nonlocal at
            if new := self._walk.next_rows(self._block_rows):
                found = self._identifier.identify(new)
                self._walk.take_in(found)
                return found, self._walk.ends_unit(found.rows[-1] + 1)
            rows = pending[at : at + min(self._block_rows, self._unit_rows)]
            at += len(rows)
            return (Identified(rows, self.ids.of(rows)), True) if rows else None

        ahead: deque[Future[tuple[Identified, bool] | None]] = deque()
        try:
            while True:
                while len(ahead) <= _AHEAD:
                    ahead.append(self._scout.submit(identify))
                found = ahead.popleft().result()
                if found is None:
                    wait_until_ended(ahead)  # they find nothing either; the walk is somebody else's from now on
                    return
                yield found
        finally:
            for future in ahead:
                future.cancel()

    def _plan(self, found: Identified, ends_unit: bool) -> Plan:
        first: dict[bytes, int] = {}
        for row, sample_id in zip(found.rows, found.ids, strict=True):
            if sample_id is not None:
                first.setdefault(sample_id, row)
        claims = self._claim([i for i in first if i not in self._underway and i not in self._hopeless])
        missing = self._missing(list(first))
        wanted = set().union(*missing)
        # A sample of which somebody else is encoding another tap is put off: later it is encoded once, or not at all.
        others = {
            i for claim, ids in zip(claims, missing, strict=True) for i in ids if claim is None or i not in claim.ids
        }
        mine = {i: row for i, row in first.items() if i in wanted and i not in others}
        put_off = []
        for row, sample_id in zip(found.rows, found.ids, strict=True):
            if sample_id is None or sample_id in self._hopeless or mine.get(sample_id) == row:
                continue
            if sample_id in wanted:
                put_off.append(row)
            else:
                self.reused += 1
                self.found.add(row)
        with self._lock:
            self._put_off.extend(put_off)
            self._underway.update(mine)
        self._has_claimed |= bool(mine)
        raw = {row: found.raw[row] for row in mine.values() if row in found.raw}
        told = set(filter(self._walk.is_told, mine.values()))
        return Plan(mine, raw, claims, ends_unit, found.errors, told, reach=self._reach)

    @property
    def _reach(self) -> int:
        """How many more images of a plan are encoded before others are told how far it is."""
        return int(self._pace * _LOOK_SECONDS)

    def _claim(self, ids: Sequence[bytes]) -> list[SampleClaim | None]:
        """Claim for each target those of `ids` that it lacks, as far as nobody else is at them."""
        claims: list[SampleClaim | None] = [None] * len(self._targets)
        others: set[bytes] = set()
        for t in self._order:
            target = self._targets[t]
            missing = [i for i in target.index.missing(ids) if i not in others]
            claim = self._claims.take_samples(target.encoder_id, missing, self._reach) if missing else None
            if claim is None and missing and self._overtakes:
                claim = self._claims.overtake(target.encoder_id, missing)
            if claim is not None:
                # Who held a claim before us may have sealed its rows just before we looked.
                target.index.refresh()
                still = target.index.missing(list(claim.ids))
                if not still:
                    self._claims.release_samples(claim)
                claims[t] = claim = claim.only(still) if still else None
            others.update(i for i in missing if claim is None or i not in claim.ids)
        return claims

    def _missing(self, ids: Sequence[bytes | None]) -> list[set[bytes]]:
        """Return for each target the ids that it lacks, but for the hopeless ones."""
        known = [i for i in ids if i is not None and i not in self._hopeless]
        return [set(target.index.missing(known)) for target in self._targets]


def _begun(claim: SampleClaim, plan: Plan) -> int:
    """Return how many of a claim's ids will have been encoded when as many of the plan's are as it reaches."""
    ahead = reversed(list(plan.rows)[: plan.reach])
    return next((claim.ids[i] + 1 for i in ahead if i in claim.ids), 0)
