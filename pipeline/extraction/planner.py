"""What is left to encode of a split: identify, subtract what the store has and what others are at, claim the rest.

The rows are gone through in passes. In the first all are identified, block by block; what somebody else is encoding, or
what this process is about to seal, is put off to the next pass. There is no more to do when nothing is put off.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from ...stores.store import RowIndex, SampleClaim, SampleClaims
from ..specs import EncoderSpec
from .sample_ids import Identified, Identifier

_AHEAD = 2
"""Blocks that are identified while an earlier one is encoded."""

_FEWEST_ROWS, _MOST_ROWS = 256, 4096
"""Rows of the first block, and of the longest."""
_BLOCK_SECONDS = 5.0
"""As long as a block takes less, the next one is twice as long: a claim costs a few requests to the storage."""


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
    claimed, look_at : float
        When it was claimed, and when to look next whether it still is, by `time.monotonic`.
    lost : set of bytes
        Sample ids that were no longer ours, for some target, when it was looked.
    """

    rows: dict[bytes, int]
    raw: dict[int, bytes]
    claims: list[SampleClaim | None]
    ends_unit: bool
    unreadable: dict[int, str]
    claimed: float = field(default_factory=time.monotonic)
    look_at: float = 0.0
    lost: set[bytes] = field(default_factory=set)

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
    rows : int
        Samples of the split.
    unit_rows : int
        Rows of a unit: blocks end where units do.
    targets : sequence of Target
    identifier : Identifier
    scout : Executor
        Identifies the next blocks meanwhile; it has one thread.
    claims : SampleClaims
    hopeless : container of bytes
        Sample ids to ask no more for, as it stands whenever a plan is made: they could not be encoded.

    Attributes
    ----------
    ids : list of bytes or None
        Sample ids by row; None for a sample that is not identified, or that could not be read.
    reused : int
        Rows that turned out to be in the store, so far.
    found : Sampled
        Some of those, without what others have sealed meanwhile.
    """

    def __init__(
        self,
        rows: int,
        unit_rows: int,
        targets: Sequence[Target],
        *,
        identifier: Identifier,
        scout: Executor,
        claims: SampleClaims,
        hopeless: Container[bytes],
    ) -> None:
        self.ids: list[bytes | None] = [None] * rows
        self.reused = 0
        self.found = Sampled()
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
        self._pending: Sequence[int] = range(rows)
        self._put_off: list[int] = []

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be planned."""
        return not self._pending

    def plans(self) -> Iterator[Plan]:
        """Go through the rows that are left; yield what is to be encoded of each block, claimed."""
        pending, started = self._pending, time.monotonic()
        for found in self._blocks(pending):
            at = found.rows[-1] + 1 if isinstance(pending, range) else 0
            ends_unit = at % self._unit_rows == 0 or found.rows[-1] == pending[-1]
            yield self._plan(found, ends_unit)
            now = time.monotonic()
            if now - started < _BLOCK_SECONDS:
                self._block_rows = min(2 * self._block_rows, self._unit_rows, _MOST_ROWS)
            started = now

    def next_pass(self) -> None:
        """Look again at what was put off, when all that was planned is sealed or given back."""
        for target in self._targets:
            target.index.refresh()
        ids = [self.ids[row] for row in self._put_off]
        wanted = set().union(*self._missing(ids))
        self._pending = [row for row, sample_id in zip(self._put_off, ids, strict=True) if sample_id in wanted]
        self.reused += sum(sample_id not in wanted and sample_id not in self._hopeless for sample_id in ids)
        self._put_off = []

    def still_mine(self, plan: Plan, ids: Sequence[bytes]) -> set[bytes]:
        """Return those of the ids of a plan that nobody else has begun to encode; the others are put off.

        Two who claim the same at one moment see each other just after it: so the storage is asked before the first
        batch, and from then on ever more rarely.
        """
        now = time.monotonic()
        self._claims.touch()
        if now >= plan.look_at:
            plan.look_at = 2 * now - plan.claimed
            for claim in plan.claims:
                if claim is not None:
                    plan.lost |= claim.ids - {*self._claims.still_mine(claim, claim.ids)}
        with self._lock:
            self._put_off.extend(plan.rows[i] for i in ids if i in plan.lost)
        return {i for i in ids if i not in plan.lost}

    def release(self, plan: Plan) -> None:
        """Give a plan's claims back, when all that was encoded of it is sealed."""
        with self._lock:
            self._underway.difference_update(plan.rows)
        for claim in plan.claims:
            if claim is not None:
                self._claims.release_samples(claim)

    def _blocks(self, pending: Sequence[int]) -> Iterator[Identified]:
        """Yield the rows that are left in blocks, identified."""
        at = 0

        def identify() -> Identified | None:
            """Run in the scout's one thread, which alone moves `at`."""
            nonlocal at
            if at >= len(pending):
                return None
            end = min(at + self._block_rows, (at // self._unit_rows + 1) * self._unit_rows)
            rows = pending[at:end]
            if self.ids[rows[0]] is not None:  # a later pass: all that is left has been identified
                found = Identified(rows, [self.ids[row] for row in rows])
            else:
                found = self._identifier.identify(rows)
            at += len(found.rows)
            return found

        ahead: deque[Future[Identified | None]] = deque()
        try:
            while True:
                while len(ahead) <= _AHEAD:
                    ahead.append(self._scout.submit(identify))
                found = ahead.popleft().result()
                if found is None:
                    return
                yield found
        finally:
            for future in ahead:
                future.cancel()

    def _plan(self, found: Identified, ends_unit: bool) -> Plan:
        for row, sample_id in zip(found.rows, found.ids, strict=True):
            self.ids[row] = sample_id
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
        raw = {row: found.raw[row] for row in mine.values() if row in found.raw}
        return Plan(mine, raw, claims, ends_unit, found.errors)

    def _claim(self, ids: Sequence[bytes]) -> list[SampleClaim | None]:
        """Claim for each target those of `ids` that it lacks, as far as nobody else is at them."""
        claims: list[SampleClaim | None] = [None] * len(self._targets)
        others: set[bytes] = set()
        for t in self._order:
            target = self._targets[t]
            missing = [i for i in target.index.missing(ids) if i not in others]
            claim = self._claims.take_samples(target.encoder_id, missing) if missing else None
            if claim is not None:
                # Who held a claim before us may have sealed its rows just before we looked.
                target.index.refresh()
                still = frozenset(target.index.missing(sorted(claim.ids)))
                if not still:
                    self._claims.release_samples(claim)
                claims[t] = claim = SampleClaim(claim.encoder_id, claim.key, still) if still else None
            others.update(i for i in missing if claim is None or i not in claim.ids)
        return claims

    def _missing(self, ids: Sequence[bytes | None]) -> list[set[bytes]]:
        """Return for each target the ids that it lacks, but for the hopeless ones."""
        known = [i for i in ids if i is not None and i not in self._hopeless]
        return [set(target.index.missing(known)) for target in self._targets]
