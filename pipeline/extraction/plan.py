"""What an extraction would do: which rows it would encode, how long that takes, and what would be stored."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pydantic import JsonValue

from ...amounts import count
from ...notebook import Cell, html_table


@dataclass(frozen=True)
class PlannedSet:
    """One feature set that `extract` would make, or find.

    Every sample is counted once: ``samples == there + elsewhere + encode + duplicates + unreadable + failed``.

    Parameters
    ----------
    set : str or None
        Its id, if all images can be decoded but those that `failed`; None where a file cannot be read that the id
        depends on.
    split, tap : str
    sealed : bool
        Whether the store has this set, perhaps without samples that `failed`.
    samples : int
    there : int
        Images of which the store has the row.
    elsewhere : int
        Those of which a store that it reads from has it.
    encode : int
        Those that would be encoded.
    images : int
        Images that the run encodes for this split: for all taps at once, and without those of an earlier split.
    duplicates : int
        Samples that repeat an earlier one's image.
    unreadable : int
        Samples whose file cannot be read. That a file which can be read is an image is not looked at.
    read : int
        Files that had to be read and hashed for this, since the sample index did not know them.
    failed : int
        Samples that could not be used when the set was sealed that the store has of the others. `extract` tries them
        again.
    bytes : int or None
        What the set's arrays take; None if the length of an embedding is not known.
    images_per_second, seconds : float or None
        How fast an earlier extraction with this encoder on such a device was, and how long `images` take at that; None
        where nothing is recorded.
    """

    set: str | None
    split: str
    tap: str
    sealed: bool
    samples: int
    there: int
    elsewhere: int
    encode: int
    images: int
    duplicates: int
    unreadable: int
    read: int
    failed: int = 0
    bytes: int | None = None
    images_per_second: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, repr=False)
class ExtractionPlan:
    """What `extract` would do.

    Parameters
    ----------
    sets : tuple of PlannedSet
        In the order of the splits, and of the taps within each.
    """

    sets: tuple[PlannedSet, ...]

    def __repr__(self) -> str:
        return f"<ExtractionPlan: {count(len(self.sets), 'set')}, {count(self.encode, 'image')} to encode>"

    def _repr_html_(self) -> str:
        rows: list[list[Cell]] = [
            [p.set and p.set[:12], p.split, p.tap, p.samples, p.there, p.elsewhere, p.encode, p.seconds]
            for p in self.sets
        ]
        return html_table(
            repr(self), ["set", "split", "tap", "samples", "there", "elsewhere", "encode", "seconds"], rows
        )

    @property
    def encode(self) -> int:
        """Images that would be encoded; for several taps once."""
        return sum({p.split: p.images for p in self.sets}.values())

    @property
    def seconds(self) -> float | None:
        """How long that takes; None if that is not known of every split."""
        told = {p.split: p.seconds for p in self.sets}
        known = [seconds for seconds in told.values() if seconds is not None]
        return round(sum(known), 1) if len(known) == len(told) else None

    @property
    def document(self) -> dict[str, JsonValue]:
        """All of it, as one JSON object."""
        return {
            "encode": self.encode,
            "read": sum({p.split: p.read for p in self.sets}.values()),
            "seconds": self.seconds,
            "bytes": None if any(p.bytes is None for p in self.sets) else sum(p.bytes or 0 for p in self.sets),
            "sets": [asdict(p) for p in self.sets],
        }
