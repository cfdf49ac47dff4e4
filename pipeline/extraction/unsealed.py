"""What is encoded and not sealed yet; a thread of its own writes, so that no encoder waits for the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
from pydantic import JsonValue

from ...stores.store import Rows, Store
from .planner import Target
from .profile import Profile


class Unsealed:
    """Encoded rows that wait for their unit to be full, or for the store.

    At most one unit a target is being written while the next one grows.

    Parameters
    ----------
    store : Store
    targets : sequence of Target
    made_by : mapping
        With which versions and on which device, recorded with each unit.
    units : set of str
        To which the ids of the units are added that are sealed.
    profile : Profile
    """

    def __init__(
        self,
        store: Store,
        targets: Sequence[Target],
        made_by: Mapping[str, JsonValue],
        units: set[str],
        profile: Profile,
    ) -> None:
        self._units = units
        self._store = store
        self._targets = targets
        self._made_by = made_by
        self._profile = profile
        self._parts: list[list[Rows]] = [[] for _ in targets]
        self._written = self._parts
        self._since = 0.0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="cryoprobe-seal")
        self._writing: Future[None] | None = None

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

    def seal(self, then: Callable[[], None]) -> None:
        """Let one unit per target be written and sealed, and after that call `then`.

        Waits for the unit before, and raises what that raised.
        """
        self.wait()
        self._written, self._parts = self._parts, [[] for _ in self._targets]
        self._writing = self._writer.submit(self._write, self._written, then)

    def wait(self) -> None:
        """Wait until what is being written is sealed; raise what that raises, and keep what could not be sealed."""
        if self._writing is None:
            return
        with self._profile.waiting("seal"):
            wait([self._writing])
        writing, self._writing = self._writing, None
        if (error := writing.exception()) is not None:
            self._parts = [[*old, *new] for old, new in zip(self._written, self._parts, strict=True)]
            raise error

    def close(self) -> None:
        """End the thread."""
        self._writer.shutdown(wait=False)

    def _write(self, parts: Sequence[Sequence[Rows]], then: Callable[[], None]) -> None:
        with self._profile.measured("seal", max(sum(map(len, p)) for p in parts)):
            for target, rows in zip(self._targets, parts, strict=True):
                if rows:
                    joined = _joined(rows)
                    seal = self._store.write_unit(target.encoder_id, joined, self._made_by)
                    self._units.add(seal.unit)
                    target.index.add(seal, joined.samples)
        then()


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([p.samples for p in parts]),
        np.concatenate([p.embeddings for p in parts]),
        np.concatenate([p.norms for p in parts]),
    )
