"""What `extract` did, a set at a time and all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import JsonValue

if TYPE_CHECKING:
    from ...stores.feature_set import FeatureSet


@dataclass(frozen=True)
class ExtractedSet:
    """One feature set that `extract` made or found.

    Parameters
    ----------
    set : str
        Its id.
    split, tap : str
    rows, dim : int
        Shape of the embeddings.
    encoded : int
        Images that this run encoded for it (with several taps, in one pass for all of them).
    reused : int
        Rows that the store had, or that repeat another row's image.
    checked : int
        Some of those, encoded again to be compared with what the store has.
    failed : int
        Samples without a row.
    sealed : bool
        Always true: the set can be read.
    seconds : float
    shared : int
        Different images whose embedding another image of the set has too.
    remarks : tuple of str
        What is odd about the set.
    """

    set: str
    split: str
    tap: str
    rows: int
    dim: int
    encoded: int
    reused: int
    failed: int
    sealed: bool
    seconds: float
    shared: int = 0
    checked: int = 0
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, feature_set: FeatureSet, split: str, tap: str, encoded: int = 0, **more: Any) -> ExtractedSet:
        """Describe a sealed set, of whose images this run encoded so many; `more` are further fields."""
        rows = feature_set.rows
        fields: dict[str, Any] = {
            "rows": rows,
            "dim": feature_set.dim,
            "encoded": encoded,
            "reused": max(0, rows - encoded),
        }
        rest = {"failed": 0, "sealed": True, "seconds": 0.0, **more}
        return cls(set=feature_set.id, split=split, tap=tap, **fields, **rest)


class ExtractionSummary(TypedDict):
    """What `extract` did, as one JSON object.

    `set` and `dim` are those of the first set; counts and seconds are summed over the splits, images that were
    encoded for several taps counting once; `remarks` are those of all sets; `sets` has each set by itself.
    """

    set: str
    rows: int
    dim: int
    encoded: int
    reused: int
    failed: int
    sealed: bool
    seconds: float
    remarks: list[str]
    sets: list[dict[str, JsonValue]]


def summary(sets: Sequence[ExtractedSet]) -> ExtractionSummary:
    """Return what `extract` did as one JSON object.

    Parameters
    ----------
    sets : sequence of ExtractedSet
        At least one.

    Examples
    --------
    >>> one = ExtractedSet("5e7", "train", "cls", 4, 8, encoded=3, reused=1, failed=0, sealed=True, seconds=0.5)
    >>> summary([one])["encoded"]
    3
    """
    per_split = list({s.split: s for s in reversed(sets)}.values())
    return {
        "set": sets[0].set,
        "rows": sum(s.rows for s in per_split),
        "dim": sets[0].dim,
        "encoded": sum(s.encoded for s in per_split),
        "reused": sum(s.reused for s in per_split),
        "failed": sum(s.failed for s in per_split),
        "sealed": all(s.sealed for s in sets),
        "seconds": round(sum(s.seconds for s in per_split), 3),
        "remarks": list(dict.fromkeys(remark for s in sets for remark in s.remarks)),
        "sets": [asdict(s) for s in sets],
    }
