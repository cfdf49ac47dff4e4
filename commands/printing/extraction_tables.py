"""What `cryoprobe extract` prints: a row for each set that was made or found, or would be. Formatting only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import cryoprobe

from . import console
from .wording import size

if TYPE_CHECKING:
    from ...pipeline.extraction.plan import ExtractionPlan
    from ...pipeline.extraction.result import ExtractedSet
    from ...pipeline.suggest import Suggestion

_DONE = ["set", "split", "tap", "rows", "dim", "encoded", "reused", "failed", "seconds"]
_PLANNED = ["set", "split", "tap", "samples", "there", "elsewhere", "encode", "duplicates", "unreadable", "failed"]


def extracted(done: Sequence[ExtractedSet] | ExtractionPlan, *, as_json: bool) -> None:
    """Print what `extract` did, or with ``--dry-run`` would do."""
    if isinstance(done, Sequence):
        if as_json:
            console.out(json.dumps(cryoprobe.summary(done)))
        else:
            rows = [[s.set[:12], *(getattr(s, column) for column in _DONE[1:])] for s in done]
            console.table(_DONE, rows)
    elif as_json:
        console.out(json.dumps(done.document))
    else:
        planned(done)


def suggested(found: Sequence[Suggestion], *, as_json: bool) -> None:
    """Print what was measured of each precision."""
    rows = [asdict(suggestion) for suggestion in found]
    if as_json:
        console.out(json.dumps(rows))
    else:
        console.table(list(rows[0]), [list(row.values()) for row in rows])


def planned(plan: ExtractionPlan) -> None:
    """Print what would be done, and in a line how long that takes and what is stored."""
    rows = [["?" if p.set is None else p.set[:12], *(getattr(p, column) for column in _PLANNED[1:])] for p in plan.sets]
    console.table(_PLANNED, rows)
    if not plan.encode:
        time = "Nothing is to be encoded"
    elif plan.seconds is None:
        time = "How long that takes is not known: the store has no speed of this encoder on such a device"
    else:
        speed = max((p.images_per_second or 0.0) for p in plan.sets)
        time = f"That takes some {plan.seconds:,.0f} s, at {speed:,.0f} images a second as before"
    sealed = sum(p.sealed for p in plan.sets)
    console.note(
        f"{time}. The sets take {size(sum(p.bytes or 0 for p in plan.sets))}; {sealed} of {len(plan.sets)} are there. "
        "Nothing was written to the store."
    )
