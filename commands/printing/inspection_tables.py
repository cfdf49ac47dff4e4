"""What people see of suspicious rows: label errors, near-duplicates, plain images. Formatting only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...amounts import be, count
from .console import note, out, table
from .formats import csv_table
from .row_tables import check_form

if TYPE_CHECKING:
    from ...pipeline.label_errors import LabelErrors
    from ...pipeline.near_duplicates import Duplicates
    from ...pipeline.plain_images import PlainImages

__all__ = ["check_form", "label_errors", "near_duplicates", "plain_images"]


def label_errors(found: LabelErrors, *, form: str) -> None:
    """Print `cryoprobe label-errors`."""
    left = f" (the {len(found):,} most suspicious are listed; --top has more)" if len(found) < found.found else ""
    head = [
        f"{found.found:,} of {count(found.of, 'label')} of set {found.set[:12]} {be(found.found)} likely wrong{left}",
        f"{found.folds}-fold logistic regression, C={found.C:g}, top1 {found.top1:.4f}: look at the images before you "
        "correct a label",
    ]
    columns = ["row", "name", "given", "suggested", "of given", "of suggested", "score"]
    rows = [
        [e.row, e.name or "-", e.given, e.suggested, e.given_probability, e.suggested_probability, e.score]
        for e in found
    ]
    _print(found, form, head, columns, rows, spare=["of given", "row"])


def near_duplicates(found: Duplicates, *, form: str) -> None:
    """Print `cryoprobe near-duplicates`."""
    left = f" (the {len(found):,} closest are listed; --top has more)" if len(found) < found.found else ""
    across = f", {found.across:,} of them across sets" if len(found.sets) > 1 else ""
    head = [
        f"{count(found.found, 'pair')} of nearly the same image among {count(found.of, 'row')}{across}{left}",
        f"pair: {found.criterion}",
    ]
    columns = ["split", "name", "label", "other split", "other name", "other label", "cosine", "pixels", "same bytes"]
    rows = [
        [
            *(d.split, d.name or f"row {d.row}", d.label),
            *(d.other_split, d.other_name or f"row {d.other_row}", d.other_label),
            *(d.cosine, "-" if d.pixels is None else d.pixels, d.same_bytes),
        ]
        for d in found
    ]
    _print(found, form, head, columns, rows, spare=["same bytes", "label", "other label"])


def plain_images(found: PlainImages, *, form: str) -> None:
    """Print `cryoprobe plain-images`."""
    if found.by == "pixels":
        head = f"{count(len(found), 'image')} of {found.looked_at:,} {be(len(found))} of one colour"
    else:
        head = f"{count(len(found), 'row')} of {found.of:,} share their embedding with a different image"
    columns = ["split", "row", "name", "label", "colour"]
    rows = [[p.split, p.row, p.name or "-", p.label, p.colour or "-"] for p in found]
    _print(found, form, [head], columns, rows, spare=["row"])


def _print(
    found: LabelErrors | Duplicates | PlainImages,
    form: str,
    head: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    spare: Sequence[str],
) -> None:
    if form == "json":
        out(json.dumps(found.document))
        return
    if form == "csv":
        out(csv_table([asdict(row) for row in found]))
    else:
        for line in head:
            out(line)
        if rows:
            table(list(columns), [list(row) for row in rows], spare=list(spare))
    for line in found.notes:
        note(f"note: {line}")
