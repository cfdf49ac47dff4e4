"""The health of the data: a line for each split, and what was found to be odd when its set was sealed."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ...errors import CryoprobeError
from ..extraction.health import DataHealth
from .leaderboard import short
from .section import ReportData, Section, escaped, ids_of_sets, table

if TYPE_CHECKING:
    from ...stores.feature_set import FeatureSet


def sections(data: ReportData) -> list[Section]:
    """Return a table of the splits, and a list of findings.

    One data set has a set for each encoder. The table has one of them, with what was seen of its images if possible;
    the list has the findings of all.
    """
    sets = {one.id: one for one in _in_order(data)}
    rows: dict[tuple[str, str, int], list[str | int | None]] = {}
    said: dict[str, None] = {}
    unknown = 0
    for one in sets.values():
        name = f"{short(str(one.manifest.provenance.name.get('dataset', '?')))}"
        health = DataHealth.recorded(one.manifest.provenance.document, one.rows)
        unknown += health is None
        key = name, one.split, one.rows
        if key not in rows or (health is not None and health.decoded_images is not None):
            rows[key] = _row(name, one, health)
        if health is not None:
            for line in health.remarks(one.split, partial(_name, one)):
                said[f"{name}: {line}"] = None
    head = ["data set", "split", "rows", "classes", "rows a class", "repeated", "contradicting"]
    head += ["one colour", "sharing an embedding", "left out"]
    found = "".join(f"<li>{escaped(line)}</li>" for line in said)
    if unknown:
        which = f"{unknown} of {len(sets)} sets have no record of it"
        data.notes.append(f"Data health: {which}. Their embeddings were added, or an older version made them.")
    intro = (
        "What was found when the sets were sealed. Repeated: rows whose image an earlier row has. Contradicting: rows "
        "whose image another row has with another label. Left out: images that could not be read."
    )
    html = table(head, [*rows.values()]) + (f'<ul class="odd">{found}</ul>' if found else "")
    return [Section("data-health", "Data health", intro, html=html)]


def _in_order(data: ReportData) -> list[FeatureSet]:
    return [data.sets[one] for one in ids_of_sets(data.trials) if one in data.sets]


def _row(name: str, one: FeatureSet, health: DataHealth | None) -> list[str | int | None]:
    row: list[str | int | None] = [name, one.split, one.rows, len(one.class_names)]
    if health is None:
        return [*row, None, None, None, None, None, len(one.failed)]
    sizes, repeated, decoded = health.class_sizes, health.repeated_images, health.decoded_images
    return [
        *row,
        None if sizes is None else f"{sizes.smallest:,} to {sizes.largest:,}",
        None if repeated is None else repeated.repeated,
        None if repeated is None else repeated.contradicted,
        None if decoded is None else decoded.plain,
        health.shared_embeddings.shared,
        len(one.failed),
    ]


def _name(one: FeatureSet, row: int) -> str:
    """Return what a sample is called; its row if the store does not tell."""
    with suppress(CryoprobeError):
        return one.samples([row])[0].name or f"row {row}"
    return f"row {row}"
