"""Ids of samples that are parts of files, or objects elsewhere: known as long as what holds them is unchanged."""

from __future__ import annotations

from collections.abc import Sequence

from ...stores.local.sample_index import SampleIndex
from ..datasets.base import Place, Placed, Split


class Places:
    """Some samples of a split that are not files, and what the sample index knows of them.

    Parameters
    ----------
    split : Split
        Nothing is known of its samples if it is not `Placed`.
    index : SampleIndex
    rows : sequence of int
    unsure : bool
        Leave out those whose storage vouches for what it says of them.

    Attributes
    ----------
    known : dict of int to bytes
        Sample ids by row, of those that have not changed since they were hashed.
    """

    def __init__(self, split: Split, index: SampleIndex, rows: Sequence[int], *, unsure: bool = False) -> None:
        found = {row: split.place(row) for row in rows} if isinstance(split, Placed) else {}
        self._places: dict[int, Place] = {
            row: place for row, place in found.items() if place is not None and not (unsure and place.sure)
        }
        self._index = index
        self._learned: list[tuple[tuple[str, str], bytes]] = []
        ids = index.lookup_places([place[:2] for place in self._places.values()])
        self.known = {row: i for row, i in zip(self._places, ids, strict=True) if i is not None}

    def learn(self, row: int, sample_id: bytes) -> None:
        """Take note of the sample id of one that was read."""
        if row in self._places:
            self._learned.append((self._places[row][:2], sample_id))

    def record(self) -> None:
        """Let the sample index know what was learned."""
        self._index.record_places(self._learned)
