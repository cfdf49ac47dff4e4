"""What is encoded and not sealed yet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from ...stores.store import Rows, Store
from .planner import Target


class Unsealed:
    """Encoded rows that wait for their unit to be full.

    Parameters
    ----------
    store : Store
    targets : sequence of Target
    made_by : mapping
        With which versions and on which device, recorded with each unit.
    units : set of str
        To which the ids of the units are added that are sealed.
    """

    def __init__(
        self, store: Store, targets: Sequence[Target], made_by: Mapping[str, JsonValue], units: set[str]
    ) -> None:
        self._units = units
        self._store = store
        self._targets = targets
        self._made_by = made_by
        self._parts: list[list[Rows]] = [[] for _ in targets]
        self._since = 0.0

    @property
    def age(self) -> float:
        """For how many seconds the oldest of the rows has waited."""
        return time.monotonic() - self._since if any(self._parts) else 0.0

    def add(self, rows: Sequence[Rows]) -> None:
        """Take in what was encoded for each target."""
        if not any(self._parts):
            self._since = time.monotonic()
        for parts, more in zip(self._parts, rows, strict=True):
            if len(more):
                parts.append(more)

    def seal(self) -> None:
        """Write and seal one unit per target."""
        for target, parts in zip(self._targets, self._parts, strict=True):
            if parts:
                seal = self._store.write_unit(target.encoder_id, _joined(parts), self._made_by)
                self._units.add(seal.unit)
                parts.clear()  # before the index, which may find that the unit was removed
                target.index.add(seal)


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([p.samples for p in parts]),
        np.concatenate([p.embeddings for p in parts]),
        np.concatenate([p.norms for p in parts]),
    )
