"""What is left to encode of a split: identify, subtract what the store has, claim the rest, block by block."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from ...stores.store import Claims, RowIndex, unit_id
from ..specs import EncoderSpec
from .sample_ids import Identified, Identifier

_AHEAD = 2
"""Blocks that are identified while an earlier one is encoded."""


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
    block : int
    rows : dict of bytes to int
        Sample ids that some target lacks, each with a row of the split that has it.
    missing : list of list of bytes
        For each target, those of them that it lacks.
    units : list of str
        For each target, the id of the unit of its missing rows.
    """

    block: int
    rows: dict[bytes, int]
    missing: list[list[bytes]]
    units: list[str]


class Planner:
    """Plans the encoding of a split, block by block; a block that somebody else has claimed is put off.

    Parameters
    ----------
    rows : int
        Samples of the split.
    block_rows : int
        Samples in a block.
    targets : sequence of Target
    identifier : Identifier
    scout : Executor
        Identifies the next blocks meanwhile.
    claims : Claims
    hopeless : container of bytes
        Sample ids to ask no more for, as it stands whenever a plan is made: they could not be encoded.

    Attributes
    ----------
    blocks : list of range
        The rows of each block.
    """

    def __init__(
        self,
        rows: int,
        block_rows: int,
        targets: Sequence[Target],
        *,
        identifier: Identifier,
        scout: Executor,
        claims: Claims,
        hopeless: Container[bytes],
    ) -> None:
        self.blocks = [range(start, min(start + block_rows, rows)) for start in range(0, rows, block_rows)]
        self._targets = targets
        self._identifier = identifier
        self._scout = scout
        self._claims = claims
        self._hopeless = hopeless
        self._identified: dict[int, Future[Identified]] = {}
        self._underway: set[bytes] = set()

    def plans(self, blocks: Sequence[int]) -> Iterator[tuple[int, Plan | None]]:
        """Yield each block with its plan, claimed; None where nothing is missing or somebody else is at it."""
        for at, block in enumerate(blocks):
            for ahead in blocks[at : at + _AHEAD + 1]:
                if ahead not in self._identified:
                    self._identified[ahead] = self._scout.submit(self._identifier.identify, self.blocks[ahead])
            yield block, self._plan(block)

    def ids(self, block: int) -> list[bytes | None]:
        """Return the sample ids of a block; None for a sample that could not be read."""
        return self._identified[block].result().ids

    def unreadable(self, block: int) -> dict[int, str]:
        """Return the rows of a block that could not be read, and why."""
        errors = self._identified[block].result().errors
        return {self.blocks[block][position]: error for position, error in errors.items()}

    def is_complete(self, block: int) -> bool:
        """Say whether every target has every sample of a block that can be had and is not underway."""
        return not any(self._missing(self.ids(block)))

    def release(self, plan: Plan) -> None:
        """Give a plan's claims back, when its units are sealed."""
        self._underway.difference_update(plan.rows)
        for target, unit in zip(self._targets, plan.units, strict=True):
            self._claims.release(target.encoder_id, unit)

    def refresh(self) -> None:
        """Take in what others have sealed."""
        for target in self._targets:
            target.index.refresh()

    def _plan(self, block: int) -> Plan | None:
        ids = self.ids(block)
        first = {}
        for row, sample_id in zip(reversed(self.blocks[block]), reversed(ids), strict=True):
            first[sample_id] = row
        while True:
            missing = self._missing(ids)
            wanted = {
                i: first[i] for i in dict.fromkeys(i for i in ids if i is not None) if any(i in m for m in missing)
            }
            if not wanted:
                return None
            lists = [[i for i in wanted if i in m] for m in missing]
            units = [unit_id(t.encoder_id, m) for t, m in zip(self._targets, lists, strict=True)]
            plan = Plan(block, wanted, lists, units)
            if not self._claim(plan):
                return None
            # Who held the claim before us may have sealed the unit just before we got it: look again.
            self.refresh()
            if self._missing(ids) == missing:
                self._underway.update(wanted)
                return plan
            self.release(plan)

    def _missing(self, ids: Sequence[bytes | None]) -> list[set[bytes]]:
        """Return for each target the ids that it lacks, and that are neither underway nor hopeless."""
        open_ = [i for i in ids if i is not None and i not in self._underway and i not in self._hopeless]
        return [set(target.index.missing(open_)) for target in self._targets]

    def _claim(self, plan: Plan) -> bool:
        for target, ids, unit in zip(self._targets, plan.missing, plan.units, strict=True):
            if ids and not self._claims.take(target.encoder_id, unit):
                self.release(plan)
                return False
        return True
